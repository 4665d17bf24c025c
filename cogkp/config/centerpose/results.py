"""Folders and file names of each verb's results, and the checkpoint to resume from."""

import re
from collections.abc import Collection
from pathlib import Path

import attrs

from cogkp.config.centerpose.spec import CenterPoseConfig, ExportSection, Verb
from cogkp.errors import ConfigError, Problem

EXPERIMENT_NAME = "experiment.yaml"
STATUS_NAME = "status.json"
LATEST_NAME = "centerpose_model_latest.pth"
BEST_NAME = "centerpose_model_best.pth"
CHECKPOINT = re.compile(r"model_epoch_(\d{3,})(_step_\d{5,})?\.pth")


@attrs.frozen
class Results:
    """The folder of one verb's results."""

    path: Path
    mirror: None = None

    @property
    def experiment(self) -> Path:
        """The resolved spec."""
        return self.path / EXPERIMENT_NAME

    @property
    def status(self) -> Path:
        """Progress, one JSON object per line."""
        return self.path / STATUS_NAME

    @property
    def checkpoint(self) -> Path:
        """The newest checkpoint of a training."""
        return self.path / LATEST_NAME

    @property
    def best(self) -> Path:
        """The checkpoint of the best validation."""
        return self.path / BEST_NAME


def results_of(config: CenterPoseConfig, verb: Verb) -> Results:
    """Choose the folder of a verb: its own ``results_dir``, else one below the common one; ConfigError without either.

    Example:
        >>> results_of(CenterPoseConfig(results_dir="out"), "train").checkpoint.as_posix()
        'out/train/centerpose_model_latest.pth'
    """
    own: str | None = getattr(config, verb).results_dir
    if own:
        return Results(Path(own))
    if config.results_dir:
        return Results(Path(config.results_dir) / verb)
    hint = f"Give results_dir, or {verb}.results_dir."
    raise ConfigError([Problem("no place for results", "results_dir", "a folder", "nothing", hint)])


def checkpoint_name(epoch: int, step: int | None = None) -> str:
    """Name a checkpoint by its epoch, from 0, and, where some are made within epochs, the steps since training began.

    Example:
        >>> checkpoint_name(4), checkpoint_name(4, 1250)
        ('model_epoch_004.pth', 'model_epoch_004_step_01250.pth')
    """
    within = "" if step is None else f"_step_{step:05d}"
    return f"model_epoch_{epoch:03d}{within}.pth"


def checkpoint_epoch(name: str) -> int | None:
    """Return the epoch in a checkpoint's name, counted from 0; None for other files.

    Example:
        >>> [checkpoint_epoch(name) for name in ("model_epoch_004.pth", "model_epoch_012_step_00300.pth", "other.pth")]
        [4, 12, None]
    """
    found = CHECKPOINT.fullmatch(name)
    return int(found[1]) if found else None


def resume_checkpoint(config: CenterPoseConfig, present: Collection[str]) -> Path | None:
    """Choose the checkpoint to resume from, of the files ``present`` in the training's folder; ConfigError without one.

    Returns:
        The one that ``train.resume_training_checkpoint_path`` names, whether or not it exists; else the latest in the
        folder; None for a fresh start.
    """
    explicit = config.train.resume_training_checkpoint_path
    if explicit:
        return Path(explicit)
    latest = results_of(config, "train").checkpoint
    return latest if latest.name in present else None


def onnx_path(export: ExportSection) -> Path:
    """Choose the ONNX file to write: the one that is named, else one beside the checkpoint; ConfigError without either.

    Example:
        >>> onnx_path(ExportSection(checkpoint="out/model.pth")).as_posix()
        'out/model.onnx'
    """
    if export.onnx_file:
        return Path(export.onnx_file)
    if export.checkpoint and Path(export.checkpoint).name:
        return Path(export.checkpoint).with_suffix(".onnx")
    got = f"the checkpoint {export.checkpoint}" if export.checkpoint else "nothing"
    raise ConfigError([Problem("no name for the ONNX file", "export.onnx_file", "a name, or a checkpoint's file", got)])
