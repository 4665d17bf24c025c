import json
from functools import partial

import onnx
import pytest
import torch

from cogkp.artifacts.manifest import Origin, from_metadata, read_manifest
from cogkp.errors import ArtifactError, EngineError, OutputError, ParityError
from cogkp.exporter.deploy import deploy
from cogkp.exporter.tensorrt_build import BUILDERS
from cogkp.inference.onnxruntime_runner import OnnxRuntimeRunner
from cogkp.inference.parity import verify_onnx
from tests.builders.tiny_export import TinyTask, tiny_images, tiny_net

ORIGIN = Origin(
    config_sha256="cd" * 32, checkpoint="checkpoints/run/checkpoint_latest.pth", checkpoint_sha256="ef" * 32
)


def deployed(folder, **changes):
    plan = {
        "onnx_path": folder / "models" / "tool_b1.release.onnx",
        "engine_path": folder / "models" / "tool_b1.trt",
        "precision": "bf16",
        "batch_size": 1,
        "builder": "tensorrt_rtx",
        "origin": ORIGIN,
        "verify": partial(verify_onnx, samples=tiny_images()),
        "log": lambda line: None,
    }
    return deploy(changes.pop("task", TinyTask()), **(plan | changes))


def names(folder):
    return sorted(path.name for path in (folder / "models").iterdir())


@pytest.mark.skipif(not BUILDERS["tensorrt_rtx"].is_available(), reason="tensorrt_rtx is not installed")
def test_the_whole_way(tmp_path):
    said = []
    outcome = deployed(tmp_path, log=said.append)
    assert names(tmp_path) == [
        "tool_b1.release.manifest.json",
        "tool_b1.release.onnx",
        "tool_b1.trt",
        "tool_b1.trt.manifest.json",
    ]
    beside, engine = read_manifest(outcome.onnx), read_manifest(outcome.engine)
    assert outcome.manifest == engine
    assert engine.onnx_sha256 == beside.onnx_sha256
    assert (engine.engine.builder, engine.engine.precision) == ("tensorrt_rtx", "bf16")
    assert json.loads(outcome.manifest_path.read_text())["engine"] is None
    assert len(said) == 4


@pytest.mark.parametrize("batch_size", [1, 2])
def test_manifest_and_metadata_say_the_same(tmp_path, batch_size):
    outcome = deployed(tmp_path, engine_path=None, batch_size=batch_size)
    assert outcome.engine is None
    manifest = read_manifest(outcome.onnx)
    pairs = {pair.key: pair.value for pair in onnx.load(outcome.onnx).metadata_props}
    inside = from_metadata(pairs, where="metadata")
    assert inside.onnx_sha256 is None
    assert (inside.origin, inside.parity, inside.signature) == (ORIGIN, manifest.parity, manifest.signature)
    assert manifest.facts == TinyTask().export_spec(batch_size).facts
    assert manifest.batch_size == manifest.inputs[0].shape[0] == batch_size
    assert [difference.output for difference in manifest.parity] == ["keypoints", "heatmaps", "mask_logits"]
    assert 0 < manifest.parity[0].maximum <= 0.02
    assert set(manifest.versions) == {"python", "cogkp", "torch", "onnx", "onnxruntime"}


def test_the_release_runs_from_its_own_manifest(tmp_path):
    outcome = deployed(tmp_path, engine_path=None)
    with OnnxRuntimeRunner(outcome.onnx, threads=1) as runner:
        image = next(iter(tiny_images().values()))
        assert runner.infer({"input": image[None]})["keypoints"].shape == (1, 2, 2)


def test_a_model_that_differs_never_gets_the_release_name(tmp_path):
    def verify_against_other_weights(module, path, signature):
        return verify_onnx(tiny_net(seed=5), path, signature, {})

    with pytest.raises(ParityError, match=r"No release was written; the rejected file is .*unverified\.onnx"):
        deployed(tmp_path, verify=verify_against_other_weights)
    assert names(tmp_path) == ["tool_b1.unverified.onnx"]


def test_a_manifest_of_somebody_else_is_told_before_the_work(tmp_path):
    said = []
    manifest = tmp_path / "models" / "tool_b1.release.manifest.json"
    manifest.parent.mkdir()
    manifest.write_text("{}")
    with pytest.raises(OutputError, match=r"did not write @ .*tool_b1\.release\.manifest\.json"):
        deployed(tmp_path, log=said.append)
    assert said == []


def test_an_older_release_survives_a_rejected_one(tmp_path):
    older = deployed(tmp_path, engine_path=None)
    with pytest.raises(ParityError):
        deployed(tmp_path, verify=lambda module, path, signature: verify_onnx(tiny_net(5), path, signature, {}))
    assert read_manifest(older.onnx) == older.manifest


def test_a_comparison_that_breaks_leaves_nothing(tmp_path):
    def broken(module, path, signature):
        raise ArtifactError("broken")

    with pytest.raises(ArtifactError):
        deployed(tmp_path, verify=broken)
    assert names(tmp_path) == []


def test_without_an_engine_builder_the_onnx_file_is_complete(tmp_path):
    if BUILDERS["tensorrt"].is_available() and torch.cuda.is_available():
        pytest.skip("TensorRT is installed here")
    with pytest.raises(EngineError, match=r"The ONNX file is complete: .*tool_b1\.release\.onnx") as caught:
        deployed(tmp_path, builder="tensorrt")
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == ["tool_b1.release.manifest.json", "tool_b1.release.onnx"]
    assert read_manifest(tmp_path / "models" / "tool_b1.release.onnx").origin == ORIGIN


def test_an_engine_of_an_earlier_model_is_mentioned(tmp_path):
    if BUILDERS["tensorrt"].is_available() and torch.cuda.is_available():
        pytest.skip("TensorRT is installed here")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "tool_b1.trt").write_bytes(b"older")
    with pytest.raises(EngineError, match=r"tool_b1\.trt is left from an earlier model"):
        deployed(tmp_path, builder="tensorrt")
