"""Bootstrap confidence intervals over frames.

Frames are drawn with replacement, and everything in a frame comes along, since errors in one image are alike. The
same draw serves all figures, so that two networks are compared frame by frame on the same frames.
Axes: B resamples, F frames, K values.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

Statistic = Callable[[FloatArray], FloatArray]
"""(B, F) how often each frame counts -> (B,) the figure for each draw, or (B, ...) for several; NaN where undefined."""

RESAMPLES = 2000
"""With so many draws the ends of a 95 % interval move by about a twentieth of its length from seed to seed."""

LEVEL = 0.95
LEAST_FRAMES = 10
"""Of fewer frames, percentiles of resamples are too close together to be called an interval."""

CELLS_AT_ONCE = 500_000


@attrs.frozen
class Interval:
    """A metric's value with its confidence interval.

    Args:
        value: of the frames as they are.
        low: lower end, None where there is no interval.
        high: upper end.
    """

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def known(self) -> bool:
        """Whether there is an interval round the value."""
        return self.low is not None and self.high is not None


def bootstrap(
    statistics: Mapping[Any, Statistic],
    frames: int,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
    least_frames: int = LEAST_FRAMES,
) -> dict[Any, list[Interval]]:
    """Compute percentile intervals of several metrics from the same resamples of frames.

    Args:
        statistics: figures by name.
        frames: F, at least 1.
        resamples: draws.
        level: share of the draws inside the interval.
        seed: the same seed gives the same intervals on every machine.
        least_frames: with fewer frames there are values and no intervals.

    Returns:
        For each name its intervals, one per number that the statistic gives; a value may be NaN.

    Source: B. Efron and R. Tibshirani, An Introduction to the Bootstrap, 1993, sections 8.3 and 13.3.

    Example:
        >>> errors = np.arange(100.0)
        >>> mean = lambda counts: counts @ errors / counts.sum(-1)
        >>> interval = bootstrap({"mean": mean}, 100)["mean"][0]
        >>> interval.value, 42 < interval.low < 46, 53 < interval.high < 57
        (49.5, True, True)
    """
    once = np.ones((1, frames))
    values = {name: np.atleast_1d(statistic(once)[0]) for name, statistic in statistics.items()}
    if frames < least_frames:
        return {name: [Interval(float(value)) for value in found.ravel()] for name, found in values.items()}
    resampled: dict[Any, list[FloatArray]] = {name: [] for name in statistics}
    for counts in _resampled_counts(frames, resamples, seed):
        for name, statistic in statistics.items():
            resampled[name].append(statistic(counts).reshape(len(counts), -1))
    return {name: _intervals(values[name].ravel(), np.concatenate(resampled[name]), level) for name in statistics}


def share_of_sums(part: FloatArray, whole: FloatArray) -> Statistic:
    """Make the statistic that divides two sums over frames, each of (F, ...); means and shares are such."""
    flat_part, flat_whole = part.reshape(len(part), -1), whole.reshape(len(whole), -1)

    def statistic(counts: FloatArray) -> FloatArray:
        with np.errstate(invalid="ignore", divide="ignore"):
            found: FloatArray = (counts @ flat_part) / (counts @ flat_whole)
        return found.reshape(len(counts), *part.shape[1:])

    return statistic


def quantile_of(values: FloatArray, frame: IntArray, shares: Sequence[float] = (0.5,)) -> Statistic:
    """Make the statistic that gives quantiles of the values of the drawn frames, as ``numpy.quantile`` does.

    ``values`` (K,) are finite, ``frame`` (K,) int64 says of which frame; of the shares, 0.5 is the median.
    """
    order = np.argsort(values, kind="stable")
    ranked, owner = values[order], frame[order]

    def statistic(counts: FloatArray) -> FloatArray:
        if not len(ranked):
            return np.full((len(counts), len(shares)), np.nan)
        below = np.cumsum(counts[:, owner], axis=-1)
        return np.stack([_quantile(ranked, below, share) for share in shares], -1)

    return statistic


def _quantile(ranked: FloatArray, below: FloatArray, share: float) -> FloatArray:
    total = below[:, -1]
    place = share * np.maximum(total - 1, 0)
    first = np.floor(place)
    low, high = (_at_rank(ranked, below, rank) for rank in (first, np.minimum(first + 1, np.maximum(total - 1, 0))))
    return np.where(total > 0, low + (place - first) * (high - low), np.nan)


def _at_rank(ranked: FloatArray, below: FloatArray, rank: FloatArray) -> FloatArray:
    """Return the value at a rank, counted from 0, of the multiset in which values occur as often as drawn."""
    rows, width = below.shape
    # Rows laid end to end, each lifted above the one before, are one sorted list: one search does for all.
    lift = np.arange(rows) * (below[:, -1].max() + 1)
    places = np.searchsorted((below + lift[:, None]).ravel(), rank + lift, side="right") - np.arange(rows) * width
    found: FloatArray = ranked[np.clip(places, 0, width - 1)]
    return found


def _resampled_counts(frames: int, resamples: int, seed: int) -> Iterator[FloatArray]:
    """Sample frames with replacement; the samples do not depend on how many are held at once."""
    generator = np.random.default_rng(seed)
    at_once = max(1, CELLS_AT_ONCE // frames)
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        chosen = generator.integers(0, frames, (rows, frames)) + frames * np.arange(rows)[:, None]
        yield np.bincount(chosen.ravel(), minlength=rows * frames).reshape(rows, frames).astype(np.float64)


def _intervals(values: FloatArray, resampled: FloatArray, level: float) -> list[Interval]:
    ends = ((1 - level) / 2, (1 + level) / 2)
    found = []
    for value, column in zip(values.tolist(), resampled.T, strict=True):
        finite = column[np.isfinite(column)]
        # Where half of the draws say nothing, the others say too little.
        usable = np.isfinite(value) and 2 * len(finite) >= len(column)
        low, high = np.quantile(finite, ends).tolist() if usable else (None, None)
        found.append(Interval(float(value), low, high))
    return found
