"""A network that chooses is compared step by step: rounding may turn choices, other weights may not pass."""

import copy

import attrs
import numpy as np
import onnx
import pytest
import torch
from torch import nn

from cogkp.artifacts.manifest import ANY_BATCH, InputFacts, OutputFacts, Signature
from cogkp.errors import ModelError, ParityError
from cogkp.exporter.onnx_export import Tracing, export_onnx, signature_of
from cogkp.inference.onnxruntime_runner import OnnxRuntimeRunner
from cogkp.inference.parity import parity_inputs, verify_onnx
from cogkp.inference.torch_runner import TorchRunner
from cogkp.tasks.centerpose.decode import DecodeRules
from tests.builders.tiny_objects import FOUND, SIDE, TinyObjects

TASK = TinyObjects()
SPEC = TASK.export_spec(2)
ANY = Tracing(16, any_batch=True)
SIGNATURE = signature_of(TASK.module, SPEC, any_batch=True)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return export_onnx(TASK.module, SPEC, tmp_path_factory.mktemp("steps") / "m.onnx", how=ANY)


def changed(change):
    module = copy.deepcopy(TASK.module)
    change(module)
    return module


def test_the_file_has_the_documented_form(path):
    model = onnx.load(path)
    described = [
        (value.name, [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim])
        for value in (*model.graph.input, *model.graph.output)
    ]
    assert described == [
        ("input", [ANY_BATCH, 3, SIDE, SIDE]),
        ("bboxes", [ANY_BATCH, FOUND, 4]),
        ("scores", [ANY_BATCH, FOUND, 1]),
        ("kps", [ANY_BATCH, FOUND, 16]),
        ("clses", [ANY_BATCH, FOUND, 1]),
        ("obj_scale", [ANY_BATCH, FOUND, 3]),
        ("kps_displacement_mean", [ANY_BATCH, FOUND, 16]),
        ("kps_heatmap_mean", [ANY_BATCH, FOUND, 16]),
    ]
    made = {name for node in model.graph.node for name in node.output}
    assert {entry.name for entry in SIGNATURE.inner} <= made
    assert not TASK.module.training


def test_every_input_agrees_one_and_two_at_a_time(path):
    sizes = {len(case.rows) for case in parity_inputs(SIGNATURE, {})}
    assert sizes == {1, 2}
    found = {difference.output: difference for difference in verify_onnx(TASK.module, path, SIGNATURE, {})}
    assert set(found) == {entry.name for entry in (*SIGNATURE.inner, *SIGNATURE.outputs)}
    assert found["hm"].maximum < 1e-4
    assert found["bboxes"].maximum < 1e-5


class Shaken(nn.Module):
    """A network whose every number is off by a millionth."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, image):
        draw = torch.Generator().manual_seed(3)
        maps = self.network(image)
        return type(maps)(*(each + 1e-6 * torch.randn(each.shape, generator=draw) for each in maps))


def test_choices_that_rounding_turns_are_no_difference(path):
    """In flat images such a network puts out other objects; the check is not disturbed."""
    shaken = changed(lambda module: setattr(module, "first", Shaken(module.first)))
    image = torch.zeros(1, 3, SIDE, SIDE)
    with torch.inference_mode():
        apart = (shaken(image).bboxes - TASK.module(image).bboxes).abs().max()
    assert apart > 1.0
    verify_onnx(shaken, path, SIGNATURE, {})


@pytest.mark.parametrize(
    ("change", "output"),
    [
        (lambda module: nn.init.constant_(module.first.heads["wh"].bias, 12.001), "wh"),
        (lambda module: nn.init.constant_(module.first.heads["scale"].bias, 1.0), "scale"),
        (lambda module: setattr(module.then, "rules", DecodeRules(FOUND, displacement_only=True)), "kps_heatmap_mean"),
    ],
)
def test_other_weights_and_other_choices_are_caught(path, change, output):
    with pytest.raises(ParityError, match=f"onnxruntime disagrees with torch @ output '{output}'"):
        verify_onnx(changed(change), path, SIGNATURE, {})


def test_a_file_of_any_batch_takes_what_is_declared_and_nothing_else(path):
    for runner in (OnnxRuntimeRunner(path, SIGNATURE, threads=1), TorchRunner(TASK.module, SIGNATURE)):
        with runner:
            for rows in (1, 3):
                outputs = runner.infer({"input": np.zeros((rows, 3, SIDE, SIDE), np.float32)})
                assert outputs["kps"].shape == (rows, FOUND, 16)
            for shape in ((0, 3, SIDE, SIDE), (1, 3, SIDE, 2 * SIDE), (3, SIDE, SIDE)):
                with pytest.raises(ModelError, match=r"expected float32 \['batch_size', 3, 64, 64\]"):
                    runner.infer({"input": np.zeros(shape, np.float32)})


def test_a_file_of_fixed_batch_is_compared_at_that(tmp_path):
    signature = signature_of(TASK.module, SPEC)
    file = export_onnx(TASK.module, SPEC, tmp_path / "m.onnx", how=Tracing(18, fold=False))
    assert {len(case.rows) for case in parity_inputs(signature, {})} == {2}
    verify_onnx(TASK.module, file, signature, {})


def test_a_declaration_without_steps_compares_ends_alone(tmp_path):
    spec = attrs.evolve(SPEC, inner=())
    signature = signature_of(TASK.module, spec)
    assert signature == Signature(signature.inputs, signature.outputs)
    assert isinstance(signature.inputs[0], InputFacts)
    assert isinstance(signature.outputs[0], OutputFacts)
    export_onnx(TASK.module, spec, tmp_path / "m.onnx")
