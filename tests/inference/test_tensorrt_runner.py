import attrs
import pytest
import torch

from cogkp.artifacts.manifest import EngineInfo, write_manifest
from cogkp.artifacts.names import file_sha256
from cogkp.errors import ArtifactError, EngineError
from cogkp.exporter.engine_options import EngineOptions
from cogkp.exporter.onnx_export import Tracing, export_onnx, signature_of
from cogkp.exporter.tensorrt_api import build_with_package
from cogkp.inference.parity import compare, parity_inputs
from cogkp.inference.tensorrt_runner import TensorRTRunner, rows_of
from cogkp.inference.torch_runner import TorchRunner
from tests.builders.tiny_export import manifest_of, tiny_images, tiny_net, tiny_spec

SIGNATURE = signature_of(tiny_net(), tiny_spec())

LOOSE = {"fp32": 0.05, "fp16": 0.05, "bf16": 0.5}
"""Pixels; TensorRT may use TF32 for float32 layers."""


@pytest.fixture
def engine(tmp_path, request):
    pytest.importorskip("tensorrt_rtx")
    onnx = export_onnx(tiny_net(), tiny_spec(), tmp_path / "m.onnx")
    path = tmp_path / "m.trt"
    info = build_with_package(
        "tensorrt_rtx", onnx, path, precision=getattr(request, "param", "fp32"), log=lambda line: None
    )
    described = attrs.evolve(
        manifest_of(SIGNATURE), onnx_sha256=file_sha256(onnx), engine=info, engine_sha256=file_sha256(path)
    )
    write_manifest(described, path)
    return path


@pytest.mark.skipif(torch.cuda.is_available(), reason="shows what happens without a GPU")
def test_without_a_gpu_the_engine_is_refused_before_it_is_touched(engine):
    with pytest.raises(EngineError, match=r"NVIDIA GPU only @ .*m\.trt\. Run the ONNX file instead"):
        TensorRTRunner(engine).open()


def test_a_manifest_of_an_onnx_file_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="no engine"):
        TensorRTRunner(tmp_path / "m.trt", manifest_of(SIGNATURE))


def test_a_manifest_of_another_engine_is_refused(engine):
    engine.write_bytes(b"another plan")
    with pytest.raises(ArtifactError, match="another file"):
        TensorRTRunner(engine)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("engine", list(LOOSE), indirect=True)
def test_an_engine_agrees_with_its_source(engine, request):
    allowed = LOOSE[request.node.callspec.params["engine"]]
    with TorchRunner(tiny_net(), SIGNATURE) as source, TensorRTRunner(engine) as runner:
        points = compare(source, runner, parity_inputs(SIGNATURE, tiny_images())).outputs[0]
    assert points.maximum < allowed


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_what_is_no_engine_is_refused(engine, tmp_path):
    garbage = tmp_path / "garbage.trt"
    garbage.write_bytes(b"no plan")
    manifest = attrs.evolve(manifest_of(SIGNATURE), engine=EngineInfo("tensorrt_rtx", "1", "fp32", None))
    with pytest.raises(ArtifactError, match="cannot be used here"):
        TensorRTRunner(garbage, manifest).open()


class Plan:
    """Says what TensorRT's engines say of one input."""

    def __init__(self, shape, profile=None):
        self.shape, self.profile = shape, profile

    def get_tensor_shape(self, name):
        return self.shape

    def get_tensor_profile_shape(self, name, index):
        return [(rows, *self.shape[1:]) for rows in self.profile]


def test_an_engine_says_how_many_rows_it_takes():
    assert rows_of(Plan((-1, 3, 8, 8), (1, 4, 9)), "input") == (1, 4, 9)
    assert rows_of(Plan((2, 3, 8, 8)), "input") == (2, 2, 2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("any_batch", [True, False])
def test_an_engine_that_was_built_elsewhere_takes_what_it_was_built_for(tmp_path, any_batch):
    pytest.importorskip("tensorrt_rtx")
    onnx = export_onnx(tiny_net(), tiny_spec(2), tmp_path / "m.onnx", how=Tracing(any_batch=any_batch))
    options = EngineOptions(batch_sizes=(1, 2, 4)) if any_batch else EngineOptions()
    path = tmp_path / "m.engine"
    build_with_package("tensorrt_rtx", onnx, path, precision="fp32", log=lambda line: None, options=options)
    any_rows = manifest_of(signature_of(tiny_net(), tiny_spec(2), any_batch=True))
    told = attrs.evolve(any_rows, engine=EngineInfo("tensorrt_rtx", "unknown", "unknown", None))
    with TensorRTRunner(path, told) as runner:
        assert runner.rows == ((1, 4) if any_batch else (2, 2))
