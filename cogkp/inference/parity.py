"""Compare the outputs of two runners, on real images and on difficult synthetic inputs.

A model in two steps is compared step by step: see :class:`cogkp.tasks.base.TwoSteps`.
"""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import numpy as np
import numpy.typing as npt
from torch import nn

from cogkp.artifacts.manifest import ANY_BATCH, InputFacts, OutputDifference, OutputFacts, Signature
from cogkp.errors import ModelError, ParityError
from cogkp.inference.onnxruntime_runner import OnnxRuntimeRunner
from cogkp.inference.runner import Array, Runner
from cogkp.inference.torch_runner import TorchRunner
from cogkp.tasks.base import TwoSteps

_IMAGE_AXES = 4
_NOISE_SEED = 0
_SIZES_OF_ANY = (1, 2)


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
    """

    reference: str
    candidate: str
    outputs: tuple[OutputDifference, ...]

    def check(self) -> None:
        """Refuse a model that differs more than allowed: ParityError says by how much, and on which input."""
        for output in self.outputs:
            if not output.maximum <= output.tolerance:
                raise ParityError(
                    f"{self.candidate} disagrees with {self.reference}",
                    where=f"output {output.output!r}, input {output.worst_input!r}",
                    expected=f"at most {output.tolerance:g} {output.unit}",
                    got=f"{output.maximum:.3g} {output.unit}",
                )


class Answers(NamedTuple):
    """The outputs of two runners for one batch, each by name of output; with a label for each row."""

    rows: tuple[str, ...]
    truth: Mapping[str, Array]
    answer: Mapping[str, Array]


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
    entries = reference.signature.outputs
    answers = (Answers(case.rows, reference.infer(case.feed), candidate.infer(case.feed)) for case in cases)
    return ParityReport(reference.name, candidate.name, _differences(entries, answers, candidate.name))


def parity_inputs(signature: Signature, samples: Mapping[str, Array]) -> list[Case]:
    """Gather inputs to compare on: real ones, and ones that make heatmaps flat or move their peak to a border.

    Args:
        signature: of a model with one image input (B, C, H, W).
        samples: named (C, H, W) arrays as the data pipeline makes them; may be empty.

    Returns:
        Batches of the model's fixed size, or of one and of two rows where it takes any; the last one of a size is
        filled up from the start, rows of a batch differ.
    """
    entry = _image_input(signature)
    images = {**samples, **_difficult(entry)}
    batch = entry.shape[0]
    sizes = _SIZES_OF_ANY if batch == ANY_BATCH else (int(batch),)
    groups = [group for size in sizes for group in _groups(tuple(images), size)]
    return [Case(group, {entry.name: np.stack([images[name] for name in group])}) for group in groups]


def _groups(names: tuple[str, ...], size: int) -> list[tuple[str, ...]]:
    starts = range(0, len(names), size)
    return [tuple(names[(start + row) % len(names)] for row in range(size)) for start in starts]


def verify_onnx(
    module: nn.Module, path: Path, signature: Signature, samples: Mapping[str, Array], *, threads: int = 1
) -> tuple[OutputDifference, ...]:
    """Check (ParityError) that an ONNX file computes on the CPU what its source does, also on real inputs (C, H, W)."""
    cases = parity_inputs(signature, samples)
    if signature.inner and isinstance(module, TwoSteps):
        report = _compare_steps(module, path, signature, cases, threads)
    else:
        with TorchRunner(module, signature) as source, OnnxRuntimeRunner(path, signature, threads=threads) as exported:
            report = compare(source, exported, cases)
    report.check()
    return report.outputs


def _compare_steps(
    module: TwoSteps, path: Path, signature: Signature, cases: Sequence[Case], threads: int
) -> ParityReport:
    """Compare what the first steps compute, and what the second ones choose from the numbers of the file's first."""
    between = tuple(InputFacts(entry.name, entry.shape, entry.dtype) for entry in signature.inner)
    entries = (*signature.inner, *signature.outputs)
    with (
        tempfile.TemporaryDirectory() as folder,
        TorchRunner(module.first, Signature(signature.inputs, signature.inner)) as first,
        TorchRunner(module.then, Signature(between, signature.outputs)) as then,
        OnnxRuntimeRunner(
            _opened(path, signature, Path(folder)), Signature(signature.inputs, entries), threads=threads
        ) as exported,
    ):

        def answers() -> Iterable[Answers]:
            for case in cases:
                answer = exported.infer(case.feed)
                chosen = then.infer({entry.name: answer[entry.name] for entry in between})
                yield Answers(case.rows, {**first.infer(case.feed), **chosen}, answer)

        return ParityReport(first.name, exported.name, _differences(entries, answers(), exported.name))


def _opened(path: Path, signature: Signature, folder: Path) -> Path:
    """Copy an ONNX file, with the values between its steps as further outputs."""
    import onnx

    model = onnx.load_from_string(path.read_bytes())
    for entry in signature.inner:
        kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(entry.dtype))
        model.graph.output.append(onnx.helper.make_tensor_value_info(entry.name, kind, entry.shape))
    opened = folder / path.name
    opened.write_bytes(model.SerializeToString())
    return opened


def _differences(
    entries: Sequence[OutputFacts], answers: Iterable[Answers], candidate: str
) -> tuple[OutputDifference, ...]:
    rows: list[str] = []
    found: dict[str, list[npt.NDArray[np.float64]]] = {entry.name: [] for entry in entries}
    for each in answers:
        rows += each.rows
        for entry in entries:
            found[entry.name].append(_distances(entry, each.truth[entry.name], each.answer[entry.name]))
    if not rows:
        raise ModelError("nothing to compare on", where=candidate, expected="at least one input")
    return tuple(_summary(entry, np.concatenate(found[entry.name]), rows) for entry in entries)


def _distances(entry: OutputFacts, truth: Array, answer: Array) -> npt.NDArray[np.float64]:
    if truth.shape != answer.shape:
        raise ParityError(
            "output has another shape", where=entry.name, expected=str(list(truth.shape)), got=str(list(answer.shape))
        )
    usable = np.isfinite(truth) & np.isfinite(answer)
    apart = np.where(usable, truth.astype(np.float64) - np.where(usable, answer, 0.0), np.inf)
    distance = np.linalg.norm(apart, axis=-1) if entry.holds_points else np.abs(apart)
    return np.asarray(distance.reshape(len(truth), -1), dtype=np.float64)


def _summary(entry: OutputFacts, distances: npt.NDArray[np.float64], rows: Sequence[str]) -> OutputDifference:
    return OutputDifference(
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
    shape = tuple(int(length) for length in entry.shape[1:])
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
