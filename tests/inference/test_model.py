"""A trained model is opened by its file alone and asked about images."""

import json
import logging
import shutil
import subprocess
import sys

import attrs
import cv2
import numpy as np
import onnx
import pytest
import torch

from cogkp.artifacts.manifest import read_manifest, to_metadata, write_manifest
from cogkp.artifacts.names import file_sha256, manifest_path
from cogkp.config.keypoint.spec import StereoPairing
from cogkp.errors import ArtifactError, CheckpointError, CogkpError, EngineError, ImageError, ModelError
from cogkp.exporter.onnx_export import with_metadata
from cogkp.inference.model import load
from tests.builders.experiment_model import save_checkpoint as save_experiment_checkpoint
from tests.builders.keypoint_model import (
    POINTS,
    SIDE,
    keypoint_config,
    keypoint_task,
    save_checkpoint,
    scene,
)
from tests.builders.model_files import write_onnx
from tests.builders.shared_data import shared
from tests.builders.tiny_boxes import tiny_experiment

# The tolerance of exported points, in pixels of the crop.
PARITY_PX = 0.02

TORCHLESS = """
import sys
import numpy as np
from cogkp.inference.model import load
with load(sys.argv[1]) as model:
    found = model(np.zeros((90, 120, 3), np.uint8))
    found.points, found.confidence, found.covariance, found.mask, found.draw(), found.to_dict(), found._repr_html_()
    model(["{image}"] * 2)[1].draw()
assert "torch" not in sys.modules, "torch was imported"
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Every kind of file of one network with a mask, and of one without."""
    folder = tmp_path_factory.mktemp("models")
    for name, masks in (("plain", False), ("masked", True)):
        task = keypoint_task(keypoint_config(masks=masks))
        save_checkpoint(folder / f"{name}.pth", task)
        write_onnx(folder / f"{name}.onnx", task)
        write_onnx(folder / f"{name}_any.onnx", task, None)
        write_onnx(folder / f"{name}_four.onnx", task, 4)
    cv2.imwrite(str(folder / "image.png"), scene(1)[..., ::-1])
    return folder


@pytest.fixture
def copied(home, tmp_path):
    """The ONNX file of the plain network, to be spoilt."""
    for path in (home / "plain.onnx", home / "plain.manifest.json"):
        shutil.copy(path, tmp_path)
    return tmp_path / "plain.onnx"


def agree(one, other):
    scale = max(one.size_wh) / SIDE
    assert one.names == other.names
    assert np.linalg.norm(one.points - other.points, axis=-1).max() <= PARITY_PX * scale
    np.testing.assert_allclose(one.confidence, other.confidence, atol=1e-3)
    np.testing.assert_allclose(one.covariance, other.covariance, rtol=1e-3, atol=0.01)
    if one.mask is not None:
        assert np.mean(one.mask != other.mask) < 1e-3


@pytest.mark.parametrize("name", ["plain", "masked"])
def test_all_files_of_one_network_give_one_answer(home, name):
    images = [scene(seed, size) for seed, size in enumerate([(120, 90), (64, 64), (33, 200)])]
    truth = load(home / f"{name}.pth")(images)
    for file in (f"{name}.pth", f"{name}.onnx", f"{name}_any.onnx", f"{name}_four.onnx"):
        with load(home / file) as model:
            assert model.names == POINTS
            assert model.family == "keypoint"
            for one, other, each in zip(truth, model(images), map(model, images), strict=True):
                agree(one, other)
                agree(one, each)
    assert np.ptp([found.points for found in truth], axis=0).max() > 10 * PARITY_PX, "the answers differ by image"


@pytest.mark.real_data
@pytest.mark.parametrize(("data", "pattern"), [("mirror-mouse", "**/*.png"), ("openfield", "**/*.png")])
def test_all_files_give_one_answer_on_real_images(home, data, pattern):
    images = sorted(shared(data).glob(pattern))[:3]
    assert images
    with load(home / "masked.pth") as checkpoint, load(home / "masked.onnx") as exported:
        for one, other in zip(checkpoint(images), exported(images), strict=True):
            agree(one, other)


def test_more_images_than_one_group_keep_their_order(home):
    images = [scene(seed) for seed in range(18)]
    with load(home / "plain_any.onnx") as model:
        for found, image in zip(model.predict(iter(images)), images, strict=True):
            agree(found, model(image))
        assert model([]) == []


