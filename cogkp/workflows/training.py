"""Preview, dry run and training as functions.

Each reads a configuration, joins the rooms, writes files where it says, and returns what it did as a frozen value.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from cogkp.artifacts.checkpoint import Checkpoint, Provenance, load_checkpoint, load_weights
from cogkp.artifacts.names import timestamp
from cogkp.artifacts.runs import RunFolder, continue_run, create_run, in_use, resolve_restore
from cogkp.config.io import dump
from cogkp.config.keypoint import KeypointConfig
from cogkp.config.train import TrainOptions
from cogkp.data.sample import Batch
from cogkp.errors import DataError
from cogkp.pictures import draw_batch
from cogkp.progress import SILENT, Progress
from cogkp.tasks.base import Split, Task
from cogkp.tasks.registry import build_task
from cogkp.training.checkpointer import RunCheckpointer
from cogkp.training.plan import Plan, plan_training
from cogkp.training.seeding import seed_everything
from cogkp.training.sinks import Sink, TensorBoardSink
from cogkp.training.trainer import Loaders, fit, rehearse
from cogkp.workflows.opening import CHECKPOINT_ROOT, open_loader, require_runnable

__all__ = ["DryRunResult", "TrainResult", "dry_run", "preview_data", "train"]

LOG_DIR = Path("logs/cog")

log = logging.getLogger("cogkp")


@attrs.frozen
class DryRunResult:
    """What one optimiser step showed.

    Args:
        loss: total loss of the first batch.
        parts: each active term before its weight.
        parameters: size of the network.
        seconds: the whole of it took.
        log_dir: where the graph was logged, or None.
    """

    loss: float
    parts: Mapping[str, float]
    parameters: int
    seconds: float
    log_dir: Path | None


@attrs.frozen
class TrainResult:
    """How a training ended.

    Args:
        run_dir: folder of the run.
        checkpoint: its newest checkpoint.
        mirror: the same, where ``--restore latest`` finds it.
        epochs: epochs completed over the life of the run.
        interrupted: whether Ctrl-C ended it early.
        seconds: this call took.
        scalars: the last epoch's figures.
        plan: what was to be done, in one line.
    """

    run_dir: Path
    checkpoint: Path
    mirror: Path
    epochs: int
    interrupted: bool
    seconds: float
    scalars: Mapping[str, float]
    plan: str


def preview_data(
    config: KeypointConfig, *, batch_size: int = 32, num_workers: int = 0
) -> Iterator[npt.NDArray[np.uint8]]:
    """Render augmented samples batch by batch, in the order of the recording.

    Yields:
        Square grids, (H, W, 3) uint8 RGB.
    """
    options = TrainOptions(batch_size=batch_size, num_workers=num_workers)
    require_runnable(config, options)
    task = build_task(config)
    for batch in open_loader(task.datasets("preview"), options, shuffle=False):
        yield draw_batch(task.codec, batch)


def dry_run(config: KeypointConfig, options: TrainOptions, *, log_dir: Path | None = LOG_DIR) -> DryRunResult:
    """Build data and network, log the graph, and take one optimiser step; nothing is kept."""
    require_runnable(config, options)
    started = time.perf_counter()
    seed_everything(options.seed)
    task = build_task(config)
    run_log = None if log_dir is None else log_dir / timestamp()
    comparison = rehearse(
        task,
        plan_training(options, frozenset(), None),
        open_loader(task.datasets("train"), options, shuffle=True),
        _sinks(task, options, run_log),
    )
    return DryRunResult(
        loss=comparison.scalars["loss"],
        parts={name: value for name, value in comparison.scalars.items() if name != "loss"},
        parameters=sum(parameter.numel() for parameter in task.model.parameters()),
        seconds=time.perf_counter() - started,
        log_dir=run_log,
    )


def train(
    config: KeypointConfig,
    options: TrainOptions,
    *,
    restore: str | None = None,
    given: frozenset[str] = frozenset(),
    checkpoint_root: Path = CHECKPOINT_ROOT,
    log_dir: Path | None = LOG_DIR,
    progress: Progress = SILENT,
) -> TrainResult:
    """Train a model, from fresh weights or from a checkpoint.

    Args:
        config: what is trained, on which data.
        options: how; with ``restore``, those not in ``given`` are taken from the checkpoint.
        restore: None, 'latest' or a path.
        given: names of the options that were spelled out.
        checkpoint_root: folder of all runs.
        log_dir: TensorBoard root; None logs nothing.
        progress: shows epochs.
    """
    started = time.perf_counter()
    restored_path = None if restore is None else resolve_restore(restore, checkpoint_root)
    restored = None if restored_path is None else load_checkpoint(restored_path)
    plan = plan_training(options, given, restored)
    require_runnable(config, plan.options)
    seed_everything(plan.options.seed)
    task = build_task(config)
    if restored is not None:  # tried here too, so that a misfit is told with its file before any data is read
        load_weights(restored, task.model, str(restored_path))
    loaders = _loaders(task, plan.options)
    log.info("%s", plan.line)
    log.info("%s", task.loss.describe())
    with in_use(_run_folder(restored, restored_path, checkpoint_root)) as folder:
        sinks = _sinks(task, plan.options, None if log_dir is None else log_dir / folder.path.name)
        keeper = RunCheckpointer(folder, _provenance(config, plan), restored_path)
        result = fit(task, plan, loaders, sinks, keeper, progress, restored=restored)
    return TrainResult(
        run_dir=folder.path,
        checkpoint=folder.checkpoint,
        mirror=folder.mirror,
        epochs=result.epochs,
        interrupted=result.interrupted,
        seconds=time.perf_counter() - started,
        scalars=result.scalars,
        plan=plan.line,
    )


def _loaders(task: Task, options: TrainOptions) -> Loaders:
    train = _labelled_data(task, "train", "base_dir")
    validation = None
    if task.config.validation.base_dir:
        held_out = _labelled_data(task, "validation", "validation.base_dir")
        # A few frames after each epoch: starting processes for them would cost more than it saves.
        validation = open_loader(held_out, attrs.evolve(options, num_workers=0), shuffle=False)
    return Loaders(open_loader(train, options, shuffle=True), validation)


def _labelled_data(task: Task, split: Split, key: str) -> Any:
    """Open one split, say how much it holds, and refuse it where a training could learn or check nothing."""
    dataset: Any = task.datasets(split)
    log.info("%s data: %s", split, dataset.size_report)
    if not any(dataset.size_report.labelled.values()) and not task.config.targets.segmentation:
        raise DataError("no point is labelled", where=key, got=str(dataset.size_report))
    return dataset


def _sinks(task: Task, options: TrainOptions, log_dir: Path | None) -> list[Sink]:
    if log_dir is None:
        return []

    log.info("TensorBoard log: %s", log_dir)

    def draw(batch: Batch[Any], outputs: Any) -> npt.NDArray[np.uint8]:
        return draw_batch(task.codec, batch, outputs)

    return [TensorBoardSink(log_dir, verbose=options.verbose_log, log_interval=options.log_interval, draw=draw)]


def _run_folder(restored: Checkpoint | None, path: Path | None, root: Path) -> RunFolder:
    if restored is None or path is None:
        return create_run(root)
    return continue_run(path, restored.provenance.run, root)


def _provenance(config: KeypointConfig, plan: Plan) -> Provenance:
    return Provenance(
        config=dump(config),
        options=attrs.asdict(plan.options),
        points=config.point_names,
        num_classes=config.num_classes,
        data=config.base_dir,
    )
