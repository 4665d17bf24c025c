"""The report of errors in space: distances, disagreement of the views, stated uncertainty and known lengths.

A figure is None where nothing was measured. Lengths are in the report's unit.
"""

from __future__ import annotations

import math
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from cogkp.errors import EvaluationError, printable
from cogkp.measures.evidence import Table
from cogkp.measures.figures import aligned, number, share
from cogkp.tasks.keypoint.coverage import COVERED_HEAD

FloatArray = npt.NDArray[np.floating[Any]]

P95 = 95.0

POINT_HEAD = (
    *("point", "pairs", "lost", "mean", "median", "p95", "rmse"),
    *("reproj. px", "p95 px", *COVERED_HEAD),
)
SEGMENT_HEAD = ("segment", "pairs", "known", "labels", "mean", "error", "median error", "spread")


@attrs.frozen
class LengthUnit:
    """The unit in which lengths are reported, and how many of it are one world unit.

    Example:
        >>> LengthUnit.of(30.0)
        LengthUnit(name='mm', per_world_unit=30.0)
    """

    name: str = "world units"
    per_world_unit: float = 1.0

    @classmethod
    def of(cls, world_unit_mm: float | None) -> LengthUnit:
        """Return millimetres where the size of a world unit is known; EvaluationError where that is no length."""
        if world_unit_mm is None:
            return cls()
        if not 0 < world_unit_mm < math.inf:
            raise EvaluationError("a world unit must have a length", expected="millimetres > 0", got=str(world_unit_mm))
        return cls("mm", world_unit_mm)


@attrs.frozen
class SpaceRow:
    """One line of the table of points.

    Args:
        name: a point, or 'all'.
        count: pairs whose point is known in space and lies in both crops.
        lost: those of them that the prediction did not triangulate: no error can be given for them.
        rmse: root of the mean squared distance.
        reprojection_median_px: median distance between a predicted pixel and the one that sees the triangulated point,
            pixels of the sensor; both views count.
        reprojection_p95_px: its 95th percentile.
        coverage_50: share of the truths inside the region that the prediction says holds half of them.
        coverage_90: the same for nine tenths.
        unstated: points without a usable uncertainty; they are not part of the coverage.
    """

    name: str
    count: int
    lost: int
    mean: float | None = None
    median: float | None = None
    p95: float | None = None
    rmse: float | None = None
    reprojection_median_px: float | None = None
    reprojection_p95_px: float | None = None
    coverage_50: float | None = None
    coverage_90: float | None = None
    unstated: int = 0

    @classmethod
    def of(cls, name: str, lost: int, errors: FloatArray, residuals_px: FloatArray, inside: FloatArray) -> SpaceRow:
        """Summarise the points that were found.

        ``errors`` (K,) are distances, ``residuals_px`` (K, 2) pixels of both sensors; ``inside`` (K, 2) is 1 or 0 for
        each of ``COVERED_SHARES``, NaN without a usable uncertainty.
        """
        if not errors.size:
            return cls(name, lost, lost)
        stated = inside[np.isfinite(inside).all(-1)]
        half, most = stated.mean(0).tolist() if len(stated) else (None, None)
        return cls(
            name=name,
            count=lost + errors.size,
            lost=lost,
            mean=float(errors.mean()),
            median=float(np.median(errors)),
            p95=float(np.percentile(errors, P95)),
            rmse=float(np.sqrt(np.mean(errors**2))),
            reprojection_median_px=float(np.median(residuals_px)),
            reprojection_p95_px=float(np.percentile(residuals_px, P95)),
            coverage_50=half,
            coverage_90=most,
            unstated=errors.size - len(stated),
        )

    def cells(self) -> tuple[str, ...]:
        """Return the row as words."""
        distances = (self.mean, self.median, self.p95, self.rmse)
        residuals = (self.reprojection_median_px, self.reprojection_p95_px)
        covered = (share(self.coverage_50), share(self.coverage_90))
        return (self.name, str(self.count), str(self.lost), *map(number, distances), *map(number, residuals), *covered)


