"""What several verbs need first: a checked configuration, its data as batches, and the network of a checkpoint."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from cogkp.artifacts.checkpoint import Checkpoint, load_weights
from cogkp.artifacts.restore import open_checkpoint
from cogkp.artifacts.runs import own_name
from cogkp.config.keypoint.rules import check_training
from cogkp.config.keypoint.spec import KeypointConfig
from cogkp.config.torchrun import ALONE, Launch
from cogkp.config.train import TrainOptions
from cogkp.data.dataset import ImageDataset
from cogkp.data.loader import BatchLoader, build_loader
from cogkp.data.sample import Batch, collate
from cogkp.errors import ConfigError
from cogkp.tasks.base import Task
from cogkp.tasks.registry import build_task

__all__ = ["CHECKPOINT_ROOT", "open_loader", "require_runnable", "restored_task", "spread"]

CHECKPOINT_ROOT = Path("checkpoints")

log = logging.getLogger("cogkp")


def require_runnable(config: KeypointConfig, options: TrainOptions) -> None:
    """Refuse what cannot run with these options; raises ConfigError with every problem."""
    problems = check_training(config, options)
    if problems:
        raise ConfigError(problems)


def open_loader(
    dataset: ImageDataset,
    options: TrainOptions,
    *,
    shuffle: bool,
    launch: Launch = ALONE,
    pin: bool = True,
) -> BatchLoader:
    """Open a data set, or one rank's part of it, as batches; ``pin`` page-locks them where there is a GPU."""
    return build_loader(
        dataset,
        batch_size=options.batch_size,
        shuffle=shuffle,
        num_workers=options.num_workers,
        prefetch_factor=options.prefetch_factor,
        seed=options.seed,
        pin=pin and torch.cuda.is_available(),
        launch=launch,
        parts=options.accumulate,
    )


class RestoredTask(NamedTuple):
    """A task whose network has the weights of a checkpoint.

    Args:
        task: the family, configured.
        path: the file that was read, by its name in the folder of its run where it has one.
        home: that folder.
        checkpoint: what else the file holds.
    """

    task: Task
    path: Path
    home: Path
    checkpoint: Checkpoint


def restored_task(config: KeypointConfig, restore: str, root: Path) -> RestoredTask:
    """Build a task and give its network the weights of a checkpoint, averaged ones where it has them.

    Args:
        config: names the network's shape.
        restore: 'latest', 'best' or a path.
        root: folder of all runs.
    """
    found = open_checkpoint(restore, root)
    path, checkpoint, home = found.path, found.checkpoint, found.home
    task = build_task(config)
    load_weights(checkpoint, task.model, str(path), averaged=True)
    if checkpoint.provenance.points != config.point_names:
        trained, asked = ", ".join(checkpoint.provenance.points), ", ".join(config.point_names)
        log.warning("%s was trained for the points %s; the configuration calls them %s", path, trained, asked)
    return RestoredTask(task, own_name(path, home), home, checkpoint)


def spread(dataset: ImageDataset, count: int) -> Batch[Any]:
    """Take items evenly spread over a data set."""
    indices = np.unique(np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int))
    return collate([dataset[int(index)] for index in indices])
