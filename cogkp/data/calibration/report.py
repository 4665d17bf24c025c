"""The report on a calibration, as text and JSON."""

from __future__ import annotations

import math
from typing import Any

import attrs

from cogkp.data.calibration.consistency import PairConsistency
from cogkp.errors import printable

__all__ = ["CalibrationReport", "CameraSummary", "DepthError", "PairSummary"]


MOST_PAIRS_IN_FULL = 3


@attrs.frozen
class DepthError:
    """How far off a point is found for one pixel of disparity.

    Args:
        depth: distance from the middle of both cameras along their mean axis, world unit.
        error: along that axis, world unit per pixel.
    """

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
