"""Open the model that an experiment names, and check that it fits the experiment."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch

from cogkp.artifacts.checkpoint import load_checkpoint
from cogkp.artifacts.manifest import Signature
from cogkp.artifacts.restore import Restored
from cogkp.config.centerpose.spec import CenterPoseConfig, EvaluateSpec, InferenceSpec
from cogkp.errors import ArtifactError, ConfigError, Problem
from cogkp.inference.exported import Exported
from cogkp.tasks.centerpose.detections import DecodedObjects
from cogkp.training.distributed import SINGLE, Ranks
from cogkp.workflows.setup import OpenedModel, is_exported, open_model, require_family

COLOURS = 3
FAMILY = "centerpose"

log = logging.getLogger("cogkp")


@contextmanager
def opened_model(config: CenterPoseConfig, ranks: Ranks = SINGLE) -> Iterator[OpenedModel]:
    """Open the model that is to be evaluated; what ends in ``.onnx`` or ``.engine`` may stand in either key.

    Raises:
        ConfigError: it names none.
        ArtifactError: the file cannot be used, or belongs to another family or has no input that images fit into.
        EngineError: an engine without a GPU.
    """
    path, section = model_path(config, "evaluate"), config.evaluate
    exported = section.checkpoint is None or is_exported(path)
    model = path if exported else open_experiment_checkpoint(path, config)
    # Of several processes each has its GPU already.
    alone = ranks.alone and torch.cuda.is_available()
    device = torch.device("cuda", section.gpus[0]) if alone else None
    with open_model(config, model, device=device) as opened:
        yield opened


def model_path(config: CenterPoseConfig, verb: Literal["evaluate", "inference"]) -> Path:
    """Choose the model file that a verb's section names; raises ConfigError where it names none."""
    section: EvaluateSpec | InferenceSpec = getattr(config, verb)
    if not section.model_file:
        wanted = f"a file, or one in {verb}.trt_engine"
        raise ConfigError([Problem("there is no model", f"{verb}.checkpoint", wanted, "nothing")])
    if section.checkpoint and section.trt_engine:
        message = "%s.trt_engine is not used: %s.checkpoint is given; %s.checkpoint=null takes the engine"
        log.warning(message, verb, verb, verb)
    return Path(section.model_file)


def open_experiment_checkpoint(path: Path, config: CenterPoseConfig) -> Restored:
    """Read a checkpoint of this family; raises CheckpointError where it is missing, damaged, or of another one."""
    restored = Restored(path, load_checkpoint(path))
    require_family(restored, config)
    return restored


def require_outputs(signature: Signature, facts: Mapping[str, Any], path: Path) -> None:
    """Refuse models of another family; what their family wrote down says it, else the names of the outputs do."""
    outputs = [entry.name for entry in signature.outputs]
    if facts.get("family", FAMILY) != FAMILY or not set(DecodedObjects._fields) <= set(outputs):
        raise ArtifactError(
            "the model is of another family",
            where=str(path),
            expected=f"the outputs {', '.join(DecodedObjects._fields)}",
            got=", ".join(outputs),
            hint="Give a model that s6 cog centerpose has made.",
        )


def input_size(found: Exported, path: Path, config: CenterPoseConfig) -> tuple[int, int]:
    """Return the width and height that a model takes, pixels."""
    stride, shape = config.model.down_ratio, found.runner.signature.inputs[0].shape
    colours, height, width = shape[1:]
    fixed = isinstance(height, int) and isinstance(width, int) and height % stride == width % stride == 0
    if colours != COLOURS or not fixed:
        raise ArtifactError(
            "images do not fit into the model's input",
            where=str(path),
            expected=f"(B, 3, H, W) with H and W fixed, multiples of {stride}",
            got=str(list(shape)),
            hint="Export it with one size of its input.",
        )
    if (width, height) != (config.dataset.input_res,) * 2:
        message = "%s takes %d x %d pixels, and is given them; dataset.input_res is %d"
        log.info(message, path, width, height, config.dataset.input_res)
    return int(width), int(height)


def require_colours(found: Exported, path: Path, config: CenterPoseConfig) -> None:
    """Refuse a model that takes other colours than the experiment makes."""
    data = config.dataset
    declared: Mapping[str, Any] = found.facts.get("input", {})
    for name in ("mean", "std"):
        wanted = list(getattr(data, name))
        if declared.get(name, wanted) != wanted:
            raise ArtifactError(
                "the model takes other colours",
                where=str(path),
                expected=f"dataset.{name} {declared[name]}",
                got=str(wanted),
                hint="Take both from the experiment it was trained with.",
            )
