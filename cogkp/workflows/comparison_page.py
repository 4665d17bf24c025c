"""The HTML page of a comparison of two evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from cogkp.measures.compare import FigureDifference
from cogkp.measures.evidence import Curve, Evidence, Measure, Table
from cogkp.measures.figures import ALL, hit_curve, reach
from cogkp.visual import page
from cogkp.visual.charts import interval_chart, line_chart
from cogkp.workflows.report_parts import training_curves

__all__ = ["Compared", "Side", "comparison_page"]


@attrs.frozen(eq=False, kw_only=True)
class Side:
    """One of two evaluations.

    Args:
        label: a short name.
        path: its document.
        document: as it was read.
        evidence: errors frame by frame.
        history: epoch lines of its training; empty where nobody kept them.
        training_seconds: how long the training worked, None where nobody knows.
    """

    label: str
    path: Path
    document: Mapping[str, Any]
    evidence: Evidence
    history: Sequence[Mapping[str, Any]]
    training_seconds: float | None

    @property
    def took(self) -> str:
        """The time of the training, in words."""
        if self.training_seconds is None:
            return "unknown"
        minutes, seconds = divmod(round(self.training_seconds), 60)
        return f"{minutes} min {seconds:02d} s"


@attrs.frozen(eq=False, kw_only=True)
class Compared:
    """What was found.

    Args:
        first: what is compared with, with the columns that both have.
        second: what is judged.
        paired: whether both measured the same frames.
        reasons: why they did not.
        notes: what was left out.
        differences: of every figure.
        circumstances: what else differs, lines by topic.
    """

    first: Side
    second: Side
    paired: bool
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    differences: tuple[FigureDifference, ...]
    circumstances: Mapping[str, Sequence[str]]

    @property
    def how(self) -> str:
        """How the two were compared, in one sentence."""
        if not self.paired:
            reasons = "; ".join(self.reasons)
            return f"not the same frames, so that these metrics do not compare the networks: {reasons}"
        frames = len(self.first.evidence.frames)
        return f"the same {frames} frames; intervals are those of the paired bootstrap over frames"


def comparison_page(compared: Compared) -> str:
    """Make the page."""
    first, second = compared.first, compared.second
    return page.page(
        f"{second.label} compared with {first.label}",
        f"{first.document['prefix']}, {first.document['split']} data: {len(first.evidence.frames)} frames",
        [
            page.section(
                "At a glance",
                page.warnings([] if compared.paired else [f"These are {compared.how}."]),
                page.cards(_cards(compared.differences)),
                page.paragraphs([*compared.notes, *([f"Measured on {compared.how}."] if compared.paired else [])]),
            ),
            page.section("What was compared", page.table(_sides(first, second))),
            *(_measure_section(measure, compared) for measure in first.evidence.measures),
            page.section(
                "All figures",
                page.table(_figures([each for each in compared.differences if each.figure.of == ALL])),
                page.folded(
                    "Figures of each point",
                    page.table(_figures([each for each in compared.differences if each.figure.of != ALL])),
                ),
            ),
            page.section("Training", page.columns(*_training(first, second))),
            page.section("What else differs", *_circumstances(compared.circumstances)),
        ],
    )


def _cards(found: Sequence[FigureDifference]) -> list[page.Card]:
    cards = []
    for each in found:
        if each.figure.of != ALL or each.first is None or each.second is None:
            continue
        unit = f" {each.figure.unit}".rstrip()
        value = f"{each.figure.format(each.first)} → {each.figure.format(each.second)}{unit}"
        cards.append(page.Card(f"{each.figure.title}, {each.figure.name}", value, each.verdict()))
    return cards


def _sides(first: Side, second: Side) -> Table:
    facts = {
        "evaluation": [str(side.path) for side in (first, second)],
        "checkpoint": [str(side.document["checkpoint"]) for side in (first, second)],
        "measured": [str(side.document["created"]) for side in (first, second)],
        "split": [str(side.document["split"]) for side in (first, second)],
        "epochs trained": [str(side.document["training"]["epochs"]) for side in (first, second)],
        "training took": [side.took for side in (first, second)],
    }
    return Table("", ("", first.label, second.label), tuple((name, *values) for name, values in facts.items()))


def _measure_section(measure: Measure, compared: Compared) -> str:
    other = next((each for each in compared.second.evidence.measures if each.key == measure.key), None)
    if other is None:
        return ""
    farthest = max(reach(measure), reach(other))
    lines = []
    for side, each in ((compared.first, measure), (compared.second, other)):
        curve = hit_curve(each, len(side.evidence.frames), limit=farthest)
        lines.append(attrs.evolve(curve.lines[0], name=side.label))
    overlaid = Curve(curve.title, curve.x_label, curve.y_label, lines, curve.note, percent_y=True)
    deltas = [
        (each.figure.of, each.delta)
        for each in compared.differences
        if each.figure.key == measure.key and each.figure.name == "mean" and each.delta is not None
    ]
    good = "Left" if measure.better == "lower" else "Right"
    note = f"{good} of the dashed line the second is better; bars hold 95 % of the resamples of frames."
    label = f"second minus first, {measure.unit}".rstrip(", ")
    chart = interval_chart(deltas, "FigureDifference of the means", label, zero=True, note=note) if deltas else ""
    return page.section(measure.title, page.columns(line_chart(overlaid), chart))


def _figures(found: Sequence[FigureDifference]) -> Table:
    rows = []
    for each in found:
        figure = each.figure
        values = ["-" if value is None else figure.format(value) for value in (each.first, each.second)]
        delta = "-" if each.delta is None else figure.format(each.delta.value, signed=True)
        unit = f", {figure.unit}" if figure.unit else ""
        rows.append((figure.of, f"{figure.title}: {figure.name}{unit}", *values, delta, each.verdict()))
    return Table("", ("point", "figure", "first", "second", "change", "verdict"), tuple(rows))


def _training(first: Side, second: Side) -> list[str]:
    curves = training_curves({first.label: first.history, second.label: second.history})
    return [line_chart(curve) for curve in curves]


def _circumstances(found: Mapping[str, Sequence[str]]) -> list[str]:
    pieces = []
    for name, lines in found.items():
        if lines:
            pieces.append(page.folded(f"{name}: {len(lines)}", page.verbatim("\n".join(lines))))
    same = [name for name, lines in found.items() if not lines]
    return [*pieces, *([page.paragraphs([f"The same: {', '.join(same)}."])] if same else [])]
