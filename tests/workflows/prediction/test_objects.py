"""Models of boxes over folders and videos: cameras beside the images are used, and cameras that are given."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import cogkp
from cogkp.errors import GeometryError, ModelError, OutputError
from cogkp.tasks.centerpose.task import CenterPoseTask
from tests.builders.model_files import write_onnx
from tests.builders.rendered_pair import write_calibration
from tests.builders.tiny_boxes import tiny_experiment
from tests.builders.videos import write_video

SIZE_WH = (96, 72)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An exported network that nobody trained, opened so that it tells all it finds; and images with their cameras."""
    folder = tmp_path_factory.mktemp("boxes")
    config = tiny_experiment(folder, width=0.125)
    file = write_onnx(folder / "boxes.onnx", CenterPoseTask(config), None)
    with cogkp.load(file, threshold=0.0) as model:
        yield model, Path(config.dataset.train_data)


@pytest.fixture
def alone(made, tmp_path):
    """The images without the files beside them."""
    (tmp_path / "alone").mkdir()
    for path in images_of(made[1]):
        (tmp_path / "alone" / path.name).write_bytes(path.read_bytes())
    return tmp_path / "alone"


def images_of(folder):
    return sorted(folder.rglob("*.jpg"))


def listed(predictions):
    with predictions:
        return list(predictions)


def test_the_camera_beside_an_image_is_used(made):
    model, folder = made
    images = images_of(folder)
    for each in listed(cogkp.predict(model, folder)):
        path = folder / each.frame.name
        assert path in images
        camera = json.loads(path.with_suffix(".json").read_text())["camera_data"]["intrinsics"]
        K = np.array([[camera["fx"], 0, camera["cx"]], [0, camera["fy"], camera["cy"]], [0, 0, 1]])
        assert each.found.camera is not None
        np.testing.assert_allclose(each.found.camera.K, K)
        again = model(path, **model.beside(path))
        assert len(again) == len(each.found)


def test_without_one_there_are_corners_and_no_poses(made, alone):
    found, *_ = listed(cogkp.predict(made[0], alone))
    assert found.found.camera is None
    assert len(found.found) > 0
    assert found.found.objects[0].cuboid_to_camera is None


def test_the_camera_of_a_video_is_that_of_a_calibration(made, tmp_path):
    model, folder = made
    images = [cv2.imread(str(path)) for path in images_of(folder)]
    video = write_video(tmp_path / "v.mkv", fourcc="FFV1", images=images)
    rig = write_calibration(tmp_path / "rig.json", size_wh=SIZE_WH)
    for each in listed(cogkp.predict(model, {"LR": video}, calibration=rig)):
        np.testing.assert_allclose(each.found.camera.K, [[110.0, 0, 59.5], [0, 110.0, 44.5], [0, 0, 1]])
    with pytest.raises(GeometryError, match="several cameras"):
        cogkp.predict(model, video, calibration=rig)
    alone = write_calibration(tmp_path / "one.json", names=("C",), size_wh=SIZE_WH)
    assert listed(cogkp.predict(model, video, calibration=alone))[0].found.camera is not None


def test_views_of_objects_are_refused_in_one_line(made, tmp_path):
    model, folder = made
    rig = write_calibration(tmp_path / "rig.json", size_wh=SIZE_WH)
    images = images_of(folder)[0].parent
    with pytest.raises(ModelError, match="finds no named points"):
        listed(cogkp.predict(model, {"LL": images, "LR": images}, calibration=rig))


def test_lines_hold_objects_and_tables_refuse_them(made, alone, tmp_path):
    model, folder = made[0], alone
    result = cogkp.write_predictions(cogkp.predict(model, folder), tmp_path / "o.jsonl", draw=True, least=0.0)
    lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert result.counts["points"] == sum(len(line["objects"]) for line in lines) > 0
    assert len(list((tmp_path / "o-drawn").rglob("*.jpg"))) == len(lines)
    for name in ("o.csv", "o.json"):
        with pytest.raises(OutputError, match="this format holds points alone"):
            cogkp.write_predictions(cogkp.predict(model, folder), tmp_path / name)
    with pytest.raises(OutputError, match="only points can be written as labels"):
        cogkp.write_predictions(cogkp.predict(model, folder), tmp_path / "set", as_labels=0.5)
