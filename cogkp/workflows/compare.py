"""Compare two evaluations: the difference of each metric, what else was not the same, and the HTML page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import attrs

from cogkp.artifacts.evaluations import find_evaluations, read_evaluation
from cogkp.artifacts.run_record import training_seconds
from cogkp.artifacts.runs import RunFolder
from cogkp.config.converter import plain_differences
from cogkp.data.dataset import changes
from cogkp.errors import ArtifactError, EvaluationError, printable
from cogkp.files import write_text
from cogkp.inference.exported import ENGINE_SUFFIXES, ONNX_SUFFIX
from cogkp.measures.compare import FigureDifference, aligned, differences, on_common_columns, same_frames
from cogkp.measures.evidence import Curve, Evidence, Measure, Table
from cogkp.measures.figures import ALL, hit_curve, reach
from cogkp.measures.frame_changes import FrameChanges, frame_changes
from cogkp.visual import page
from cogkp.visual.charts import interval_chart, line_chart
from cogkp.workflows.printing import Printable
from cogkp.workflows.report_parts import read_epochs, training_curves
from cogkp.workflows.training_job import CHECKPOINT_ROOT

TOLD_OF_POINTS = ("mean",)
MOST_CHANGED = 10


@attrs.frozen(repr=False)
class ComparisonResult(Printable):
    """What a comparison found.

    Args:
        report: everything, ready for JSON.
        text: the same for people.
        html_path: the page.
        paired: whether both measured the same frames, so that their difference has an interval.
    """

    report: Mapping[str, Any]
    text: str
    html_path: Path
    paired: bool

    def summary(self) -> str:
        """Return the figures, and the page that shows more."""
        return f"{self.text}\n{printable(f'report: {self.html_path}')}"


def compare(
    first: str, second: str, *, output: Path | None = None, checkpoint_root: Path = CHECKPOINT_ROOT
) -> ComparisonResult:
    """Compare two evaluations, the second with the first.

    Args:
        first: a run folder, the name of a run, or an ``evaluation.json``; of several evaluations in one folder those
            are taken that measured the same data, else the newest.
        second: the same.
        output: the page; None puts it beside the second evaluation.
        checkpoint_root: folder of all runs.

    Raises:
        ArtifactError: there is no evaluation, or none that can be read.
        EvaluationError: the evaluations have no figure in common.
    """
    sides = _labelled(*_chosen(find_evaluations(first, checkpoint_root), find_evaluations(second, checkpoint_root)))
    compared = _compared(*sides)
    if all(each.delta is None for each in compared.differences):
        raise EvaluationError(
            "nothing can be compared",
            where=f"{sides[0].path} and {sides[1].path}",
            expected="a figure that both evaluations have",
            got="; ".join((*compared.reasons, *compared.notes)),
        )
    path = output or sides[1].path.with_name(f"comparison-with-{_file_word(sides[0].label)}.html")
    write_text(path, comparison_page(compared))
    return ComparisonResult(_report(compared), _text(compared), path, compared.paired)


def _chosen(ours: Sequence[Path], theirs: Sequence[Path]) -> tuple[Side, Side]:
    """Take the newest two that measured the same data, else the newest two."""
    one, other = _readable(ours), _readable(theirs)
    pairs = [(one[a], other[b]) for a, b in sorted(product(range(len(one)), range(len(other))), key=sum)]
    alike = (pair for pair in pairs if pair[0].path != pair[1].path and not list(_other_frames(*pair)))
    return next(alike, pairs[0])


def _readable(paths: Sequence[Path]) -> list[Side]:
    """Read those that can be read; where none can, the first says why."""
    found, errors = [], []
    for path in paths:
        try:
            found.append(_side(path))
        except ArtifactError as error:  # noqa: PERF203 - reading a file costs more
            errors.append(error)
    if not found:
        raise errors[0]
    return found


def _side(path: Path) -> Side:
    document = read_evaluation(path)
    try:
        evidence = Evidence.from_dict(document["per_frame"])
        checkpoint = Path(document["checkpoint"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ArtifactError("an evaluation is damaged", where=str(path), got=str(error)) from error
    home = next((folder for folder in (path.parent, path.parent.parent) if (folder / "run.json").is_file()), None)
    home = home or (checkpoint.parent if (checkpoint.parent / "run.json").is_file() else None)
    run = None if home is None else RunFolder(home, home.parent)
    return Side(
        label=str(document.get("run") or path.parent.name),
        path=path,
        document=document,
        evidence=evidence,
        history=[] if run is None else read_epochs(run.metrics),
        training_seconds=None if run is None else training_seconds(run.path),
    )


def _kind(side: Side) -> dict[str, str]:
    """Say what kind of file was evaluated, and in which precision; earlier documents say neither."""
    said = side.document.get("model", {})
    suffix = Path(side.document["checkpoint"]).suffix.lower()
    guessed = "onnx" if suffix == ONNX_SUFFIX else "engine" if suffix in ENGINE_SUFFIXES else "checkpoint"
    return {"kind": str(said.get("kind", guessed)), "precision": str(said.get("precision", ""))}


def _labelled(first: Side, second: Side) -> tuple[Side, Side]:
    """Give both names that differ: the run's, then the checkpoint's, then where the evaluation lies."""
    names = zip(_names(first), _names(second), strict=True)
    one, other = next(((a, b) for a, b in names if a != b), ("first", "second"))
    return attrs.evolve(first, label=one), attrs.evolve(second, label=other)


def _names(side: Side) -> tuple[str, ...]:
    folders = side.path.resolve().parent.parts[-2:]
    return side.label, f"{side.label} {Path(side.document['checkpoint']).stem}", "/".join(folders), str(side.path)


def _compared(first: Side, second: Side) -> Compared:
    reasons = list(_other_frames(first, second))
    one, other, notes = on_common_columns(first.evidence, second.evidence)
    paired = not reasons
    if paired:
        try:
            one, other, left_out = aligned(one, other)
        except ValueError as error:
            paired, reasons, left_out = False, [str(error)], 0
        if left_out:
            notes.append(f"{left_out} labels that only one of them could compare are left out of the distances")
    other_file = paired and _kind(first) != _kind(second)
    return Compared(
        first=attrs.evolve(first, evidence=one),
        second=attrs.evolve(second, evidence=other),
        paired=paired,
        changes=frame_changes(one, other) if other_file else None,
        reasons=tuple(reasons),
        notes=tuple(notes),
        differences=tuple(differences(one, other, paired=paired)),
        circumstances=_circumstances(first.document, second.document),
    )


def _other_frames(first: Side, second: Side) -> Iterator[str]:
    """Say why two evaluations did not measure the same frames; nothing where they did."""
    one, other = first.document, second.document
    if one.get("split") != other.get("split"):
        yield f"other split: {one.get('split')} and {other.get('split')}"
    yield from changes({"evaluated": one["data"]}, {"evaluated": other["data"]})
    if not same_frames(first.evidence, second.evidence):
        yield f"other frames: {len(first.evidence.frames)} and {len(second.evidence.frames)}, or of other names"


def _circumstances(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, list[str]]:
    """List what else differs, one line per value."""
    trained, again = one["training"], other["training"]
    found = (
        {}
        if not (trained["config"] and again["config"])
        else {
            "configuration of the training": plain_differences(trained["config"], again["config"]),
            "options of the training": plain_differences(trained["options"], again["options"]),
            "data of the training": changes(trained["data"], again["data"]),
        }
    )
    found |= {
        "configuration of the evaluation": plain_differences(one["config"], other["config"]),
        "versions": plain_differences(one["versions"], other["versions"]),
        "machine": plain_differences(one["machine"], other["machine"]),
    }
    if found["configuration of the evaluation"] == found.get("configuration of the training"):
        del found["configuration of the evaluation"]
    return found


def _report(compared: Compared) -> dict[str, Any]:
    sides = {
        name: {
            "label": side.label,
            "evaluation": str(side.path),
            "checkpoint": side.document["checkpoint"],
            "model": _kind(side),
            "frames": len(side.evidence.frames),
            "training_seconds": side.training_seconds,
        }
        for name, side in (("first", compared.first), ("second", compared.second))
    }
    return {
        **sides,
        "paired": compared.paired,
        "reasons": list(compared.reasons),
        "notes": list(compared.notes),
        "file_change": None if compared.changes is None else compared.changes.to_dict(),
        "figures": [_entry(each) for each in compared.differences],
        "differences": compared.circumstances,
    }


def _entry(each: FigureDifference) -> dict[str, Any]:
    figure, delta = each.figure, each.delta
    return {
        "measure": figure.key,
        "of": figure.of,
        "figure": figure.name,
        "unit": figure.unit,
        "first": each.first,
        "second": each.second,
        "delta": None if delta is None else delta.value,
        "low": None if delta is None else delta.low,
        "high": None if delta is None else delta.high,
        "verdict": each.verdict(),
    }


def _text(compared: Compared) -> str:
    first, second = compared.first, compared.second
    lines = [f"first:  {first.label}, {first.model}", f"second: {second.label}, {second.model}"]
    lines += [compared.how, *compared.notes, *compared.cost]
    for title in dict.fromkeys(each.figure.title for each in compared.differences):
        ours = [each for each in compared.differences if each.figure.title == title]
        lines += ["", title, *_lines([each for each in ours if each.figure.of == ALL])]
        lines += _lines([each for each in ours if each.figure.of != ALL and each.figure.name in TOLD_OF_POINTS])
    for name, differing in compared.circumstances.items():
        lines += ["", f"{name}: the same"] if not differing else ["", f"{name}:", *(f"  {line}" for line in differing)]
    times = [side.took for side in (first, second)]
    return "\n".join(map(printable, [*lines, "", f"training took: {times[0]} and {times[1]}"]))


def _lines(entries: Sequence[FigureDifference]) -> list[str]:
    cells = [_cells(each, each.figure.of) for each in entries]
    widths = [max((len(row[n]) for row in cells), default=0) for n in range(4)]
    return [
        "  " + "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:4], widths[1:4]), row[4]]).rstrip()
        for row in cells
    ]


def _cells(each: FigureDifference, title: str) -> tuple[str, ...]:
    figure = each.figure
    values = ("-" if value is None else figure.format(value) for value in (each.first, each.second))
    delta = "-" if each.delta is None else figure.format(each.delta.value, signed=True)
    unit = f", {figure.unit}" if figure.unit else ""
    return (f"{title}: {figure.name}{unit}", *values, delta, each.verdict())


def _file_word(label: str) -> str:
    return re.sub(r"[^\w.-]+", "_", label).strip("._")[-60:] or "other"


@attrs.frozen(eq=False, kw_only=True)
class Side:
    """One of two evaluations.

    Args:
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
    def model(self) -> str:
        """The model's file, what it is and in which precision it computes."""
        kind = _kind(self)
        return f"{self.document['checkpoint']} ({', '.join(filter(None, kind.values()))})"

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
        changes: what another kind or precision of file did to each frame; None where both are alike, or where the
            frames are not the same.
        reasons: why they did not.
        circumstances: what else differs, lines by topic.
    """

    first: Side
    second: Side
    paired: bool
    changes: FrameChanges | None
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    differences: tuple[FigureDifference, ...]
    circumstances: Mapping[str, Sequence[str]]

    @property
    def cost(self) -> list[str]:
        """What the change of file cost, in one sentence; nothing where it is none."""
        found = self.changes
        if found is None:
            return []
        worst, unit = found.frames[0], f" {found.unit}".rstrip()
        what = f"From {self.first.model} to {self.second.model}, {found.title.lower()}"
        if not worst.size:
            return [f"{what} is the same in every frame: the change of file costs nothing."]
        return [
            f"{what} changes by {found.median:.3g}{unit} in the median frame and by {worst.size:.3g}{unit} at most, "
            f"in {worst.frame} ({worst.of}: {worst.first:.4g} to {worst.second:.4g}{unit})."
        ]

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
            *([] if compared.changes is None else [_changes_section(compared, compared.changes)]),
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
            page.section("What else differs", *_what_else_differs(compared.circumstances)),
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
        "model": [side.model for side in (first, second)],
        "measured": [str(side.document["created"]) for side in (first, second)],
        "split": [str(side.document["split"]) for side in (first, second)],
        "epochs trained": [str(side.document["training"]["epochs"]) for side in (first, second)],
        "training took": [side.took for side in (first, second)],
    }
    return Table("", ("", first.label, second.label), tuple((name, *values) for name, values in facts.items()))


def _changes_section(compared: Compared, found: FrameChanges) -> str:
    """Show what the change of file costs, and the frames that it changes most."""
    rows = tuple(
        (each.frame, each.of, *(f"{value:.4g}" for value in (each.first, each.second, each.size)))
        for each in found.frames[:MOST_CHANGED]
    )
    head = ("frame", "point", *(f"{name}, {found.unit}".rstrip(", ") for name in ("first", "second", "change")))
    title = f"{found.title}: the frames that change most, {len(rows)} of {len(found.frames)}"
    return page.section(
        "What the change of file costs", page.paragraphs(compared.cost), page.table(Table(title, head, rows))
    )


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
    chart = interval_chart(deltas, "Difference of the means", label, zero=True, note=note) if deltas else ""
    return page.section(measure.title, page.columns(line_chart(overlaid), chart))


def _figures(found: Sequence[FigureDifference]) -> Table:
    rows = tuple((each.figure.of, *_cells(each, each.figure.title)) for each in found)
    return Table("", ("point", "figure", "first", "second", "change", "verdict"), rows)


def _training(first: Side, second: Side) -> list[str]:
    curves = training_curves({first.label: first.history, second.label: second.history})
    return [line_chart(curve) for curve in curves]


def _what_else_differs(found: Mapping[str, Sequence[str]]) -> list[str]:
    pieces = [
        page.folded(f"{name}: {len(lines)}", page.verbatim("\n".join(lines))) for name, lines in found.items() if lines
    ]
    same = [name for name, lines in found.items() if not lines]
    return [*pieces, *([page.paragraphs([f"The same: {', '.join(same)}."])] if same else [])]
