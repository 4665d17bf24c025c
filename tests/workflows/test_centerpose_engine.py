"""From an ONNX file to an engine, as the experiment describes it; built by TensorRT-RTX, which needs no GPU for it."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import attrs
import onnx
import pytest

from cogkp.artifacts.manifest import read_manifest
from cogkp.artifacts.names import manifest_path
from cogkp.config.centerpose.spec import CalibrationSpec, CenterPoseConfig, EngineSpec, InferenceSpec, TensorRTSpec
from cogkp.data.boxes.synthetic import render_boxes
from cogkp.errors import ArtifactError, ConfigError, DataError, EngineError
from cogkp.exporter.onnx_export import export_onnx
from cogkp.inference.tensorrt_runner import TensorRTRunner
from cogkp.workflows.engine import build_engine
from tests.builders.tiny_export import tiny_net, tiny_spec
from tests.builders.tiny_objects import SIDE, tiny_objects_onnx


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return render_boxes(tmp_path_factory.mktemp("pictures") / "boxes", images=6, seed=0, size_wh=(96, 72))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_objects_onnx(tmp_path_factory.mktemp("engine") / "m.onnx")


@pytest.fixture
def experiment(tmp_path, model, pictures):
    calibration = CalibrationSpec(
        cal_image_dir=(str(pictures),), cal_cache_file=str(tmp_path / "cal.json"), cal_batch_size=2, cal_batches=2
    )
    return CenterPoseConfig(
        results_dir=str(tmp_path / "results"),
        inference=InferenceSpec(visualization_threshold=0.1),
        gen_trt_engine=EngineSpec(
            onnx_file=str(model),
            trt_engine=str(tmp_path / "out" / "m.engine"),
            tensorrt=TensorRTSpec(max_batch_size=4, workspace_size=64, calibration=calibration),
        ),
    )


def changed(config, tensorrt=(), calibration=(), **engine):
    spec = config.gen_trt_engine
    wanted = attrs.evolve(spec.tensorrt, **dict(tensorrt))
    wanted = attrs.evolve(wanted, calibration=attrs.evolve(wanted.calibration, **dict(calibration)))
    return attrs.evolve(config, gen_trt_engine=attrs.evolve(spec, tensorrt=wanted, **engine))


def built(config):
    pytest.importorskip("tensorrt_rtx")
    return build_engine(config, builder="tensorrt_rtx")


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO, "cogkp")
    return lambda word: [record for record in caplog.records if word in record.getMessage()]


@pytest.mark.parametrize(("data_type", "precision"), [("FP32", "fp32"), ("FP16", "fp16"), ("INT8", "int8")])
def test_an_engine_and_what_explains_it(experiment, data_type, precision):
    config = changed(experiment, {"data_type": data_type})
    result = built(config)
    assert result.engine == Path(config.gen_trt_engine.trt_engine)
    assert (result.precision, result.batch_sizes) == (precision, (1, 4, 4))
    manifest = read_manifest(result.engine)
    assert (manifest.precision, manifest.engine.precision, manifest.batch_size) == (precision, precision, None)
    assert manifest.engine.batch_sizes == (1, 4, 4)
    assert TensorRTRunner(result.engine).rows == (1, 4)
    assert result.builder.startswith("tensorrt_rtx ")
    assert manifest.inputs[0].shape == ("batch_size", 3, SIDE, SIDE)
    assert bool(manifest.engine.rounding) == (precision == "int8")
    lines = [json.loads(line) for line in (result.folder / "status.json").read_text().splitlines()]
    assert [line["status"] for line in lines] == ["STARTED", "SUCCESS"]
    assert (result.folder / "experiment.yaml").is_file()


def test_what_8_bits_cost_is_told_and_kept(experiment, said):
    config = changed(experiment, {"data_type": "INT8"})
    result = built(config)
    assert result.rounding["pictures"] == 6
    assert result.rounding["objects"] > 0
    assert 0 < result.rounding["corner_px_median"] < 8
    assert len(said("8 bits against float32")) == 1
    cache = json.loads(Path(config.gen_trt_engine.tensorrt.calibration.cal_cache_file).read_text())
    assert (cache["pictures"], "input" in cache["largest"]) == (4, True)


def test_ranges_are_read_again_and_made_anew_for_another_network(experiment, tmp_path, said):
    config = changed(experiment, {"data_type": "INT8"})
    cache = Path(config.gen_trt_engine.tensorrt.calibration.cal_cache_file)
    first = built(config)
    written = cache.read_bytes()
    # More images than there are: with a file of ranges none are needed for them.
    second = built(changed(config, calibration={"cal_batches": 1000}))
    assert said("ranges of 4 images read from")
    assert cache.read_bytes() == written
    assert second.rounding == first.rounding
    other = tiny_objects_onnx(tmp_path / "other.onnx", batch_size=2, size_wh=(96, 64))
    third = built(changed(config, onnx_file=str(other)))
    assert [record.levelname for record in said("belongs to another network; it is made anew")] == ["WARNING"]
    assert cache.read_bytes() != written
    assert third.batch_sizes == (2, 2, 2)


@pytest.mark.parametrize(
    ("change", "kind", "told"),
    [
        ({"calibration": {"cal_batches": 4}}, DataError, r"too few images.*expected cal_batch_size.*so 8, got 6"),
        ({"calibration": {"cal_image_dir": ("absent",)}}, DataError, "folder of images does not exist @ absent"),
        ({"tensorrt": {"layers_precision": ("/nobody:fp32",)}}, EngineError, "no such layer"),
        ({"tensorrt": {"layers_precision": ("*:fp16",)}}, ConfigError, r"fp32 or int8, got \*:fp16"),
        ({"onnx_file": "absent.onnx"}, ArtifactError, "no such ONNX file"),
    ],
)
def test_what_cannot_be_had_is_told(experiment, change, kind, told):
    change = {**change, "tensorrt": {"data_type": "INT8", **change.get("tensorrt", {})}}
    with pytest.raises(kind, match=told):
        built(changed(experiment, **change))
    assert not Path(experiment.gen_trt_engine.trt_engine).exists()


def test_a_cache_of_another_program_stays(experiment, tmp_path):
    (tmp_path / "cal.json").write_text("TRT-8601-EntropyCalibration2\n")
    with pytest.raises(ArtifactError, match="not a calibration of this library"):
        built(changed(experiment, {"data_type": "INT8"}))
    assert (tmp_path / "cal.json").read_text().startswith("TRT-8601")


def test_batch_sizes_come_from_the_file_or_the_experiment(experiment, tmp_path):
    assert built(changed(experiment, batch_size=3)).batch_sizes == (3, 3, 3)
    fixed = str(tiny_objects_onnx(tmp_path / "fixed.onnx", batch_size=2))
    assert built(changed(experiment, onnx_file=fixed)).batch_sizes == (2, 2, 2)
    with pytest.raises(ConfigError, match=r"another batch @ gen_trt_engine\.batch_size: expected -1 or 2, got 3"):
        built(changed(experiment, onnx_file=fixed, batch_size=3))


def test_a_stated_input_size_must_be_that_of_the_file(experiment):
    with pytest.raises(ConfigError, match=r"another input @ gen_trt_engine\.input_width: expected \d+, got 96000"):
        built(changed(experiment, input_width=96000))


def test_single_layers_are_refused_for_other_types_and_ignored_in_float32(experiment, said):
    with pytest.raises(ConfigError, match=r"unusable layer precision.*expected fp32 or fp16, got x:int32"):
        built(changed(experiment, {"data_type": "FP16", "layers_precision": ("x:int32",)}))
    built(changed(experiment, {"layers_precision": ("x:fp16",)}))
    assert said("an FP32 engine is fp32 in all its layers")


def test_files_are_known_by_what_travels_inside_or_by_their_outputs(experiment, model, tmp_path):
    bare = tmp_path / "bare.onnx"
    bare.write_bytes(model.read_bytes())
    known = built(changed(experiment, onnx_file=str(bare)))
    assert read_manifest(known.engine).origin == read_manifest(model).origin
    foreign = onnx.load(model)
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "foreign.onnx")
    result = built(changed(experiment, {"data_type": "INT8"}, onnx_file=str(tmp_path / "foreign.onnx")))
    facts = read_manifest(result.engine)
    assert facts.origin.checkpoint == "unknown"
    assert facts.facts["input"]["size_wh_px"] == [SIDE, SIDE]
    assert facts.opset == 17


def test_a_file_of_the_other_family_is_refused(experiment, tmp_path):
    other = export_onnx(tiny_net(), tiny_spec(), tmp_path / "tool.onnx")
    with pytest.raises(ArtifactError, match=r"another family @ .*tool\.onnx.*got keypoints"):
        built(changed(experiment, onnx_file=str(other)))


def test_without_a_builder_nothing_is_begun(experiment, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match="trtexec"):
        build_engine(changed(experiment, {"data_type": "INT8"}), builder="trtexec")
    assert not (tmp_path / "cal.json").exists()
    assert not manifest_path(Path(experiment.gen_trt_engine.trt_engine)).exists()
