"""Exported models of any origin as predictors: who runs a file, and how any number of pictures gets through it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cogkp.artifacts.manifest import InputFacts, Manifest, Signature, read_engine_manifest, read_manifest
from cogkp.artifacts.model_files import manifest_path
from cogkp.errors import ArtifactError, ModelError
from cogkp.inference.onnxruntime_runner import OnnxRuntimeRunner, best_device, read_onnx
from cogkp.inference.runner import Array, Runner
from cogkp.inference.tensorrt_runner import TensorRTRunner

__all__ = ["ENGINE_SUFFIXES", "ONNX_SUFFIX", "Exported", "described_onnx", "open_exported", "runner_predictor"]

ONNX_SUFFIX = ".onnx"
ENGINE_SUFFIXES = (".engine", ".plan", ".trt")
IMAGE_AXES = 4


class Exported(NamedTuple):
    """A file that can be run.

    Args:
        runner: not open yet.
        facts: what the model's family wrote down; empty for files of other programs.
        checkpoint: what it was made of; empty where nobody wrote it down.
    """

    runner: Runner
    facts: Mapping[str, Any]
    checkpoint: str = ""


def open_exported(path: Path) -> Exported:
    """Choose who runs a file: ONNX Runtime what ends in ``.onnx``, TensorRT all else.

    An engine needs a manifest, its own or that of its ONNX file.

    Raises:
        ArtifactError: there is no such file, or it cannot be used.
    """
    if not path.is_file():
        raise ArtifactError("there is no such model", where=str(path), expected="an ONNX file or an engine")
    if path.suffix.lower() != ONNX_SUFFIX:
        manifest = read_engine_manifest(path)
        return Exported(TensorRTRunner(path, manifest), manifest.facts, manifest.origin.checkpoint)
    signature, known = described_onnx(path)
    runner = OnnxRuntimeRunner(path, signature, device=best_device())
    return Exported(runner, known.facts, known.origin.checkpoint) if known else Exported(runner, {})


def described_onnx(path: Path) -> tuple[Signature, Manifest | None]:
    """Find out what an ONNX file is: from its manifest, else from what travels inside it, else from its own names.

    Returns:
        What it takes and gives, and its manifest, which files of other programs have not.

    Raises:
        ArtifactError: the file cannot be used.
    """
    if not manifest_path(path).is_file():
        return read_onnx(path)
    manifest = read_manifest(path)
    return manifest.signature, manifest


def runner_predictor(runner: Runner, outputs: type[Any]) -> Callable[[Tensor], Any]:
    """Make a predictor of an open runner.

    Args:
        runner: takes one batch of images.
        outputs: a NamedTuple whose fields are names of its outputs.

    Returns:
        A function from images (B, C, H, W) float32 to ``outputs`` with B rows of float32, on the CPU. Pictures pass in
        groups that the model takes; a group that is too small is filled up with copies.

    Raises:
        ModelError: the model takes or gives something else.
    """
    entries, given = runner.signature.inputs, [entry.name for entry in runner.signature.outputs]
    if len(entries) != 1 or len(entries[0].shape) != IMAGE_AXES:
        shapes = ", ".join(f"{entry.name} {list(entry.shape)}" for entry in entries)
        raise ModelError("the model takes no image", where=runner.name, expected="one input (B, C, H, W)", got=shapes)
    names: tuple[str, ...] = outputs._fields
    if missing := [name for name in names if name not in given]:
        raise ModelError(
            f"the model puts out no {', '.join(missing)}",
            where=runner.name,
            expected=", ".join(names),
            got=", ".join(given),
        )
    entry, (fewest, most) = entries[0], runner.rows

    def predict(image: Tensor) -> Any:
        size = most or len(image)
        groups = [image[start : start + size] for start in range(0, len(image), size)]
        found = [_run(runner, entry, group, fewest) for group in groups]
        whole = {name: np.concatenate([part[name] for part in found]) for name in names}
        return outputs(**{name: torch.from_numpy(values.astype(np.float32)) for name, values in whole.items()})

    return predict


def _run(runner: Runner, entry: InputFacts, image: Tensor, fewest: int) -> dict[str, Array]:
    """Run a group of pictures, filled up to a number with copies of its last one."""
    group = image.numpy().astype(entry.dtype)
    filled = np.concatenate([group, np.repeat(group[-1:], max(0, fewest - len(group)), axis=0)])
    return {name: values[: len(group)] for name, values in runner.infer({entry.name: filled}).items()}
