"""Compare two runners output by output, on photographs and on inputs chosen to be difficult."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
from torch import nn

from cogkp.artifacts.manifest import Difference, InputFacts, OutputFacts, Signature
from cogkp.errors import ModelError, ParityError
from cogkp.inference.onnxruntime_runner import OnnxRuntimeRunner
from cogkp.inference.runner import Array, Runner
from cogkp.inference.torch_runner import TorchRunner

__all__ = ["Case", "ParityReport", "compare", "parity_inputs", "verify_onnx"]

_IMAGE_AXES = 4
_NOISE_SEED = 0


@attrs.frozen(eq=False)
class Case:
    """One batch to compare on.

    Args:
        rows: a word for each row of the batch.
        feed: the arrays.
    """

    rows: tuple[str, ...]
    feed: Mapping[str, Array]


@attrs.frozen
class ParityReport:
    """What a comparison found.

    Args:
        reference: name of the runner taken as truth.
        candidate: name of the runner under test.
        outputs: one entry per output.
    """

    reference: str
    candidate: str
    outputs: tuple[Difference, ...]

    def check(self) -> None:
        """Refuse a model that differs more than allowed.

        Raises:
            ParityError: names the first such output, what was measured, on which input, and what is allowed.
        """
        for output in self.outputs:
            if not output.maximum <= output.tolerance:
                raise ParityError(
                    f"{self.candidate} disagrees with {self.reference}",
                    where=f"output {output.output!r}, input {output.worst_input!r}",
                    expected=f"at most {output.tolerance:g} {output.unit}",
                    got=f"{output.maximum:.3g} {output.unit}",
                )


def compare(reference: Runner, candidate: Runner, cases: Sequence[Case]) -> ParityReport:
    """Run two open runners on the same batches and measure how far they are apart.

    Args:
        reference: taken as truth; its signature says units and tolerances.
        candidate: under test.
        cases: at least one batch.

    Returns:
        Per output the maximum, 99th percentile and mean of the absolute difference, in the output's unit; for points
        in pixels of the Euclidean distance. A value that is not finite on both sides counts as infinitely far off.
    """
    if not cases:
        raise ModelError("nothing to compare on", where=candidate.name, expected="at least one input")
    found: dict[str, list[npt.NDArray[np.float64]]] = {entry.name: [] for entry in reference.signature.outputs}
    for case in cases:
        truth, answer = reference.infer(case.feed), candidate.infer(case.feed)
        for entry in reference.signature.outputs:
            found[entry.name].append(_distances(entry, truth[entry.name], answer[entry.name]))
    rows = [row for case in cases for row in case.rows]
    outputs = tuple(_summary(entry, np.concatenate(found[entry.name]), rows) for entry in reference.signature.outputs)
    return ParityReport(reference.name, candidate.name, outputs)


def parity_inputs(signature: Signature, samples: Mapping[str, Array]) -> list[Case]:
    """Gather inputs to compare on: real ones, and ones that make heatmaps flat or push their peak to a border.

    Args:
        signature: of a model with one image input (B, C, H, W).
        samples: named (C, H, W) arrays as the data pipeline makes them; may be empty.

    Returns:
        Batches of the model's fixed size; the last one is filled up from the start, rows of a batch differ.
    """
    entry = _image_input(signature)
    images = {**samples, **_difficult(entry)}
    names = tuple(images)
    batch = entry.shape[0]
    starts = range(0, len(names), batch)
    groups = [tuple(names[(start + row) % len(names)] for row in range(batch)) for start in starts]
    return [Case(group, {entry.name: np.stack([images[name] for name in group])}) for group in groups]


def verify_onnx(
    module: nn.Module, path: Path, signature: Signature, samples: Mapping[str, Array], *, threads: int = 1
) -> tuple[Difference, ...]:
    """Make sure that an ONNX file computes what its source module computes, on the CPU.

    Args:
        module: the source, in evaluation mode.
        path: the exported file.
        signature: what both take and give, with tolerances.
        samples: named real inputs (C, H, W).
        threads: for ONNX Runtime.

    Raises:
        ParityError: an output differs by more than its tolerance.
    """
    with TorchRunner(module, signature) as source, OnnxRuntimeRunner(path, signature, threads=threads) as exported:
        report = compare(source, exported, parity_inputs(signature, samples))
    report.check()
    return report.outputs


def _distances(entry: OutputFacts, truth: Array, answer: Array) -> npt.NDArray[np.float64]:
    if truth.shape != answer.shape:
        raise ParityError(
            "output has another shape", where=entry.name, expected=str(list(truth.shape)), got=str(list(answer.shape))
        )
    usable = np.isfinite(truth) & np.isfinite(answer)
    apart = np.where(usable, truth.astype(np.float64) - np.where(usable, answer, 0.0), np.inf)
    distance = np.linalg.norm(apart, axis=-1) if entry.holds_points else np.abs(apart)
    return np.asarray(distance.reshape(len(truth), -1), dtype=np.float64)


def _summary(entry: OutputFacts, distances: npt.NDArray[np.float64], rows: Sequence[str]) -> Difference:
    return Difference(
        output=entry.name,
        unit=entry.unit,
        tolerance=entry.tolerance,
        maximum=float(distances.max()),
        p99=float(np.percentile(distances, 99, method="higher")),
        mean=float(distances.mean()),
        worst_input=rows[int(distances.max(axis=1).argmax())],
    )


def _image_input(signature: Signature) -> InputFacts:
    entries = signature.inputs
    if len(entries) != 1 or len(entries[0].shape) != _IMAGE_AXES:
        shapes = ", ".join(f"{entry.name} {list(entry.shape)}" for entry in entries)
        raise ModelError("parity needs one image input", expected="(B, C, H, W)", got=shapes)
    return entries[0]


def _difficult(entry: InputFacts) -> dict[str, Array]:
    low, high = entry.range or (0.0, 1.0)
    shape = entry.shape[1:]
    patterns: dict[str, Any] = {
        "grey": np.full(shape, 0.5),
        "black": np.zeros(shape),
        "white": np.ones(shape),
        "noise": np.random.default_rng(_NOISE_SEED).random(shape),
        "checkerboard": np.broadcast_to(np.indices(shape[1:]).sum(axis=0) % 2, shape),
        **_corner_dots(shape),
    }
    return {name: (low + (high - low) * pattern).astype(entry.dtype) for name, pattern in patterns.items()}


def _corner_dots(shape: tuple[int, ...]) -> dict[str, Array]:
    dots: dict[str, Array] = {}
    for name, row, column in (
        ("top left", 0, 0),
        ("top right", 0, -1),
        ("bottom left", -1, 0),
        ("bottom right", -1, -1),
    ):
        image = np.zeros(shape)
        image[:, row, column] = 1.0
        dots[f"dot {name}"] = image
    return dots
