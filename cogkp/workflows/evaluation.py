"""Measure a checkpoint."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cogkp.artifacts.names import timestamp
from cogkp.artifacts.runs import LATEST, METRICS_NAME
from cogkp.config.keypoint.io import config_hash, dump
from cogkp.config.keypoint.spec import KeypointConfig
from cogkp.config.train import TrainOptions
from cogkp.data.dataset import Split
from cogkp.files import make_folder
from cogkp.progress import SILENT, Progress
from cogkp.tasks.base import PCK_THRESHOLDS_PX
from cogkp.training.evaluator import evaluate as measure
from cogkp.training.evaluator import torch_predictor
from cogkp.training.precision import resolve_precision
from cogkp.workflows.report_parts import read_epochs
from cogkp.workflows.report_writer import EvaluationResult, Judged, metrics_in, surroundings, training_facts
from cogkp.workflows.setup import CHECKPOINT_ROOT, RestoredTask, open_loader, require_runnable, restored_task

__all__ = ["EvaluationResult", "evaluate"]

WORST = 12


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
    metrics = metrics_in(found.task.metrics(thresholds_px), world_unit_mm)
    precision = resolve_precision("fp32")
    predict = torch_predictor(precision.place_model(found.task.model).eval(), precision)
    dataset = found.task.datasets(chosen)
    loader = open_loader(dataset, options, shuffle=False)
    if output_dir is not None:
        make_folder(output_dir)  # before the work, which would be lost where this is refused
    report = measure(predict, found.task, loader, progress, metrics=metrics)
    judged = Judged(
        codec=found.task.codec,
        dataset=dataset,
        predict=predict,
        metrics=metrics,
        report=report,
        circumstances=_circumstances(config, found, chosen, dataset.fingerprint, time.perf_counter() - started),
        history=read_epochs(found.home / METRICS_NAME),
    )
    return judged.written(make_folder(output_dir or found.home / f"{chosen}-{timestamp()}"), worst)


def _circumstances(
    config: KeypointConfig, found: RestoredTask, split: Split, data: Sequence[Mapping[str, Any]], seconds: float
) -> dict[str, Any]:
    """Say what was evaluated, by whom and where."""
    return {
        "checkpoint": str(found.path),
        "run": found.checkpoint.provenance.run,
        "split": split,
        "prefix": config.prefix,
        "seconds": seconds,
        "config_sha256": config_hash(config),
        "config": dump(config),
        "training": training_facts(found.checkpoint),
        "data": data,
        **surroundings(),
    }
