import attrs
import numpy as np
import onnx
import pytest

from cogkp.artifacts.manifest import write_manifest
from cogkp.artifacts.names import file_sha256
from cogkp.errors import ArtifactError, ModelError
from cogkp.exporter.onnx_export import export_onnx, signature_of
from cogkp.inference.onnxruntime_runner import OnnxRuntimeRunner
from cogkp.inference.torch_runner import TorchRunner
from tests.builders.tiny_export import TinyOutputs, manifest_of, tiny_images, tiny_net, tiny_spec

FEED = {"input": np.stack(list(tiny_images(2).values()))}
SIGNATURE = signature_of(tiny_net(), tiny_spec(2))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return export_onnx(tiny_net(), tiny_spec(2), tmp_path_factory.mktemp("runner") / "m.onnx")


@pytest.fixture(params=["torch", "onnxruntime"])
def runner(request, path):
    made = {
        "torch": lambda: TorchRunner(tiny_net(), SIGNATURE),
        "onnxruntime": lambda: OnnxRuntimeRunner(path, SIGNATURE, threads=1),
    }
    return made[request.param]()


def test_outputs_have_the_declared_names_shapes_and_dtypes(runner):
    with runner:
        outputs = runner.infer(FEED)
    assert tuple(outputs) == TinyOutputs._fields
    for entry in SIGNATURE.outputs:
        assert outputs[entry.name].shape == entry.shape
        assert outputs[entry.name].dtype == np.dtype(entry.dtype)


def test_the_caller_owns_inputs_and_outputs(runner):
    feed = {"input": FEED["input"].copy()}
    feed["input"].flags.writeable = False
    with runner:
        first = runner.infer(feed)["keypoints"]
        kept = first.copy()
        runner.infer({"input": np.zeros_like(feed["input"])})
    np.testing.assert_array_equal(first, kept)
    first[:] = 0


def test_rows_of_a_batch_do_not_touch_each_other(runner):
    with runner:
        straight = runner.infer(FEED)
        swapped = runner.infer({"input": FEED["input"][::-1]})
    for name in straight:
        np.testing.assert_allclose(straight[name], swapped[name][::-1], atol=1e-5)


@pytest.mark.parametrize(
    ("feed", "told"),
    [
        ({}, "wrong inputs"),
        ({"image": FEED["input"]}, "wrong inputs"),
        (FEED | {"more": FEED["input"]}, "wrong inputs"),
        ({"input": FEED["input"][:1]}, r"expected float32 \[2, 1, 64, 64\], got float32 \[1, 1, 64, 64\]"),
        ({"input": FEED["input"].astype(np.float64)}, "got float64"),
        ({"input": (FEED["input"] * 255).astype(np.uint8)}, "got uint8"),
    ],
)
def test_wrong_inputs_are_refused(runner, feed, told):
    with runner, pytest.raises(ModelError, match=told):
        runner.infer(feed)


def test_a_closed_runner_says_so(runner):
    with pytest.raises(ModelError, match="closed"):
        runner.infer(FEED)
    with runner:
        runner.open()
    runner.close()
    with pytest.raises(ModelError, match="closed"):
        runner.infer(FEED)


def test_the_manifest_beside_the_file_is_the_declaration(path):
    write_manifest(attrs.evolve(manifest_of(SIGNATURE), onnx_sha256=file_sha256(path)), path)
    with OnnxRuntimeRunner(path) as runner:
        assert runner.signature == SIGNATURE


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"shape": (2, 2, 3)}, r"'keypoints' as declared .*expected float32 \[2, 2, 3\], got float32 \[2, 2, 2\]"),
        ({"dtype": "float16"}, "expected float16"),
        ({"name": "points"}, "got only input, keypoints"),
    ],
)
def test_a_file_that_differs_from_its_declaration_is_refused(path, change, told):
    first, *others = SIGNATURE.outputs
    declared = attrs.evolve(SIGNATURE, outputs=(attrs.evolve(first, **change), *others))
    with pytest.raises(ArtifactError, match=told):
        OnnxRuntimeRunner(path, declared).open()


