"""Images of 12 bits in files of 16 train, are evaluated, deployed and asked about as those of 8 bits."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import attrs
import cv2
import numpy as np
import pytest

from cogkp.artifacts.checkpoint import load_checkpoint
from cogkp.artifacts.manifest import read_manifest
from cogkp.config.images import ImageFiles
from cogkp.config.train import ExportOptions
from cogkp.errors import ArtifactError
from cogkp.inference.exported import image_reading
from cogkp.inference.model import load
from cogkp.progress import SILENT
from cogkp.tasks.registry import build_task
from cogkp.workflows.adapter import PredictionRequest, adapter_of
from cogkp.workflows.evaluate import evaluate
from cogkp.workflows.export import export
from cogkp.workflows.families.centerpose.engine import calibration_images
from cogkp.workflows.image_levels import with_found_levels
from cogkp.workflows.preview import preview_data
from cogkp.workflows.train import train
from tests.builders.experiment_model import save_checkpoint, with_section
from tests.builders.tiny_boxes import tiny_experiment
from tests.builders.tiny_keypoints import tiny_config
from tests.builders.training import OPTIONS

LEVELS = (0, 4095)
SHORT = attrs.evolve(OPTIONS, epochs=2)


def deepen(folder, factor=16):
    """Store each image, but no mask, in 16 bits."""
    for path in folder.rglob("*.png"):
        if "mask" not in path.name:
            cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.uint16) * factor)


def config_of(folder, factor):
    """A recording in 8 bits, or its values times a factor in 16."""
    config = tiny_config(folder, validation=2)
    if factor > 1:
        deepen(folder, factor)
    return config


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
    home = tmp_path_factory.mktemp("eight")
    config = config_of(home, 1)
    return config, train(config, SHORT, checkpoint_root=home / "runs", log_dir=None)


@pytest.fixture(scope="module")
def twelve(tmp_path_factory):
    home = tmp_path_factory.mktemp("twelve")
    config = config_of(home, 16)
    return config, train(config, SHORT, checkpoint_root=home / "runs", log_dir=None)


def test_12_bits_train_as_8_do(eight, twelve):
    (_, one), (_, other) = eight, twelve
    for name in ("loss", "validation/error_mean_px"):
        assert other.scalars[name] == pytest.approx(one.scalars[name], rel=0.05), name


def test_the_checkpoint_and_the_run_say_the_levels(eight, twelve):
    for (_, result), levels in ((eight, None), (twelve, list(LEVELS))):
        config = load_checkpoint(result.checkpoint).provenance.config
        assert config["images"] == {"apply_exif_orientation": False, "levels_16bit": levels}
        assert json.loads((result.run_dir / "run_config.json").read_text())["images"]["levels_16bit"] == levels


def test_an_evaluation_takes_the_levels_of_the_checkpoint(eight, twelve, tmp_path):
    (config, one), (deep, other) = eight, twelve
    assert deep.images.levels_16bit is None
    found = [
        evaluate(asked, model=str(result.checkpoint), output_dir=tmp_path / str(n)).report
        for n, (asked, result) in enumerate(((config, one), (deep, other)))
    ]
    errors = [each["overall"]["mean_px"] for each in found]
    assert errors[1] == pytest.approx(errors[0], rel=0.05)


def test_a_resumed_training_keeps_its_levels(twelve, tmp_path):
    config, result = twelve
    more = attrs.evolve(SHORT, epochs=3)
    root = result.run_dir.parent
    again = train(
        config, more, restore=str(result.checkpoint), given=frozenset({"epochs"}), checkpoint_root=root, log_dir=None
    )
    assert load_checkpoint(again.checkpoint).provenance.config["images"]["levels_16bit"] == list(LEVELS)
    assert again.epochs == 5


def test_a_checkpoint_without_levels_is_used_as_it_was_trained(twelve, tmp_path, caplog):
    """Such as one of an earlier release, trained on dark values."""
    config, _ = twelve
    stored = attrs.evolve(config, images=ImageFiles(levels_16bit=(0, 65535)))
    result = train(stored, attrs.evolve(SHORT, epochs=1), checkpoint_root=tmp_path, log_dir=None, report=False)
    plain = load_checkpoint(result.checkpoint).provenance.config["images"]
    assert plain["levels_16bit"] == [0, 65535]
    assert "nearly black" in caplog.text


@pytest.mark.parametrize("factor", [1, 257])
def test_full_ranges_stay_as_they_were(tmp_path, factor):
    config = config_of(tmp_path, factor)
    dataset = build_task(config).datasets("train")
    assert with_found_levels(config, dataset)[0] is config


def test_an_exported_model_reads_as_its_checkpoint(eight, twelve, tmp_path):
    """Files, arrays as a camera gives them, and arrays whose white is stated."""
    (config, _), (deep, result) = eight, twelve
    options = ExportOptions(path=str(tmp_path / "a.onnx"), engine=False)
    exported = export(deep, options, checkpoint=str(result.checkpoint))
    assert read_manifest(exported.onnx).facts["images"]["levels_16bit"] == list(LEVELS)
    dark = next(Path(deep.base_dir[0]).rglob("0.png"))
    plain = next(Path(config.base_dir[0]).rglob("0.png"))
    array = cv2.imread(str(dark), cv2.IMREAD_UNCHANGED)
    with load(result.checkpoint) as model, load(exported.onnx) as onnx:
        wanted = model(plain).points
        for asked in (model, onnx):
            shallow = (array >> 4).astype(np.uint8)
            for image, more in ((dark, {}), (array, {}), (array, {"max_value": 4095}), (shallow, {})):
                np.testing.assert_allclose(asked(image, **more).points, wanted, atol=0.3)
        assert model(dark).draw().max() > 100


def test_an_image_far_outside_the_levels_is_told_once(eight, twelve, tmp_path, caplog):
    (_, one), (_, other) = eight, twelve
    bright = np.full((90, 120), 60000, np.uint16)
    bright[0] = 100
    dark = bright // 200
    with load(other.checkpoint) as model, load(one.checkpoint) as plain, caplog.at_level(logging.WARNING, "cogkp"):
        for _ in range(2):
            model(bright)
            plain(dark)
        model((bright // 256).astype(np.uint8))
        plain(bright)
    assert [record.getMessage().partition(";")[2] for record in caplog.records] == [
        " most of that is taken as white; max_value=... says which value is white",
        " that is nearly black to the network; max_value=... says which value is white",
    ]


def test_the_preview_shows_the_levels(twelve):
    assert next(iter(preview_data(twelve[0], batch_size=4))).max() > 200


def test_a_model_file_that_says_nonsense_of_its_levels_is_refused(twelve, tmp_path):
    config, _ = twelve
    task = build_task(config)
    for wrong in ([0], [5, 1], "dark", [0, 1e9], [True, 5], 7):
        with pytest.raises(ArtifactError, match=r"facts\.images") as caught:
            image_reading({"images": {"levels_16bit": wrong}}, "a.onnx")
        assert "\n" not in str(caught.value)
    assert image_reading({}, "a.onnx") == (False, None)
    assert image_reading(task.export_spec(1).facts, "a.onnx") == (False, None)


def test_boxes_know_levels_too(tmp_path):
    config = tiny_experiment(tmp_path)
    plain = build_task(config).datasets("validation")[0][0].sample.image
    found = deepened(config)
    assert found.dataset.images.levels_16bit == LEVELS
    adapter = adapter_of(config)
    assert adapter.structure(adapter.dump(found)) == found
    task = build_task(found)
    assert task.export_spec(1).facts["images"]["levels_16bit"] == list(LEVELS)
    np.testing.assert_allclose(task.datasets("validation")[0][0].sample.image, plain, atol=0.03)


@pytest.mark.parametrize("make", [tiny_config, tiny_experiment])
def test_dark_images_of_8_bits_are_told_before_a_training_of_any_family(tmp_path, caplog, make):
    config = make(tmp_path)
    for path in (path for path in tmp_path.rglob("*") if path.suffix in (".png", ".jpg") and "mask" not in path.name):
        cv2.imwrite(str(path.with_suffix(".png")), cv2.imread(str(path), cv2.IMREAD_UNCHANGED) // 16)
        if path.suffix != ".png":
            path.unlink()
    assert with_found_levels(config, build_task(config).datasets("train"))[0] is config
    assert "train data, images of 8 bits: values" in caplog.text


def test_inference_and_calibration_read_images_as_the_model_was_trained(tmp_path):
    config = tiny_experiment(tmp_path, width=0.125)
    plain = build_task(config).datasets("validation")[0][0].sample.image
    checkpoint = save_checkpoint(deepened(config), tmp_path / "a.pth")
    dark = attrs.evolve(config.dataset, inference_data=config.dataset.train_data)
    config = attrs.evolve(config, results_dir=str(tmp_path / "out"), dataset=dark)
    sections = with_section(config, "export", checkpoint=str(checkpoint), onnx_file=str(tmp_path / "a.onnx"))
    onnx = export(sections).onnx
    for model in (checkpoint, onnx):
        with adapter_of(config).prediction(config, PredictionRequest(model=str(model))) as job:
            seen = job.model.prepare(job.images[0].path)
        np.testing.assert_allclose(seen.input, plain, atol=0.03)
    images = calibration_images([job.images[0].path], read_manifest(onnx), onnx, SILENT)
    np.testing.assert_allclose(next(images.batches(1, 1, "calibrate"))[0], plain, atol=0.03)


def deepened(config):
    """Store the images in 16 bits, of which 12 are used, and return the experiment with their levels."""
    for path in build_task(config).datasets("train").some_images:
        cv2.imwrite(str(path.with_suffix(".png")), cv2.imread(str(path)).astype(np.uint16) * 16)
        if path.suffix != ".png":
            path.unlink()
    return with_found_levels(config, build_task(config).datasets("train"))[0]