@attrs.frozen
class SegmentRow:
    """One line of the table of known lengths.

    Args:
        count: pairs that found both ends.
        labels: mean length between the true ends; where it is far from ``wanted``, the configured length is wrong.
        mean_error_percent: of the mean length, signed, percent of the known one.
        mean_error: mean of the absolute error.
        median_error: median of the absolute error.
        spread: standard deviation of the lengths found.
    """

    name: str
    count: int
    wanted: float
    labels: float | None = None
    mean: float | None = None
    mean_error_percent: float | None = None
    mean_error: float | None = None
    median_error: float | None = None
    spread: float | None = None

    @classmethod
    def of(cls, name: str, wanted: float, true: FloatArray, found: FloatArray) -> SegmentRow:
        """Summarise lengths: (K,) between true and between found ends of the same pairs, unit of the report."""
        if not found.size:
            return cls(name, 0, wanted)
        mean, errors = float(found.mean()), np.abs(found - wanted)
        return cls(
            name=name,
            count=found.size,
            wanted=wanted,
            labels=float(true.mean()),
            mean=mean,
            mean_error_percent=100.0 * (mean / wanted - 1.0),
            mean_error=float(errors.mean()),
            median_error=float(np.median(errors)),
            spread=float(found.std()),
        )

    def cells(self) -> tuple[str, ...]:
        """Return the row as words."""
        percent = "-" if self.mean_error_percent is None else f"{self.mean_error_percent:+.2f}%"
        lengths = map(number, (self.wanted, self.labels, self.mean))
        return (self.name, str(self.count), *lengths, percent, number(self.median_error), number(self.spread))


@attrs.frozen
class SpaceReport:
    """Results of stereo pairs in space.

    Args:
        unit: of all lengths, for people.
        points: one row per point, in the order of the model.
        segments: one row per known length.
        labels_lost: labels of both views that do not triangulate, so that they cannot be used.
    """

    unit: str
    points: tuple[SpaceRow, ...]
    overall: SpaceRow
    segments: tuple[SegmentRow, ...]
    labels_lost: int

    def scalars(self) -> dict[str, float]:
        """Return the few metrics worth a curve."""
        row = self.overall
        measured = [(each.count, each.mean_error) for each in self.segments if each.mean_error is not None]
        count = sum(pairs for pairs, _ in measured)
        named = {
            "space_error_median": row.median,
            "space_error_p95": row.p95,
            "reprojection_median_px": row.reprojection_median_px,
            "segment_error_mean": sum(pairs * error for pairs, error in measured) / count if count else None,
            "coverage_90": row.coverage_90,
        }
        return {name: value for name, value in named.items() if value is not None}

    def headline(self) -> str:
        """Return the most important metric; empty where nothing was measured."""
        return "" if self.overall.median is None else f"3-D median {self.overall.median:.3f} {self.unit}"

    def to_dict(self) -> dict[str, Any]:
        """Return everything, ready for JSON."""
        return attrs.asdict(self)

    def tables(self) -> list[Table]:
        """Return the table of points and, where lengths are known, that of lengths."""
        rows = tuple(row.cells() for row in (*self.points, self.overall))
        lost = (
            f"{self.labels_lost} labelled pairs of pixels meet nowhere before the cameras and were left out: "
            "check calibration, order of the cameras and labels.",
        )
        title = f"in space, {self.unit}; reprojection in pixels of the sensor"
        found = [Table(title, POINT_HEAD, rows, lost if self.labels_lost else ())]
        if self.segments:
            lengths = tuple(row.cells() for row in self.segments)
            found.append(Table(f"known lengths, {self.unit}", SEGMENT_HEAD, lengths))
        return found

    def text(self) -> str:
        """Return the tables for people."""
        tables = self.tables()
        lines = [line for table in tables for line in (f"{table.title}:", *aligned([table.head, *table.rows]))]
        return "\n".join([*lines, *(printable(note) for table in tables for note in table.notes)])
