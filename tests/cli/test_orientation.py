"""Images that note an orientation (EXIF): every command that meets them says so, and one switch turns them."""

from __future__ import annotations

import json

import attrs
import cv2
import numpy as np
import pytest

from cogkp import load_config
from cogkp.config.centerpose.spec import CenterPoseConfig
from cogkp.config.images import ImageFiles
from cogkp.data.boxes.dataset import ObjectDataset
from cogkp.data.images.orientation import turned
from cogkp.data.keypoint.dataset import AugmentedKeypointDataset
from cogkp.workflows.families.centerpose.inference import find_inference_images
from cogkp.workflows.predict import infer
from tests.builders.box_files import SIZE_WH, annotation, write_set
from tests.builders.command import run_s6
from tests.builders.keypoint_model import keypoint_config, keypoint_task, save_checkpoint, scene
from tests.builders.oriented import write_oriented
from tests.builders.tiny_keypoints import tiny_config

TOLD = "2 of 3 images note an orientation"


def note(path, orientation=6):
    """Store an upright image lying, with the note that stands it up again."""
    upright = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    back = {6: 8, 8: 6}.get(orientation, orientation)
    write_oriented(path, np.ascontiguousarray(turned(upright, back)), orientation)


@pytest.fixture
def keypoints(tmp_path):
    """Three images, two of which are stored lying while their labels are those of the upright ones."""
    config = tiny_config(tmp_path, frames=3)
    noted = tiny_config(tmp_path / "noted", frames=3)
    for name in ("0.png", "2.png"):
        note(tmp_path / "noted" / "train" / "B" / name)
    return config, noted


def test_the_switch_makes_turned_recordings_what_upright_ones_are(keypoints):
    upright, noted = keypoints
    noted = attrs.evolve(noted, images=attrs.evolve(noted.images, apply_exif_orientation=True))
    pairs = [
        AugmentedKeypointDataset(config, "validation", lambda _: None)
        for config in (
            attrs.evolve(config, validation=attrs.evolve(config.validation, base_dir=config.base_dir))
            for config in (upright, noted)
        )
    ]
    for index in range(3):
        one, other = (data[index][0].sample for data in pairs)
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.labels.uv_source, other.labels.uv_source)


def test_training_tells_of_turned_images_unless_they_are_turned(keypoints, tmp_path, monkeypatch, capfd):
    _, noted = keypoints
    document = {
        "base_dir": list(noted.base_dir),
        "data_mappings": {"x": list(noted.data_mappings.x), "y": [list(row) for row in noted.data_mappings.y]},
        "augmentations": [{"type": "crop", "output_size": 64}],
    }
    monkeypatch.chdir(tmp_path)
    words = ("cog", "keypoint", "-c", "c.json", "--train", "-e", "1", "-b", "1", "-w", "0", "--no-tb", "--dry-run")
    (tmp_path / "c.json").write_text(json.dumps(document))
    code, _out, err = run_s6(monkeypatch, capfd, *words)
    assert code == 0
    assert TOLD in err
    assert "images.apply_exif_orientation=true turns them" in err
    (tmp_path / "c.json").write_text(json.dumps(document | {"images": {"apply_exif_orientation": True}}))
    code, _out, err = run_s6(monkeypatch, capfd, *words)
    assert code == 0
    assert f"{TOLD} (EXIF; most often turned by 90 degrees clockwise; first" in err
    assert "which is applied" in err
    assert "warning" not in err


def test_an_import_tells_of_turned_images(tmp_path, monkeypatch, capfd):
    for index in range(3):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((24, 40), 50 * index, np.uint8))
        if index != 1:
            note(tmp_path / f"{index}.png")
    rows = ["scorer,me,me", "bodyparts,tip,tip", "coords,x,y", *(f"{index}.png,10,12" for index in range(3))]
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    code, _out, err = run_s6(
        monkeypatch, capfd, "cog", "import", "deeplabcut", tmp_path / "labels.csv", tmp_path / "new"
    )
    assert code == 0
    assert err.count(TOLD) == 1


