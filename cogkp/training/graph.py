"""Trace a network into a TensorBoard graph; tensorboardX alone would need TensorBoard itself."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["network_graph"]

PRODUCER = 22  # the version TensorBoard's own torch graphs carry
HIDDEN = {"prim::GetAttr", "prim::Constant", "prim::ListConstruct"}


def network_graph(model: nn.Module, example: Tensor) -> Any:
    """Trace a network and describe its operations as a TensorBoard ``GraphDef``.

    Args:
        model: in evaluation mode.
        example: an input it accepts.
    """
    from tensorboardX.proto.graph_pb2 import GraphDef
    from tensorboardX.proto.versions_pb2 import VersionDef

    graph = _traced(model, example)
    names = {value.debugName(): f"input/{value.debugName()}" for value in list(graph.inputs())[1:]}
    nodes = [_node_def(name, "input", [], None) for name in names.values()]
    nodes.extend(_operation(node, names) for node in graph.nodes() if node.kind() not in HIDDEN)
    return GraphDef(node=nodes, versions=VersionDef(producer=PRODUCER))


def _traced(model: nn.Module, example: Tensor) -> Any:
    with warnings.catch_warnings():
        # torch announces the end of tracing; its successor, torch.export, takes seconds where this takes a fraction.
        warnings.simplefilter("ignore", DeprecationWarning)
        # The drawing is of this one input, so that sizes which become constants are right.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        return torch.jit.trace(model, example, check_trace=False).inlined_graph  # type: ignore[no-untyped-call]


def _operation(node: Any, names: dict[str, str]) -> Any:
    """Describe one operation, and remember it as the source of its outputs."""
    outputs = list(node.outputs())
    scope = node.scopeName().replace("__module.", "").replace(".", "/")
    name = "/".join(part for part in (scope, f"{node.kind().split('::')[-1]}_{outputs[0].debugName()}") if part)
    names.update((output.debugName(), name) for output in outputs)
    return _node_def(name, node.kind(), [names[key] for key in _sources(node) if key in names], _shape(outputs[0]))


def _sources(node: Any) -> list[str]:
    """Name the values an operation reads, looking through the lists it reads them from."""
    keys: list[str] = []
    for value in node.inputs():
        inside = value.node()
        keys += _sources(inside) if inside.kind() == "prim::ListConstruct" else [value.debugName()]
    return keys


def _shape(value: Any) -> list[int] | None:
    return value.type().sizes() if value.type().kind() == "TensorType" else None


def _node_def(name: str, operation: str, sources: list[str], shape: list[int] | None) -> Any:
    from tensorboardX.proto.attr_value_pb2 import AttrValue
    from tensorboardX.proto.node_def_pb2 import NodeDef
    from tensorboardX.proto.tensor_shape_pb2 import TensorShapeProto

    dims = [TensorShapeProto.Dim(size=size) for size in shape or []]
    attributes = (
        {"_output_shapes": AttrValue(list=AttrValue.ListValue(shape=[TensorShapeProto(dim=dims)]))} if dims else {}
    )
    return NodeDef(name=name, op=operation, input=sources, attr=attributes)