def test_a_path_an_array_and_its_forms_give_one_answer(home):
    image = scene(1)
    with load(home / "plain.onnx") as model:
        truth = model(image)
        forms = {
            "path": model(home / "image.png"),
            "text": model(str(home / "image.png")),
            "alpha": model(np.dstack([image, image[..., 0]])),
            "uint16": model(image.astype(np.uint16) * 257),
            "float": model(image / 255),
            "bgr": model(image[..., ::-1], bgr=True),
            "twelve bits": model(image.astype(np.uint16) * 16, max_value=4080),
            "read-only": model(np.broadcast_to(image, image.shape)),
            "bits of a file": model(home / "image.png", max_value=255),
        }
        assert np.array_equal(forms["path"].points, truth.points)
        assert np.array_equal(forms["bgr"].points, truth.points)
        for found in forms.values():
            np.testing.assert_allclose(found.points, truth.points, atol=1e-3)
        assert np.array_equal(forms["path"].draw(), truth.draw())
        assert not np.allclose(model(image[..., ::-1]).points, 0)
        assert not np.array_equal(model(home / "image.png", max_value=510).points, truth.points)


def test_an_image_is_never_written_to(home):
    image = scene(1)
    before = image.copy()
    with load(home / "plain.onnx") as model:
        model(image).draw()
        model(image, bgr=True).draw()
    assert np.array_equal(image, before)


