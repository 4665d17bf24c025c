"""Turn a torch module into one ONNX file: float32 weights, float32 inputs and outputs, fixed batch.

The names and order of the outputs are the fields of the NamedTuple the module returns; they are listed nowhere else.
"""

from __future__ import annotations

import copy
import logging
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cogkp.artifacts.manifest import InputFacts, OutputFacts, Signature
from cogkp.errors import ExportError
from cogkp.files import write_bytes
from cogkp.tasks.base import ExportSpec

__all__ = ["OPSET", "export_onnx", "signature_of", "with_metadata"]

OPSET = 17
"""The documented operator set: old enough for every runtime in use, new enough for every layer here."""

_LOG = logging.getLogger("cogkp.export")


def signature_of(module: nn.Module, spec: ExportSpec) -> Signature:
    """Run the module once on the example inputs and describe what goes in and what comes out.

    Args:
        module: in evaluation mode, float32; returns a NamedTuple of tensors.
        spec: names, examples and units.

    Raises:
        ExportError: the module trains, is not float32, or returns something else than ``spec`` says.
    """
    _require_deployable(module)
    with torch.no_grad():
        outputs = _on_cpu(module)(*spec.inputs.values())
    names = tuple(getattr(outputs, "_fields", ()))
    declared = tuple(output.name for output in spec.outputs)
    if names != declared:
        raise ExportError(
            "module returns other outputs than declared",
            where=type(module).__name__,
            expected=f"a NamedTuple with the fields {', '.join(declared)}",
            got=", ".join(names) or type(outputs).__name__,
        )
    return Signature(
        tuple(_input_facts(name, example, spec.facts) for name, example in spec.inputs.items()),
        tuple(
            OutputFacts(output.name, tuple(tensor.shape), output.unit, output.tolerance, _dtype(tensor))
            for output, tensor in zip(spec.outputs, outputs, strict=True)
        ),
    )


def export_onnx(
    module: nn.Module, spec: ExportSpec, path: Path, *, opset: int = OPSET, metadata: Mapping[str, str] | None = None
) -> Path:
    """Write the ONNX file of a module, whole or not at all.

    Args:
        module: in evaluation mode, float32; returns a NamedTuple of tensors.
        spec: names, examples of the fixed batch size, units.
        path: file to write.
        opset: ONNX operator set.
        metadata: text pairs to embed.

    Returns:
        ``path``.

    Raises:
        ExportError: the module cannot be traced, or the graph differs from ``spec``.
        OutputError: the file cannot be written.
    """
    import onnx

    signature = signature_of(module, spec)
    model = onnx.load_from_string(_traced(_on_cpu(module), spec, signature, opset))
    _check(model, signature, str(path))
    write_bytes(path, _with_pairs(model, metadata or {}))
    return path


def with_metadata(onnx_bytes: bytes, metadata: Mapping[str, str]) -> bytes:
    """Return the same model carrying ``metadata``; pairs of the same key are replaced, the graph is untouched."""
    import onnx

    return _with_pairs(onnx.load_from_string(onnx_bytes), metadata)


def _with_pairs(model: Any, metadata: Mapping[str, str]) -> bytes:
    import onnx

    kept = {pair.key: pair.value for pair in model.metadata_props}
    onnx.helper.set_model_props(model, {**kept, **metadata})
    content: bytes = model.SerializeToString()
    return content


def _require_deployable(module: nn.Module) -> None:
    where = type(module).__name__
    if module.training:
        raise ExportError("module is in training mode", where=where, hint="Call eval() before exporting.")
    state = [*module.named_parameters(), *module.named_buffers()]
    other = [name for name, tensor in state if tensor.is_floating_point() and tensor.dtype != torch.float32]
    if other:
        raise ExportError(
            "module does not hold float32 weights", where=where, expected="float32", got=", ".join(other[:3])
        )


def _on_cpu(module: nn.Module) -> nn.Module:
    if all(tensor.device.type == "cpu" for tensor in (*module.parameters(), *module.buffers())):
        return module
    return copy.deepcopy(module).cpu()


def _input_facts(name: str, example: Tensor, facts: Mapping[str, Any]) -> InputFacts:
    span: Sequence[float] | None = facts.get("input", {}).get("range")
    return InputFacts(name, tuple(example.shape), _dtype(example), None if span is None else (span[0], span[1]))


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _traced(module: nn.Module, spec: ExportSpec, signature: Signature, opset: int) -> bytes:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        draft = Path(folder) / "draft.onnx"
        try:
            torch.onnx.export(
                module,
                tuple(spec.inputs.values()),
                draft,
                dynamo=False,
                opset_version=opset,
                input_names=[entry.name for entry in signature.inputs],
                output_names=[entry.name for entry in signature.outputs],
            )
        except (RuntimeError, ValueError, TypeError) as error:
            raise ExportError(
                "module cannot be exported to ONNX", where=type(module).__name__, got=_first_line(error)
            ) from error
        for warning in heard:
            _LOG.debug("while exporting: %s", warning.message)
        return draft.read_bytes()


def _check(model: Any, signature: Signature, where: str) -> None:
    import onnx

    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError("exported graph is not valid ONNX", where=where, got=_first_line(error)) from error
    expected = [
        *((entry.name, entry.dtype, entry.shape) for entry in signature.inputs),
        *((entry.name, entry.dtype, entry.shape) for entry in signature.outputs),
    ]
    found = [(value.name, _element(value), _shape(value)) for value in (*model.graph.input, *model.graph.output)]
    for wanted, got in zip(expected, found, strict=True):
        if wanted != got:
            raise ExportError("exported graph differs from the module", where=where, expected=str(wanted), got=str(got))


def _element(value: Any) -> str:
    import onnx

    return str(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))


def _shape(value: Any) -> tuple[int | str, ...]:
    return tuple(axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim)


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0]
