"""8-bit layers: rounding stays within half a step, what must stay float stays so, and TensorRT takes the graph."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import nn

from cogkp.errors import EngineError
from cogkp.exporter.int8_onnx import INT8_TOP, quantised, read_by_convolutions
from cogkp.exporter.onnx_export import Tracing, export_onnx
from cogkp.exporter.tensorrt_api import build_with_package, parse
from cogkp.inference.ranges import largest_values
from tests.builders.tiny_export import tiny_images, tiny_net, tiny_spec

IMAGES = np.stack(list(tiny_images(4).values()))
LEARNT = ("/down1/down1.0/Conv", "/down2/down2.0/Conv", "/down3/down3.0/Conv", "/merge/Conv")
HEADS = ("/heat/Conv", "/mask/Conv")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return export_onnx(tiny_net(), tiny_spec(), tmp_path_factory.mktemp("int8") / "m.onnx")


@pytest.fixture(scope="module")
def model(path):
    return onnx.load(path)


@pytest.fixture(scope="module")
def largest(path, model):
    return largest_values(path, read_by_convolutions(model), [image[None] for image in IMAGES])


def run(model, image):
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"input": image})


def convolutions(model):
    """By name of the layer, whether it reads and holds 8-bit numbers."""
    made_by = {name: node.op_type for node in model.graph.node for name in node.output}
    return {
        node.name: {made_by.get(name) for name in node.input[:2]} == {"DequantizeLinear"}
        for node in model.graph.node
        if node.op_type == "Conv"
    }


def test_all_convolutions_but_the_last_are_quantised(model, largest):
    copy = quantised(model, largest, {})
    onnx.checker.check_model(copy, full_check=True)
    assert convolutions(copy) == dict.fromkeys(LEARNT, True) | dict.fromkeys(HEADS, False)
    kinds = {weight.name: weight.data_type for weight in copy.graph.initializer}
    assert kinds["merge.weight.int8.whole"] == TensorProto.INT8
    assert "merge.weight" not in kinds
    assert kinds["heat.weight"] == TensorProto.FLOAT
    ends = [*copy.graph.input, *copy.graph.output]
    assert ends == [*model.graph.input, *model.graph.output]


def test_weights_are_rounded_to_the_nearest_step_of_their_channel(model, largest):
    weights = {weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer}
    found = {weight.name: numpy_helper.to_array(weight) for weight in quantised(model, largest, {}).graph.initializer}
    whole, scale = found["merge.weight.int8.whole"], found["merge.weight.int8.scale"]
    step = scale.reshape(-1, 1, 1, 1)
    assert (np.abs(whole.astype(float) * step - weights["merge.weight"]) <= 0.5 * step * (1 + 1e-5)).all()
    assert (np.abs(whole).reshape(len(whole), -1).max(1) == INT8_TOP).all()


def test_outputs_stay_near(model, largest):
    copy = quantised(model, largest, {})
    for image in IMAGES:
        expected, found = run(model, image[None]), run(copy, image[None])
        for got, wanted, bound in zip(found, expected, (0.3, 0.15, 0.05), strict=True):
            assert 0 < np.abs(got - wanted).max() < bound


def test_the_standards_own_evaluator_agrees(tmp_path):
    newer = export_onnx(tiny_net(), tiny_spec(), tmp_path / "m.onnx", how=Tracing(19))
    model = onnx.load(newer)
    copy = quantised(model, largest_values(newer, read_by_convolutions(model), [IMAGES[:1]]), {})
    for one, other in zip(
        run(copy, IMAGES[:1]), ReferenceEvaluator(copy).run(None, {"input": IMAGES[:1]}), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=5e-3)


def test_finer_scales_cost_less(model, largest):
    """Eight times the range is eight times the step."""
    expected = run(model, IMAGES[:1])[1]
    wide = {name: 8 * value for name, value in largest.items()}
    near, far = (np.abs(run(quantised(model, each, {}), IMAGES[:1])[1] - expected).mean() for each in (largest, wide))
    assert near < far


def test_the_source_is_left_alone(model, largest):
    before = model.SerializeToString()
    quantised(model, largest, {})
    assert model.SerializeToString() == before


@pytest.mark.parametrize(
    ("layers", "chosen"),
    [
        ({"/merge/Conv": "fp32"}, set(LEARNT) - {"/merge/Conv"}),
        ({"*": "fp32", "/merge/Conv": "int8"}, {"/merge/Conv"}),
        ({"*": "int8", "/heat/Conv": "int8"}, {*LEARNT, "/heat/Conv"}),
        ({"*": "fp32"}, set()),
    ],
)
def test_single_layers_can_be_chosen(model, largest, layers, chosen):
    found = convolutions(quantised(model, largest, layers))
    assert {name for name, is_whole in found.items() if is_whole} == chosen


@pytest.mark.parametrize(
    ("layers", "told"),
    [
        ({"/merge/Con": "fp32"}, r"no such layer in the ONNX file: got '/merge/Con'.*'/merge/Conv'"),
        ({"/Softmax": "int8"}, r"layer cannot be int8 @ /Softmax \(Softmax\)"),
    ],
)
def test_layers_that_cannot_be_had_are_told(model, largest, layers, told):
    with pytest.raises(EngineError, match=told):
        quantised(model, largest, layers)


def test_an_old_operator_set_is_refused(model, largest):
    old = onnx.ModelProto()
    old.CopyFrom(model)
    old.opset_import[0].version = 12
    with pytest.raises(EngineError, match=r"newer ONNX operator set: expected 13 or newer, got 12"):
        quantised(old, largest, {})


class Twins(nn.Module):
    """Two layers with equal weights, which exporters write down once, and a channel that is always zero."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.last = (nn.Conv2d(1, 1, 3, padding=1, bias=False) for _ in range(3))
        self.second.load_state_dict(self.first.state_dict())
        self.nothing = nn.Conv2d(1, 2, 1, bias=False)
        nn.init.zeros_(self.nothing.weight)

    def forward(self, image):
        return self.last(self.first(image) + self.second(image) + self.nothing(image)[:, :1])


