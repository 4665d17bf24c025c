"""Write the results of an evaluation: ``evaluation.json``, drawings and the HTML page."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import attrs

from cogkp.artifacts.checkpoint import IMAGES, Checkpoint
from cogkp.artifacts.evaluations import EVALUATION_NAME, PAGE_NAME, write_evaluation
from cogkp.artifacts.run_record import describe_machine, library_versions
from cogkp.artifacts.runs import METRICS_NAME
from cogkp.data.dataset import ImageDataset
from cogkp.data.images import write_png
from cogkp.data.images.survey import evenly
from cogkp.data.sample import collate
from cogkp.drawing import draw_comparison, draw_pairs
from cogkp.errors import EvaluationError, printable
from cogkp.files import write_text
from cogkp.measures.bootstrap import LEVEL, RESAMPLES, Interval
from cogkp.measures.figures import Figure, intervals
from cogkp.tasks.base import Codec, Metrics, Report, StereoMetrics
from cogkp.training.evaluator import Predict
from cogkp.visual.canvas import RgbImage
from cogkp.workflows.evaluation_page import PageContent, Words, evaluation_page, interval_text
from cogkp.workflows.printing import Printable
from cogkp.workflows.report_parts import draw_worst, jpeg, read_epochs
from cogkp.workflows.setup import OpenedModel, spread

DRAWN_VIEWS = 16
DRAWN_PAIRS = 5


@attrs.frozen(repr=False)
class EvaluationResult(Printable):
    """What an evaluation found.

    Args:
        folder: of its results.
        report: everything, ready for JSON.
        text: the figures as tables.
        headline: those worth a glance, in one line.
        json_path: the report on disk.
        drawing_path: predictions drawn over frames.
        html_path: everything on one page, images included.
        drawing_3d_path: predictions in both views and in space; None where no stereo pair could be evaluated.
        text_path: tables of all figures; None where the family writes none.
        rows_path: errors object by object, CSV; None where the family writes none.
    """

    folder: Path
    report: Mapping[str, Any]
    text: str
    headline: str
    json_path: Path
    drawing_path: Path
    html_path: Path
    drawing_3d_path: Path | None = None
    text_path: Path | None = None
    rows_path: Path | None = None

    def moved_to(self, folder: Path) -> EvaluationResult:
        """Say the same of files that were moved to another folder."""
        fields = attrs.asdict(self, recurse=False).items()
        moved: dict[str, Any] = {name: folder / path.name for name, path in fields if isinstance(path, Path)}
        return attrs.evolve(self, **{**moved, "folder": folder})

    def summary(self) -> str:
        """Return the figures, and the page that shows more."""
        return f"{self.text}\n{printable(f'report: {self.html_path}')}"

    def drawing(self) -> Path | None:
        """Return the predictions drawn over images."""
        return self.drawing_path


def surroundings() -> dict[str, Any]:
    """Say when, by which command, with which libraries and on which machine this is done."""
    return {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
        "versions": library_versions(),
        "machine": describe_machine(),
    }


def metrics_in(metrics: Metrics, world_unit_mm: float | None) -> Metrics:
    """Let an evaluation report lengths in millimetres, if asked to; EvaluationError where there are no lengths."""
    if world_unit_mm is None:
        return metrics
    if not isinstance(metrics, StereoMetrics):
        raise EvaluationError(
            "there are no lengths in world units", expected="no world_unit_mm", got=f"{world_unit_mm:g}"
        )
    return metrics.in_millimetres(world_unit_mm)


def training_facts(checkpoint: Checkpoint | None) -> dict[str, Any]:
    """Say how a network was trained, as far as its file tells; an exported one tells nothing."""
    if checkpoint is None:
        return {"config": {}, "options": {}, "epochs": 0, "steps": 0, "library": "", "data": {}}
    return {
        "config": dict(checkpoint.provenance.config),
        "options": dict(checkpoint.provenance.options),
        "epochs": checkpoint.state.epoch,
        "steps": checkpoint.state.step,
        "library": checkpoint.library,
        "data": {split: roots for split, roots in checkpoint.provenance.fingerprint.items() if split != IMAGES},
    }


def write_report(
    folder: Path,
    model: OpenedModel,
    dataset: ImageDataset,
    metrics: Metrics,
    report: Report,
    *,
    circumstances: Mapping[str, Any],
    words: Words,
    worst: int,
) -> EvaluationResult:
    """Write the document, the drawings and the page of an evaluation into a folder that is there already.

    ``circumstances`` say what was evaluated, with what, by whom and where; ``checkpoint`` and ``split`` among it.
    ``worst`` is how many of the worst images the page shows.

    Raises:
        OutputError: something cannot be written.
    """
    title, codec = str(circumstances["checkpoint"]), model.task.codec
    spans = intervals(report.evidence)
    overall = {"overall": dict(report.scalars())}
    content = {**circumstances, **overall, **report.to_dict(), **_figures(report, spans)}
    write_evaluation(folder / EVALUATION_NAME, content, report.evidence.to_dict())
    drawing = draw_comparison(codec, model.predict, spread(dataset, DRAWN_VIEWS), title=title)
    write_png(folder / "predictions.png", drawing)
    in_space = _draw_space(codec, metrics, model.predict, dataset, title)
    drawings = [(jpeg(drawing), "Labels and predictions of images spread over the data")]
    if in_space is not None:
        write_png(folder / "predictions_3d.png", in_space)
        drawings.append((jpeg(in_space), "Stereo pairs from the worst to the best: both views, and space"))
    page = PageContent(
        content=content,
        report=report,
        intervals=spans,
        drawings=drawings,
        worst=draw_worst(codec, model.predict, dataset, report.evidence, worst),
        history=read_epochs(model.home / METRICS_NAME) if model.checkpoint else [],
        words=words,
    )
    write_text(folder / PAGE_NAME, evaluation_page(page))
    last = interval_text(spans, len(report.evidence.frames))
    return EvaluationResult(
        folder=folder,
        report=content,
        text=f"{printable(title)} on {words.data(circumstances['split'])}\n{report.text()}\n{last}",
        headline=report.headline(),
        json_path=folder / EVALUATION_NAME,
        drawing_path=folder / "predictions.png",
        html_path=folder / PAGE_NAME,
        drawing_3d_path=None if in_space is None else folder / "predictions_3d.png",
    )


def _figures(report: Report, spans: Mapping[Figure, Interval]) -> dict[str, Any]:
    figures = [
        {"measure": figure.key, "of": figure.of, "figure": figure.name, "unit": figure.unit, **attrs.asdict(interval)}
        for figure, interval in spans.items()
    ]
    how = {"method": "percentile bootstrap over frames", "level": LEVEL, "resamples": RESAMPLES, "seed": 0}
    return {
        "notes": list(report.notes()),
        "intervals": {**how, "frames": len(report.evidence.frames), "figures": figures},
    }


def _draw_space(codec: Codec, metrics: Metrics, predict: Predict, dataset: ImageDataset, title: str) -> RgbImage | None:
    """Draw the worst pair and others spread down to the best; None where no family or no pair is evaluated in space."""
    ranked = metrics.ranked_pairs() if isinstance(metrics, StereoMetrics) else []
    if not isinstance(metrics, StereoMetrics) or not ranked:
        return None
    ranks = evenly(len(ranked), DRAWN_PAIRS)
    batch = collate([dataset[ranked[rank]] for rank in ranks])
    notes = [f"{rank + 1} of {len(ranked)} from the worst:" for rank in ranks]
    return draw_pairs(codec, metrics, predict, batch, notes, title)
