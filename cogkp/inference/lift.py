"""Points of space from what a model found in the images of calibrated cameras, fast for the few points of one moment.

It works on NumPy arrays: for three points in two views the tensors of :meth:`cogkp.geometry.rig.CameraRig.triangulate`
would cost more than the network. The estimate is that of maximum likelihood for the stated covariances of the pixels.

Axes: V views, N points, M sets of views that are tried.
Source: R. Hartley and A. Zisserman, Multiple View Geometry, 2nd ed., sections 12.3 and 5.2; B. Triggs et al., Bundle
Adjustment, 2000, section 4 (Gauss-Newton); Torr and Zisserman, 2000, section 4 (the vote).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import attrs
import cv2
import numpy as np
import numpy.typing as npt

from cogkp.errors import GeometryError

if TYPE_CHECKING:
    from cogkp.geometry.camera import PinholeCamera

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

STEP_PX = 0.5
"""Pixels to either side from which the lens's Jacobian is taken."""
BACK_PX = 0.05
"""A pixel whose lens is undone and applied again comes back this near, or has no place before the lens."""
MIN_ANGLE_RAD = 0.002
MIN_DEPTH = 1e-9
STEPS = 4
ROUNDS = 2
LEAST_VIEWS = 2
SAME_SCALE = 1e-3
"""How far the scales of an image along both axes may be apart, relative."""
PATIENCE = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 60, 1e-12)
STEPS_UV = STEP_PX * np.array([(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)], np.float64)


@attrs.frozen(eq=False)
class ViewCamera:
    """A camera as lifting needs it, for images of one size.

    Args:
        K: (3, 3) float64, pixels of the images.
        distortion: (D,) float64, OpenCV order.
        world_to_camera: (3, 4) float64, world unit.
    """

    K: Array
    distortion: Array
    world_to_camera: Array

    @classmethod
    def of(cls, camera: PinholeCamera, size_wh: tuple[int, int], name: str = "") -> ViewCamera:
        """Take a camera of a calibration, scaled to images of a size.

        Raises:
            GeometryError: the images are no scaled copies of those it was calibrated with.
        """
        scale = np.divide(size_wh, camera.size_wh if camera.size_wh != (0, 0) else size_wh)
        # Rounding to whole pixels may have changed both sides by half a pixel.
        rounding = sum(0.5 / max(side, 1) for side in camera.size_wh)
        if abs(scale[0] - scale[1]) > SAME_SCALE * scale.max() + rounding:
            expected, got = ("{} x {} pixels".format(*size) for size in (camera.size_wh, size_wh))
            raise GeometryError(
                f"the calibration of camera {name!r} is for other images",
                expected=f"{expected}, or a scaled copy",
                got=got,
                hint="Calibrate at this size, or cut nothing off the images.",
            )
        K, lens, pose = (
            each.numpy(force=True).astype(np.float64)
            for each in (camera.K, camera.distortion, camera.world_to_camera[:3])
        )
        resize = np.array([[scale[0], 0, 0.5 * scale[0] - 0.5], [0, scale[1], 0.5 * scale[1] - 0.5], [0, 0, 1]])
        return cls(resize @ K, lens, pose)

    @property
    def centre(self) -> Array:
        """(3,) its place in the world."""
        place: Array = -self.world_to_camera[:, :3].T @ self.world_to_camera[:, 3]
        return place

    def straight(self, uv: Array) -> tuple[Array, Array, Bools]:
        """Undo the lens.

        Args:
            uv: (N, 2) pixels, finite.

        Returns:
            (N, 2) points x / z, y / z of the camera's frame, (N, 2, 2) how they change with the pixels, and (N,)
            whether the lens can be undone there.
        """
        around = (uv[:, None] + STEPS_UV).reshape(-1, 1, 2)
        xy = _without_lens(around, self.K, self.distortion).reshape(-1, 5, 2)
        jacobian = np.stack([xy[:, 1] - xy[:, 2], xy[:, 3] - xy[:, 4]], -1) / (2 * STEP_PX)
        determinant = jacobian[:, 0, 0] * jacobian[:, 1, 1] - jacobian[:, 0, 1] * jacobian[:, 1, 0]
        ok = np.isfinite(xy).all((1, 2)) & (determinant > 0)
        if self.distortion.any() and ok.any():
            rays = np.concatenate([xy[:, 0], np.ones((len(xy), 1))], 1)
            again, _ = cv2.projectPoints(
                np.where(ok[:, None], rays, (0.0, 0.0, 1.0)), np.zeros(3), np.zeros(3), self.K, self.distortion
            )
            ok &= np.abs(again.reshape(-1, 2) - uv).max(1) < BACK_PX
        return np.where(ok[:, None], xy[:, 0], 0.0), np.where(ok[:, None, None], jacobian, np.eye(2)), ok


