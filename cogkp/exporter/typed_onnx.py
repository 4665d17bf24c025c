"""Convert an ONNX graph to mixed precision (FP16 or BF16), for builders that take the types from the file.

Layers from which another learnt layer can be reached run in half precision. The last learnt layers and everything
behind them stay float32: a pixel position above 128 has steps of one pixel in bfloat16, and a logit of ten has steps of
a sixteenth. Inputs and outputs stay float32.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from cogkp.errors import EngineError, closest
from cogkp.files import read_whole

OTHERS = "*"
FULL = "fp32"
EVERY_LAYER: Mapping[str, str] = MappingProxyType({})

LEARNT = frozenset({"Conv", "ConvTranspose", "Gemm"})

HALF_SAFE = LEARNT | set(
    "Add AveragePool BatchNormalization Clip Concat Div Elu Erf Expand Flatten Gather GlobalMaxPool HardSigmoid "  # noqa: SIM905
    "HardSwish Identity LeakyRelu MatMul MaxPool Mul PRelu Pad Relu Reshape Resize Sigmoid Slice Split Squeeze Sub "
    "Tanh Transpose Unsqueeze".split()
)
"""Operators that keep their meaning in half precision; sums over many elements, roots and exponentials do not."""

FIRST_INPUT_ONLY = frozenset({"Resize"})
"""Their further inputs are scales, which ONNX wants in float32."""


HALF_PRECISIONS: dict[str, tuple[str, Callable[[npt.NDArray[np.float32]], bytes]]] = {
    "fp16": ("FLOAT16", lambda values: values.astype(np.float16).tobytes()),
    "bf16": ("BFLOAT16", lambda values: torch.tensor(values).bfloat16().view(torch.int16).numpy().tobytes()),
}
"""Precision word: ONNX's name of the type, and how weights become its bytes."""


def typed(model: Any, precision: str, layers: Mapping[str, str] = EVERY_LAYER) -> Any:
    """Return a copy of a float32 model that computes in ``precision``, with float32 inputs and outputs.

    Args:
        model: an ``onnx.ModelProto`` whose learnt layers hold float32.
        precision: 'fp16' or 'bf16'; with any other word the copy is unchanged.
        layers: 'fp32' or the same precision for single layers by name, and for '*', those not named.

    Returns:
        An ``onnx.ModelProto`` of the same operator set. With bf16 it is meant for TensorRT's parser alone: before set
        22 the ONNX standard has no convolution in bfloat16, although TensorRT parses it.

    Raises:
        EngineError: a weight does not fit into the type, the graph has branches, or ``layers`` cannot be had.
    """
    import onnx

    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    if precision in HALF_PRECISIONS:
        _Rewrite(copied, precision).run(layers)
    return copied


def read_onnx(path: Path) -> Any:
    """Read an ONNX file; raises EngineError where it is missing or no ONNX file."""
    import onnx

    try:
        return onnx.load_from_string(read_whole(path, None))
    except Exception as error:  # protobuf's own error belongs to a package that is onnx's business
        raise EngineError("ONNX file cannot be read", where=str(path), got=str(error)) from error


def float32_layers(model: Any, layers: Mapping[str, str] = EVERY_LAYER) -> tuple[str, ...]:
    """Name the nodes that compute floats and must stay float32, or are told to by ``layers``, in order."""
    kinds = _element_types(model)
    half = _half_nodes(model.graph, kinds, layers)
    return tuple(
        node.name
        for index, node in enumerate(model.graph.node)
        if index not in half and node.op_type != "Constant" and _is_float(node.output[0], kinds)
    )


