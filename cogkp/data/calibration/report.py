"""Summarise a calibration: field of view, baseline, convergence and depth error, as text and JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

import attrs
import torch
from torch import Tensor

from cogkp.data.calibration.checks import in_one_place, same_place, undone_share
from cogkp.data.calibration.consistency import PairConsistency
from cogkp.errors import printable
from cogkp.geometry.camera import PinholeCamera
from cogkp.geometry.rig import CameraRig

OFF_CENTRE = 0.2
WIDEST_DEG = 150.0
RECTIFIED_PX = 0.1
DEPTHS_IN_BASELINES = (3.0, 10.0, 30.0)
STEP = 1e-4
SHIFT_GRID = (31, 41)
LEFT_AND_RIGHT = ("L", "R")

MOST_PAIRS_IN_FULL = 3


def summarize(
    rig: CameraRig,
    *,
    format: str = "",
    files: tuple[str, ...] = (),
    consistency: PairConsistency | None = None,
    unusable: Sequence[str] = (),
) -> CalibrationReport:
    """Put a rig into numbers per camera and per pair, and say what looks odd.

    ``consistency`` says how labelled pairs fit, ``unusable`` why other cameras of the file cannot be used, one line
    each.

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


@attrs.frozen
class DepthError:
    """How far off a point is found per pixel of disparity, at a depth from the middle of both cameras, world units."""

    depth: float
    error: float


@attrs.frozen
class CameraSummary:
    """One camera in numbers.

    Args:
        name: as in the rig.
        size_wh: frame, pixels.
        focal_px: (fx, fy).
        field_of_view_deg: horizontal and vertical, through the lens; None where its edge cannot be undone.
        principal_offset_px: principal point from the middle of the frame.
        distortion: coefficients, OpenCV order.
        largest_shift_px: how far the lens moves a pixel of the frame at most.
        undone_share: share of the frame where the lens can be undone.
    """

    name: str
    size_wh: tuple[int, int]
    focal_px: tuple[float, float]
    field_of_view_deg: tuple[float | None, float | None]
    principal_offset_px: tuple[float, float]
    distortion: tuple[float, ...]
    largest_shift_px: float
    undone_share: float


@attrs.frozen
class PairSummary:
    """Two cameras in numbers.

    Args:
        names: of both.
        baseline: distance between them, world unit.
        direction: where the second stands, seen by the first: x right, y down, z forward, world unit.
        axes_deg: angle between their optical axes.
        convergence: distance in front of both at which their axes come nearest; None where they do not.
        depth_errors: at a few depths; only those in front of both cameras.
        row_difference_px: largest difference of rows of one point, lens included.
        rectified: rows agree, so that disparity is horizontal.
    """

    names: tuple[str, str]
    baseline: float
    direction: tuple[float, float, float]
    axes_deg: float
    convergence: float | None
    depth_errors: tuple[DepthError, ...]
    row_difference_px: float
    rectified: bool


@attrs.frozen
class CalibrationReport:
    """All that is said of a calibration.

    Args:
        format: which form the file was taken for.
        files: their names.
        cameras: in the order of the rig.
        pairs: every two of them that stand in different places.
        notes: what looks odd, one line each.
        consistency: how labelled pairs fit, where some were given.
        unusable: what keeps single cameras or pairs from being used, one line each; the others can be.
    """

    format: str
    files: tuple[str, ...]
    cameras: tuple[CameraSummary, ...]
    pairs: tuple[PairSummary, ...]
    notes: tuple[str, ...]
    consistency: PairConsistency | None = None
    unusable: tuple[str, ...] = ()

    def text(self) -> str:
        """Return the report for people, several lines."""
        lines = [printable(f"{' and '.join(self.files)}: {self.format}")]
        lines += map(_camera_text, self.cameras)
        lines += (_pair_text(pair, in_full=len(self.pairs) <= MOST_PAIRS_IN_FULL) for pair in self.pairs)
        if self.consistency is not None:
            lines += [_consistency_text(self.consistency)] if self.consistency.count else []
        lines += (printable(f"note: {note}") for note in self.notes)
        return "\n".join([*lines, *(printable(f"problem: {problem}") for problem in self.problems)])

    @property
    def problems(self) -> tuple[str, ...]:
        """What cannot be used, and what labelled pairs have shown to be wrong, one line each."""
        shown = None if self.consistency is None else self.consistency.problem()
        if self.consistency is not None and not self.consistency.count:
            shown = "no labelled pair could be compared: no point is labelled in both views"
        return self.unusable if shown is None else (*self.unusable, shown)

    def to_dict(self) -> dict[str, Any]:
        """Return the report for programs, ready for JSON."""
        content = attrs.asdict(self)
        content["consistency"] = None if self.consistency is None else self.consistency.to_dict()
        return {**content, "problems": list(self.problems)}


def _camera_text(camera: CameraSummary) -> str:
    (width, height), (fx, fy), (du, dv) = camera.size_wh, camera.focal_px, camera.principal_offset_px
    across, down = ("?" if angle is None else f"{angle:.1f}" for angle in camera.field_of_view_deg)
    name, lens = printable(camera.name), "no lens distortion"
    if any(camera.distortion):
        lens = f"lens of {len(camera.distortion)} coefficients moves pixels by up to {camera.largest_shift_px:.1f} px"
        lens += f", undone over {camera.undone_share:.1%} of the frame"
    return (
        f"{name}: {width}x{height}, focal length {fx:.1f} x {fy:.1f} px, field of view {across} x {down} deg,\n"
        f"  principal point {du:+.1f}, {dv:+.1f} px off the middle, {lens}"
    )


def _pair_text(pair: PairSummary, *, in_full: bool) -> str:
    one, other = map(printable, pair.names)
    x, y, z = pair.direction
    meet = "do not meet in front" if pair.convergence is None else f"come nearest {pair.convergence:.4g} ahead"
    where = f"{one} to {other}: baseline {pair.baseline:.5g} (right {x:+.4g}, down {y:+.4g}, forward {z:+.4g})"
    where = f"{where}, optical axes at {pair.axes_deg:.2f} deg {meet}"
    if not in_full:
        return where
    lines = f"rows differ by up to {pair.row_difference_px:.2f} px"
    if math.isinf(pair.row_difference_px):
        lines = "no view in common at the depths tried"
    errors = ", ".join(f"{each.error:.3g} at {each.depth:.4g}" for each in pair.depth_errors)
    return (
        f"{where},\n  {'rectified' if pair.rectified else 'not rectified'}: {lines}; "
        f"depth error per px of disparity, world units: {errors or 'unknown'}"
    )


def _consistency_text(found: PairConsistency) -> str:
    verdict = "" if found.problem() else ": they fit" if found.fits else ": too few to tell whether they fit"
    return (
        f"{found.count} labelled pairs lie {found.median_px:.2f} px off their epipolar lines (median; "
        f"95 % within {found.p95_px:.2f} px), {found.behind_share:.1%} of the points behind a camera{verdict}"
    )
