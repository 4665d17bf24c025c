"""The second exporter of torch, over torch.export: for the day the first one, over TorchScript, goes."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cogkp.artifacts.manifest import ANY_BATCH
from cogkp.errors import ExportError

LEGACY, DYNAMO = EXPORTERS = ("legacy", "dynamo")
"""The exporter over TorchScript, which is the documented one, and the one over torch.export."""

_TALKATIVE = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")


def require_exporter(exporter: str) -> None:
    """Refuse (ExportError) an exporter that does not exist, or that cannot run here."""
    if exporter not in EXPORTERS:
        expected = " or ".join(map(repr, EXPORTERS))
        raise ExportError("there is no such exporter", where="exporter", expected=expected, got=repr(exporter))
    if exporter == LEGACY:
        return
    if not hasattr(torch.compiler, "is_exporting"):
        raise ExportError(
            "this torch is too old", where="exporter 'dynamo'", expected="2.7 or newer", got=str(torch.__version__)
        )
    if find_spec("onnxscript") is None:
        hint = "Install it with pip install 'cogkp[export]', or take the exporter 'legacy'."
        raise ExportError("the package onnxscript is missing", where="exporter 'dynamo'", hint=hint)


def export_over_dynamo(
    module: nn.Module,
    examples: Sequence[Tensor],
    path: Path,
    *,
    names: tuple[Sequence[str], Sequence[str]],
    opset: int,
    any_batch: bool,
    fold: bool,
) -> None:
    """Write the ONNX file of a module as torch.export sees it, without a word on the terminal.

    Args:
        module: in evaluation mode.
        examples: (B, ...) inputs to call it with, of two rows or more where any batch is asked for.
        path: file to write.
        names: of the inputs and of the outputs.
        opset: ONNX operator set; the exporter writes 18 or newer and tries to convert to an older one.
        any_batch: whether the first axis of every input takes any number of rows.
        fold: whether what depends on no input is computed once.

    Raises:
        RuntimeError: the module cannot be exported.
    """
    axis = {0: torch.export.Dim(ANY_BATCH)}
    with _quiet():
        torch.onnx.export(
            module,
            tuple(examples),
            path,
            dynamo=True,
            opset_version=opset,
            input_names=list(names[0]),
            output_names=list(names[1]),
            dynamic_shapes=_shapes(module, [axis] * len(examples)) if any_batch else None,
            optimize=fold,
            external_data=False,
            verbose=False,
        )


def without_notes(model: Any) -> Any:
    """Take out of an ``onnx.ModelProto`` what the exporter noted about its source, paths of this machine included."""
    graph = model.graph
    for noted in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del noted.metadata_props[:]
        noted.doc_string = ""
    return model


def _shapes(module: nn.Module, axes: list[Mapping[int, Any]]) -> tuple[Any, ...]:
    """Arrange the open axes as the arguments of ``forward`` are: those of ``*inputs`` stand in a tuple of their own."""
    starred = any(each.kind is each.VAR_POSITIONAL for each in signature(module.forward).parameters.values())
    return (tuple(axes),) if starred else tuple(axes)


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave advice of torch and onnxscript to its developers out; errors are raised in any case."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