class _Rewrite:
    """One pass over the nodes that inserts a cast wherever a value crosses between the two types."""

    def __init__(self, model: Any, precision: str) -> None:
        from onnx import TensorProto

        self.graph = model.graph
        self.kinds = _element_types(model)
        name, self.to_bytes = HALF_PRECISIONS[precision]
        self.half, self.full = TensorProto.DataType.Value(name), TensorProto.FLOAT
        self.suffix = f".{precision}"
        self.weights = {tensor.name: tensor for tensor in self.graph.initializer}
        self.as_half: set[str] = set()
        self.as_full = {value.name for value in self.graph.input} | set(self.weights)
        self.nodes: list[Any] = []

    def run(self, layers: Mapping[str, str]) -> None:
        half = _half_nodes(self.graph, self.kinds, layers)
        for index, node in enumerate(list(self.graph.node)):
            (self._add_half if index in half else self._add_full)(node)
        for output in self.graph.output:
            self._need_full(output.name)
        del self.graph.node[:]
        self.graph.node.extend(self.nodes)
        # Their types are out of date; every reader infers them anew.
        del self.graph.value_info[:]
        self._drop_unused_weights()

    def _add_half(self, node: Any) -> None:
        changeable = 1 if node.op_type in FIRST_INPUT_ONLY else len(node.input)
        inputs = [
            self._need_half(name) if position < changeable and _is_float(name, self.kinds) else name
            for position, name in enumerate(node.input)
        ]
        self.as_half.update(node.output)
        outputs = [name + self.suffix if name else name for name in node.output]
        del node.input[:], node.output[:]
        node.input.extend(inputs)
        node.output.extend(outputs)
        self.nodes.append(node)

    def _add_full(self, node: Any) -> None:
        for name in node.input:
            self._need_full(name)
        self.as_full.update(node.output)
        self.nodes.append(node)

    def _need_half(self, name: str) -> str:
        if name not in self.as_half:
            self.as_half.add(name)
            if name in self.weights:
                self.graph.initializer.append(self._half_weight(name))
            else:
                self._cast(name, name + self.suffix, self.half)
        return name + self.suffix

    def _need_full(self, name: str) -> None:
        if name in self.as_half and name not in self.as_full:
            self.as_full.add(name)
            self._cast(name + self.suffix, name, self.full)

    def _cast(self, source: str, target: str, kind: int) -> None:
        from onnx import helper

        self.nodes.append(helper.make_node("Cast", [source], [target], name=f"{target}.cast", to=kind))

    def _half_weight(self, name: str) -> Any:
        from onnx import helper, numpy_helper

        values = numpy_helper.to_array(self.weights[name])
        if self.suffix == ".fp16" and np.abs(values).max(initial=0.0) > np.finfo(np.float16).max:
            raise EngineError(
                "a weight does not fit into fp16", where=name, got=f"{np.abs(values).max():g}", hint="Use bf16 or fp32."
            )
        return helper.make_tensor(name + self.suffix, self.half, values.shape, self.to_bytes(values), raw=True)

    def _drop_unused_weights(self) -> None:
        used = {name for node in self.graph.node for name in node.input}
        kept = [tensor for tensor in self.graph.initializer if tensor.name in used]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)


def _half_nodes(graph: Any, kinds: dict[str, int], layers: Mapping[str, str]) -> frozenset[int]:
    """Positions of the nodes that run in half precision: safe ones with a learnt layer still to come, or named ones."""
    half = set() if layers.get(OTHERS) == FULL else {index for index in leading(graph) if _is_safe(graph, index, kinds)}
    named = layers_by_name(graph, layers)
    half -= {index for index, word in named.items() if word == FULL}
    for index, word in named.items():
        if word != FULL and not _is_safe(graph, index, kinds):
            node = graph.node[index]
            raise EngineError("layer must stay fp32", where=f"{node.name} ({node.op_type})", got=word)
        half |= {index} if word != FULL else set()
    return frozenset(half)


def _is_safe(graph: Any, index: int, kinds: dict[str, int]) -> bool:
    node = graph.node[index]
    return node.op_type in HALF_SAFE and _is_float(node.output[0], kinds)


def layers_by_name(graph: Any, layers: Mapping[str, str]) -> dict[int, str]:
    """Find the nodes that are named, '*' left out; raises EngineError where there is no such node."""
    places = {node.name: index for index, node in enumerate(graph.node) if node.name}
    unknown = next((name for name in layers if name != OTHERS and name not in places), None)
    if unknown is not None:
        raise EngineError("no such layer in the ONNX file", got=repr(unknown), hint=closest(unknown, places))
    return {places[name]: word for name, word in layers.items() if name != OTHERS}


def leading(graph: Any) -> frozenset[int]:
    """Positions of the nodes from which another learnt layer can be reached."""
    found: set[int] = set()
    leads_on: set[str] = set()
    for index, node in reversed(list(enumerate(graph.node))):
        if any(attribute.HasField("g") for attribute in node.attribute):
            raise EngineError("graph has branches", where=node.name, hint="Build this model with precision fp32.")
        leads = not leads_on.isdisjoint(node.output)
        if leads:
            found.add(index)
        if leads or node.op_type in LEARNT:
            leads_on.update(node.input)
    return frozenset(found)


def _element_types(model: Any) -> dict[str, int]:
    import onnx

    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    values = (*graph.input, *graph.value_info, *graph.output)
    kinds = {value.name: value.type.tensor_type.elem_type for value in values}
    return kinds | {tensor.name: tensor.data_type for tensor in graph.initializer}


def _is_float(name: str, kinds: dict[str, int]) -> bool:
    from onnx import TensorProto

    return bool(kinds.get(name) == TensorProto.FLOAT)