def _without_lens(uv: Array, K: Array, distortion: Array) -> Array:
    if hasattr(cv2, "undistortPointsIter"):  # OpenCV 4
        return np.asarray(cv2.undistortPointsIter(uv, K, distortion, None, None, PATIENCE))
    return np.asarray(cv2.undistortPoints(uv, K, distortion, criteria=PATIENCE))


@attrs.frozen(eq=False)
class SpacePoints:
    """Points of space.

    Args:
        xyz_world: (N, 3) float64, world unit; zero where not valid.
        covariance: (N, 3, 3) float64, world unit squared, of the best estimate the stated covariances of the pixels
            allow; zero where not valid, and None where the model does not say how sure it is of its pixels.
        valid: (N,) bool: at least two views count, see it in front, their rays are not nearly parallel, and all of
            them see it within the threshold.
        used: (V, N) bool, the views that count.
        reprojection_px: (V, N) float64, how far each view's pixel is from where it should see the point, also of views
            that do not count; NaN where nothing can be said.
    """

    xyz_world: Array
    covariance: Array | None
    valid: Bools
    used: Bools
    reprojection_px: Array

    def scaled(self, factor: float) -> SpacePoints:
        """Return them in a unit of which ``factor`` make one of this unit."""
        spread = None if self.covariance is None else self.covariance * factor**2
        return attrs.evolve(self, xyz_world=self.xyz_world * factor, covariance=spread)


def lift(
    cameras: Sequence[ViewCamera], uv: Array, covariance: Array | None, seen: Bools, threshold_px: float
) -> SpacePoints:
    """Find points of space from their pixels in several views.

    With two views there is no majority: both count, and a point that either of them sees further off than the
    threshold is not valid. From three on, views that disagree with the others are left out.

    Args:
        cameras: of the V views.
        uv: (V, N, 2) pixels of each view's image, lens included.
        covariance: (V, N, 2, 2) pixels squared; None counts all pixels alike.
        seen: (V, N) which pixels may count.
        threshold_px: reprojection error from which a view disagrees, pixels.

    Returns:
        Points with covariance, validity and errors; see :class:`SpacePoints`.
    """
    usable = np.isfinite(uv).all(-1) & seen
    if covariance is not None:
        usable = usable & np.isfinite(covariance).all((-2, -1))
    views = _Views.of(cameras, np.where(np.isfinite(uv), uv, 0.0), covariance, usable)
    agreed = _vote(views, threshold_px) if len(cameras) > LEAST_VIEWS else views.usable
    xyz, information = _fit(views, agreed[None])
    xyz, information = xyz[0], information[0]
    errors, depth = _errors(views, xyz[None])
    errors, depth = errors[0], depth[0]
    within = np.where(agreed, errors < threshold_px, True).all(0)
    ahead = np.where(agreed, depth > MIN_DEPTH, True).all(0)
    valid = (agreed.sum(0) >= LEAST_VIEWS) & within & ahead & np.isfinite(xyz).all(-1) & _spread(views, xyz, agreed)
    spread = None
    if covariance is not None:
        spread = np.where(valid[:, None, None], _inverse(np.where(valid[:, None, None], information, np.eye(3))), 0.0)
    told = np.isfinite(xyz).all(-1) & (depth > MIN_DEPTH) & views.usable & (agreed.sum(0) >= LEAST_VIEWS)
    return SpacePoints(
        xyz_world=np.where(valid[:, None], xyz, 0.0),
        covariance=spread,
        valid=valid,
        used=agreed & valid,
        reprojection_px=np.where(told, errors, np.nan),
    )


