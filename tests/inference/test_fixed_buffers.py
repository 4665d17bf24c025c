"""Memory that is kept between calls gives the same answers, and nobody else's arrays."""

import weakref

import numpy as np
import pytest
import torch

import cogkp
from cogkp.errors import ModelError
from cogkp.exporter.onnx_export import Tracing, export_onnx, signature_of
from cogkp.inference.onnxruntime_runner import OnnxRuntimeRunner
from tests.builders.keypoint_model import keypoint_config, keypoint_task, scene
from tests.builders.model_files import write_onnx
from tests.builders.tiny_export import tiny_net, tiny_spec

ROWS = (1, 3, 1, 2, 3)


@pytest.fixture
def runners(tmp_path):
    path = export_onnx(tiny_net(), tiny_spec(2), tmp_path / "m.onnx", how=Tracing(any_batch=True))
    signature = signature_of(tiny_net(), tiny_spec(2), any_batch=True)
    return [OnnxRuntimeRunner(path, signature, threads=1, fixed_buffers=fixed) for fixed in (False, True)]


def images(rows, seed):
    shape = next(iter(tiny_spec().inputs.values())).shape[1:]
    return np.random.default_rng(seed).random((rows, *shape)).astype(np.float32)


def test_answers_are_the_same_for_every_number_of_rows(runners):
    plain, fixed = runners
    with plain, fixed:
        for seed, rows in enumerate(ROWS):
            feed = {"input": images(rows, seed)}
            one, other = plain.infer(feed), fixed.infer(feed)
            assert list(one) == list(other)
            for name, values in one.items():
                np.testing.assert_array_equal(values, other[name])


def test_outputs_belong_to_the_caller(runners):
    fixed = runners[1]
    with fixed:
        first = fixed.infer({"input": images(2, 0)})
        kept = {name: values.copy() for name, values in first.items()}
        second = fixed.infer({"input": images(2, 1)})
        for name, values in first.items():
            np.testing.assert_array_equal(values, kept[name])
            values[:] = 7
            assert not np.array_equal(second[name], values)


def test_a_closed_runner_is_closed_and_opens_again(runners):
    fixed = runners[1]
    feed = {"input": images(1, 0)}
    with fixed:
        before = fixed.infer(feed)
        session = weakref.ref(fixed._session)
    assert session() is None, "its memory is given back"
    with pytest.raises(ModelError, match="closed"):
        fixed.infer(feed)
    with fixed:
        np.testing.assert_array_equal(fixed.infer(feed)["keypoints"], before["keypoints"])


def test_a_model_with_fixed_buffers_finds_what_it_finds_without(tmp_path):
    path = write_onnx(tmp_path / "any.onnx", keypoint_task(keypoint_config()), None)
    pictured = [scene(seed) for seed in range(5)]
    with cogkp.load(path, threads=1) as plain, cogkp.load(path, threads=1, fixed_buffers=True) as fixed:
        for one, other in zip(plain(pictured), fixed(pictured), strict=True):
            np.testing.assert_array_equal(one.points, other.points)
        np.testing.assert_array_equal(plain(pictured[0]).points, fixed(pictured[0]).points)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_an_engine_recorded_as_a_graph_gives_the_same_answers(tmp_path):
    import attrs

    from cogkp.artifacts.manifest import EngineInfo
    from cogkp.exporter.engine_options import EngineOptions
    from cogkp.exporter.tensorrt_api import build_with_package
    from cogkp.inference.tensorrt_runner import TensorRTRunner
    from tests.builders.tiny_export import manifest_of

    pytest.importorskip("tensorrt_rtx")
    onnx = export_onnx(tiny_net(), tiny_spec(2), tmp_path / "m.onnx", how=Tracing(any_batch=True))
    path = tmp_path / "m.engine"
    options = EngineOptions(batch_sizes=(1, 2, 4))
    build_with_package("tensorrt_rtx", onnx, path, precision="fp32", log=lambda line: None, options=options)
    any_rows = manifest_of(signature_of(tiny_net(), tiny_spec(2), any_batch=True))
    told = attrs.evolve(any_rows, engine=EngineInfo("tensorrt_rtx", "unknown", "unknown", None))
    with TensorRTRunner(path, told) as plain, TensorRTRunner(path, told, fixed_buffers=True) as fixed:
        for seed, rows in enumerate(ROWS):
            one, other = (runner.infer({"input": images(rows, seed)}) for runner in (plain, fixed))
            for name, values in one.items():
                np.testing.assert_allclose(values, other[name], atol=1e-4)
