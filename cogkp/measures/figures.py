"""Metrics of an evaluation (mean, median, share within a limit) with their intervals, curves and histograms."""

from collections.abc import Iterator, Sequence
from typing import Literal

import attrs
import numpy as np
import numpy.typing as npt

from cogkp.errors import printable
from cogkp.measures.bootstrap import RESAMPLES, Interval, Statistic, bootstrap, quantile_of, share_of_sums
from cogkp.measures.evidence import Curve, Evidence, Line, Measure, Ratio, Table

FloatArray = npt.NDArray[np.float64]
ALL = "all"
CURVE_STEPS = 100
BINS = 30
MOST_SHOWN = 95.0


def number(value: float | None) -> str:
    """Write a figure; a dash where there is none."""
    return "-" if value is None else f"{value:.3f}"


def share(value: float | None) -> str:
    """Write a share in percent; a dash where there is none."""
    return "-" if value is None else f"{value:.1%}"


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Set words under each other: the first column to the left, all others to the right.

    Example:
        >>> aligned([("point", "px"), ("tip", "0.5")])
        ['point   px', 'tip    0.5']
    """
    lines = [list(map(printable, line)) for line in lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in lines]


def table_lines(table: Table) -> list[str]:
    """Write a table with its title above and its notes below."""
    title = [printable(table.title)] if table.title else []
    return [*title, *aligned([table.head, *table.rows]), *map(printable, table.notes)]


@attrs.frozen
class Figure:
    """Name, unit and direction of one metric.

    Args:
        key: of the measure or ratio.
        title: of the same, for people.
        name: 'mean', 'median', 'within 2 px' or 'share'.
        of: a column, or 'all'.
        unit: of the number; '%' for shares, which are kept as 0 to 1.
        better: whether small or large values are good.
    """

    key: str
    title: str
    name: str
    of: str
    unit: str
    better: Literal["lower", "higher"]

    def format(self, value: float, *, signed: bool = False) -> str:
        """Write a value of this figure for people, without its unit."""
        sign = "+" if signed else ""
        return f"{100 * value:{sign}.1f}" if self.unit == "%" else f"{value:{sign}.3f}"

    @property
    def unit_of_difference(self) -> str:
        """The unit of the difference of two such figures."""
        return "percentage points" if self.unit == "%" else self.unit


def statistics(evidence: Evidence) -> dict[Figure, Statistic]:
    """Make a statistic of every figure: for each measure and column mean, median and hits, for each ratio its share."""
    found: dict[Figure, Statistic] = {}
    frames = len(evidence.frames)
    for measure in evidence.measures:
        names = [(ALL, None), *((name, n) for n, name in enumerate(measure.columns))]
        for of, column in names:
            found |= dict(_of_measure(measure, of, column, frames))
    for ratio in evidence.ratios:
        found |= dict(_of_ratio(ratio, frames))
    return found


def intervals(evidence: Evidence, *, resamples: int = RESAMPLES, seed: int = 0) -> dict[Figure, Interval]:
    """Find every figure with its 95 % interval; figures of what was never measured are left out."""
    if not evidence.frames:
        return {}
    found = bootstrap(statistics(evidence), len(evidence.frames), resamples=resamples, seed=seed)
    return {figure: interval for figure, (interval,) in found.items()}


def reach(measure: Measure) -> float:
    """Choose how far a chart of a measure goes: past nearly all values and all thresholds, a round number."""
    finite = measure.values[np.isfinite(measure.values)]
    wanted = max([float(np.percentile(finite, MOST_SHOWN)) if finite.size else 0.0, *measure.thresholds, 1e-6])
    power = 10.0 ** np.floor(np.log10(wanted))
    return float(next(step * power for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * power >= wanted * (1 - 1e-9)))


def hit_curve(
    measure: Measure, frames: int, *, limit: float | None = None, resamples: int = RESAMPLES, seed: int = 0
) -> Curve:
    """Draw the share of values within a limit over the limit: all with the band of its intervals, then each column.

    ``limit`` is the largest limit, in the measure's unit; None chooses one.
    """
    x = np.linspace(0.0, limit or reach(measure), CURVE_STEPS + 1)
    whole = bootstrap({ALL: _hits(measure, None, frames, x)}, frames, resamples=resamples, seed=seed)[ALL]
    ends = [each.low for each in whole], [each.high for each in whole]
    low, high = (np.array([np.nan if value is None else value for value in row]) for row in ends)
    banded = bool(np.isfinite(low).any())
    main = Line(ALL, x, np.array([each.value for each in whole]), low if banded else None, high if banded else None)
    each = [
        Line(name, x, _hits(measure, n, frames, x)(np.ones((1, frames)))[0])
        for n, name in enumerate(measure.columns)
        if np.isfinite(measure.values[:, n]).any()
    ]
    relation = "within" if measure.better == "lower" else "at or above"
    return Curve(
        title=f"{measure.title}: share {relation} a limit",
        x_label=f"limit, {measure.unit}" if measure.unit else "limit",
        y_label="share of labels",
        lines=[main, *(each if len(measure.columns) > 1 else [])],
        note="The band holds 95 % of the resamples of frames, limit by limit." if banded else "",
        percent_y=True,
    )


@attrs.frozen(eq=False)
class Histogram:
    """How often values fall into each bin.

    Args:
        edges: (K + 1,) increasing.
        counts: (K,) values in each bin; the last one includes its upper edge.
        beyond: values above the last edge.
    """

    name: str
    edges: FloatArray
    counts: FloatArray
    beyond: int


def histogram(measure: Measure, column: int | None = None, bins: int = BINS) -> Histogram:
    """Count the values of one column, or of all, in bins of equal width from 0 to :func:`reach`."""
    values = measure.column(column)
    finite = values[np.isfinite(values)]
    edges = np.linspace(min(0.0, float(finite.min(initial=0.0))), reach(measure), bins + 1)
    counts = np.histogram(finite, edges)[0].astype(np.float64)
    name = ALL if column is None else measure.columns[column]
    return Histogram(name, edges, counts, int((finite > edges[-1]).sum()))


def _of_measure(measure: Measure, of: str, column: int | None, frames: int) -> Iterator[tuple[Figure, Statistic]]:
    values = measure.column(column)
    row, place = np.nonzero(np.isfinite(values))
    if not len(row):
        return
    flat, owner = values[row, place], measure.frame[row]

    def figure(name: str, unit: str, better: Literal["lower", "higher"]) -> Figure:
        return Figure(measure.key, measure.title, name, of, unit, better)

    sums = np.bincount(owner, flat, frames).astype(np.float64)
    counts = np.bincount(owner, minlength=frames).astype(np.float64)
    yield figure("mean", measure.unit, measure.better), _flat(share_of_sums(sums, counts))
    yield figure("median", measure.unit, measure.better), _flat(quantile_of(flat, owner))
    relation = "within" if measure.better == "lower" else "at least"
    for threshold in measure.thresholds:
        hits = _hits(measure, column, frames, np.array([threshold]))
        yield figure(f"{relation} {threshold:g} {measure.unit}".rstrip(), "%", "higher"), _flat(hits)


def _of_ratio(ratio: Ratio, frames: int) -> Iterator[tuple[Figure, Statistic]]:
    part, whole = (_summed(counts, ratio.frame, frames) for counts in (ratio.part, ratio.whole))
    counted = whole.sum(0) > 0
    if not counted.any():
        return
    each = share_of_sums(part[:, counted], whole[:, counted])

    def mean(counts: FloatArray) -> FloatArray:
        with np.errstate(invalid="ignore"):
            shares = each(counts)
        # A class that no drawn frame shows is left out, as it is from the figure itself.
        known = np.isfinite(shares)
        total = np.where(known, shares, 0.0).sum(-1)
        return np.where(known.any(-1), total / np.maximum(known.sum(-1), 1), np.nan)

    yield Figure(ratio.key, ratio.title, "share", ALL, "", "higher"), mean
    for n in np.flatnonzero(counted).tolist():
        one = _flat(share_of_sums(part[:, [n]], whole[:, [n]]))
        yield Figure(ratio.key, ratio.title, "share", ratio.columns[n], "", "higher"), one


def _hits(measure: Measure, column: int | None, frames: int, limits: FloatArray) -> Statistic:
    """Share of values as good as each limit."""
    values = measure.column(column)
    row, place = np.nonzero(np.isfinite(values))
    flat, owner = values[row, place][:, None], measure.frame[row]
    good = flat <= limits if measure.better == "lower" else flat >= limits
    counts = np.bincount(owner, minlength=frames).astype(np.float64)[:, None]
    return share_of_sums(_summed(good.astype(np.float64), owner, frames), counts * np.ones_like(limits))


def _summed(rows: FloatArray, frame: npt.NDArray[np.int64], frames: int) -> FloatArray:
    total = np.zeros((frames, rows.shape[-1]))
    np.add.at(total, frame, rows)
    return total


def _flat(statistic: Statistic) -> Statistic:
    return lambda counts: statistic(counts).reshape(len(counts))
