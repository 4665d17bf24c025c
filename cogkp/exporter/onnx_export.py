"""Export a torch module to one ONNX file: float32 weights, inputs and outputs, fixed or dynamic batch.

The names and order of the outputs are the fields of the NamedTuple the module returns; they are listed nowhere else.
"""

import copy
import logging
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from cogkp.artifacts.manifest import ANY_BATCH, InputFacts, OutputFacts, Shape, Signature
from cogkp.errors import ExportError, first_line
from cogkp.exporter.dynamo import LEGACY, export_over_dynamo, require_exporter, without_notes
from cogkp.files import write_bytes
from cogkp.tasks.base import ExportSpec, OutputSpec, TwoSteps

OPSET = 17
"""The documented operator set: old enough for every runtime in use, new enough for every layer here."""

_LOG = logging.getLogger("cogkp.export")


@attrs.frozen
class Tracing:
    """How a graph is made of a module.

    Args:
        opset: ONNX operator set.
        any_batch: whether the file takes any number of rows; else as many as the example inputs have.
        fold: whether what depends on no input is computed once, while exporting.
        exporter: 'legacy' or 'dynamo', see :mod:`cogkp.exporter.dynamo`.
    """

    opset: int = OPSET
    any_batch: bool = False
    fold: bool = True
    exporter: str = LEGACY


def signature_of(module: nn.Module, spec: ExportSpec, *, any_batch: bool = False) -> Signature:
    """Run the module once on the example inputs and describe what goes in and what comes out.

    ``any_batch`` says whether the first axis stands for any number of rows.

    Raises:
        ExportError: the module trains, is not float32, or returns something else than ``spec`` says.
    """
    _require_deployable(module)
    inner, outputs = _answers(_on_cpu(module), spec)

    def shape(tensor: Tensor) -> Shape:
        return (ANY_BATCH, *tensor.shape[1:]) if any_batch else tuple(tensor.shape)

    def facts(declared: tuple[OutputSpec, ...], tensors: Sequence[Tensor]) -> tuple[OutputFacts, ...]:
        return tuple(
            OutputFacts(each.name, shape(tensor), each.unit, each.tolerance, _dtype(tensor))
            for each, tensor in zip(declared, tensors, strict=True)
        )

    span = _range(spec.facts)
    inputs = tuple(InputFacts(name, shape(example), _dtype(example), span) for name, example in spec.inputs.items())
    return Signature(inputs, facts(spec.outputs, outputs), facts(spec.inner, inner))


def _answers(module: nn.Module, spec: ExportSpec) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Run the module on the examples; the values between its steps, and its outputs."""
    with torch.no_grad():
        if not (spec.inner and isinstance(module, TwoSteps)):
            outputs = module(*spec.inputs.values())
            _require_fields(module, outputs, spec.outputs)
            return (), outputs
        inner = module.first(*spec.inputs.values())
        _require_fields(module.first, inner, spec.inner)
        outputs = module.then(*inner)
        _require_fields(module.then, outputs, spec.outputs)
        return inner, outputs


def _require_fields(module: nn.Module, outputs: Any, specs: Sequence[OutputSpec]) -> None:
    names = tuple(getattr(outputs, "_fields", ()))
    declared = tuple(output.name for output in specs)
    if names != declared:
        raise ExportError(
            "the module's outputs are not the declared ones",
            where=type(module).__name__,
            expected=f"a NamedTuple with the fields {', '.join(declared)}",
            got=", ".join(names) or type(outputs).__name__,
        )


def export_onnx(
    module: nn.Module,
    spec: ExportSpec,
    path: Path,
    *,
    how: Tracing | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write the ONNX file of a module, whole or not at all.

    The module is in evaluation mode, float32; it returns a NamedTuple of tensors. The values between the steps of a
    :class:`cogkp.tasks.base.TwoSteps` keep their names in the graph. Where any batch is asked for, examples have two
    rows or more. ``metadata`` are text pairs to embed.

    Raises:
        ExportError: the module cannot be traced, or the graph differs from ``spec``.
        OutputError: the file cannot be written.
    """
    import onnx

    how = how or Tracing()
    require_exporter(how.exporter)
    signature = signature_of(module, spec, any_batch=how.any_batch)
    model = without_notes(onnx.load_from_string(_traced(_on_cpu(module), spec, signature, how)))
    _settle_outputs(model, signature)
    _check(model, signature, str(path))
    _require_opset(model, how.opset, str(path))
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