@attrs.frozen(eq=False)
class _Views:
    """What the views say, without their lenses.

    Args:
        poses: (V, 3, 4) world to camera.
        centres: (V, 3).
        xy: (V, N, 2) points of the image planes.
        to_pixels: (V, N, 2, 2) how pixels change with them.
        weights: (V, N, 2, 2) inverse covariances of the points.
        usable: (V, N) bool.
    """

    poses: Array
    centres: Array
    xy: Array
    to_pixels: Array
    weights: Array
    usable: Bools

    @classmethod
    def of(cls, cameras: Sequence[ViewCamera], uv: Array, covariance: Array | None, usable: Bools) -> _Views:
        straight = [camera.straight(pixels) for camera, pixels in zip(cameras, uv, strict=True)]
        xy, jacobian, ok = (np.stack(parts) for parts in zip(*straight, strict=True))
        to_pixels = _inverse2(jacobian)
        weights = (
            np.eye(2) if covariance is None else _inverse2(np.where(usable[..., None, None], covariance, np.eye(2)))
        )
        return cls(
            poses=np.stack([camera.world_to_camera for camera in cameras]),
            centres=np.stack([camera.centre for camera in cameras]),
            xy=xy,
            to_pixels=to_pixels,
            weights=to_pixels.swapaxes(-1, -2) @ weights @ to_pixels,
            usable=usable & ok,
        )

    def rays(self) -> Array:
        """(V, N, 3) unit vectors of the world."""
        ahead = np.concatenate([self.xy, np.ones((*self.xy.shape[:-1], 1))], -1) @ self.poses[:, :, :3]
        directions: Array = ahead / np.sqrt((ahead * ahead).sum(-1, keepdims=True))
        return directions


def _fit(views: _Views, counts: Bools) -> tuple[Array, Array]:
    """Find the points for sets of views, ``counts`` (M, V, N): (M, N, 3) points and (M, N, 3, 3) information."""
    xyz = _nearest(views, counts)
    trust = counts[..., None, None].astype(np.float64)
    rotations = views.poses[:, None, :, :3]
    for _ in range(STEPS):
        place = _in_cameras(views, xyz)
        depth = place[..., 2:]
        safe = np.where(np.abs(depth) > MIN_DEPTH, depth, 1.0)
        flat = place[..., :2] / safe
        # d(x / z, y / z) / d(world)
        slope = (rotations[..., :2, :] - flat[..., None] * rotations[..., 2:, :]) / safe[..., None]
        pulled = slope.swapaxes(-1, -2) @ views.weights * trust
        information = (pulled @ slope).sum(1)
        pull = (pulled @ (views.xy - flat)[..., None]).sum(1)
        step = _inverse(information) @ pull
        xyz = xyz + step[..., 0]
    return xyz, information


def _nearest(views: _Views, counts: Bools) -> Array:
    """Find the points nearest to all rays, (M, N, 3)."""
    rays = views.rays()
    across = (np.eye(3) - rays[..., None] * rays[..., None, :]) * counts[..., None, None]
    offset = (across @ views.centres[:, None, :, None]).sum(1)
    nearest: Array = (_inverse(across.sum(1)) @ offset)[..., 0]
    return nearest


def _in_cameras(views: _Views, xyz: Array) -> Array:
    """Move points (M, N, 3) of the world to the frames of the cameras, (M, V, N, 3)."""
    moved: Array = xyz[:, None] @ views.poses[:, :, :3].swapaxes(-1, -2) + views.poses[:, None, :, 3]
    return moved


