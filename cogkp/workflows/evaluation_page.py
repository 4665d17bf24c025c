"""The HTML page of one evaluation, made of what any family reports."""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from cogkp.files import json_text
from cogkp.measures.bootstrap import LEAST_FRAMES, RESAMPLES, Interval
from cogkp.measures.evidence import Evidence, Measure, Table
from cogkp.measures.figures import ALL, Figure, histogram, hit_curve
from cogkp.tasks.base import Report
from cogkp.visual import page
from cogkp.visual.charts import histogram_chart, interval_chart, line_chart
from cogkp.workflows.report_parts import training_curves, words

MOST_HISTOGRAMS = 24


@attrs.frozen(kw_only=True)
class Words:
    """What the page calls things in the family's terms.

    Args:
        column: what stands in each column of a measure; empty where columns only count, and none is shown alone.
        curves: heading of the family's own charts.
        worst: what the worst images were chosen by, and how to read them.
        evaluation: the data of the split 'evaluation'.
    """

    column: str
    curves: str
    worst: str
    evaluation: str

    def data(self, split: str) -> str:
        """Name the data of a split."""
        return f"{self.evaluation if split == 'evaluation' else split} data"


@attrs.frozen(eq=False, kw_only=True)
class PageContent:
    """What the page shows.

    Args:
        report: the family's own account.
        drawings: files with a description each, most telling first.
        worst: file, strong line and small line of the worst images, worst first.
        history: epoch lines of the training; empty where nobody kept them.
    """

    content: Mapping[str, Any]
    report: Report
    intervals: Mapping[Figure, Interval]
    drawings: Sequence[tuple[bytes, str]]
    worst: Sequence[tuple[bytes, str, str]]
    history: Sequence[Mapping[str, Any]]
    words: Words


def evaluation_page(shown: PageContent) -> str:
    """Make the page."""
    content, evidence = shown.content, shown.report.evidence
    curves = [line_chart(curve) for curve in shown.report.curves()]
    training = [line_chart(curve) for curve in training_curves({"": shown.history})]
    worst_by = evidence.measures[0].title.lower() if evidence.measures else ""
    return page.page(
        f"{content['prefix']}: evaluation on {shown.words.data(content['split'])}",
        f"{content['checkpoint']}, measured {content['created']}",
        [
            page.section(
                "At a glance",
                page.warnings(shown.report.notes()),
                page.paragraphs([shown.report.headline()], "plain"),
                page.cards(_cards(shown.intervals)),
                page.paragraphs([_about_intervals(len(evidence.frames))]),
            ),
            page.section("What was evaluated", page.facts(_facts(content, evidence))),
            *(_measure_section(measure, shown) for measure in evidence.measures),
            page.section("Tables", *(page.table(each) for each in shown.report.tables())),
            page.section(shown.words.curves, page.columns(*curves)),
            page.section(
                "Worst images",
                page.paragraphs([shown.words.worst.format(measure=worst_by)]),
                page.gallery(shown.worst),
            )
            if shown.worst
            else "",
            page.section("Predictions", *(page.image(data, caption, caption) for data, caption in shown.drawings)),
            page.section("Training", page.columns(*training)),
            page.section(
                "Configuration",
                page.folded("Configuration of this evaluation", page.verbatim(_indented(content["config"]))),
                page.folded("Options of the training", page.verbatim(_indented(content["training"]["options"]))),
            ),
        ],
    )


def between(figure: Figure, interval: Interval) -> str:
    """Write an interval for people; empty where there is none.

    Example:
        >>> between(Figure("pixels", "", "mean", "all", "px", "lower"), Interval(2.0, 1.5, 2.5))
        '1.500 to 2.500'
    """
    if interval.low is None or interval.high is None:
        return ""
    return f"{figure.format(interval.low)} to {figure.format(interval.high)}"


def interval_text(intervals: Mapping[Figure, Interval], frames: int) -> str:
    """Write the overall figures with their intervals, a line for each measure."""
    if frames < LEAST_FRAMES:
        return f"no intervals: {frames} frames are fewer than {LEAST_FRAMES}"
    lines: dict[str, list[str]] = {}
    for figure, interval in intervals.items():
        if figure.of == ALL and (ends := between(figure, interval)):
            unit = f" {figure.unit}" if figure.unit else ""
            caption = f"{figure.name} {figure.format(interval.value)}{unit} ({ends})"
            lines.setdefault(figure.title, []).append(caption)
    said = [f"{title}: {', '.join(figures)}" for title, figures in lines.items()]
    return "\n".join([f"95 % intervals over {frames} frames", *said])


