"""Quantize an ONNX graph to INT8: convolutions read quantized values and hold quantized weights.

Values become whole numbers from -127 to 127 times a scale: one scale per tensor for what a layer reads, one per output
channel for its weights. Zero stays zero. The last learnt layers and all that follows them stay float32, and so does
everything that is no convolution; inputs and outputs of the file stay float32.
Source: B. Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference,
CVPR 2018; R. Krishnamoorthi, Quantizing deep convolutional networks for efficient inference, 2018, section 3.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from cogkp.errors import EngineError
from cogkp.exporter.typed_onnx import OTHERS, layers_by_name, leading

INT8 = "int8"
INT8_TOP = 127
"""The largest magnitude; -128 is not used, so that signs are alike."""

FULL = "fp32"
OLDEST_OPSET = 13
"""Before it, a scale per channel cannot be written."""


def read_by_convolutions(model: Any) -> tuple[str, ...]:
    """Name the values that may be quantised, in order: what convolutions with learnt weights read."""
    able = _able(model.graph, _weights(model.graph))
    return tuple(dict.fromkeys(model.graph.node[index].input[0] for index in sorted(able)))


def quantised(model: Any, largest: Mapping[str, float], layers: Mapping[str, str]) -> Any:
    """Return a copy of a float32 ``onnx.ModelProto`` whose convolutions compute with 8 bits, but for the last ones.

    ``largest`` says, for each of :func:`read_by_convolutions`, which magnitude becomes 127; ``layers`` 'fp32' or 'int8'
    for single layers by name, and for '*', those not named.

    Raises:
        EngineError: the operator set is too old, or ``layers`` cannot be had.
    """
    import onnx

    _require_opset(model)
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    chosen = _chosen(copied.graph, layers)
    _Insertion(copied.graph, largest).run(chosen)
    return copied


def _require_opset(model: Any) -> None:
    version = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if version < OLDEST_OPSET:
        raise EngineError(
            "8-bit layers need a newer ONNX operator set",
            expected=f"{OLDEST_OPSET} or newer",
            got=str(version),
            hint="Export again with another export.opset_version.",
        )


def _chosen(graph: Any, layers: Mapping[str, str]) -> frozenset[int]:
    able = _able(graph, _weights(graph))
    chosen = set() if layers.get(OTHERS) == FULL else able & leading(graph)
    for index, word in layers_by_name(graph, layers).items():
        if word == INT8 and index not in able:
            node = graph.node[index]
            raise EngineError("layer cannot be int8", where=f"{node.name} ({node.op_type})", expected="a convolution")
        chosen = chosen | {index} if word == INT8 else chosen - {index}
    return frozenset(chosen)


def _weights(graph: Any) -> dict[str, Any]:
    """Find the weights by each name they go by: exporters pass those that are equal through an Identity."""
    found = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Identity" and node.input[0] in found:
            found[node.output[0]] = found[node.input[0]]
    return found


def _able(graph: Any, weights: Mapping[str, Any]) -> set[int]:
    from onnx import TensorProto

    return {
        index
        for index, node in enumerate(graph.node)
        if node.op_type == "Conv" and node.input[1] in weights and weights[node.input[1]].data_type == TensorProto.FLOAT
    }


class _Insertion:
    """One pass over the nodes that puts a pair of quantise and dequantise before what is chosen."""

    def __init__(self, graph: Any, largest: Mapping[str, float]) -> None:
        self.graph = graph
        self.largest = largest
        self.weights = _weights(graph)
        self.done: set[str] = set()
        self.nodes: list[Any] = []

    def run(self, chosen: frozenset[int]) -> None:
        for index, node in enumerate(list(self.graph.node)):
            if index in chosen:
                node.input[0] = self._value(node.input[0])
                node.input[1] = self._weight(node.input[1])
            self.nodes.append(node)
        del self.graph.node[:]
        self.graph.node.extend(self.nodes)
        del self.graph.value_info[:]
        self._drop_unused()

    def _value(self, name: str) -> str:
        new = f"{name}.int8"
        if new not in self.done:
            self.done.add(new)
            scale = np.array(self.largest[name] / INT8_TOP or 1.0, np.float32)
            self._constant(f"{new}.scale", scale)
            self._constant(f"{new}.zero", np.array(0, np.int8))
            self._node("QuantizeLinear", [name, f"{new}.scale", f"{new}.zero"], f"{new}.whole")
            self._node("DequantizeLinear", [f"{new}.whole", f"{new}.scale", f"{new}.zero"], new)
        return new

    def _weight(self, name: str) -> str:
        from onnx import numpy_helper

        source = self.weights[name]
        new = f"{source.name}.int8"
        if new not in self.done:
            self.done.add(new)
            whole, scale = _whole(numpy_helper.to_array(source))
            self._constant(f"{new}.whole", whole)
            self._constant(f"{new}.scale", scale)
            self._constant(f"{new}.zero", np.zeros(len(scale), np.int8))
            self._node("DequantizeLinear", [f"{new}.whole", f"{new}.scale", f"{new}.zero"], new, axis=0)
        return new

    def _constant(self, name: str, values: npt.NDArray[Any]) -> None:
        from onnx import numpy_helper

        self.graph.initializer.append(numpy_helper.from_array(values, name))

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], name=f"{output}.{kind}", **attributes))

    def _drop_unused(self) -> None:
        """Drop weights that nobody reads any more, and what passed them on."""
        outputs = {value.name for value in self.graph.output}
        used = outputs | {name for node in self.graph.node for name in node.input}
        kept = [node for node in self.graph.node if node.op_type != "Identity" or node.output[0] in used]
        used = outputs | {name for node in kept for name in node.input}
        tensors = [tensor for tensor in self.graph.initializer if tensor.name in used]
        del self.graph.node[:], self.graph.initializer[:]
        self.graph.node.extend(kept)
        self.graph.initializer.extend(tensors)


def _whole(weights: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Round weights (channels, ...) to 8 bits; with the scale of each channel."""
    top = np.abs(weights).reshape(len(weights), -1).max(axis=1)
    scale = np.where(top > 0, top / INT8_TOP, 1.0).astype(np.float32)
    whole = np.rint(weights / scale.reshape(-1, *[1] * (weights.ndim - 1)))
    return np.clip(whole, -INT8_TOP, INT8_TOP).astype(np.int8), scale