def test_shared_weights_and_zeros(tmp_path):
    with torch.random.fork_rng(devices=[]):
        torch.onnx.export(
            Twins().eval(), (torch.zeros(1, 1, 8, 8),), tmp_path / "t.onnx", dynamo=False, opset_version=16,
            input_names=["input"],
        )  # fmt: skip
    model = onnx.load(tmp_path / "t.onnx")
    assert "Identity" in {node.op_type for node in model.graph.node}
    image = np.random.default_rng(0).random((1, 1, 8, 8), dtype=np.float32)
    largest = largest_values(tmp_path / "t.onnx", read_by_convolutions(model), [image])
    copy = quantised(model, largest, {})
    onnx.checker.check_model(copy, full_check=True)
    kinds = [node.op_type for node in copy.graph.node]
    assert "Identity" not in kinds
    assert kinds.count("QuantizeLinear") == 1  # all three layers read the same image
    np.testing.assert_allclose(run(copy, image)[0], run(model, image)[0], atol=0.02)


def test_tensorrt_takes_the_types_of_the_file(model, largest):
    pytest.importorskip("tensorrt_rtx")
    _builder, network = parse("tensorrt_rtx", quantised(model, largest, {}).SerializeToString())
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    kinds = {layer.get_output(0).name: layer.get_output(0).dtype.name for layer in layers}
    whole = {name for name, kind in kinds.items() if kind == "INT8"}
    # What each layer reads, and its weights; TensorRT may name both as it likes.
    assert len(whole) >= 2 * len(LEARNT)
    assert network.get_input(0).dtype.name == "FLOAT"
    assert {network.get_output(index).dtype.name for index in range(3)} == {"FLOAT"}


def test_an_8_bit_engine_of_any_batch_is_smaller(tmp_path):
    pytest.importorskip("tensorrt_rtx")
    from cogkp.exporter.engine_options import EngineOptions

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = tiny_net()
        net.merge = nn.Sequential(nn.Conv2d(32, 512, 3, 1, 1), nn.Conv2d(512, 16, 3, 1, 1)).eval()
    wide = export_onnx(net, tiny_spec(2), tmp_path / "wide.onnx", how=Tracing(any_batch=True))
    model = onnx.load(wide)
    largest = largest_values(wide, read_by_convolutions(model), [IMAGES])
    (tmp_path / "int8.onnx").write_bytes(quantised(model, largest, {}).SerializeToString())
    options = EngineOptions(batch_sizes=(1, 2, 4))
    sizes = {}
    for precision, source in (("fp32", wide), ("int8", tmp_path / "int8.onnx")):
        engine = tmp_path / f"{precision}.trt"
        info = build_with_package(
            "tensorrt_rtx", source, engine, precision=precision, log=lambda line: None, options=options
        )
        assert (info.precision, info.batch_sizes) == (precision, (1, 2, 4))
        sizes[precision] = engine.stat().st_size
    assert sizes["int8"] < sizes["fp32"]