def interval_tables(measure: Measure, intervals: Mapping[Figure, Interval], words: Words) -> Table:
    """Make the table of one measure: a row per column, a column per figure, each with its interval."""
    ours = [figure for figure in intervals if figure.key == measure.key]
    names = list(dict.fromkeys(figure.name for figure in ours))
    units = {figure.name: figure.unit for figure in ours}
    rows = []
    for of in (*(measure.columns if words.column else ()), ALL):
        found = {figure.name: _cell(figure, intervals[figure]) for figure in ours if figure.of == of}
        rows.append((of, *(found.get(name, "-") for name in names)))
    head = [f"{name}, {units[name]}" if units[name] else name for name in names]
    return Table("with 95 % intervals", (words.column, *head), tuple(rows))


def _measure_section(measure: Measure, shown: PageContent) -> str:
    intervals, words, frames = shown.intervals, shown.words, len(shown.report.evidence.frames)
    overall = {figure.name: each for figure, each in intervals.items() if (figure.key, figure.of) == (measure.key, ALL)}
    if not overall:
        return page.section(measure.title, page.paragraphs(["Nothing was measured: no label could be compared."]))
    marks = [(name, overall[name].value) for name in ("median", "mean")]
    curve = hit_curve(measure, frames)
    return page.section(
        measure.title,
        page.columns(
            line_chart(curve if words.column else attrs.evolve(curve, lines=curve.lines[:1])),
            histogram_chart(histogram(measure), measure.unit, marks=marks),
            _column_means(measure, intervals, words),
        ),
        page.table(interval_tables(measure, intervals, words)),
        _column_histograms(measure, words),
    )


def _column_means(measure: Measure, intervals: Mapping[Figure, Interval], words: Words) -> str:
    if not words.column:
        return ""
    means = [
        (figure.of, interval)
        for figure, interval in intervals.items()
        if figure.key == measure.key and figure.name == "mean" and figure.of != ALL
    ]
    unit = f", {measure.unit}" if measure.unit else ""
    note = "Bars hold the mean in 95 % of the resamples of frames." if any(each.known for _, each in means) else ""
    return interval_chart(means, f"Mean of each {words.column}", f"mean{unit}", note=note)


def _column_histograms(measure: Measure, words: Words) -> str:
    if not words.column:
        return ""
    counts = [histogram(measure, n) for n in range(len(measure.columns))]
    each = [histogram_chart(one, measure.unit) for one in counts if one.counts.sum() + one.beyond]
    return page.folded(f"Histogram of each {words.column}", page.columns(*each[:MOST_HISTOGRAMS]))


def _cards(intervals: Mapping[Figure, Interval]) -> list[page.Card]:
    found = []
    for figure, interval in intervals.items():
        if figure.of != ALL:
            continue
        ends = between(figure, interval)
        value = f"{figure.format(interval.value)} {figure.unit}".strip()
        found.append(page.Card(f"{figure.title}, {figure.name}", value, f"95 %: {ends}" if ends else ""))
    return found


def _about_intervals(frames: int) -> str:
    if frames < LEAST_FRAMES:
        return f"Too few frames for intervals: {frames}, at least {LEAST_FRAMES} are needed."
    return (
        f"Intervals hold 95 % of {RESAMPLES} resamples of the {frames} frames. Neighbouring frames of a film are "
        "alike: there the truth lies outside more often than 5 times in 100."
    )


def _counts(root: Mapping[str, Any]) -> str:
    """Write what a fingerprint counts: '8 lines, 16 images'."""
    return ", ".join(f"{value} {name}" for name, value in root.items() if isinstance(value, int))


def _facts(content: Mapping[str, Any], evidence: Evidence) -> dict[str, str]:
    roots = (f"{each['root']}: {_counts(each)}" for each in content["data"])
    labels = (f"{measure.title}: {_measured(measure)}" for measure in evidence.measures)
    return {
        "checkpoint": content["checkpoint"],
        "run": content["run"],
        "trained": _trained(content["training"]),
        "data": "; ".join(roots),
        "compared": "; ".join(labels),
        "configuration": f"SHA-256 {content['config_sha256']}",
        "command": content["command"],
        "took": f"{content['seconds']:.1f} s",
        "versions": words(content["versions"]),
        "machine": words(content["machine"]),
    }


def _trained(training: Mapping[str, Any]) -> str:
    """Say how far the training was; nothing of a network whose file does not tell."""
    if not training["library"]:
        return ""
    return f"{training['epochs']} epochs, {training['steps']} steps into the next; cogkp {training['library']}"


def _measured(measure: Measure) -> str:
    count = int((measure.values == measure.values).sum())  # NaN equals nothing
    return f"{count} labels in {len(measure.values)} rows"


def _cell(figure: Figure, interval: Interval) -> str:
    ends = between(figure, interval)
    return f"{figure.format(interval.value)}  ({ends})" if ends else figure.format(interval.value)


def _indented(value: Any) -> str:
    return json_text(value, indent=2)
