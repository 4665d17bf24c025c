"""What a change of the model's file does to the errors, frame by frame."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from cogkp.measures.evidence import Evidence, Measure

PIXELS = "px"


@attrs.frozen
class FrameChange:
    """The point of a frame whose error changed most.

    Args:
        frame: its name.
        of: the point.
        first: its error in the first evaluation.
        second: its error in the second.
    """

    frame: str
    of: str
    first: float
    second: float

    @property
    def size(self) -> float:
        """How far the error moved, in either direction."""
        return abs(self.second - self.first)


@attrs.frozen
class FrameChanges:
    """How far errors are apart in two evaluations of the same frames.

    Args:
        title: of the measure.
        unit: of errors and changes.
        median: of the largest change of each frame.
        frames: a change of each frame with one, largest first.
    """

    title: str
    unit: str
    median: float
    frames: tuple[FrameChange, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the summary, ready for JSON."""
        worst = self.frames[0]
        return {
            "measure": self.title,
            "unit": self.unit,
            "frames": len(self.frames),
            "median": self.median,
            "worst": {**attrs.asdict(worst), "change": worst.size},
        }


def frame_changes(first: Evidence, second: Evidence) -> FrameChanges | None:
    """Compare two evaluations frame by frame, by their first measure in pixels, else by their first one.

    Both have the same frames and rows in the same order, as :func:`cogkp.measures.compare.aligned` gives them. None
    where no value is in both.
    """
    pairs = list(zip(first.measures, second.measures, strict=True))
    chosen = next((pair for pair in pairs if pair[0].unit == PIXELS), pairs[0] if pairs else None)
    if chosen is None:
        return None
    found = _of_measures(first.frames, *chosen)
    if not found:
        return None
    found.sort(key=lambda each: -each.size)
    median = float(np.median([each.size for each in found]))
    return FrameChanges(chosen[0].title, chosen[0].unit, median, tuple(found))


def _of_measures(frames: tuple[str, ...], one: Measure, other: Measure) -> list[FrameChange]:
    sizes = np.abs(other.values - one.values)
    found: dict[int, FrameChange] = {}
    for row, column in np.argwhere(np.isfinite(sizes)).tolist():
        number = int(one.frame[row])
        if number in found and not sizes[row, column] > found[number].size:
            continue
        ends = float(one.values[row, column]), float(other.values[row, column])
        found[number] = FrameChange(frames[number], one.columns[column], *ends)
    return list(found.values())
