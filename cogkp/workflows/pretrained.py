"""Start a fresh network from an encoder that was trained before."""

from __future__ import annotations

import logging

from cogkp.artifacts.weight_file import find_weights, read_weights
from cogkp.config.train import TrainOptions
from cogkp.errors import ConfigError, Problem
from cogkp.models.encoder_weights import LoadedEncoder, load_encoder
from cogkp.models.keypoint import GenericKeypointModel
from cogkp.models.resnet import RESNET18_WEIGHTS
from cogkp.tasks.base import Task

__all__ = ["refuse_with_restore", "start_encoder"]

log = logging.getLogger("cogkp")


def refuse_with_restore(restore: str | None, given: frozenset[str]) -> None:
    """Refuse encoder weights that were spelled out beside a checkpoint, which brings all weights.

    Raises:
        ConfigError: both were given.
    """
    if restore is not None and "encoder_weights" in given:
        problem = Problem(
            "encoder weights are for a fresh network, and a restored checkpoint brings all of its weights",
            "encoder_weights",
            expected="--encoder-weights or --restore, not both",
            hint="To train other points from that checkpoint's encoder, name it in --encoder-weights alone.",
        )
        raise ConfigError([problem])


def start_encoder(task: Task, options: TrainOptions) -> LoadedEncoder | None:
    """Load the encoder that the options name, and say what was loaded and what was not; None where they name none.

    Raises:
        CheckpointError: there is no such file, or it holds no weights.
        ModelError: it holds those of another network; the task's network is then untouched.
    """
    if options.encoder_weights is None or not isinstance(task.model, GenericKeypointModel):
        return None
    found = read_weights(find_weights(options.encoder_weights, RESNET18_WEIGHTS))
    loaded = load_encoder(task.model, found.weights, str(found.path))
    passed = f"; not used from there: {', '.join(loaded.passed_over)}" if loaded.passed_over else ""
    log.info(
        "encoder from %s (%s): %d tensors, %s numbers%s; %s start from random weights",
        found.path,
        found.origin,
        loaded.tensors,
        f"{loaded.numbers:,}",
        passed,
        ", ".join(loaded.fresh),
    )
    return loaded
