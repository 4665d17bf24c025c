"""Measure a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from torch.utils.data import Dataset

from cogkp.artifacts.names import timestamp
from cogkp.artifacts.runs import LATEST
from cogkp.config.io import config_hash
from cogkp.config.keypoint import KeypointConfig
from cogkp.config.train import TrainOptions
from cogkp.data.images import write_png
from cogkp.data.sample import Encoded, collate
from cogkp.files import make_folder, write_json
from cogkp.pictures import draw_comparison, draw_pairs
from cogkp.progress import SILENT, Progress
from cogkp.tasks.base import PCK_THRESHOLDS_PX, Metrics, Split
from cogkp.training.evaluator import Predict, torch_predictor
from cogkp.training.evaluator import evaluate as measure
from cogkp.training.precision import resolve_precision
from cogkp.workflows.opening import CHECKPOINT_ROOT, open_loader, require_runnable, restored_task, spread

__all__ = ["EvaluationResult", "evaluate"]

PICTURED_VIEWS = 16
PICTURED_PAIRS = 5


@attrs.frozen
class EvaluationResult:
    """What an evaluation found.

    Args:
        report: everything, ready for JSON.
        text: the same as a table.
        json_path: the report on disk.
        picture_path: predictions drawn over frames.
        space_picture_path: predictions in both views and in space; None where no stereo pair could be judged.
    """

    report: Mapping[str, Any]
    text: str
    json_path: Path
    picture_path: Path
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
    task, path, run = restored_task(config, restore, checkpoint_root)
    metrics = task.metrics(thresholds_px, world_unit_mm=world_unit_mm)
    precision = resolve_precision("fp32")
    predict = torch_predictor(precision.place_model(task.model).eval(), precision)
    dataset = task.datasets(chosen)
    loader = open_loader(dataset, options, shuffle=False)
    if output_dir is not None:
        make_folder(output_dir)  # before the work, which would be lost where this is refused
    report = measure(predict, task, loader, progress, metrics=metrics)
    folder = make_folder(output_dir or _home_of(path, run) / f"{chosen}-{timestamp()}")
    picture = draw_comparison(task.codec, predict, spread(dataset, PICTURED_VIEWS), title=str(path))
    content = {
        "checkpoint": str(path),
        "run": run,
        "split": chosen,
        "config_sha256": config_hash(config),
        **report.to_dict(),
    }
    write_json(folder / "evaluation.json", content)
    write_png(folder / "predictions.png", picture)
    in_space = _picture_pairs(metrics, predict, dataset, folder / "predictions_3d.png", str(path))
    text = f"{path} on {chosen} data\n{report.text()}"
    return EvaluationResult(content, text, folder / "evaluation.json", folder / "predictions.png", in_space)


def _picture_pairs(
    metrics: Metrics, predict: Predict, dataset: Dataset[tuple[Encoded, ...]], path: Path, title: str
) -> Path | None:
    """Draw the worst pair and others spread down to the best."""
    ranked = metrics.ranked_pairs()
    if not ranked:
        return None
    ranks = np.unique(np.linspace(0, len(ranked) - 1, PICTURED_PAIRS).round().astype(int)).tolist()
    batch = collate([dataset[ranked[rank]] for rank in ranks])
    notes = [f"{rank + 1} of {len(ranked)} from the worst:" for rank in ranks]
    write_png(path, draw_pairs(metrics, predict, batch, notes, title))
    return path


def _home_of(checkpoint: Path, run: str) -> Path:
    """Find the folder of the run whose checkpoint was read, also through the mirror."""
    home = checkpoint.parent / run
    return home if run and home.is_dir() else checkpoint.parent
