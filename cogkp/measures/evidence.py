"""The errors that an evaluation measured, row by row, in a form that every family fills and a file keeps.

A frame is what was recorded independently of all others: an image, or both images of a stereo pair. A row is one
image or one pair, and belongs to a frame. NaN stands for what was not measured.
Axes: F frames, R rows, N columns, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import attrs
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

DIGITS = 7


@attrs.frozen(eq=False, kw_only=True)
class Measure:
    """One quantity, measured at several points of every row.

    Args:
        unit: 'px', 'mm', ...
        columns: N names.
        frame: (R,) int64, the frame each row belongs to.
        values: (R, N) float64, in ``unit``; NaN where nothing was measured.
        thresholds: at which the share of hits is counted, in ``unit``.
        better: whether small or large values are good; a hit is as good as its threshold or better.
    """

    key: str
    title: str
    unit: str
    columns: tuple[str, ...]
    frame: IntArray
    values: FloatArray
    thresholds: tuple[float, ...] = ()
    better: Literal["lower", "higher"] = "lower"

    def column(self, number: int | None) -> FloatArray:
        """Return the values (R, 1) of one column, or (R, N) of all."""
        return self.values if number is None else self.values[:, [number]]

    def worst(self) -> FloatArray:
        """Return (R,) the worst value of each row; NaN where nothing was measured."""
        bad = self.values if self.better == "lower" else -self.values
        found = np.where(np.isnan(bad), -np.inf, bad).max(-1, initial=-np.inf)
        signed = found if self.better == "lower" else -found
        return np.where(np.isfinite(found), signed, np.nan)

    def to_dict(self) -> dict[str, Any]:
        """Return everything, ready for JSON."""
        return {
            "key": self.key,
            "title": self.title,
            "unit": self.unit,
            "better": self.better,
            "thresholds": list(self.thresholds),
            "columns": list(self.columns),
            "frame": self.frame.tolist(),
            "values": [[_plain(value) for value in row] for row in self.values.tolist()],
        }

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Measure:
        """Read back what :meth:`to_dict` gave."""
        columns = tuple(map(str, saved["columns"]))
        values = np.array([[np.nan if value is None else value for value in row] for row in saved["values"]], float)
        return cls(
            key=str(saved["key"]),
            title=str(saved["title"]),
            unit=str(saved["unit"]),
            columns=columns,
            frame=np.array(saved["frame"], np.int64).reshape(-1),
            values=values.reshape(-1, len(columns)),
            thresholds=tuple(map(float, saved["thresholds"])),
            better="higher" if saved["better"] == "higher" else "lower",
        )


@attrs.frozen(eq=False, kw_only=True)
class Ratio:
    """A share of each class, counted row by row: hits over union for masks. Large is good.

    Args:
        columns: C names.
        frame: (R,) int64, the frame each row belongs to.
        part: (R, C) float64, counts.
        whole: (R, C) float64, counts; no smaller than ``part``.
    """

    key: str
    title: str
    columns: tuple[str, ...]
    frame: IntArray
    part: FloatArray
    whole: FloatArray

    def to_dict(self) -> dict[str, Any]:
        """Return everything, ready for JSON."""
        return {
            "key": self.key,
            "title": self.title,
            "columns": list(self.columns),
            "frame": self.frame.tolist(),
            "part": self.part.tolist(),
            "whole": self.whole.tolist(),
        }

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Ratio:
        """Read back what :meth:`to_dict` gave."""
        columns = tuple(map(str, saved["columns"]))
        part, whole = (np.array(saved[name], float).reshape(-1, len(columns)) for name in ("part", "whole"))
        frame = np.array(saved["frame"], np.int64).reshape(-1)
        return cls(
            key=str(saved["key"]), title=str(saved["title"]), columns=columns, frame=frame, part=part, whole=whole
        )


@attrs.frozen(eq=False)
class Evidence:
    """Everything measured in one evaluation.

    Args:
        frames: F names, in the order of the data.
        measures: quantities; by the first of them the worst frames are found.
    """

    frames: tuple[str, ...]
    measures: tuple[Measure, ...] = ()
    ratios: tuple[Ratio, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return everything, ready for JSON; values keep seven digits."""
        return {
            "frames": list(self.frames),
            "measures": [measure.to_dict() for measure in self.measures],
            "ratios": [ratio.to_dict() for ratio in self.ratios],
        }

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Evidence:
        """Read back what :meth:`to_dict` gave.

        Raises:
            KeyError: something is missing; also ValueError and TypeError, for what is of the wrong kind.
        """
        measures = tuple(map(Measure.from_dict, saved["measures"]))
        ratios = tuple(map(Ratio.from_dict, saved["ratios"]))
        found = cls(tuple(map(str, saved["frames"])), measures, ratios)
        sizes = [(each.key, each.frame, len(each.values)) for each in measures]
        for key, frame, rows in [*sizes, *((each.key, each.frame, len(each.part)) for each in ratios)]:
            if len(frame) != rows or not ((frame >= 0) & (frame < len(found.frames))).all():
                raise ValueError(f"rows and frames of {key!r} do not fit")
        return found


@attrs.frozen
class Table:
    """Words in columns.

    Args:
        head: names of the columns; the first names the rows.
        notes: sentences below it.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


@attrs.frozen(eq=False)
class Line:
    """One line of a chart.

    Args:
        x: (K,) increasing.
        y: (K,); NaN breaks the line.
        low: (K,) lower edge of a band, or None.
        high: (K,) its upper edge, or None.
    """

    name: str
    x: FloatArray
    y: FloatArray
    low: FloatArray | None = None
    high: FloatArray | None = None


@attrs.frozen(eq=False)
class Curve:
    """A chart of lines.

    Args:
        lines: what is drawn; the first is the main one.
        note: a sentence below it; may be empty.
        diagonal: whether the line y = x is worth showing.
        log_y: whether the vertical axis counts powers of ten.
        percent_y: whether y is a share, 0 to 1, shown in percent.
    """

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    note: str = ""
    diagonal: bool = False
    log_y: bool = False
    percent_y: bool = False


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(f"{value:.{DIGITS}g}")
