"""Summarise a rig: field of view, baseline, convergence and depth error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import attrs
import torch
from torch import Tensor

from cogkp.data.calibration.checks import in_one_place, same_place, undone_share
from cogkp.data.calibration.consistency import PairConsistency
from cogkp.data.calibration.report import CalibrationReport, CameraSummary, DepthError, PairSummary
from cogkp.geometry.camera import PinholeCamera
from cogkp.geometry.rig import CameraRig

__all__ = ["LensShift", "lens_shift", "summarize"]

OFF_CENTRE = 0.2
WIDEST_DEG = 150.0
RECTIFIED_PX = 0.1
DEPTHS_IN_BASELINES = (3.0, 10.0, 30.0)
STEP = 1e-4
SHIFT_GRID = (31, 41)
LEFT_AND_RIGHT = ("L", "R")


def summarize(
    rig: CameraRig,
    *,
    format: str = "",
    files: tuple[str, ...] = (),
    consistency: PairConsistency | None = None,
    unusable: Sequence[str] = (),
) -> CalibrationReport:
    """Put a rig into numbers.

    Args:
        rig: the cameras.
        format: which form its file was taken for.
        files: their names.
        consistency: how labelled pairs fit, where some were given.
        unusable: why other cameras of the file cannot be used, one line each.

    Returns:
        Numbers per camera and per pair, and what looks odd.

    Example:
        >>> K = torch.tensor([[9.0, 0.0, 3.5], [0.0, 9.0, 2.5], [0.0, 0.0, 1.0]])
        >>> summarize(CameraRig(("B",), (PinholeCamera(K, torch.eye(4), (8, 6)),))).cameras[0].focal_px
        (9.0, 9.0)
    """
    cameras = tuple(_camera(name, rig[name]) for name in rig)
    together = in_one_place(rig)
    apart = [pair for pair in combinations(rig.names, 2) if pair not in together]
    pairs = tuple(_pair((one, other), rig[one], rig[other]) for one, other in apart)
    notes = [note for camera in cameras for note in _camera_notes(camera)]
    if consistency is None or not consistency.fits:
        notes += [note for pair in pairs for note in _pair_notes(pair)]
    problems = (*unusable, *map(same_place, together))
    return CalibrationReport(format, files, cameras, pairs, tuple(notes), consistency, problems)


class LensShift(NamedTuple):
    """Where a pinhole would have seen what the pixels of a frame see.

    Args:
        uv: (H, W, 2) float64, pixels evenly over the frame.
        straight: (H, W, 2) float64, pixels of the pinhole with the same intrinsics; zero where not valid.
        valid: (H, W) bool, the lens can be undone there.
    """

    uv: Tensor
    straight: Tensor
    valid: Tensor


def lens_shift(camera: PinholeCamera, shape_hw: tuple[int, int] = SHIFT_GRID) -> LensShift:
    """Find how a lens moves a grid of pixels over its frame, its corners included; see :class:`LensShift`."""
    sides = zip(reversed(camera.size_wh), shape_hw, strict=True)
    v, u = torch.meshgrid(
        *(torch.linspace(-0.5, side - 0.5, count, dtype=torch.float64) for side, count in sides), indexing="ij"
    )
    uv = torch.stack((u, v), -1)
    straight = camera.undistort_pixels(uv.reshape(-1, 2)).reshape(uv.shape)
    valid = straight.isfinite().all(-1)
    return LensShift(uv, torch.where(valid.unsqueeze(-1), straight, 0.0), valid)


def _camera(name: str, camera: PinholeCamera) -> CameraSummary:
    width, height = camera.size_wh
    K = camera.K.double()
    middle = torch.tensor([(width - 1) / 2, (height - 1) / 2], dtype=torch.float64)
    offset = (K[:2, 2] - middle).tolist()
    shift = lens_shift(camera)
    lengths = (shift.straight - shift.uv).norm(dim=-1)[shift.valid]
    return CameraSummary(
        name=name,
        size_wh=camera.size_wh,
        focal_px=(float(K[0, 0]), float(K[1, 1])),
        field_of_view_deg=(
            _angle_deg(camera, (-0.5, float(K[1, 2])), (width - 0.5, float(K[1, 2]))),
            _angle_deg(camera, (float(K[0, 2]), -0.5), (float(K[0, 2]), height - 0.5)),
        ),
        principal_offset_px=(offset[0], offset[1]),
        distortion=tuple(camera.distortion.tolist()),
        largest_shift_px=float(lengths.max()) if lengths.numel() else 0.0,
        undone_share=undone_share(camera),
    )


def _angle_deg(camera: PinholeCamera, one: tuple[float, float], other: tuple[float, float]) -> float | None:
    rays = camera.unproject_rays(torch.tensor([one, other], dtype=torch.float64))
    return _between_deg(*rays.xyz_camera) if bool(rays.valid.all()) else None


def _between_deg(a: Tensor, b: Tensor) -> float:
    return math.degrees(math.atan2(float(torch.linalg.cross(a, b).norm()), float(a @ b)))


def _pair(names: tuple[str, str], one: PinholeCamera, other: PinholeCamera) -> PairSummary:
    poses = [camera.world_to_camera.double() for camera in (one, other)]
    centers = [camera.center.double() for camera in (one, other)]
    axes = [pose[2, :3] for pose in poses]
    gap = centers[1] - centers[0]
    baseline = float(gap.norm())
    towards = (poses[0][:3, :3] @ gap).tolist()
    mean = axes[0] + axes[1]
    middle = (centers[0] + centers[1]) / 2
    ahead = mean / mean.norm() if float(mean.norm()) > STEP else None
    depths = [] if ahead is None else [float(f"{times * baseline:.1g}") for times in DEPTHS_IN_BASELINES]
    errors = [_depth_error(one, other, middle, ahead, depth) for depth in depths if ahead is not None]
    rows = _row_difference(one, other, middle, ahead, depths) if ahead is not None else math.inf
    return PairSummary(
        names=names,
        baseline=baseline,
        direction=(towards[0], towards[1], towards[2]),
        axes_deg=_between_deg(axes[0], axes[1]),
        convergence=_convergence(axes, gap),
        depth_errors=tuple(error for error in errors if error is not None),
        row_difference_px=rows,
        rectified=rows <= RECTIFIED_PX,
    )


def _convergence(axes: list[Tensor], gap: Tensor) -> float | None:
    """Mean distance along two unit axes to where they come nearest, where that is in front and not far away."""
    a, b = axes
    ab, ag, bg = float(a @ b), float(a @ gap), float(b @ gap)
    sine2 = 1 - ab * ab
    if sine2 < math.radians(0.1) ** 2:
        return None
    along = (ag - ab * bg) / sine2, (ab * ag - bg) / sine2
    return sum(along) / 2 if min(along) > 0 else None


def _depth_error(
    one: PinholeCamera, other: PinholeCamera, middle: Tensor, ahead: Tensor, depth: float
) -> DepthError | None:
    step = STEP * depth
    points = torch.stack([middle + (depth - step) * ahead, middle + (depth + step) * ahead])
    projected = [attrs.evolve(camera, distortion=torch.zeros(0)).project(points) for camera in (one, other)]
    if not all(bool(each.valid.all()) for each in projected):
        return None
    moved = [each.uv[1] - each.uv[0] for each in projected]
    change = float((moved[0] - moved[1]).norm()) / (2 * step)
    return DepthError(depth, 1 / change) if change > 0 else None


def _row_difference(
    one: PinholeCamera, other: PinholeCamera, middle: Tensor, ahead: Tensor, depths: list[float]
) -> float:
    """Largest difference of rows over points of both frames at some depths; infinite where both share no view."""
    width, height = one.size_wh
    steps = torch.linspace(0, 1, 5, dtype=torch.float64)
    uv = torch.cartesian_prod(steps * (width - 1), steps * (height - 1))
    rays = one.unproject_rays(uv).xyz_camera
    pose = one.world_to_camera.double()
    worst = -math.inf
    for depth in depths:
        reach = float(((middle + depth * ahead) @ pose[2, :3]) + pose[2, 3])
        xyz = (rays * reach - pose[:3, 3]) @ pose[:3, :3]
        projected = [camera.project(xyz) for camera in (one, other)]
        both = projected[0].valid & projected[1].valid & other.contains(projected[1].uv)
        if bool(both.any()):
            worst = max(worst, float((projected[0].uv - projected[1].uv)[both, 1].abs().max()))
    return worst if worst >= 0 else math.inf


def _camera_notes(camera: CameraSummary) -> list[str]:
    notes = []
    off = max(abs(offset) / side for offset, side in zip(camera.principal_offset_px, camera.size_wh, strict=True))
    if off > OFF_CENTRE:
        notes.append(
            f"the principal point of {camera.name} lies {off:.0%} of the frame off its middle: "
            "is the resolution that of the calibration?"
        )
    if camera.undone_share < 1:
        notes.append(
            f"the lens of {camera.name} cannot be undone in {1 - camera.undone_share:.1%} of its frame: "
            "points there count as not seen"
        )
    if max(angle or 0.0 for angle in camera.field_of_view_deg) > WIDEST_DEG:
        notes.append(f"{camera.name} would see more than {WIDEST_DEG:.0f} degrees: is its focal length in pixels?")
    return notes


def _pair_notes(pair: PairSummary) -> list[str]:
    (one, other), (x, _y, _z) = pair.names, pair.direction
    named = (one[-1:].upper(), other[-1:].upper()) == LEFT_AND_RIGHT and one[:-1] == other[:-1]
    if named and x < 0:
        return [
            f"{other} stands to the left of {one}: are the cameras exchanged, or the extrinsics inverted "
            "(they map the world to the camera)?"
        ]
    return []
