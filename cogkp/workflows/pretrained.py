"""Start a fresh network from weights that were trained before."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from cogkp.artifacts.checkpoint import load_checkpoint, load_weights
from cogkp.artifacts.restore import Restored
from cogkp.artifacts.weight_file import IMAGENET, find_weights, read_weights
from cogkp.config.centerpose.model import BackboneSpec
from cogkp.config.centerpose.spec import CenterPoseConfig
from cogkp.config.train import TrainOptions
from cogkp.errors import CheckpointError, ConfigError, Problem
from cogkp.models.backbone_weights import DLA34_WEIGHTS, load_backbone
from cogkp.models.encoder_weights import LoadedEncoder, load_encoder
from cogkp.models.keypoint import GenericKeypointModel
from cogkp.models.resnet import RESNET18_WEIGHTS
from cogkp.tasks.base import Task

__all__ = ["open_experiment_checkpoint", "refuse_with_restore", "start_encoder", "start_network"]

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


def start_network(task: Task, config: CenterPoseConfig) -> None:
    """Give a fresh network the weights its experiment names, and say so: a whole network's, else a backbone's.

    Raises:
        CheckpointError: there is no such file, or it holds no weights.
        ModelError: it holds those of another backbone; the task's network is then untouched.
    """
    whole = config.train.pretrained_model_path
    if whole:
        load_weights(open_experiment_checkpoint(Path(whole)).checkpoint, task.model, whole)
        log.info("all weights from %s", whole)
    elif config.model.use_pretrained:
        found = read_weights(_backbone_file(config.model.backbone))
        network: Any = task.model
        tensors = load_backbone(network.backbone, found.weights, str(found.path))
        said = "backbone from %s (%s): %d tensors; neck and heads start from random weights"
        log.info(said, found.path, found.origin, tensors)


def open_experiment_checkpoint(path: Path) -> Restored:
    """Read a checkpoint of the object-pose family.

    Raises:
        CheckpointError: it is missing, damaged, or of another family or program.
    """
    checkpoint = load_checkpoint(path)
    if "dataset" not in checkpoint.provenance.config:
        raise CheckpointError(
            "the checkpoint is of another family",
            where=str(path),
            got=f"the points {', '.join(checkpoint.provenance.points)}",
            hint="Give one that s6 cog centerpose has made.",
        )
    return Restored(path, checkpoint)


def _backbone_file(backbone: BackboneSpec) -> Path:
    """Find the file of weights; without a name, DLA34's published one, where torch would have put it."""
    source = backbone.pretrained_backbone_path
    if backbone.model_type == "DLA34":
        return find_weights(source or IMAGENET, DLA34_WEIGHTS)
    if source and Path(source).is_file():
        return Path(source)
    raise CheckpointError(
        "there is no such file of weights" if source else "model.use_pretrained is on, and no file is named",
        where=source or "model.backbone.pretrained_backbone_path",
        expected=f"a checkpoint of this library with the backbone {backbone.model_type}",
        hint="Nothing is downloaded. Without one give model.use_pretrained=false.",
    )