def test_an_onnx_file_is_opened_and_asked_without_torch(home):
    code = TORCHLESS.format(image=home / "image.png")
    done = subprocess.run(
        [sys.executable, "-c", code, str(home / "masked.onnx")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_averaged_weights_are_taken(tmp_path):
    task, averaged = keypoint_task(keypoint_config()), keypoint_task(keypoint_config(), seed=1)
    save_checkpoint(tmp_path / "both.pth", task, average=averaged.model.state_dict())
    save_checkpoint(tmp_path / "average.pth", averaged)
    found, wanted = (load(tmp_path / name)(scene()) for name in ("both.pth", "average.pth"))
    assert np.array_equal(found.points, wanted.points)


def test_an_older_checkpoint_is_known_by_its_configuration(tmp_path):
    assert load(save_checkpoint(tmp_path / "old.pth", keypoint_task(keypoint_config()), family="")).family == "keypoint"


def test_a_run_folder_stands_for_its_newest_checkpoint(home, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    for name in ("checkpoint_latest.pth", "checkpoint_best.pth", "checkpoint_000001_e1_s0.pth"):
        shutil.copy(home / "plain.pth", run / name)
    assert load(run).path == run / "checkpoint_latest.pth"
    assert load(tmp_path).path == run / "checkpoint_latest.pth"
    shutil.copytree(run, tmp_path / "other")
    with pytest.raises(CheckpointError, match=r"does not name one model @ .*other/checkpoint_latest\.pth, run/check"):
        load(tmp_path)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(CheckpointError, match=r"expected one file \*_latest\.pth, got none"):
        load(tmp_path / "nothing")


def test_good_files_beside_a_damaged_one_are_named(home, tmp_path):
    shutil.copy(home / "plain.pth", tmp_path / "checkpoint_best.pth")
    (tmp_path / "checkpoint_latest.pth").write_bytes((home / "plain.pth").read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"damaged.*Good ones beside it: .*checkpoint_best\.pth"):
        load(tmp_path)


def test_a_model_that_looks_at_a_part_is_told_where(tmp_path):
    task = keypoint_task(keypoint_config(region="points"))
    image = scene()
    with load(write_onnx(tmp_path / "part.onnx", task, None)) as model:
        with pytest.raises(ModelError, match=r"needs to know where to look @ .*part\.onnx"):
            model(image)
        here, there = (30, 20, 60, 50), (60, 40, 90, 70)
        found = model(image, box=here)
        assert np.array_equal(model(image, box=list(here)).points, found.points)
        for answers in (model([image, image], box=[here, there]), model((image, image), box=[here, there])):
            np.testing.assert_allclose(answers[0].points, found.points, atol=1e-3)
            np.testing.assert_allclose(answers[1].points, model(image, box=there).points, atol=1e-3)
        same = model([image, image], box=here)
        np.testing.assert_allclose(same[1].points, found.points, atol=1e-3)
        many = model([image] * 18, box=[here] * 17 + [there])
        np.testing.assert_allclose(many[17].points, model(image, box=there).points, atol=1e-3)
        with pytest.raises(ModelError, match="box does not fit the images: expected 2 values, got 3"):
            model([image, image], box=[here] * 3)


def test_what_a_model_has_no_use_for_is_refused(home):
    with load(home / "plain.onnx") as model:
        with pytest.raises(
            ModelError, match=r"no use for 'boxes' @ .* expected bgr, max_value, box\. Did you mean 'box'"
        ):
            model(scene(), boxes=(1, 2, 3, 4))
        with pytest.raises(ModelError, match="this model takes no box"):
            model(scene(), box=(1, 2, 3, 4))
    with pytest.raises(ModelError, match=r"has no use for 'noise' @ .*expected noise_px, kernel_sigma_px.*'noise_px'"):
        load(home / "plain.onnx", noise=1.0)
    assert load(home / "plain.pth", noise_px=5.0)(scene()).covariance[0, 0, 0] > 25


def test_a_model_says_what_it_is(home):
    model = load(home / "plain.onnx", threads=1)
    assert repr(model) == f"<keypoint model {str(home / 'plain.onnx')!r}: tip, turn, end; run by onnxruntime>"
    assert model.facts["points"]["names"] == list(POINTS)
    with model as same:
        assert same is model
    model.close()
    assert repr(model).endswith("; closed>")
    for ask in (lambda: model(scene()), lambda: model([scene()])):
        with pytest.raises(ModelError, match=r"the model is closed @ .*plain\.onnx.*cogkp\.load"):
            ask()


def test_what_a_model_found_is_ready_for_json(home):
    with load(home / "masked.onnx") as model:
        plain = model(scene()).to_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


IMAGES = {
    "missing": ("nowhere.png", r"the image file does not exist @ nowhere\.png"),
    "a folder": (".", "cannot be read @ "),
    "no image": (__file__, "not an image that can be read @ .*test_model.py"),
    "a number": (7, "not an image @ image: .*got int"),
    "bytes": (b"image.png", "not an image @ image: .*got bytes"),
    "nothing": (None, "not an image @ image: .*got NoneType"),
    "five channels": (np.zeros((8, 8, 5), np.uint8), "wrong shape @ image"),
    "empty": (np.zeros((0, 8), np.uint8), "no pixels @ image"),
}


@pytest.mark.parametrize(("image", "said"), IMAGES.values(), ids=IMAGES)
def test_what_is_no_image_is_refused_in_one_line(home, image, said):
    with load(home / "plain_any.onnx") as model:
        with pytest.raises(ImageError, match=said) as caught:
            model(image)
        assert "\n" not in str(caught.value)
        with pytest.raises(ImageError, match=said.replace("@ image", "@ image 1 of the list")):
            model([scene(), image])


def spoilt_manifest(path, change):
    manifest = json.loads(manifest_path(path).read_text())
    change(manifest)
    manifest_path(path).write_text(json.dumps(manifest))


def relabelled(path, **facts):
    """Give an ONNX file other facts, beside it and in it, as a program of another version would."""
    manifest = read_manifest(path)
    manifest = attrs.evolve(manifest, facts={**manifest.facts, **facts}, onnx_sha256=None)
    path.write_bytes(with_metadata(path.read_bytes(), to_metadata(manifest)))
    write_manifest(attrs.evolve(manifest, onnx_sha256=file_sha256(path)), path)


def alone(path):
    manifest_path(path).unlink()
    return onnx.load_from_string(path.read_bytes())


def with_pairs(path, pairs):
    """Write a file's metadata by hand."""
    model = alone(path)
    del model.metadata_props[:]
    for key, value in pairs.items():
        model.metadata_props.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())


def not_utf8(path):
    """Put a byte that is no text into the value of an entry."""
    with_pairs(path, {"cogkp.family": "keyXpoint"})
    path.write_bytes(path.read_bytes().replace(b"keyXpoint", b"key\xffpoint"))


def name_not_utf8(path):
    alone(path)
    path.write_bytes(path.read_bytes().replace(b"heatmaps", b"heat\xffaps"))


SPOILT = {
    "missing": (lambda p: p.unlink(), "there is no such model"),
    "truncated": (lambda p: [manifest_path(p).unlink(), p.write_bytes(p.read_bytes()[:3000])], "cannot be used"),
    "empty": (lambda p: [manifest_path(p).unlink(), p.write_bytes(b"")], "cannot be used"),
    "a checkpoint": (lambda p: [alone(p), p.write_bytes(b"PK" * 100)], "cannot be used"),
    "changed": (lambda p: p.write_bytes(p.read_bytes() + b"\0"), "manifest belongs to another file"),
    "of another program": (lambda p: with_pairs(p, {}), "does not say what it is .*cogkp.evaluate"),
    "another family": (lambda p: relabelled(p, family="faces"), "unknown model family .*got faces"),
    "a family of numbers": (lambda p: relabelled(p, family=7), "does not say what it is .*got family 7"),
    "wrong family": (lambda p: relabelled(p, family="centerpose"), "model file"),
    "fewer points": (lambda p: relabelled(p, points={"names": ["a", "b"]}), "the model file and its facts disagree"),
    "another size": (lambda p: relabelled(p, input={"size_px": 96}), r"disagree .*expected an input \(B, 1, 96, 96\)"),
    "a mask": (lambda p: relabelled(p, num_segmentation_classes=3), "disagree .*expected an output mask_logits"),
    "no crop": (lambda p: relabelled(p, crop={}), "does not say what its network needs"),
    "metadata of text": (lambda p: with_pairs(p, {"cogkp.facts": "keypoint"}), "metadata is not JSON"),
    "metadata nested": (lambda p: with_pairs(p, {"cogkp.facts": "[" * 100_000}), "metadata is not JSON"),
    "metadata not UTF-8": (not_utf8, "text that is not UTF-8"),
    "a name not UTF-8": (name_not_utf8, "ONNX file"),
    "a newer version": (lambda p: with_pairs(p, {"cogkp.format_version": "9"}), "unknown version .*got 9"),
    "half of it": (lambda p: with_pairs(p, {"cogkp.format_version": "2"}), "manifest is damaged"),
    "a manifest of text": (lambda p: manifest_path(p).write_text("yes"), "manifest cannot be read"),
    "a manifest of bytes": (lambda p: manifest_path(p).write_bytes(b"\xff\xfe"), "manifest cannot be read"),
    "a manifest nested": (lambda p: manifest_path(p).write_text("[" * 100_000), "manifest cannot be read"),
    "a manifest of a list": (lambda p: manifest_path(p).write_text("[]"), "unknown version"),
    "other names": (
        lambda p: spoilt_manifest(p, lambda m: m["outputs"][0].update(name="points")),
        "does not have 'points' as declared|disagree",
    ),
    "other shapes": (
        lambda p: spoilt_manifest(p, lambda m: m["outputs"][1].update(shape=[1, 3, 8, 8])),
        "does not have 'heatmaps' as declared",
    ),
    "facts of a list": (lambda p: spoilt_manifest(p, lambda m: m.update(facts=[1])), "manifest is damaged"),
}


@pytest.mark.parametrize(("spoil", "said"), SPOILT.values(), ids=SPOILT)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(copied, spoil, said):
    spoil(copied)
    before = {path: path.read_bytes() for path in copied.parent.iterdir()}
    with pytest.raises(CogkpError, match=said) as caught:
        load(copied)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ArtifactError) or caught.value.problem.what == "unknown model family"
    assert str(copied.parent) in str(caught.value)
    assert {path: path.read_bytes() for path in copied.parent.iterdir()} == before, "nothing is written"


def test_a_file_without_its_manifest_explains_itself(copied):
    truth = load(copied)(scene())
    manifest_path(copied).unlink()
    agree(load(copied)(scene()), truth)


def test_an_older_file_says_what_to_give(copied, caplog):
    relabelled(copied, uncertainty={})
    with caplog.at_level(logging.WARNING):
        assert load(copied)(scene()).covariance is None
    assert "cogkp.load(path, noise_px=..., kernel_sigma_px=...)" in caplog.text
    assert load(copied, noise_px=0.1, kernel_sigma_px=6.0)(scene()).covariance is not None


CHECKPOINTS = {
    "missing": (lambda p: p.unlink(), "there is no such checkpoint"),
    "truncated": (lambda p: p.write_bytes(p.read_bytes()[:5000]), "damaged"),
    "empty": (lambda p: p.write_bytes(b""), "cut off, damaged"),
    "text": (lambda p: p.write_text("weights"), "cut off, damaged"),
    "an ONNX file": (lambda p: p.write_bytes(b"\x08\x08" * 50), "cut off, damaged"),
    "bare weights": (lambda p: torch.save({"weight": torch.zeros(1)}, p), "not a checkpoint of this library"),
    "of Lightning": (lambda p: torch.save({"state_dict": {}}, p), "PyTorch Lightning"),
}


@pytest.mark.parametrize(("spoil", "said"), CHECKPOINTS.values(), ids=CHECKPOINTS)
def test_a_checkpoint_that_cannot_be_used_is_refused_in_one_line(home, tmp_path, spoil, said):
    path = tmp_path / "model.pth"
    shutil.copy(home / "plain.pth", path)
    spoil(path)
    with pytest.raises(CheckpointError, match=said) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, r"unknown model family @ .*model.pth: expected keypoint, centerpose"),
        ({"data_mappings": 7}, "configuration cannot be used @ .*model.pth"),
        ({"data_mappings": {}}, "the checkpoint does not fit this network"),
    ],
)
def test_a_checkpoint_whose_configuration_is_not_its_own_is_refused_in_one_line(tmp_path, monkeypatch, config, said):
    monkeypatch.setattr("tests.builders.keypoint_model.dump", lambda _: config)
    path = save_checkpoint(tmp_path / "model.pth", keypoint_task(keypoint_config(masks=True)), family="")
    with pytest.raises(CogkpError, match=said) as caught:
        load(path)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def touched():
    """Paths that the process opens or lists, from when it is cleared."""
    paths = []
    sys.addaudithook(lambda event, args: paths.append(str(args[0])) if event in ("open", "os.listdir") else None)
    return paths


