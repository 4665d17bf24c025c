"""Check whether labelled pairs fit a calibration, and whether the two cameras were exchanged.

A wrong pairing shows in two ways: pixels lie off the lines that the other camera draws for them, or the points they
mean lie behind the cameras. In a rectified pair only the second one shows, in a toed-in pair often only the first.

Axes: N pairs of pixels.
Source: R. Hartley and A. Zisserman, Multiple View Geometry, 2nd ed., sections 9.2 and 9.6.3 (points in front).
"""

from typing import Any, NamedTuple

import attrs
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cogkp.errors import GeometryError
from cogkp.geometry.camera import PinholeCamera
from cogkp.geometry.gauss_newton import MIN_ANGLE_RAD
from cogkp.geometry.projection import epipolar_distance, fundamental

FloatArray = npt.NDArray[np.float64]

LARGEST_SHARE = 0.01
"""Median residual that labels may have, in widths of the frame: 6 px at 640."""
LEAST_PAIRS = 8
"""With fewer pairs a coincidence decides."""
DRASTIC = 3.0
"""How many times smaller a residual must be to prefer another arrangement of the cameras."""
SUSPICIOUS_PX = 1.0
"""Labels that agree this well are not called wrong, whatever agrees still better."""
HALF = 0.5


@attrs.frozen
class PairConsistency:
    """How well labelled pairs fit two cameras, as given and rearranged.

    Args:
        count: pairs that could be checked: finite pixels where both lenses can be undone.
        median_px: median distance to the epipolar lines, undistorted pixels; 0 without pairs.
        p95_px: 95th percentile of it.
        behind_share: share of points behind a camera, among those whose rays are not near parallel.
        swapped: the two cameras, or the two mappings, look exchanged.
        swapped_median_px: median distance with the cameras exchanged.
        inverted: the poses look like camera_to_world.
        inverted_median_px: median distance with inverted poses.
        limit_px: largest median distance that is taken for noise of labels.
    """

    count: int
    median_px: float
    p95_px: float
    behind_share: float
    swapped: bool
    swapped_median_px: float
    inverted: bool
    inverted_median_px: float
    limit_px: float

    @property
    def fits(self) -> bool:
        """Whether enough pairs were checked and nothing is known to be wrong."""
        return self.count >= LEAST_PAIRS and self.problem() is None

    def problem(self) -> str | None:
        """Say in one line what is wrong and what to do; None where nothing is known to be wrong."""
        if self.count < LEAST_PAIRS:
            return None
        found = f"the labels lie {self.median_px:.2f} px off their epipolar lines (median of {self.count})"
        found += f", {self.behind_share:.0%} of the points behind a camera"
        if self.swapped:
            also = " Inverted extrinsics would explain it too." if self.inverted else ""
            return (
                f"the cameras look swapped: {found}; with both cameras exchanged it is {self.swapped_median_px:.2f} px "
                f"and the points lie in front. Exchange the two mappings or the two cameras.{also}"
            )
        if self.inverted:
            return (
                f"the extrinsics look inverted: {found}; with inverted poses it is {self.inverted_median_px:.2f} px "
                "and the points lie in front. They must map the world to the camera, x_camera = R x_world + t."
            )
        if self.median_px > self.limit_px or self.behind_share > HALF:
            return (
                f"the calibration does not fit the labels: {found}, at most {self.limit_px:.1f} px expected. "
                "Is it of these cameras, at this resolution?"
            )
        return None

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers and the problem, ready for JSON."""
        return {**attrs.asdict(self), "problem": self.problem()}


class _Fit(NamedTuple):
    residual_px: FloatArray
    behind_share: float

    @property
    def median_px(self) -> float:
        return float(np.median(self.residual_px)) if self.residual_px.size else 0.0


def check_pairs(
    left: PinholeCamera, right: PinholeCamera, uv_left: FloatArray, uv_right: FloatArray
) -> PairConsistency:
    """Measure whether pixels that mean the same points fit two cameras, and find exchanged ones.

    Args:
        left: the camera of ``uv_left``.
        right: the camera of ``uv_right``.
        uv_left: (N, 2) float64, pixels of the left frame, lens included; not finite where not labelled.
        uv_right: (N, 2) float64, pixels of the right frame.

    Returns:
        Distances to the epipolar lines of undistorted pixels, the share of points behind a camera, and the verdict.

    Raises:
        GeometryError: the pixels do not have the shape above.

    Gradient: none.
    Precision: float64.
    Source: Hartley and Zisserman, 2nd ed., sections 9.2 and 9.6.3.

    Example:
        >>> K = torch.tensor([[100.0, 0.0, 32.0], [0.0, 100.0, 24.0], [0.0, 0.0, 1.0]])
        >>> aside = torch.eye(4)
        >>> aside[0, 3] = -1.0
        >>> left, right = PinholeCamera(K, torch.eye(4), (64, 48)), PinholeCamera(K, aside, (64, 48))
        >>> uv = np.random.default_rng(0).uniform(0, 48, (20, 2))
        >>> check_pairs(left, right, uv, uv - [5.0, 0.0]).behind_share
        0.0
        >>> check_pairs(right, left, uv, uv - [5.0, 0.0]).swapped
        True
    """
    uv = [np.asarray(pixels, np.float64) for pixels in (uv_left, uv_right)]
    if uv[0].ndim != 2 or uv[0].shape != uv[1].shape or uv[0].shape[-1] != 2:  # noqa: PLR2004
        raise GeometryError(
            "pairs of pixels have the wrong shape", expected="twice (N, 2)", got=f"{uv[0].shape} and {uv[1].shape}"
        )
    pair = torch.tensor(uv[0]), torch.tensor(uv[1])
    given = _fit(left, right, pair)
    swapped, inverted = _fit(right, left, pair), _fit(_inverted(left), _inverted(right), pair)
    limit = LARGEST_SHARE * max(left.size_wh[0], right.size_wh[0])
    return PairConsistency(
        count=given.residual_px.size,
        median_px=given.median_px,
        p95_px=float(np.percentile(given.residual_px, 95)) if given.residual_px.size else 0.0,
        behind_share=given.behind_share,
        swapped=_explains(swapped, given, limit) and not _explains(inverted, swapped, limit),
        swapped_median_px=swapped.median_px,
        inverted=_explains(inverted, given, limit) and not _explains(swapped, inverted, limit),
        inverted_median_px=inverted.median_px,
        limit_px=limit,
    )


def _explains(other: _Fit, given: _Fit, limit_px: float) -> bool:
    """Tell whether another arrangement of the cameras fits far better than the given one, and well enough."""
    if min(other.residual_px.size, given.residual_px.size) < LEAST_PAIRS:
        return False
    if other.behind_share > HALF or other.median_px > limit_px:
        return False
    worse = given.median_px > max(SUSPICIOUS_PX, DRASTIC * other.median_px)
    return worse or (given.behind_share > HALF and other.median_px <= max(SUSPICIOUS_PX, given.median_px))


def _inverted(camera: PinholeCamera) -> PinholeCamera:
    inverse = torch.eye(4, dtype=camera.world_to_camera.dtype)
    inverse[:3, :3], inverse[:3, 3] = camera.world_to_camera[:3, :3].T, camera.center
    return attrs.evolve(camera, world_to_camera=inverse)


def _fit(left: PinholeCamera, right: PinholeCamera, uv: tuple[Tensor, Tensor]) -> _Fit:
    straight = [camera.undistort_pixels(pixels) for camera, pixels in zip((left, right), uv, strict=True)]
    valid = (straight[0].isfinite() & straight[1].isfinite()).all(-1)
    straight = [pixels[valid] for pixels in straight]
    pinholes = [attrs.evolve(camera, distortion=torch.zeros(0)) for camera in (left, right)]
    rays = [camera.unproject_rays(pixels).xyz_camera for camera, pixels in zip(pinholes, straight, strict=True)]
    P = [camera.K.double() @ camera.world_to_camera[:3].double() for camera in (left, right)]
    residual = epipolar_distance(straight[0], straight[1], fundamental(P[0], P[1]))
    return _Fit(residual.numpy(), _behind_share(left, right, rays))


def _behind_share(left: PinholeCamera, right: PinholeCamera, rays: list[Tensor]) -> float:
    """Share of pairs whose rays come nearest to each other behind a camera; near parallel ones are not counted."""
    poses = [camera.world_to_camera.double() for camera in (left, right)]
    centers = [camera.center.double() for camera in (left, right)]
    a, b = (ray @ pose[:3, :3] for ray, pose in zip(rays, poses, strict=True))
    aa, bb, ab = (a * a).sum(-1), (b * b).sum(-1), (a * b).sum(-1)
    sine2 = 1 - ab * ab / (aa * bb)
    clear = sine2 > MIN_ANGLE_RAD**2
    if not bool(clear.any()):
        return 0.0
    gap = centers[1] - centers[0]
    ag, bg = a @ gap, b @ gap
    # The determinant aa bb - ab ab is positive, so the signs of the depths are those of these numerators.
    behind = ((bb * ag - ab * bg) < 0) | ((ab * ag - aa * bg) < 0)
    return float(behind[clear].double().mean())
