"""Tables in the formats of other programs hold what the lines of JSON hold."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import cogkp
from cogkp.data.keypoint.importers.deeplabcut import read_deeplabcut
from cogkp.errors import OutputError
from tests.builders.keypoint_model import keypoint_config, keypoint_task, scene
from tests.builders.model_files import write_onnx
from tests.builders.rendered_pair import SIZE_WH, write_calibration, write_folders
from tests.builders.videos import write_video

NAMES = ("tip", "turn", "end")


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return write_onnx(tmp_path_factory.mktemp("model") / "any.onnx", keypoint_task(keypoint_config()), None)


@pytest.fixture
def images(tmp_path) -> Path:
    (tmp_path / "images").mkdir()
    for number in range(4):
        cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), scene(number))
    return tmp_path / "images"


def written(file, source, path, **how):
    return cogkp.write_predictions(cogkp.predict(file, source, **how.pop("ask", {})), path, **how)


def points_of(path) -> np.ndarray:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return np.array([[point["uv"] for point in line["points"]] for line in lines])


def test_the_long_table_has_a_row_for_each_point(file, images, tmp_path):
    written(file, images, tmp_path / "a.csv")
    written(file, images, tmp_path / "a.jsonl")
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert [(row["frame"], row["image"], row["point"]) for row in rows] == [
        (str(frame), f"{frame}.png", name) for frame in range(4) for name in NAMES
    ]
    uv = np.array([[float(row["u_px"]), float(row["v_px"])] for row in rows]).reshape(4, 3, 2)
    np.testing.assert_allclose(uv, points_of(tmp_path / "a.jsonl"), atol=1e-3)
    assert all(float(row["sigma_u_px"]) > 0 for row in rows)


@pytest.mark.parametrize("form", ["csv", "deeplabcut"])
def test_parts_of_tables_join_by_concatenation(file, images, tmp_path, form):
    written(file, images, tmp_path / "whole.csv", format=form)
    for part in (1, 2, 3):
        written(file, images, tmp_path / "p.csv", format=form, ask={"shard": (part, 3)})
    joined = "".join((tmp_path / f"p-{part}of3.csv").read_text() for part in (1, 2, 3))
    cells = [list(csv.reader(text.splitlines())) for text in (joined, (tmp_path / "whole.csv").read_text())]
    assert [row[:1] for row in cells[0]] == [row[:1] for row in cells[1]]


def test_the_table_of_deeplabcut_is_read_back(file, images, tmp_path):
    written(file, images, images / "CollectedData.csv", format="deeplabcut")
    written(file, images, tmp_path / "a.jsonl")
    imported = read_deeplabcut(images / "CollectedData.csv")
    found = [[line.record["points"][name] for name in NAMES] for line in imported.lines]
    np.testing.assert_allclose(np.array(found), points_of(tmp_path / "a.jsonl"), atol=1e-3)


def test_several_cameras_have_a_table_each(file, tmp_path):
    folders, rig = write_folders(tmp_path, 3), write_calibration(tmp_path / "rig.json")
    result = written(file, folders, tmp_path / "a.csv", format="deeplabcut", ask={"calibration": rig})
    assert [path.name for path in result.files] == ["a_LL.csv", "a_LR.csv"]
    for name, path in zip(folders, result.files, strict=True):
        rows = list(csv.reader(path.read_text().splitlines()))
        assert [row[0] for row in rows[3:]] == ["000.png", "001.png", "002.png"], name


def test_rows_of_a_video_are_called_by_their_frames(file, tmp_path):
    video = write_video(tmp_path / "v.mkv", fourcc="FFV1", images=[scene(n) for n in range(5)])
    written(file, video, tmp_path / "a.csv", format="deeplabcut", ask={"every": 2})
    rows = list(csv.reader((tmp_path / "a.csv").read_text().splitlines()))
    assert [row[0] for row in rows[3:]] == ["0", "2", "4"]


def test_coco_s_results_refer_to_their_images(file, images, tmp_path):
    result = written(file, images, tmp_path / "a.json")
    written(file, images, tmp_path / "a.jsonl")
    assert [path.name for path in result.files] == ["a.json", "a-images.json"]
    results, known = (json.loads(path.read_text()) for path in result.files)
    names = {image["id"]: image["file_name"] for image in known["images"]}
    assert [names[each["image_id"]] for each in results] == [f"{n}.png" for n in range(4)]
    assert {(image["width"], image["height"]) for image in known["images"]} == {SIZE_WH}
    found = np.array([each["keypoints"] for each in results]).reshape(4, 3, 3)
    np.testing.assert_allclose(found[..., :2], points_of(tmp_path / "a.jsonl"), atol=1e-3)
    assert known["categories"][0]["keypoints"] == list(NAMES)


@pytest.mark.parametrize("name", ["a.csv", "a.json", "a-images.json"])
def test_what_others_wrote_stays_and_ours_is_replaced(file, images, tmp_path, name):
    output = tmp_path / name.replace("-images", "")
    for _ in range(2):
        written(file, images, output)
    (tmp_path / name).write_text("theirs")
    with pytest.raises(OutputError, match="will not replace"):
        written(file, images, output)
    assert (tmp_path / name).read_text() == "theirs"