def test_an_undeclared_output_is_refused(path):
    declared = attrs.evolve(SIGNATURE, outputs=SIGNATURE.outputs[:2])
    with pytest.raises(ArtifactError, match=r"undeclared.*mask_logits"):
        OnnxRuntimeRunner(path, declared).open()


def test_broken_and_missing_files_are_told_apart(tmp_path, path, capfd):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ArtifactError, match=r"cannot be used @ .*broken\.onnx") as caught:
        OnnxRuntimeRunner(broken, SIGNATURE).open()
    assert "\n" not in str(caught.value)
    with pytest.raises(ArtifactError, match=r"cannot be read.*No such file"):
        OnnxRuntimeRunner(tmp_path / "absent.onnx", SIGNATURE).open()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("location", "usable"), [("weights", True), ("../weights", False), ("{}/weights", False)])
def test_weights_outside_the_file_lie_beside_it_wherever_it_is_opened(tmp_path, path, location, usable, monkeypatch):
    model = onnx.load(path)
    tensor = max(model.graph.initializer, key=lambda each: len(each.raw_data))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "weights").write_bytes(tensor.raw_data)
    (tmp_path / "weights").write_bytes(bytes(len(tensor.raw_data)))
    facts = {"location": location.format(tmp_path), "length": str(len(tensor.raw_data))}
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in facts.items():
        tensor.external_data.add(key=key, value=value)
    outside = tmp_path / "models" / "outside.onnx"
    outside.write_bytes(model.SerializeToString())
    for here in (tmp_path, tmp_path / "models"):
        monkeypatch.chdir(here)
        if usable:
            with OnnxRuntimeRunner(path, SIGNATURE) as whole, OnnxRuntimeRunner(outside, SIGNATURE) as runner:
                np.testing.assert_array_equal(runner.infer(FEED)["keypoints"], whole.infer(FEED)["keypoints"])
            continue
        with pytest.raises(ArtifactError, match="cannot be used") as caught:
            OnnxRuntimeRunner(outside, SIGNATURE).open()
        assert len(str(caught.value).splitlines()) == 1


def test_a_device_the_runtime_lacks_is_refused(path):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(ModelError, match="onnxruntime-gpu"):
        OnnxRuntimeRunner(path, SIGNATURE, device="cuda").open()


def test_the_same_outputs_come_from_the_standards_own_evaluator(path):
    from onnx.reference import ReferenceEvaluator

    expected = ReferenceEvaluator(onnx.load(path)).run(None, FEED)
    with OnnxRuntimeRunner(path, SIGNATURE, threads=1) as runner:
        found = runner.infer(FEED)
    for values, wanted in zip(found.values(), expected, strict=True):
        np.testing.assert_allclose(values, wanted, atol=1e-4)


def test_names_that_are_no_utf_8_are_told_in_one_line(path, tmp_path, capfd):
    content = path.read_bytes()
    (tmp_path / "m.onnx").write_bytes(content.replace(b"heatmaps", b"heat\xff\xffps"))
    with (
        pytest.raises(ArtifactError, match="ONNX file holds text that is not UTF-8"),
        OnnxRuntimeRunner(tmp_path / "m.onnx", SIGNATURE),
    ):
        pass
    assert capfd.readouterr() == ("", "")


def test_a_damaged_file_is_told_once(path, tmp_path, capfd):
    """ONNX Runtime would print four lines on standard output, and try the same again."""
    (tmp_path / "m.onnx").write_bytes(path.read_bytes().replace(b"Conv", b"\xff\xffnv"))
    with (
        pytest.raises(ArtifactError, match="ONNX file cannot be used"),
        OnnxRuntimeRunner(tmp_path / "m.onnx", SIGNATURE),
    ):
        pass
    assert capfd.readouterr() == ("", "")
