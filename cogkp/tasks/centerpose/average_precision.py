"""Average precision over a range of thresholds.

Axes: n boxes found, H thresholds.
Source: M. Everingham et al., The Pascal Visual Object Classes Challenge: a Retrospective, 2015, section 2.2.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["MEASURES", "PoseCriterion", "average_precision"]

FloatArray = npt.NDArray[np.floating[Any]]
STEPS = 21


class PoseCriterion(NamedTuple):
    """A measure by which a predicted box counts as correct.

    Args:
        field: of :class:`cogkp.tasks.centerpose.matching.PoseErrors`.
        word: for people.
        unit: of thresholds.
        most: the last of the thresholds, which start at zero and are equally far apart.
        larger: whether larger is better.
    """

    field: str
    word: str
    unit: str
    most: float
    larger: bool

    @property
    def thresholds(self) -> FloatArray:
        """(H,) from zero to ``most``."""
        return np.linspace(0.0, self.most, STEPS)

    def hits(self, values: FloatArray) -> npt.NDArray[np.bool_]:
        """(n, H) whether each value (n,) reaches each threshold; NaN reaches none."""
        column = values[:, None]
        return np.asarray(column >= self.thresholds if self.larger else column <= self.thresholds)


MEASURES = (
    PoseCriterion("iou", "3-D IoU", "", 1.0, True),
    PoseCriterion("pixel", "2-D error", "of the image", 0.1, False),
    PoseCriterion("azimuth_deg", "azimuth", "deg", 30.0, False),
    PoseCriterion("elevation_deg", "elevation", "deg", 20.0, False),
    PoseCriterion("scale", "scale", "", 1.0, False),
    PoseCriterion("add", "ADD", "m", 1.0, False),
    PoseCriterion("add_s", "ADD-S", "m", 1.0, False),
)


def average_precision(hits: npt.NDArray[np.bool_], confidence: FloatArray, positives: int) -> FloatArray:
    """Integrate the interpolated precision over recall.

    Args:
        hits: (n, H) bool.
        confidence: (n,) the surest is counted first; equals in their order.
        positives: how many objects there are to be found, at least one. Where an object is hit more often than once,
            recall stops at 1.

    Returns:
        (H,) float64, 0 to 1.

    Example:
        >>> average_precision(np.array([[True], [False], [True]]), np.array([0.9, 0.8, 0.7]), 2)
        array([0.83333333])
    """
    order = np.argsort(-np.asarray(confidence), kind="stable")
    hit = np.cumsum(hits[order], 0)
    precision = hit / np.arange(1, len(hits) + 1)[:, None]
    envelope = np.maximum.accumulate(precision[::-1], 0)[::-1]
    recall = np.minimum(hit / positives, 1.0)
    return np.asarray((np.diff(recall, axis=0, prepend=0.0) * envelope).sum(0))