@pytest.mark.parametrize("family", ["keypoint", "centerpose"])
def test_what_the_configuration_of_a_checkpoint_names_is_not_opened(tmp_path, touched, family):
    named, path = str(tmp_path / "named"), tmp_path / "model.pth"
    if family == "keypoint":
        config = keypoint_config()
        views = attrs.evolve(config.data_mappings, x=("LL.image", "LR.image"), y=config.data_mappings.y * 2)
        config = attrs.evolve(
            config, data_mappings=views, base_dir=(f"{named}/data",), calibration_file=f"{named}.json"
        )
        save_checkpoint(path, keypoint_task(attrs.evolve(config, stereo_pairing=StereoPairing(enabled=True))))
    else:
        config = tiny_experiment(tmp_path, width=0.125)
        data = attrs.evolve(config.dataset, train_data=f"{named}/a", val_data=f"{named}/b", inference_data=f"{named}/c")
        train = attrs.evolve(config.train, pretrained_model_path=f"{named}.pth")
        save_experiment_checkpoint(attrs.evolve(config, dataset=data, train=train, results_dir=named), path)
    touched.clear()
    with load(path) as model:
        assert model.family == family
    assert str(path) in touched
    assert [each for each in touched if named in each] == []


@pytest.mark.parametrize("name", ["model.txt", "model", "image.png"])
def test_a_name_of_no_model_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"1")
    with pytest.raises(
        ArtifactError, match=rf"not a model file @ .*{name}: expected a name that ends in \.pth.*\.onnx"
    ):
        load(tmp_path / name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_an_engine_without_a_gpu_is_refused_in_one_line(home, tmp_path):
    manifest = read_manifest(home / "plain.onnx")
    (tmp_path / "plain.trt").write_bytes(b"engine")
    write_manifest(attrs.evolve(manifest, onnx_sha256="0" * 64), tmp_path / "plain.onnx")
    with pytest.raises(EngineError, match=r"runs on an NVIDIA GPU only @ .*plain\.trt\. Run the ONNX file"):
        load(tmp_path / "plain.trt")


def test_a_large_image_is_refused_and_a_small_one_is_not(home):
    with load(home / "plain.onnx") as model:
        with pytest.raises(ImageError, match="too large @ image: expected at most 64 megapixels, got 10000 x 10000"):
            model(np.broadcast_to(np.uint8(0), (10_000, 10_000)))
        assert model(np.zeros((1, 1), np.uint8)).points.shape == (3, 2)


def test_an_image_of_a_list_that_is_wide_keeps_its_mask(home):
    """OpenCV moves images of fewer than 32768 columns only."""
    with load(home / "masked.onnx") as model:
        found = model(np.zeros((4, 40_000), np.uint8))
        assert found.mask.shape == (4, 40_000)
        assert found.draw().shape == (4, 40_000, 3)


def test_an_image_of_8_bits_that_is_nearly_black_is_told_once(home, caplog):
    with load(home / "plain.onnx") as model:
        for image in (scene(1), np.zeros((90, 120), np.uint8), scene(1) // 16, scene(2) // 16):
            model(image)
    (record,) = caplog.records
    assert "of 255, that is nearly black" in record.getMessage()
    assert "max_value" in record.getMessage()