@pytest.mark.parametrize("applied", [False, True])
def test_labels_made_on_turned_images_are_imported_and_read_rightly(tmp_path, monkeypatch, capfd, applied):
    """The point lies inside what is shown, and outside what is stored."""
    for index in range(3):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((40, 24), 50 * index, np.uint8))
        note(tmp_path / f"{index}.png")
    rows = ["scorer,me,me", "bodyparts,tip,tip", "coords,x,y", *(f"{index}.png,10,35" for index in range(3))]
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    words = ("cog", "import", "deeplabcut", tmp_path / "labels.csv", tmp_path / "new")
    code, _out, err = run_s6(monkeypatch, capfd, *words, *(["--apply-exif-orientation"] if applied else []))
    assert code == 0
    assert ("labels lie outside their image" in err) == (not applied)
    assert ("--apply-exif-orientation" in err.partition("not applied")[2]) == (not applied)
    config = load_config(tmp_path / "new" / "keypoint.json")
    assert config.images.apply_exif_orientation == applied
    assert AugmentedKeypointDataset(config, "train", lambda _: None).size_report.labelled == {"tip": 2 * applied}


def keypoint_model(path, applied):
    config = keypoint_config()
    return save_checkpoint(path, keypoint_task(attrs.evolve(config, images=ImageFiles(apply_exif_orientation=applied))))


def test_predictions_tell_of_turned_images_once_with_their_count(tmp_path, caplog):
    (tmp_path / "images").mkdir()
    for index in range(3):
        cv2.imwrite(str(tmp_path / "images" / f"{index}.png"), scene(index))
        if index != 1:
            note(tmp_path / "images" / f"{index}.png")
    model = keypoint_model(tmp_path / "a.pth", False)
    infer(keypoint_config(), tmp_path / "images", model=str(model), output_dir=tmp_path / "out")
    said = [record.getMessage() for record in caplog.records if "orientation" in record.getMessage()]
    assert len(said) == 1
    assert TOLD in said[0]


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("configured", [False, True])
def test_a_model_that_was_trained_the_other_way_is_told(tmp_path, caplog, trained, configured):
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "0.png"), scene(0))
    model = keypoint_model(tmp_path / "a.pth", trained)
    config = attrs.evolve(keypoint_config(), images=ImageFiles(apply_exif_orientation=configured))
    infer(config, tmp_path / "images", model=str(model), output_dir=tmp_path / "out")
    words = f"trained with images.apply_exif_orientation {str(trained).lower()}"
    assert (words in caplog.text) == (trained != configured)


@pytest.fixture
def boxes(tmp_path):
    upright, noted = write_set(tmp_path / "upright"), write_set(tmp_path / "noted")
    for name in ("0000.png", "0002.png"):
        note(noted / name, 8)
    return upright, noted


def test_the_switch_makes_turned_pictures_of_boxes_what_upright_ones_are(boxes):
    files = ImageFiles(apply_exif_orientation=True)
    upright, noted = (ObjectDataset([root], "validation", lambda _: None, files=files) for root in boxes)
    for index in range(3):
        one, other = upright[index][0].sample, noted[index][0].sample
        np.testing.assert_array_equal(one.image, other.image)
        assert one.source_size_wh == other.source_size_wh == SIZE_WH


def test_validate_tells_of_turned_pictures(boxes, tmp_path, monkeypatch, capfd):
    _upright, noted = boxes
    monkeypatch.chdir(tmp_path)
    _code, _out, err = run_s6(monkeypatch, capfd, "cog", "centerpose", "validate", noted)
    assert err.count(TOLD) == 1
    assert "dataset.images.apply_exif_orientation=true" in err


@pytest.mark.parametrize("applied", [False, True])
def test_inference_tells_of_turned_pictures_and_takes_their_size(boxes, caplog, applied):
    _upright, noted = boxes
    for path in noted.glob("*.json"):
        content = annotation()
        del content["camera_data"]["width"], content["camera_data"]["height"]
        path.write_text(json.dumps(content))
    config = CenterPoseConfig.default()
    data = attrs.evolve(config.dataset, inference_data=str(noted), images=ImageFiles(apply_exif_orientation=applied))
    found = find_inference_images(attrs.evolve(config, dataset=data))
    first = found.usable[0]
    assert first.size_wh == (SIZE_WH if applied else SIZE_WH[::-1])
    assert first.pixels().shape[1::-1] == first.size_wh
    warned = [record for record in caplog.records if TOLD in record.getMessage() and record.levelname == "WARNING"]
    assert len(warned) == (0 if applied else 1)