def _errors(views: _Views, xyz: Array) -> tuple[Array, Array]:
    """Return (M, V, N) reprojection errors in pixels, to first order, and depths."""
    place = _in_cameras(views, xyz)
    depth = place[..., 2]
    flat = place[..., :2] / np.where(np.abs(depth) > MIN_DEPTH, depth, 1.0)[..., None]
    off = (views.to_pixels @ (views.xy - flat)[..., None])[..., 0]
    return np.sqrt((off * off).sum(-1)), depth


def _vote(views: _Views, threshold_px: float) -> Bools:
    """Return (V, N): which of the usable views agree; both where there are two only."""
    count = len(views.xy)
    pairs = np.zeros((count * (count - 1) // 2, count, 1), np.bool_)
    for row, pair in enumerate(combinations(range(count), LEAST_VIEWS)):
        pairs[row, pair, 0] = True
    tried = pairs & views.usable
    square = _square(views, _fit(views, tried)[0])
    cost = np.where(tried.sum(1) == LEAST_VIEWS, np.minimum(square, threshold_px**2).sum(1), np.inf)
    best = cost.argmin(0)
    agreed = np.take_along_axis(square, best[None, None], 0)[0] < threshold_px**2
    for _ in range(ROUNDS):
        again = _square(views, _fit(views, agreed[None])[0])[0] < threshold_px**2
        agreed = np.where(again.sum(0) >= LEAST_VIEWS, again, agreed)
    decided = (views.usable.sum(0) > LEAST_VIEWS) & (agreed.sum(0) >= LEAST_VIEWS)
    return np.where(decided, agreed, views.usable)


def _square(views: _Views, xyz: Array) -> Array:
    errors, depth = _errors(views, xyz)
    square: Array = np.where(views.usable & (depth > MIN_DEPTH) & np.isfinite(errors), errors**2, np.inf)
    return square


def _spread(views: _Views, xyz: Array, counts: Bools) -> Bools:
    """Say where the rays to a point are far enough apart, (N,)."""
    ways = xyz - views.centres[:, None]
    length = np.sqrt((ways * ways).sum(-1, keepdims=True))
    unit = np.where(counts[..., None], ways / np.where(length > 0, length, 1.0), 0.0)
    mean = unit.sum(0) / np.maximum(counts.sum(0), 1)[:, None]
    apart = np.where(counts, ((unit - mean) ** 2).sum(-1), 0.0).sum(0)
    # Two rays at this angle lie half of it to either side of their mean.
    wide: Bools = apart > 2 * (MIN_ANGLE_RAD / 2) ** 2
    return wide


def _inverse2(matrices: Array) -> Array:
    """Invert (..., 2, 2); what cannot be inverted becomes zero."""
    a, b, c, d = matrices[..., 0, 0], matrices[..., 0, 1], matrices[..., 1, 0], matrices[..., 1, 1]
    determinant = a * d - b * c
    over = np.divide(1.0, determinant, out=np.zeros_like(determinant), where=determinant != 0)
    inverted: Array = np.stack([np.stack([d, -b], -1), np.stack([-c, a], -1)], -2) * over[..., None, None]
    return inverted


def _inverse(matrices: Array) -> Array:
    """Invert symmetric (..., 3, 3); what cannot be inverted becomes zero."""
    scale = np.abs(matrices).max((-2, -1), keepdims=True)
    unit = matrices / np.where(scale > 0, scale, 1.0)
    a, b, c = unit[..., 0, 0], unit[..., 0, 1], unit[..., 0, 2]
    d, e, f = unit[..., 1, 1], unit[..., 1, 2], unit[..., 2, 2]
    A, B, C = d * f - e * e, c * e - b * f, b * e - c * d
    determinant = a * A + b * B + c * C
    regular = np.abs(determinant) > np.finfo(np.float64).tiny
    over = np.divide(1.0, determinant, out=np.zeros_like(determinant), where=regular)
    D, E, F = a * f - c * c, b * c - a * e, a * d - b * b
    rows = np.stack([A, B, C, B, D, E, C, E, F], -1).reshape(*A.shape, 3, 3)
    inverted: Array = rows * over[..., None, None] / np.where(scale > 0, scale, 1.0)
    return inverted
