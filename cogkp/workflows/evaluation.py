"""Measure a checkpoint."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from torch.utils.data import Dataset

from cogkp.artifacts.evaluations import EVALUATION_NAME, PAGE_NAME, write_evaluation
from cogkp.artifacts.names import timestamp
from cogkp.artifacts.run_record import describe_machine, library_versions
from cogkp.artifacts.runs import LATEST, METRICS_NAME
from cogkp.config.io import config_hash, dump
from cogkp.config.keypoint import KeypointConfig
from cogkp.config.train import TrainOptions
from cogkp.data.images import write_png
from cogkp.data.sample import Encoded, collate
from cogkp.files import make_folder, write_text
from cogkp.measures.bootstrap import LEVEL, RESAMPLES, Interval
from cogkp.measures.figures import Figure, intervals
from cogkp.pictures import draw_comparison, draw_pairs
from cogkp.progress import SILENT, Progress
from cogkp.tasks.base import PCK_THRESHOLDS_PX, Metrics, Report, Split
from cogkp.training.evaluator import Predict, torch_predictor
from cogkp.training.evaluator import evaluate as measure
from cogkp.training.precision import resolve_precision
from cogkp.visual.canvas import Picture
from cogkp.workflows.evaluation_page import Shown, evaluation_page, interval_text
from cogkp.workflows.opening import (
    CHECKPOINT_ROOT,
    RestoredTask,
    open_loader,
    require_runnable,
    restored_task,
    spread,
)
from cogkp.workflows.showing import draw_worst, jpeg, read_epochs

__all__ = ["EvaluationResult", "evaluate"]

PICTURED_VIEWS = 16
PICTURED_PAIRS = 5
WORST = 12


@attrs.frozen
class EvaluationResult:
    """What an evaluation found.

    Args:
        report: everything, ready for JSON.
        text: the same as a table.
        json_path: the report on disk.
        picture_path: predictions drawn over frames.
        html_path: everything on one page, pictures included.
        space_picture_path: predictions in both views and in space; None where no stereo pair could be judged.
    """

    report: Mapping[str, Any]
    text: str
    json_path: Path
    picture_path: Path
    html_path: Path
    space_picture_path: Path | None = None


def evaluate(
    config: KeypointConfig,
    *,
    restore: str = LATEST,
    split: Split | None = None,
    thresholds_px: Sequence[float] = PCK_THRESHOLDS_PX,
    world_unit_mm: float | None = None,
    batch_size: int = 32,
    num_workers: int = 0,
    worst: int = WORST,
    output_dir: Path | None = None,
    checkpoint_root: Path = CHECKPOINT_ROOT,
    progress: Progress = SILENT,
) -> EvaluationResult:
    """Measure a checkpoint on plain, not augmented frames.

    Args:
        config: names the data.
        restore: 'latest', 'best' or a path.
        split: 'validation' or 'evaluation'; None takes the validation roots where there are some, else the main ones.
        thresholds_px: distances for the share of hits, pixels of the full frame.
        world_unit_mm: millimetres per world unit, to tell lengths in millimetres; None tells them in world units.
        batch_size: images at once.
        num_workers: loader processes.
        worst: how many of the worst images the page shows.
        output_dir: where report and picture go; None makes a folder in that of the run.
        checkpoint_root: folder of all runs.
        progress: shows batches.

    Raises:
        DataError: data or calibration cannot be used.
        EvaluationError: nothing could be measured, or there are no lengths to tell in millimetres.
    """
    chosen = split or ("validation" if config.validation.base_dir else "evaluation")
    options = TrainOptions(batch_size=batch_size, num_workers=num_workers)
    require_runnable(config, options)
    started = time.perf_counter()
    found = restored_task(config, restore, checkpoint_root)
    metrics = found.task.metrics(thresholds_px, world_unit_mm=world_unit_mm)
    precision = resolve_precision("fp32")
    predict = torch_predictor(precision.place_model(found.task.model).eval(), precision)
    dataset = found.task.datasets(chosen)
    loader = open_loader(dataset, options, shuffle=False)
    if output_dir is not None:
        make_folder(output_dir)  # before the work, which would be lost where this is refused
    report = measure(predict, found.task, loader, progress, metrics=metrics)
    folder = make_folder(output_dir or _home_of(found.path, found.run) / f"{chosen}-{timestamp()}")
    done = _Measured(config, found, chosen, dataset, predict, metrics, report, time.perf_counter() - started)
    return done.written(folder, worst)


@attrs.frozen(eq=False)
class _Measured:
    """An evaluation that lacks nothing but its files."""

    config: KeypointConfig
    found: RestoredTask
    split: Split
    dataset: Any
    predict: Predict
    metrics: Metrics
    report: Report
    seconds: float

    def written(self, folder: Path, worst: int) -> EvaluationResult:
        title, codec = str(self.found.path), self.found.task.codec
        spans = intervals(self.report.evidence)
        content = {**self.circumstances(), **self.report.to_dict(), **_told(self.report, spans)}
        write_evaluation(folder / EVALUATION_NAME, content, self.report.evidence.to_dict())
        picture = draw_comparison(codec, self.predict, spread(self.dataset, PICTURED_VIEWS), title=title)
        write_png(folder / "predictions.png", picture)
        in_space = _draw_space(self.metrics, self.predict, self.dataset, title)
        pictures = [(jpeg(picture), "Labels and predictions of images spread over the data")]
        if in_space is not None:
            write_png(folder / "predictions_3d.png", in_space)
            pictures.append((jpeg(in_space), "Stereo pairs from the worst to the best: both views, and space"))
        shown = Shown(
            content=content,
            report=self.report,
            intervals=spans,
            pictures=pictures,
            worst=draw_worst(codec, self.predict, self.dataset, self.report.evidence, worst),
            history=read_epochs(_home_of(self.found.path, self.found.run) / METRICS_NAME),
        )
        write_text(folder / PAGE_NAME, evaluation_page(shown))
        told = interval_text(spans, len(self.report.evidence.frames))
        return EvaluationResult(
            report=content,
            text=f"{title} on {self.split} data\n{self.report.text()}\n{told}",
            json_path=folder / EVALUATION_NAME,
            picture_path=folder / "predictions.png",
            html_path=folder / PAGE_NAME,
            space_picture_path=None if in_space is None else folder / "predictions_3d.png",
        )

    def circumstances(self) -> dict[str, Any]:
        """Say what was evaluated, by whom and where."""
        checkpoint = self.found.checkpoint
        return {
            "checkpoint": str(self.found.path),
            "run": self.found.run,
            "split": self.split,
            "prefix": self.config.prefix,
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "command": shlex.join(sys.argv),
            "seconds": self.seconds,
            "config_sha256": config_hash(self.config),
            "config": dump(self.config),
            "training": {
                "config": dict(checkpoint.provenance.config),
                "options": dict(checkpoint.provenance.options),
                "epochs": checkpoint.state.epoch,
                "steps": checkpoint.state.step,
                "library": checkpoint.library,
                "data": dict(checkpoint.provenance.fingerprint),
            },
            "data": self.dataset.fingerprint,
            "versions": library_versions(),
            "machine": describe_machine(),
        }


def _told(report: Report, spans: Mapping[Figure, Interval]) -> dict[str, Any]:
    figures = [
        {"measure": figure.key, "of": figure.of, "figure": figure.name, "unit": figure.unit, **attrs.asdict(interval)}
        for figure, interval in spans.items()
    ]
    how = {"method": "percentile bootstrap over frames", "level": LEVEL, "resamples": RESAMPLES, "seed": 0}
    return {
        "notes": list(report.notes()),
        "intervals": {**how, "frames": len(report.evidence.frames), "figures": figures},
    }


def _draw_space(
    metrics: Metrics, predict: Predict, dataset: Dataset[tuple[Encoded, ...]], title: str
) -> Picture | None:
    """Draw the worst pair and others spread down to the best."""
    ranked = metrics.ranked_pairs()
    if not ranked:
        return None
    ranks = np.unique(np.linspace(0, len(ranked) - 1, PICTURED_PAIRS).round().astype(int)).tolist()
    batch = collate([dataset[ranked[rank]] for rank in ranks])
    notes = [f"{rank + 1} of {len(ranked)} from the worst:" for rank in ranks]
    return draw_pairs(metrics, predict, batch, notes, title)


def _home_of(checkpoint: Path, run: str) -> Path:
    """Find the folder of the run whose checkpoint was read, also through the mirror."""
    home = checkpoint.parent / run
    return home if run and home.is_dir() else checkpoint.parent
