"""A Triton model repository says of a model what its manifest says, and never replaces what others wrote."""

from __future__ import annotations

import json

import attrs
import numpy as np
import pytest

import cogkp
from cogkp.artifacts.manifest import (
    ANY_BATCH,
    EngineInfo,
    InputFacts,
    OutputFacts,
    Signature,
    read_engine_manifest,
    read_manifest,
    write_manifest,
)
from cogkp.artifacts.names import file_sha256, manifest_path
from cogkp.errors import ArtifactError, ModelError, OutputError
from cogkp.files import overwriting
from tests.builders.command import run_s6
from tests.builders.keypoint_model import keypoint_config, keypoint_task, scene
from tests.builders.model_files import write_onnx
from tests.builders.tiny_export import manifest_of
from tests.builders.triton_config import parse_config, type_word

TYPE_WORDS = {"float32": "FP32", "float16": "FP16", "int64": "INT64"}


def check_against_manifest(found, manifest):
    """Compare every tensor of the configuration with the manifest."""
    config = parse_config(found.config.read_text())
    assert config.name == found.folder.name
    assert config.max_batch_size == found.max_batch_size
    for told, known in ((config.input, manifest.inputs), (config.output, manifest.outputs)):
        assert [each.name for each in told] == [each.name for each in known]
        for one, other in zip(told, known, strict=True):
            assert type_word(one.data_type) == TYPE_WORDS[other.dtype]
            first = [] if config.max_batch_size == 0 else [ANY_BATCH]
            assert [*first, *one.dims] == [*other.shape]
    return config


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("batch", [1, 3, None])
def test_an_onnx_file_is_described_as_its_manifest_says(tmp_path, batch, masks):
    path = write_onnx(tmp_path / "tool.release.onnx", keypoint_task(keypoint_config(masks=masks)), batch)
    found = cogkp.write_triton_repository(path, tmp_path / "repository")
    assert found.model == tmp_path / "repository" / "tool" / "1" / "model.onnx"
    config = check_against_manifest(found, read_manifest(path))
    assert config.platform == "onnxruntime_onnx"
    assert config.max_batch_size == (8 if batch is None else 0)
    assert config.HasField("dynamic_batching") is (batch is None)
    assert len(config.output) == (3 if masks else 2)


def test_the_copy_is_the_model(tmp_path):
    path = write_onnx(tmp_path / "tool.onnx", keypoint_task(keypoint_config()))
    found = cogkp.write_triton_repository(path, tmp_path / "repository", name="other tool")
    assert found.folder.name == "other tool"
    assert file_sha256(found.model) == file_sha256(path)
    assert read_manifest(found.model) == read_manifest(path)
    with cogkp.load(found.model) as copied, cogkp.load(path) as original:
        np.testing.assert_array_equal(copied(scene()).points, original(scene()).points)


def test_a_file_that_lost_its_manifest_tells_of_itself(tmp_path):
    path = write_onnx(tmp_path / "tool.onnx", keypoint_task(keypoint_config()))
    manifest = read_manifest(path)
    manifest_path(path).unlink()
    found = cogkp.write_triton_repository(path, tmp_path / "repository")
    check_against_manifest(found, manifest)
    assert read_manifest(found.model) == manifest


ANY_SIGNATURE = Signature(
    (InputFacts("input", (ANY_BATCH, 3, 64, 96), "float16"),),
    (
        OutputFacts("bboxes", (ANY_BATCH, 100, 4), "cell", 1e-4, "float32"),
        OutputFacts('odd "name" \\ ü', (ANY_BATCH, "places", 1), "class", 0.0, "int64"),
    ),
)


def write_engine(path, builder="trtexec", sizes=(1, 4, 6), signature=ANY_SIGNATURE):
    path.write_bytes(b"an engine")
    info = EngineInfo(builder, "10.9", "fp16", "a GPU", sizes)
    write_manifest(attrs.evolve(manifest_of(signature), engine=info, engine_sha256=file_sha256(path)), path)
    return path


def test_an_engine_takes_as_many_images_as_it_was_built_for(tmp_path):
    path = write_engine(tmp_path / "bike.engine")
    found = cogkp.write_triton_repository(path, tmp_path / "repository")
    config = parse_config(found.config.read_text())
    assert (config.platform, config.max_batch_size, config.name) == ("tensorrt_plan", 6, "bike")
    assert [*config.input[0].dims] == [3, 64, 96]
    assert [type_word(each.data_type) for each in (config.input[0], *config.output)] == ["FP16", "FP32", "INT64"]
    assert config.output[1].name == 'odd "name" \\ ü'
    assert [*config.output[1].dims] == [-1, 1]
    assert (found.model.name, found.model.read_bytes()) == ("model.plan", b"an engine")
    assert read_engine_manifest(found.model).engine.version == "10.9"
    assert cogkp.write_triton_repository(path, tmp_path / "repository", max_batch_size=2).max_batch_size == 2
    with pytest.raises(ModelError, match=r"1 to 6, which the engine was built for, got 7"):
        cogkp.write_triton_repository(path, tmp_path / "repository", max_batch_size=7)
    assert "fails with fewer" not in found.summary()


