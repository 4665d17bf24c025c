"""What a deployment writes, where, and what it refuses."""

from __future__ import annotations

import json
import logging

import attrs
import numpy as np
import onnxruntime
import pytest

from cogkp.artifacts.manifest import read_manifest
from cogkp.config.train import ExportOptions
from cogkp.errors import CheckpointError, EngineError, ExportError
from cogkp.inference.model import GROUP, load
from cogkp.workflows.evaluate import evaluate
from cogkp.workflows.export import export, missing_builder
from cogkp.workflows.train import train
from tests.builders.tiny_keypoints import tiny_config
from tests.builders.training import OPTIONS

NO_ENGINE = ExportOptions(engine=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    config = tiny_config(folder, segmentation=True)
    return config, train(config, OPTIONS, checkpoint_root=folder / "checkpoints", log_dir=None)


def test_names_and_content_are_as_documented(trained, tmp_path):
    config, run = trained
    options = ExportOptions(engine=False, batch_size=2, precision="bf16")
    result = export(config, options, checkpoint=str(run.checkpoint), models_root=tmp_path)
    assert result.onnx.parent == tmp_path
    prefix, batch, *_, tag = result.onnx.name.removesuffix(".release.onnx").split("_")
    assert (prefix, batch, tag) == (config.prefix, "b2", "bf16")
    session = onnxruntime.InferenceSession(result.onnx)
    assert [entry.name for entry in session.get_outputs()] == ["keypoints", "heatmaps", "mask_logits"]
    size = config.crop.output_size
    assert session.get_inputs()[0].name == "input"
    assert session.get_inputs()[0].shape == [2, 1, size, size]
    outputs = session.run(None, {"input": np.zeros((2, 1, size, size), np.float32)})
    assert outputs[0].shape == (2, config.num_keypoints, 2)
    manifest = json.loads(result.manifest.read_text())
    assert manifest["origin"]["checkpoint"] == str(run.checkpoint)
    assert manifest["facts"]["points"]["names"] == list(config.point_names)
    assert max(result.parity.values()) < 0.02


@pytest.fixture(scope="module")
def any_batch(trained, tmp_path_factory):
    options = ExportOptions(engine=False, batch_size=0)
    models = tmp_path_factory.mktemp("any")
    return export(trained[0], options, checkpoint=str(trained[1].checkpoint), models_root=models)


def test_batch_0_takes_any_number_of_rows_each_as_if_alone(trained, any_batch):
    config, _ = trained
    assert any_batch.onnx.name.startswith(f"{config.prefix}_b0_")
    assert any_batch.batch_size is None
    assert any_batch.summary().startswith("exported for any batch;")
    manifest = json.loads(any_batch.manifest.read_text())
    assert manifest["batch_size"] is None
    size = config.crop.output_size
    assert manifest["inputs"][0]["shape"] == ["batch_size", 1, size, size]
    session = onnxruntime.InferenceSession(any_batch.onnx)
    rows = np.random.default_rng(0).random((5, 1, size, size), np.float32)
    together = session.run(None, {"input": rows})
    for row in range(5):
        alone = session.run(None, {"input": rows[row : row + 1]})
        for one, all_ in zip(alone, together, strict=True):
            np.testing.assert_allclose(one[0], all_[row], atol=1e-3)
    assert np.ptp(together[0], axis=0).max() > 0.1, "the answers differ by row"


def test_a_model_of_any_batch_is_evaluated_and_asked_like_one_of_batch_1(trained, any_batch, tmp_path):
    config, run = trained
    fixed = export(config, NO_ENGINE, checkpoint=str(run.checkpoint), models_root=tmp_path)
    found, known = (
        evaluate(config, model=str(each.onnx), split="evaluation", output_dir=tmp_path / name).report["overall"]
        for name, each in {"any": any_batch, "one": fixed}.items()
    )
    assert found["count"] > 0
    figures = ("count", "mean_px", "rmse_px", "coverage_50")
    assert [found[key] for key in figures] == pytest.approx([known[key] for key in figures], rel=1e-3)
    images = [np.random.default_rng(seed).integers(0, 255, (96, 128), np.uint8) for seed in range(17)]
    with load(any_batch.onnx) as many, load(fixed.onnx) as one:
        for ours, theirs in zip(many(images), one(images), strict=True):
            np.testing.assert_allclose(ours.points, theirs.points, atol=1e-2)


def test_an_engine_of_any_batch_takes_one_to_sixteen_rows(trained, tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    options = ExportOptions(path=str(tmp_path / "tool.onnx"), builder="tensorrt_rtx", batch_size=0)
    result = export(trained[0], options, checkpoint=str(trained[1].checkpoint))
    engine = read_manifest(result.engine).engine
    assert engine.batch_sizes == (1, 8, 16)
    assert engine.batch_sizes[-1] == GROUP, "a loaded model fills its engine"


def test_no_weights_no_release(trained, tmp_path):
    config, _ = trained
    with pytest.raises(ExportError, match="--deploy-untrained"):
        export(config, NO_ENGINE, models_root=tmp_path)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        export(config, NO_ENGINE, checkpoint=str(tmp_path / "none.pth"), models_root=tmp_path)
    assert not list(tmp_path.iterdir())


def test_fresh_weights_can_be_deployed_without_any_data(trained, tmp_path):
    config = attrs.evolve(trained[0], base_dir=())
    result = export(config, NO_ENGINE, untrained=True, models_root=tmp_path)
    assert json.loads(result.manifest.read_text())["origin"]["checkpoint"] == "untrained"


def test_missing_data_is_said_and_does_not_stop_a_deployment(trained, tmp_path, caplog):
    config = attrs.evolve(trained[0], base_dir=(str(tmp_path / "gone"),))
    with caplog.at_level(logging.WARNING, "cogkp"):
        export(config, NO_ENGINE, checkpoint=str(trained[1].checkpoint), models_root=tmp_path / "models")
    assert "comparing on synthetic inputs alone" in caplog.text


def test_without_a_builder_the_onnx_file_stays_and_the_advice_is_given(trained, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match=r"cogkp\[tensorrt\].* --no-engine leaves"):
        export(trained[0], ExportOptions(), checkpoint=str(trained[1].checkpoint), models_root=tmp_path / "models")
    assert {path.suffix for path in (tmp_path / "models").iterdir()} == {".onnx", ".json"}


def test_a_real_engine_is_built_beside_the_onnx_file(trained, tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    options = ExportOptions(path=str(tmp_path / "tool.release.onnx"), builder="tensorrt_rtx")
    result = export(trained[0], options, checkpoint=str(trained[1].checkpoint))
    assert result.engine == tmp_path / "tool.trt"
    assert result.engine.stat().st_size > 10_000
    assert (tmp_path / "tool.trt.manifest.json").exists()


def test_a_missing_builder_can_be_told_before_a_long_training(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "cogkp[tensorrt]" in missing_builder(ExportOptions())
    assert missing_builder(ExportOptions()).endswith("--no-engine leaves the engine out.")
    assert missing_builder(NO_ENGINE) == ""
