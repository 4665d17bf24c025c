import warnings
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from cogkp.errors import ExportError, OutputError
from cogkp.exporter.onnx_export import export_onnx, signature_of, with_metadata
from cogkp.tasks.base import ExportSpec, OutputSpec
from tests.builders.tiny_export import SIDE, TinyOutputs, tiny_images, tiny_net, tiny_spec


@pytest.mark.parametrize("batch_size", [1, 2])
def test_file_has_the_documented_form(tmp_path, batch_size):
    path = export_onnx(tiny_net(), tiny_spec(batch_size), tmp_path / "m.onnx", metadata={"key": "value"})
    model = onnx.load(path)
    assert [value.name for value in model.graph.input] == ["input"]
    assert tuple(value.name for value in model.graph.output) == TinyOutputs._fields
    assert [axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim] == [batch_size, 1, SIDE, SIDE]
    assert model.opset_import[0].version == 17
    floats = {onnx.TensorProto.FLOAT}
    assert {weight.data_type for weight in model.graph.initializer if weight.dims} <= floats
    assert {value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)} == floats
    assert {pair.key: pair.value for pair in model.metadata_props} == {"key": "value"}


def test_file_computes_what_the_module_computes(tmp_path):
    net, path = tiny_net(), tmp_path / "m.onnx"
    export_onnx(net, tiny_spec(2), path)
    image = np.stack(list(tiny_images(2).values()))
    outputs = onnxruntime.InferenceSession(path).run(None, {"input": image})
    with torch.no_grad():
        expected = net(torch.from_numpy(image))
    for found, wanted in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(found, wanted.numpy(), atol=1e-4)


def test_nothing_is_said_and_nothing_else_is_written(tmp_path, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export_onnx(tiny_net(), tiny_spec(), tmp_path / "m.onnx")
    assert capfd.readouterr() == ("", "")
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_the_module_is_left_as_it_was(tmp_path):
    net = tiny_net()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    export_onnx(net, tiny_spec(), tmp_path / "m.onnx")
    assert not net.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_metadata_can_be_replaced_without_touching_the_graph(tmp_path):
    path = export_onnx(tiny_net(), tiny_spec(), tmp_path / "m.onnx", metadata={"a": "1", "b": "2"})
    changed = onnx.load_from_string(with_metadata(path.read_bytes(), {"b": "3"}))
    assert {pair.key: pair.value for pair in changed.metadata_props} == {"a": "1", "b": "3"}
    assert changed.graph == onnx.load(path).graph


def test_signature_says_shapes_units_and_range():
    signature = signature_of(tiny_net(), tiny_spec(2))
    assert signature.inputs[0].range == (0.0, 1.0)
    assert [(entry.name, entry.shape, entry.unit) for entry in signature.outputs] == [
        ("keypoints", (2, 2, 2), "px"),
        ("heatmaps", (2, 2, 16, 16), "logit"),
        ("mask_logits", (2, 3, 64, 64), "logit"),
    ]


class One(NamedTuple):
    value: Tensor


class Returning(nn.Module):
    """Give back whatever a function makes of the image."""

    def __init__(self, make) -> None:
        super().__init__()
        self.make = make

    def forward(self, image: Tensor):
        return self.make(image)


ONE = ExportSpec({"input": torch.zeros(1, 1, 4, 4)}, (OutputSpec("value", "px", 0.1),), {})


@pytest.mark.parametrize(
    ("module", "told"),
    [
        (nn.Conv2d(1, 1, 1), "training mode"),
        (nn.Conv2d(1, 1, 1).half().eval(), "float32 weights"),
        (nn.Conv2d(1, 1, 1).eval(), "outputs are not the declared ones"),
        (Returning(lambda image: {"value": image}).eval(), "outputs are not the declared ones"),
        (Returning(lambda image: One(torch.linalg.svd(image).S)).eval(), "cannot be exported"),
        # torch adds 0.5 to whole numbers in float32, the exporter in float64: the graph must not be passed on.
        (
            Returning(lambda image: One((image * (torch.arange(image.shape[-1]) + 0.5)).sum(-1))).eval(),
            "differs from the module",
        ),
    ],
)
def test_what_cannot_be_exported_is_refused_in_one_line(tmp_path, module, told):
    with pytest.raises(ExportError, match=told) as caught:
        export_onnx(module, ONE, tmp_path / "m.onnx")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_older_file_stays_when_the_export_fails(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"older")
    with pytest.raises(ExportError):
        export_onnx(nn.Conv2d(1, 1, 1).eval(), ONE, path)
    assert path.read_bytes() == b"older"


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"m\.onnx"):
        export_onnx(tiny_net(), tiny_spec(), tmp_path / "file" / "m.onnx")