def test_an_engine_that_needs_several_images_is_told_of(tmp_path):
    found = cogkp.write_triton_repository(write_engine(tmp_path / "bike.trt", sizes=(4, 4, 4)), tmp_path / "repository")
    assert found.max_batch_size == 4
    assert "built for 4 images or more" in found.summary()


def test_an_engine_that_was_built_elsewhere_takes_the_facts_of_its_onnx_file(tmp_path):
    engine = tmp_path / "bike.plan"
    engine.write_bytes(b"built by trtexec")
    source = manifest_path(tmp_path / "bike.onnx")
    write_manifest(manifest_of(ANY_SIGNATURE), tmp_path / "bike.onnx")
    assert source.is_file()
    found = cogkp.write_triton_repository(engine, tmp_path / "repository", max_batch_size=3)
    config = parse_config(found.config.read_text())
    assert (config.platform, config.max_batch_size) == ("tensorrt_plan", 3)
    assert read_engine_manifest(found.model).inputs == ANY_SIGNATURE.inputs


def test_what_triton_cannot_run_is_refused(tmp_path):
    repository = tmp_path / "repository"
    with pytest.raises(ArtifactError, match=r"Triton cannot run this engine.*tensorrt_rtx"):
        cogkp.write_triton_repository(write_engine(tmp_path / "a.trt", "tensorrt_rtx"), repository)
    odd = attrs.evolve(ANY_SIGNATURE, inputs=(InputFacts("input", (ANY_BATCH, 1), "complex64"),))
    with pytest.raises(ArtifactError, match=r"no such type @ input: expected .*float32.*, got complex64"):
        cogkp.write_triton_repository(write_engine(tmp_path / "b.trt", signature=odd), repository)
    for name, said in (("c.onnx", "no such model"), ("d.pth", "A checkpoint is exported first")):
        if name != "c.onnx":
            (tmp_path / name).write_bytes(b"")
        with pytest.raises(ArtifactError, match=said):
            cogkp.write_triton_repository(tmp_path / name, repository)
    fixed = write_onnx(tmp_path / "fixed.onnx", keypoint_task(keypoint_config()), 2)
    with pytest.raises(ModelError, match=r"fixed batch.*takes 2 at a time, got 4"):
        cogkp.write_triton_repository(fixed, repository, max_batch_size=4)
    for name in ("../up", "", ".hidden", "a/b"):
        with pytest.raises(ModelError, match="not a name"):
            cogkp.write_triton_repository(fixed, repository, name=name)
    assert not repository.exists()


def test_an_onnx_file_of_another_program_has_nothing_to_say(tmp_path):
    import onnx

    path = write_onnx(tmp_path / "tool.onnx", keypoint_task(keypoint_config()))
    manifest_path(path).unlink()
    graph = onnx.load(path)
    del graph.metadata_props[:]
    onnx.save(graph, path)
    with pytest.raises(ArtifactError, match=r"no manifest.*tool\.manifest\.json"):
        cogkp.write_triton_repository(path, tmp_path / "repository")


def test_own_models_are_replaced_and_those_of_others_are_not(tmp_path):
    path = write_onnx(tmp_path / "tool.onnx", keypoint_task(keypoint_config()))
    repository = tmp_path / "repository"
    first = cogkp.write_triton_repository(path, repository)
    newer = write_onnx(tmp_path / "new" / "tool.onnx", keypoint_task(keypoint_config(), seed=1))
    cogkp.write_triton_repository(newer, repository)
    assert file_sha256(first.model) == file_sha256(newer)
    first.config.write_text("\n".join(first.config.read_text().splitlines()[1:]))  # as its comment says
    kept = {file: file.read_bytes() for file in first.folder.rglob("*") if file.is_file()}
    with pytest.raises(OutputError, match=r"config\.pbtxt"):
        cogkp.write_triton_repository(path, repository)
    assert {file: file.read_bytes() for file in first.folder.rglob("*") if file.is_file()} == kept
    first.config.unlink()
    with pytest.raises(OutputError, match=r"model\.onnx"):
        cogkp.write_triton_repository(path, repository)
    with overwriting():
        cogkp.write_triton_repository(path, repository)
    assert file_sha256(first.model) == file_sha256(path)


def test_the_command_says_what_it_wrote(tmp_path, monkeypatch, capfd):
    path = write_onnx(tmp_path / "my tool.onnx", keypoint_task(keypoint_config()), None)
    repository = tmp_path / "repository"
    code, out, err = run_s6(monkeypatch, capfd, "cog", "triton", path, repository, "--max-batch-size", 5)
    assert code == 0, err
    assert "takes up to 5 images a request" in out
    assert f"tritonserver --model-repository={repository}" in out
    assert f"wrote {repository / 'my_tool' / 'config.pbtxt'}" in out
    code, out, _ = run_s6(monkeypatch, capfd, "cog", "triton", path, repository, "--name", "b", "--json")
    said = json.loads(out)
    assert (code, said["name"], said["max_batch_size"]) == (0, "b", 8)
    assert parse_config((repository / "b" / "config.pbtxt").read_text()).name == "b"
    code, _, err = run_s6(monkeypatch, capfd, "cog", "triton", tmp_path / "none.onnx", repository)
    assert code == 1
    assert err.count("\n") == 1
    assert "Traceback" not in err