def _range(facts: Mapping[str, Any]) -> tuple[float, float] | None:
    span: Sequence[float] | None = facts.get("input", {}).get("range")
    return None if span is None else (span[0], span[1])


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


class _Open(nn.Module):
    """A module in two steps that also puts out what passes between them, so that the graph has it by name."""

    def __init__(self, module: TwoSteps) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        inner = self.module.first(*inputs)
        return (*self.module.then(*inner), *inner)


def _traced(module: nn.Module, spec: ExportSpec, signature: Signature, how: Tracing) -> bytes:
    outputs = [entry.name for entry in (*signature.outputs, *signature.inner)]
    inputs = [entry.name for entry in signature.inputs]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        draft = Path(folder) / "draft.onnx"
        opened = _Open(module).eval() if spec.inner and isinstance(module, TwoSteps) else module
        write = _over_torchscript if how.exporter == LEGACY else _over_dynamo
        try:
            write(opened, tuple(spec.inputs.values()), draft, (inputs, outputs), how)
        except (RuntimeError, ValueError, TypeError) as error:
            raise ExportError(
                "module cannot be exported to ONNX", where=type(module).__name__, got=first_line(error)
            ) from error
        for warning in caught:
            _LOG.debug("while exporting: %s", warning.message)
        return draft.read_bytes()


def _over_torchscript(
    module: nn.Module, examples: tuple[Tensor, ...], path: Path, names: tuple[list[str], list[str]], how: Tracing
) -> None:
    inputs, outputs = names
    torch.onnx.export(
        module,
        examples,
        path,
        dynamo=False,
        opset_version=how.opset,
        do_constant_folding=how.fold,
        input_names=inputs,
        output_names=outputs,
        dynamic_axes={name: {0: ANY_BATCH} for name in (*inputs, *outputs)} if how.any_batch else None,
    )


def _over_dynamo(
    module: nn.Module, examples: tuple[Tensor, ...], path: Path, names: tuple[list[str], list[str]], how: Tracing
) -> None:
    export_over_dynamo(module, examples, path, names=names, opset=how.opset, any_batch=how.any_batch, fold=how.fold)


def _settle_outputs(model: Any, signature: Signature) -> None:
    """Hide the values between steps, and fill in lengths that the exporter left open but the module fixes."""
    hidden = {entry.name for entry in signature.inner}
    shapes = {entry.name: entry.shape for entry in signature.outputs}
    kept = [value for value in model.graph.output if value.name not in hidden]
    for value in kept:
        for dim, length in zip(value.type.tensor_type.shape.dim, shapes.get(value.name, ()), strict=False):
            if dim.dim_param and isinstance(length, int):
                dim.dim_value = length
    del model.graph.output[:]
    model.graph.output.extend(kept)


def _check(model: Any, signature: Signature, where: str) -> None:
    import onnx

    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError("exported graph is not valid ONNX", where=where, got=first_line(error)) from error
    expected = [
        *((entry.name, entry.dtype, entry.shape) for entry in signature.inputs),
        *((entry.name, entry.dtype, entry.shape) for entry in signature.outputs),
    ]
    found = [(value.name, _element(value), _shape(value)) for value in (*model.graph.input, *model.graph.output)]
    for wanted, got in zip(expected, found, strict=True):
        if wanted != got:
            raise ExportError("exported graph differs from the module", where=where, expected=str(wanted), got=str(got))


def _require_opset(model: Any, opset: int, where: str) -> None:
    """Refuse a graph of another operator set, which an exporter writes where it cannot convert to the wanted one."""
    (found,) = (entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if found != opset:
        hint = "Ask for that one, or for the other exporter."
        raise ExportError(
            "exported graph has another operator set", where=where, expected=str(opset), got=str(found), hint=hint
        )


def _element(value: Any) -> str:
    import onnx

    return str(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))


def _shape(value: Any) -> tuple[int | str, ...]:
    return tuple(axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim)
