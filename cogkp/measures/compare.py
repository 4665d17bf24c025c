"""Compare two evaluations: the difference of each metric, with its bootstrap interval."""

from collections.abc import Sequence

import attrs
import numpy as np
import numpy.typing as npt

from cogkp.measures.bootstrap import RESAMPLES, Interval, Statistic, bootstrap
from cogkp.measures.evidence import Evidence, Measure
from cogkp.measures.figures import Figure, statistics

FloatArray = npt.NDArray[np.float64]

ROUNDING = 1e-9


@attrs.frozen
class FigureDifference:
    """One figure of two evaluations.

    Args:
        figure: what it is.
        first: its value in the first, None where it was not measured.
        second: its value in the second.
        delta: second minus first, with its interval where both measured the same frames.
    """

    figure: Figure
    first: float | None
    second: float | None
    delta: Interval | None = None

    def verdict(self) -> str:
        """Say in a few words whether the second is better than the first."""
        if self.delta is None or self.delta.low is None or self.delta.high is None:
            return ""
        if self.delta.value == self.delta.low == self.delta.high == 0.0:
            return "the same"
        figure = self.figure
        low, high = sorted(
            (figure.format(self.delta.low, signed=True), figure.format(self.delta.high, signed=True)), key=float
        )
        if self.delta.low <= 0.0 <= self.delta.high:
            unit = f" {figure.unit_of_difference}".rstrip()
            return f"no significant difference (95 % between {low} and {high}{unit})"
        gained = (self.delta.value < 0) == (figure.better == "lower")
        ends = sorted(abs(end) for end in (self.delta.low, self.delta.high))
        between = " and ".join(map(figure.format, ends))
        size = f"{figure.format(abs(self.delta.value))} {figure.unit_of_difference}".rstrip()
        return f"{'better' if gained else 'worse'} by {size}, 95 % between {between}"


def differences(
    first: Evidence, second: Evidence, *, paired: bool, resamples: int = RESAMPLES, seed: int = 0
) -> list[FigureDifference]:
    """Compare every figure that one of two evaluations holds, in the order of the first.

    Args:
        first: what is compared with.
        second: what is judged.
        paired: whether both measured the same frames in the same order, as :func:`aligned` gives them; each draw of
            frames then serves both, and what makes a frame hard for both cancels out of the difference.
        resamples: draws.
        seed: of the draws.

    Raises:
        ValueError: ``paired`` is asked for and the frames are not the same.
    """
    if paired and first.frames != second.frames:
        raise ValueError("a paired comparison needs the same frames in the same order")
    a, b = statistics(first), statistics(second)
    values = [_values(each, len(evidence.frames)) for each, evidence in ((a, first), (b, second))]
    deltas = _paired(a, b, len(first.frames), resamples, seed) if paired else {}
    return [
        FigureDifference(
            figure, values[0].get(figure), values[1].get(figure), deltas.get(figure) or _plain(figure, *values)
        )
        for figure in {**a, **b}
    ]


def aligned(first: Evidence, second: Evidence) -> tuple[Evidence, Evidence, int]:
    """Bring two evaluations of the same frames into one order, and keep the values that both measured.

    Returns also how many values only one of them had.

    Raises:
        ValueError: the frames are not the same, or frames hold unlike numbers of images.
    """
    if not same_frames(first, second):
        raise ValueError("the frames are not the same")
    place = {name: index for index, name in enumerate(first.frames)}
    moved = np.array([place[name] for name in second.frames], np.int64)
    theirs = {measure.key: _in_order(measure, moved) for measure in second.measures}
    both, left_out = [], 0
    for ours in first.measures:
        mine, other = _in_order(ours, np.arange(len(first.frames))), theirs[ours.key]
        if not np.array_equal(mine.frame, other.frame):
            raise ValueError(f"the frames hold unlike numbers of rows: {ours.title}")
        known = np.isfinite(mine.values), np.isfinite(other.values)
        left_out += int((known[0] ^ known[1]).sum())
        both.append([_where(measure, known[0] & known[1]) for measure in (mine, other)])
    ratios = tuple(attrs.evolve(ratio, frame=moved[ratio.frame]) for ratio in second.ratios)
    return (
        attrs.evolve(first, measures=tuple(pair[0] for pair in both)),
        Evidence(first.frames, tuple(pair[1] for pair in both), ratios),
        left_out,
    )


