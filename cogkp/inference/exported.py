"""Open exported models (ONNX or TensorRT), and run any number of images through them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cogkp.artifacts.manifest import Manifest, Signature, read_engine_manifest, read_manifest
from cogkp.artifacts.names import manifest_path
from cogkp.data.images import FULL, Levels
from cogkp.errors import ArtifactError, ModelError
from cogkp.inference.onnxruntime_runner import OnnxRuntimeRunner, best_device, read_onnx
from cogkp.inference.runner import Array, Runner

if TYPE_CHECKING:
    from torch import Tensor

ONNX_SUFFIX = ".onnx"
ENGINE_SUFFIXES = (".engine", ".plan", ".trt")
IMAGE_AXES = 4


class Exported(NamedTuple):
    """An exported model that is open.

    Args:
        runner: not open yet.
        facts: what the model's family wrote down; empty for files of other programs.
        checkpoint: what it was made of; empty where nobody wrote it down.
        training_images: what these were like; empty where nobody wrote it down.
        precision: of most of its layers.
    """

    runner: Runner
    facts: Mapping[str, Any]
    checkpoint: str = ""
    training_images: Mapping[str, Any] = {}
    precision: str = "fp32"


def open_exported(path: Path, *, threads: int = 0, gpu: int = 0, fixed_buffers: bool = False) -> Exported:
    """Open an exported model: ONNX Runtime for ``.onnx``, TensorRT for everything else.

    An engine needs a manifest, its own or that of its ONNX file, and torch, whose memory on the GPU it uses.
    ``threads`` are of ONNX Runtime; 0 leaves the choice to it. ``gpu`` is the index of the GPU that ONNX Runtime takes
    where it takes one; TensorRT takes torch's current one. ``fixed_buffers`` keeps memory between
    calls.

    Raises:
        ArtifactError: there is no such file, or it cannot be used.
    """
    if not path.is_file():
        raise ArtifactError("there is no such model", where=str(path), expected="an ONNX file or an engine")
    if path.suffix.lower() != ONNX_SUFFIX:
        from cogkp.inference.tensorrt_runner import TensorRTRunner

        manifest = read_engine_manifest(path)
        # What trtexec built elsewhere of one of our ONNX files may be of any precision.
        precision = "unknown" if manifest.engine is None else manifest.engine.precision
        runner: Runner = TensorRTRunner(path, manifest, fixed_buffers=fixed_buffers)
        return _described(runner, manifest, precision)
    signature, known = described_onnx(path)
    runner = OnnxRuntimeRunner(path, signature, threads=threads, device=best_device(gpu), fixed_buffers=fixed_buffers)
    return _described(runner, known) if known else Exported(runner, {})


def _described(runner: Runner, manifest: Manifest, precision: str = "fp32") -> Exported:
    return Exported(runner, manifest.facts, manifest.origin.checkpoint, manifest.origin.images, precision)


def described_onnx(path: Path) -> tuple[Signature, Manifest | None]:
    """Describe an ONNX file: from its manifest, else its metadata, else its inputs and outputs.

    The manifest is None for files of other programs.

    Raises:
        ArtifactError: the file cannot be used.
    """
    if not manifest_path(path).is_file():
        return read_onnx(path)
    manifest = read_manifest(path)
    return manifest.signature, manifest


def image_reading(facts: Mapping[str, Any], where: str) -> tuple[bool, Levels | None]:
    """Say whether images are turned as their files note, and which levels of 16 bits are black and white.

    Files of older versions say nothing of it: their images were taken as stored.
    """
    images = facts.get("images", {})
    oriented = images.get("apply_exif_orientation", False) if isinstance(images, Mapping) else None
    levels = images.get("levels_16bit") if isinstance(images, Mapping) else None
    fits = levels is None or (
        isinstance(levels, list | tuple)
        and [type(level) for level in levels] == [int, int]
        and 0 <= levels[0] <= levels[1] <= FULL[1]
    )
    if not isinstance(oriented, bool) or not fits:
        raise ArtifactError(
            "the model file does not say how its images are read",
            where=where,
            expected="facts.images with apply_exif_orientation, true or false, and levels_16bit, two numbers or null",
            got=repr(images)[:60],
            hint="Export the model again.",
        )
    return oriented, None if levels is None else (levels[0], levels[1])


def runner_predictor(runner: Runner, outputs: type[Any]) -> Callable[[Tensor], Any]:
    """Make a predictor of an open runner; fields of the NamedTuple ``outputs`` are names of its outputs.

    Returns:
        A function from images (B, C, H, W) float32 to ``outputs`` with B rows of float32, on the CPU. Images pass in
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
            f"the model has no output {', '.join(missing)}",
            where=runner.name,
            expected=", ".join(names),
            got=", ".join(given),
        )

    import torch

    entry, (_, most) = entries[0], runner.rows

    def predict(image: Tensor) -> Any:
        size = most or len(image)
        groups = [image[start : start + size].numpy() for start in range(0, len(image), size)]
        found = [infer_rows(runner, group.astype(entry.dtype, copy=False)) for group in groups]
        whole = {name: np.concatenate([part[name] for part in found]) for name in names}
        return outputs(**{name: torch.from_numpy(values.astype(np.float32)) for name, values in whole.items()})

    return predict


def infer_rows(runner: Runner, rows: Array) -> dict[str, Array]:
    """Run an open model of one input on rows (B, ...), at most as many as it takes.

    Where it takes more only, they are filled up with copies of the last one, whose outputs are left out again.
    """
    fewest, count = runner.rows[0], len(rows)
    if count < fewest:
        rows = np.concatenate([rows, np.repeat(rows[-1:], fewest - count, axis=0)])
    found = runner.infer({runner.signature.inputs[0].name: rows})
    return found if count == len(rows) else {name: values[:count] for name, values in found.items()}
