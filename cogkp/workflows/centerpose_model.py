"""The network that an experiment's evaluation or inference names: a checkpoint, an ONNX file or an engine."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import attrs
import torch

from cogkp.artifacts.checkpoint import Checkpoint, load_weights
from cogkp.artifacts.manifest import Signature
from cogkp.config.centerpose.run import EvaluateSpec, InferenceSpec
from cogkp.config.centerpose.spec import CenterPoseConfig
from cogkp.errors import ArtifactError, ConfigError, Problem
from cogkp.inference.exported import ONNX_SUFFIX, Exported, open_exported, runner_predictor
from cogkp.tasks.centerpose.decode import DecodedObjects
from cogkp.tasks.centerpose.task import CenterPoseTask
from cogkp.training.evaluator import Predict, torch_predictor
from cogkp.training.precision import resolve_precision
from cogkp.workflows.pretrained import open_experiment_checkpoint

__all__ = ["ExperimentModel", "opened_model", "require_family", "restored_experiment"]

ENGINE_SUFFIXES = (".engine", ".plan", ".trt")
COLOURS = 3
FAMILY = "centerpose"
OTHER_FAMILY = "Give a model that s6 cog centerpose has made."

log = logging.getLogger("cogkp")


@attrs.frozen(eq=False, kw_only=True)
class ExperimentModel:
    """A network ready to predict.

    Args:
        path: its file.
        task: what its predictions mean.
        predict: pictures to maps, or to objects where the file decodes.
        checkpoint: the file's content; None for an exported network.
        origin: what an exported network was made of; empty where nobody wrote it down.
    """

    path: Path
    task: CenterPoseTask
    predict: Predict
    checkpoint: Checkpoint | None = None
    origin: str = ""


@contextmanager
def opened_model(config: CenterPoseConfig, verb: Literal["evaluate", "inference"]) -> Iterator[ExperimentModel]:
    """Open the network that a verb's section names; what ends in ``.onnx`` or ``.engine`` may stand in either key.

    Raises:
        ConfigError: it names none.
        ArtifactError: the file cannot be used, or belongs to another family or has no input that pictures fit into.
        EngineError: an engine without a GPU.
    """
    section: EvaluateSpec | InferenceSpec = getattr(config, verb)
    if not section.model_file:
        wanted = f"a file, or one in {verb}.trt_engine"
        raise ConfigError([Problem("there is no model", f"{verb}.checkpoint", wanted, "nothing")])
    if len(section.gpus) > 1 or section.num_nodes > 1:
        log.warning("%s.num_gpus: one GPU is used", verb)
    if section.checkpoint and section.trt_engine:
        told = "%s.trt_engine is not used: %s.checkpoint is given; %s.checkpoint=null takes the engine"
        log.warning(told, verb, verb, verb)
    path = Path(section.model_file)
    exported = section.checkpoint is None or path.suffix.lower() in (ONNX_SUFFIX, *ENGINE_SUFFIXES)
    if not exported:
        yield _restored(config, path, section.gpus[0])
        return
    found = open_exported(path)
    require_family(found.runner.signature, found.facts, path)
    _require_colours(found, path, config)
    task = CenterPoseTask(config, size_wh=_input_size(found, path, config))
    with found.runner as runner:
        predict = runner_predictor(runner, DecodedObjects)
        yield ExperimentModel(path=path, task=task, predict=predict, origin=found.checkpoint)


def restored_experiment(config: CenterPoseConfig, path: Path) -> tuple[CenterPoseTask, Checkpoint]:
    """Build the task of an experiment and give its network the weights of a checkpoint, averaged where it has such.

    Raises:
        CheckpointError: the file cannot be used, or is of another family or shape.
    """
    checkpoint = open_experiment_checkpoint(path).checkpoint
    task = CenterPoseTask(config)
    load_weights(checkpoint, task.model, str(path), averaged=True)
    return task, checkpoint


def _restored(config: CenterPoseConfig, path: Path, gpu: int) -> ExperimentModel:
    task, checkpoint = restored_experiment(config, path)
    device = torch.device("cuda", gpu) if torch.cuda.is_available() else None
    precision = resolve_precision("fp32", device)
    predict = torch_predictor(precision.place_model(task.model).eval(), precision)
    return ExperimentModel(path=path, task=task, predict=predict, checkpoint=checkpoint)


def require_family(signature: Signature, facts: Mapping[str, Any], path: Path) -> None:
    """Refuse models of another family; what their family wrote down says it, else the names of the outputs do."""
    outputs = [entry.name for entry in signature.outputs]
    if facts.get("family", FAMILY) != FAMILY or not set(DecodedObjects._fields) <= set(outputs):
        raise ArtifactError(
            "the model is of another family",
            where=str(path),
            expected=f"the outputs {', '.join(DecodedObjects._fields)}",
            got=", ".join(outputs),
            hint=OTHER_FAMILY,
        )


def _input_size(found: Exported, path: Path, config: CenterPoseConfig) -> tuple[int, int]:
    """Return the width and height that a model takes, pixels."""
    stride, shape = config.model.down_ratio, found.runner.signature.inputs[0].shape
    colours, height, width = shape[1:]
    fixed = isinstance(height, int) and isinstance(width, int) and height % stride == width % stride == 0
    if colours != COLOURS or not fixed:
        raise ArtifactError(
            "pictures do not fit into the model's input",
            where=str(path),
            expected=f"(B, 3, H, W) with H and W fixed, multiples of {stride}",
            got=str(list(shape)),
            hint="Export it with one size of its input.",
        )
    if (width, height) != (config.dataset.input_res,) * 2:
        told = "%s takes %d x %d pixels, and is given them; dataset.input_res is %d"
        log.info(told, path, width, height, config.dataset.input_res)
    return int(width), int(height)


def _require_colours(found: Exported, path: Path, config: CenterPoseConfig) -> None:
    """Refuse a model that takes other colours than the experiment makes."""
    data = config.dataset
    told: Mapping[str, Any] = found.facts.get("input", {})
    for name in ("mean", "std"):
        wanted = list(getattr(data, name))
        if told.get(name, wanted) != wanted:
            raise ArtifactError(
                "the model takes other colours",
                where=str(path),
                expected=f"dataset.{name} {told[name]}",
                got=str(wanted),
                hint="Take both from the experiment it was trained with.",
            )