def same_frames(first: Evidence, second: Evidence) -> bool:
    """Say whether two evaluations name the same frames, each once, in whatever order."""
    names = sorted(first.frames)
    return names == sorted(second.frames) and len(set(names)) == len(names)


def on_common_columns(first: Evidence, second: Evidence) -> tuple[Evidence, Evidence, list[str]]:
    """Keep what both measured: measures of one key and unit, and of those the columns of one name.

    Returns also a sentence for each thing that was left out.
    """
    remarks: list[str] = []
    kept: tuple[list[Measure], list[Measure]] = ([], [])
    ours = {measure.key: measure for measure in first.measures}
    theirs = {measure.key: measure for measure in second.measures}
    for key in {**ours, **theirs}:
        pair = (ours.get(key), theirs.get(key))
        if pair[0] is None or pair[1] is None:
            remarks.append(f"only one of them has: {(pair[0] or pair[1]).title}")  # type: ignore[union-attr]
            continue
        if pair[0].unit != pair[1].unit:
            remarks.append(f"{pair[0].title}: given in {pair[0].unit} and in {pair[1].unit}; evaluate both alike")
            continue
        common = [name for name in pair[0].columns if name in pair[1].columns]
        odd = sorted(set(pair[0].columns) ^ set(pair[1].columns))
        if odd:
            remarks.append(f"{pair[0].title}: only one of them has {', '.join(odd)}, which is left out")
        if common:
            kept[0].append(_only(pair[0], common, pair[0].thresholds))
            kept[1].append(_only(pair[1], common, pair[0].thresholds))
    return attrs.evolve(first, measures=tuple(kept[0])), attrs.evolve(second, measures=tuple(kept[1])), remarks


def _only(measure: Measure, columns: Sequence[str], thresholds: tuple[float, ...]) -> Measure:
    chosen = [measure.columns.index(name) for name in columns]
    return attrs.evolve(measure, columns=tuple(columns), values=measure.values[:, chosen], thresholds=thresholds)


def _values(found: dict[Figure, Statistic], frames: int) -> dict[Figure, float]:
    once = np.ones((1, frames))
    return {figure: float(statistic(once)[0]) for figure, statistic in found.items()}


def _plain(figure: Figure, first: dict[Figure, float], second: dict[Figure, float]) -> Interval | None:
    return Interval(second[figure] - first[figure]) if figure in first and figure in second else None


def _paired(
    a: dict[Figure, Statistic], b: dict[Figure, Statistic], frames: int, resamples: int, seed: int
) -> dict[Figure, Interval]:
    def difference(figure: Figure) -> Statistic:
        def statistic(counts: FloatArray) -> FloatArray:
            ours, theirs = a[figure](counts), b[figure](counts)
            # Sums in another order differ in their last bits, which is no difference of networks.
            return np.where(np.abs(theirs - ours) <= ROUNDING * np.abs(ours), 0.0, theirs - ours)

        return statistic

    both = {figure: difference(figure) for figure in a if figure in b}
    found = bootstrap(both, frames, resamples=resamples, seed=seed)
    return {figure: interval for figure, (interval,) in found.items()}


def _in_order(measure: Measure, moved: npt.NDArray[np.int64]) -> Measure:
    """Number frames anew and sort the rows by them; rows of one frame keep their order."""
    frame = moved[measure.frame]
    order = np.argsort(frame, kind="stable")
    return attrs.evolve(measure, frame=frame[order], values=measure.values[order])


def _where(measure: Measure, known: npt.NDArray[np.bool_]) -> Measure:
    return attrs.evolve(measure, values=np.where(known, measure.values, np.nan))
