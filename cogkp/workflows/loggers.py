"""The loggers of a training: ``metrics.jsonl``, ``metrics.csv``, TensorBoard and sanity warnings."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cogkp.artifacts.restore import Restored
from cogkp.artifacts.runs import METRICS_NAME, TABLE_NAME
from cogkp.config.train import TrainOptions
from cogkp.data.sample import Batch
from cogkp.drawing import draw_batch
from cogkp.tasks.base import Task
from cogkp.training.epoch_table import EpochTableSink
from cogkp.training.history import HistorySink
from cogkp.training.plan import Plan, steps_before
from cogkp.training.sanity import Watchdog
from cogkp.training.sinks import Sink, TensorBoardSink

__all__ = ["tensorboard", "usual_loggers"]

log = logging.getLogger("cogkp")


def usual_loggers(
    task: Task,
    plan: Plan,
    steps_per_epoch: int,
    folder: Path,
    *,
    board: Path | None,
    restored: Restored | None,
) -> list[Sink]:
    """Make the loggers of a training that writes into a folder.

    Args:
        task: draws images for TensorBoard, where the options ask for them.
        plan: says where the training begins.
        steps_per_epoch: length of an epoch.
        folder: of the run.
        board: folder of its TensorBoard events; None writes none.
        restored: what it goes on from; what was logged after that is dropped or hidden.
    """
    position = hidden = earlier = None
    if restored is not None:
        position = (plan.epoch, plan.step)
        hidden = (steps_before(plan, steps_per_epoch, restored.checkpoint), plan.epoch)
        earlier = restored.home / METRICS_NAME
    lines = HistorySink(
        folder / METRICS_NAME, log_interval=plan.options.log_interval, restored=position, earlier=earlier
    )
    table = EpochTableSink(folder / TABLE_NAME, lines.kept)
    return [lines, table, *tensorboard(task, plan.options, board, hidden), Watchdog()]


def tensorboard(
    task: Task, options: TrainOptions, log_dir: Path | None, restored: tuple[int, int] | None = None
) -> list[Sink]:
    """Open TensorBoard's files; none where no folder is given."""
    if log_dir is None:
        return []

    log.info("TensorBoard log: %s", log_dir)

    def draw(batch: Batch[Any], outputs: Any) -> npt.NDArray[np.uint8]:
        return draw_batch(task.codec, batch, outputs)

    sink = TensorBoardSink(
        log_dir, verbose=options.verbose_log, log_interval=options.log_interval, draw=draw, restored=restored
    )
    return [sink]
