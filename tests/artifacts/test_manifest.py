import json
import logging

import attrs
import pytest

from cogkp.artifacts.manifest import (
    EngineInfo,
    InputFacts,
    OutputFacts,
    Signature,
    from_metadata,
    read_engine_manifest,
    read_manifest,
    to_metadata,
    write_manifest,
)
from cogkp.artifacts.names import file_sha256, manifest_path
from cogkp.errors import ArtifactError
from tests.builders.tiny_export import manifest_of

SIGNATURE = Signature(
    (InputFacts("input", (1, 1, 8, 8), range=(0.0, 1.0)),), (OutputFacts("keypoints", (1, 2, 2), "px", 0.02),)
)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "tool.release.onnx"
    path.write_bytes(b"weights")
    return path


def described(model, **changes):
    return attrs.evolve(manifest_of(SIGNATURE), onnx_sha256=file_sha256(model), **changes)


def test_what_was_written_is_read_back(model):
    manifest = described(model)
    assert write_manifest(manifest, model) == manifest_path(model)
    assert read_manifest(model) == manifest


def test_an_engine_has_a_manifest_of_its_own(model, tmp_path):
    engine = tmp_path / "tool.trt"
    engine.write_bytes(b"plan")
    info = EngineInfo("tensorrt", "10.9.0", "bf16", "a GPU")
    manifest = described(model, engine=info, engine_sha256=file_sha256(engine))
    write_manifest(described(model), model)
    write_manifest(manifest, engine)
    assert read_manifest(engine).engine == info
    assert read_manifest(model).engine is None


@pytest.fixture
def foreign(tmp_path):
    """An engine somebody built of the model."""
    path = tmp_path / "tool.engine"
    path.write_bytes(b"plan")
    return path


@pytest.mark.parametrize("ending", [".release.onnx", ".onnx"])
@pytest.mark.parametrize("there", [True, False])
def test_an_engine_built_elsewhere_takes_the_manifest_of_its_onnx_file(foreign, ending, there, caplog):
    model = foreign.with_name(f"tool{ending}")
    model.write_bytes(b"weights")
    manifest = described(model)
    write_manifest(manifest, model)
    if not there:
        model.unlink()
    with caplog.at_level(logging.WARNING, "cogkp"):
        found = read_engine_manifest(foreign)
    assert attrs.evolve(found, engine=None) == manifest
    assert (found.engine.builder, found.engine.batch_sizes) == ("trtexec", None)
    assert f"that of tool{ending} is taken" in caplog.text


def test_a_manifest_of_its_own_comes_first(model, foreign):
    write_manifest(described(model), model)
    info = EngineInfo("tensorrt", "10.9.0", "bf16", "a GPU")
    write_manifest(described(model, engine=info, engine_sha256=file_sha256(foreign)), foreign)
    assert read_engine_manifest(foreign).engine == info
    foreign.write_bytes(b"another plan")
    with pytest.raises(ArtifactError, match=r"belongs to another file @ .*tool\.engine"):
        read_engine_manifest(foreign)


def test_an_engine_does_not_take_the_manifest_of_a_changed_file_or_of_another_engine(model, foreign):
    write_manifest(described(model), model)
    model.write_bytes(b"other weights")
    with pytest.raises(ArtifactError, match=r"belongs to another file @ .*tool\.release\.onnx"):
        read_engine_manifest(foreign)
    model.unlink()
    info = EngineInfo("tensorrt", "10.9.0", "bf16", "a GPU")
    write_manifest(attrs.evolve(manifest_of(SIGNATURE), engine=info, engine_sha256=file_sha256(foreign)), model)
    with pytest.raises(ArtifactError, match=r"another engine @ .*tool\.release\.manifest\.json"):
        read_engine_manifest(foreign)


def test_an_engine_alone_says_which_manifest_to_copy_where(foreign):
    with pytest.raises(ArtifactError) as caught:
        read_engine_manifest(foreign)
    problem = caught.value.problem
    assert problem.expected == "tool.engine.manifest.json beside it, or tool.manifest.json of its ONNX file"
    assert problem.hint.endswith(f"copy MODEL.manifest.json to {foreign.with_name('tool.manifest.json')}.")


def test_a_manifest_of_another_model_is_refused(model):
    write_manifest(described(model), model)
    model.write_bytes(b"other weights")
    with pytest.raises(ArtifactError, match="belongs to another file"):
        read_manifest(model)


def test_metadata_carries_the_same_facts():
    manifest = manifest_of(SIGNATURE)
    assert from_metadata(to_metadata(manifest) | {"someone": "else"}, where="m.onnx") == manifest


def test_the_first_version_is_read(model):
    record = json.loads(write_manifest(described(model), model).read_text())
    manifest_path(model).write_text(json.dumps(record | {"format_version": 1}))
    assert read_manifest(model).signature == described(model).signature


@pytest.mark.parametrize("version", [0, 3, "1", None])
def test_an_unknown_version_is_refused(model, version):
    record = json.loads(write_manifest(described(model), model).read_text())
    manifest_path(model).write_text(json.dumps(record | {"format_version": version}))
    with pytest.raises(ArtifactError, match="unknown version"):
        read_manifest(model)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"surprise": 1}, "surprise"),
        ({"batch_size": "many"}, "batch_size"),
        ({"parity": [{"output": "keypoints"}]}, "parity"),
    ],
)
def test_a_damaged_manifest_is_refused_in_one_line(model, change, told):
    record = json.loads(write_manifest(described(model), model).read_text())
    manifest_path(model).write_text(json.dumps(record | change))
    with pytest.raises(ArtifactError, match=told) as caught:
        read_manifest(model)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "\x00"])
def test_what_is_no_manifest_is_refused(model, content):
    manifest_path(model).write_text(content)
    with pytest.raises(ArtifactError, match="manifest"):
        read_manifest(model)


def test_a_missing_manifest_is_named(model):
    with pytest.raises(ArtifactError, match=r"manifest is missing @ .*tool\.release\.manifest\.json"):
        read_manifest(model)


def test_a_plain_onnx_file_carries_no_manifest():
    with pytest.raises(ArtifactError, match=r"unknown version @ plain\.onnx"):
        from_metadata({}, where="plain.onnx")
