"""A typed graph computes the same in half precision, and its head not in half precision at all."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import nn

from cogkp.errors import EngineError
from cogkp.exporter.onnx_export import export_onnx
from cogkp.exporter.tensorrt_api import parse
from cogkp.exporter.typed_onnx import LEARNT, float32_layers, typed
from tests.builders.tiny_export import tiny_images, tiny_net, tiny_spec

IMAGE = np.stack(list(tiny_images(1).values()))

BOUNDS = {"fp16": (0.005, 0.005, 0.001), "bf16": (0.05, 0.05, 0.01)}
"""Pixels, logits, logits. The weights are random, so this bounds rounding, not a trained model's accuracy."""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return onnx.load(export_onnx(tiny_net(), tiny_spec(), tmp_path_factory.mktemp("typed") / "m.onnx"))


def with_onnxruntime(model, image):
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"input": image})


def with_reference(model, image):
    return ReferenceEvaluator(model).run(None, {"input": image})


# ONNX Runtime has no convolution in bfloat16 on the CPU; the standard's own evaluator has.
@pytest.mark.parametrize(("precision", "run"), [("fp16", with_onnxruntime), ("bf16", with_reference)])
def test_outputs_stay_close_and_float32(model, precision, run):
    expected = with_onnxruntime(model, IMAGE)
    for found, wanted, bound in zip(run(typed(model, precision), IMAGE), expected, BOUNDS[precision], strict=True):
        assert found.dtype == np.float32
        assert 0 < np.abs(found - wanted).max() < bound


def test_fp32_is_an_equal_copy(model):
    copy = typed(model, "fp32")
    assert copy == model
    assert copy is not model


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_the_source_is_left_alone(model, precision):
    before = model.SerializeToString()
    typed(model, precision)
    assert model.SerializeToString() == before


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_weights_before_the_last_layers_take_half_the_room(model, precision):
    kinds = {weight.name: weight.data_type for weight in typed(model, precision).graph.initializer}
    half = TensorProto.FLOAT16 if precision == "fp16" else TensorProto.BFLOAT16
    assert kinds[f"merge.weight.{precision}"] == half
    assert "merge.weight" not in kinds
    assert kinds["heat.weight"] == TensorProto.FLOAT


def test_fp16_graph_is_valid_onnx(model):
    onnx.checker.check_model(typed(model, "fp16"), full_check=True)


def test_head_and_nothing_else_stays_float32(model):
    kept = float32_layers(model)
    learnt = [node.name for node in model.graph.node if node.op_type in LEARNT]
    assert [name for name in learnt if name in kept] == ["/heat/Conv", "/mask/Conv"]
    assert {"/Softmax", "/ReduceSum", "/Mul_1"} <= set(kept)


@pytest.mark.parametrize(("precision", "word"), [("fp32", "FLOAT"), ("fp16", "HALF"), ("bf16", "BF16")])
def test_tensorrt_parses_it_with_the_types_meant(model, precision, word):
    pytest.importorskip("tensorrt_rtx")
    _builder, network = parse("tensorrt_rtx", typed(model, precision).SerializeToString())
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    kinds = {layer.name: layer.get_output(0).dtype.name for layer in layers}
    assert {kinds[name] for name in kinds if "/down" in name or "/merge" in name} == {word}
    assert {kinds[name] for name in float32_layers(model) if name in kinds} == {"FLOAT"}
    assert {"/Softmax", "/heat/Conv", "/mask/Conv"} <= set(kinds)
    ends = [*(network.get_input(i) for i in range(network.num_inputs)), *map(network.get_output, range(3))]
    assert [(end.name, end.dtype.name, tuple(end.shape)) for end in ends] == [
        ("input", "FLOAT", (1, 1, 64, 64)),
        ("keypoints", "FLOAT", (1, 2, 2)),
        ("heatmaps", "FLOAT", (1, 2, 16, 16)),
        ("mask_logits", "FLOAT", (1, 3, 64, 64)),
    ]


class Attention(nn.Module):
    """Operators that must stay float32 in the middle of a network, and one output that later layers read too."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.last = nn.Conv2d(8, 4, 1)

    def forward(self, image):
        features = self.norm(torch.sigmoid(self.first(image)).exp())
        weight = features.flatten(2).softmax(-1).reshape(features.shape)
        side = features * weight + features.mean((2, 3), keepdim=True)
        return self.last(side), side


@pytest.mark.parametrize(("precision", "run"), [("fp16", with_onnxruntime), ("bf16", with_reference)])
def test_softmax_inside_a_network_stays_float32(tmp_path, precision, run):
    path = tmp_path / "a.onnx"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Attention().eval()
    torch.onnx.export(net, (torch.zeros(1, 1, 64, 64),), path, dynamo=False, opset_version=17, input_names=["input"])
    model = onnx.load(path)
    half = typed(model, precision)
    for found, wanted in zip(run(half, IMAGE), with_onnxruntime(model, IMAGE), strict=True):
        np.testing.assert_allclose(found, wanted, atol=0.03)
    parse("tensorrt_rtx", half.SerializeToString())
    assert {"Softmax", "Exp", "ReduceMean"} <= {n.op_type for n in model.graph.node if n.name in float32_layers(model)}


def test_a_weight_beyond_fp16_is_refused(model):
    huge = typed(model, "fp32")
    weight = next(weight for weight in huge.graph.initializer if weight.name == "merge.weight")
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 1e7, "merge.weight"))
    with pytest.raises(EngineError, match=r"merge\.weight.*Use bf16"):
        typed(huge, "fp16")
    typed(huge, "bf16")


def test_a_graph_with_branches_is_refused():
    value = helper.make_tensor_value_info
    branch = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], "b", [], [value("y", TensorProto.FLOAT, [1])]
    )
    node = helper.make_node("If", ["c"], ["out"], name="choice", then_branch=branch, else_branch=branch)
    graph = helper.make_graph(
        [node],
        "g",
        [value("c", TensorProto.BOOL, []), value("x", TensorProto.FLOAT, [1])],
        [value("out", TensorProto.FLOAT, [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    with pytest.raises(EngineError, match="branches @ choice"):
        typed(model, "bf16")
