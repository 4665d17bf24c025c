"""Predictions in the formats of others: what is written is read back, by their programs where they are at hand."""

from __future__ import annotations

import csv
import io
import json
import re
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cogkp.data.keypoint.exporters import (
    coco_dataset,
    coco_image,
    coco_result,
    deeplabcut_header,
    deeplabcut_row,
    json_array,
    points_table_header,
    points_table_rows,
)
from cogkp.data.keypoint.importers import import_dataset
from cogkp.data.keypoint.importers.deeplabcut import read_deeplabcut
from cogkp.data.keypoint.structured import read_lines
from cogkp.errors import DataError
from tests.builders.keypoint_model import keypoint_config, keypoint_task, scene
from tests.builders.model_files import write_onnx

PX = 5.001e-5
"""Half of the last digit that is written."""

SHARE = 5.001e-7
NAMES = ["tip", 'a "quoted", name', "Größe"]


def frame(seed):
    """Points of one image near it or far away, some of them not found, and their confidences, as a model gives them."""
    rng = np.random.default_rng(seed)
    points = rng.normal(0, 10.0 ** rng.integers(-3, 5), (3, 2))
    points[rng.random((3, 2)) < 0.15] = rng.choice([np.nan, np.inf])
    return points.astype(np.float32), rng.uniform(0.001, 1.0, 3).astype(np.float32), np.isfinite(points).all(1)


frames = st.lists(st.integers(0, 2**32 - 1).map(frame), min_size=1, max_size=4)


def rows_of(text):
    return list(csv.reader(io.StringIO(text)))


def numbers(cells):
    return np.array([float(cell) if cell else np.nan for cell in cells])


def table_of(found, indices, names=NAMES):
    return deeplabcut_header(names) + "".join(
        deeplabcut_row(index, *seen[:2]) for index, seen in zip(indices, found, strict=True)
    )


# The table of DeepLabCut and Lightning Pose


@settings(max_examples=30, deadline=None)
@given(frames)
def test_our_importer_reads_the_table_back(found):
    with tempfile.TemporaryDirectory() as folder:
        images = [f"labeled-data/m 1/img{number:03d}.png" for number in range(len(found))]
        for name in images:
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.zeros((4, 4), np.uint8))
        (Path(folder) / "predictions.csv").write_text(table_of(found, images), encoding="utf-8")
        imported = read_deeplabcut(Path(folder) / "predictions.csv")
    assert [line.record["source"] for line in imported.lines] == images
    for line, (points, _, there) in zip(imported.lines, found, strict=True):
        assert list(line.record["points"]) == NAMES
        for name, uv, seen in zip(NAMES, points, there, strict=True):
            read = line.record["points"][name]
            assert (read is not None) == seen
            assert read is None or np.abs(np.array(read) - uv).max() <= PX


def test_the_table_has_the_three_header_rows_of_both_programs():
    header = rows_of(deeplabcut_header(["tip", "end"], scorer="me"))
    assert header == [
        ["scorer"] + ["me"] * 6,
        ["bodyparts"] + ["tip"] * 3 + ["end"] * 3,
        ["coords", *["x", "y", "likelihood"] * 2],
    ]


@given(frames)
def test_frames_of_videos_are_numbered_and_likelihoods_are_there(found):
    rows = rows_of(table_of(found, range(len(found))))[3:]
    for number, (row, (points, confidence, there)) in enumerate(zip(rows, found, strict=True)):
        assert row[0] == str(number)
        read = numbers(row[1:]).reshape(3, 3)
        assert np.abs(read[:, 2] - confidence).max() <= SHARE
        assert np.isnan(read[~there, :2]).all()
        assert np.abs(read[there, :2] - points[there]).max(initial=0) <= PX


def test_cameras_have_a_table_each_and_are_imported_each(tmp_path):
    views = {"LL": np.array([[1.25, 2.5]]), "LR": np.array([[7.0, 8.0]])}
    for camera, points in views.items():
        cv2.imwrite(str(tmp_path / f"{camera}.png"), np.zeros((16, 16), np.uint8))
        text = deeplabcut_header(["tip"]) + deeplabcut_row(f"{camera}.png", points, [0.5])
        (tmp_path / f"predictions_{camera}.csv").write_text(text)
        made = import_dataset(tmp_path / f"predictions_{camera}.csv", tmp_path / camera, format="lightning-pose")
        assert read_lines(made.train)[0].content["points"] == {"tip": points[0].tolist()}


def test_pandas_reads_the_table_as_both_programs_do():
    pandas = pytest.importorskip("pandas")
    found = [([(1.5, 2.25), (np.nan, 3.0), (-4.0, 5.0)], [0.5, 0.25, 1.0])] * 2
    table = pandas.read_csv(io.StringIO(table_of(found, ["a.png", "b.png"])), header=[0, 1, 2], index_col=0)
    assert list(table.index) == ["a.png", "b.png"]
    assert list(table.columns) == [("cogkp", name, coord) for name in NAMES for coord in ("x", "y", "likelihood")]
    assert table.to_numpy()[0].tolist()[:3] == [1.5, 2.25, 0.5]
    assert table["cogkp"]["Größe"]["x"].tolist() == [-4.0, -4.0]
    assert table["cogkp"][NAMES[1]][["x", "y"]].isna().all(axis=None)


def test_the_page_writes_a_table_that_is_imported(tmp_path, monkeypatch):
    text = (
        (Path(__file__).parents[4] / "docs" / "data.md").read_text().partition("## Predictions in other formats\n")[2]
    )
    code = re.search(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[1]
    monkeypatch.chdir(tmp_path)
    write_onnx(tmp_path / "tool.onnx", keypoint_task(keypoint_config()))
    cv2.imwrite("image.png", scene())
    names = {}
    exec(code, names)
    (line,) = read_deeplabcut(Path("found.csv")).lines
    read = [line.record["points"][name] for name in names["model"].names]
    assert np.abs(np.array(read) - names["found"].points).max() <= PX


# COCO


@given(frames)
def test_results_of_coco_keep_points_and_confidences(found):
    for number, (points, confidence, there) in enumerate(found):
        result = json.loads(json.dumps(coco_result(number, points, confidence), allow_nan=False))
        read = np.array(result["keypoints"]).reshape(3, 3)
        assert (result["image_id"], result["category_id"]) == (number, 1)
        assert not read[~there].any()
        assert np.abs(read[there, :2] - points[there]).max(initial=0) <= PX
        assert np.abs(read[there, 2] - confidence[there]).max(initial=0) <= SHARE
        assert result["score"] == pytest.approx((confidence * there).mean(), abs=2 * SHARE)


def test_the_centre_of_a_pixel_is_its_index_as_in_annotations_of_coco():
    """A bright pixel's index, which an annotator would note, is what a point at its centre becomes."""
    image = np.zeros((9, 12), np.uint8)
    image[4, 7] = 255
    moments = cv2.moments(image)
    centre = [moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]]
    assert coco_result(1, [centre], [1.0])["keypoints"][:2] == [7.0, 4.0]


def test_a_data_set_of_coco_says_what_the_numbers_mean():
    known = coco_dataset(["tip", "end"], [coco_image(5, "a.png", (320, 256))], category="tool", links=[(0, 1)])
    assert known["images"] == [{"id": 5, "file_name": "a.png", "width": 320, "height": 256}]
    (category,) = known["categories"]
    assert (category["id"], category["name"], category["keypoints"]) == (1, "tool", ["tip", "end"])
    assert category["skeleton"] == [[1, 2]]
    assert known["annotations"] == []
    assert coco_result(5, [[0, 0], [1, 1]], [1, 1])["category_id"] == category["id"]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_an_array_is_valid_whenever_its_writer_stops(count):
    items = [{"n": number, "text": "]\n,"} for number in range(count)]
    pieces = list(json_array(items))
    assert json.loads("".join(pieces)) == items
    for end in range(1, len(pieces)):
        assert json.loads("".join(pieces[:end]) + "]") == items[: end - 1]
    assert "".join(pieces).count("\n") == count + 2


def test_cocos_own_program_reads_the_results(tmp_path):
    coco = pytest.importorskip("pycocotools.coco")
    points, confidence = np.array([[10.0, 20.0], [30.0, 40.0], [50.0, 25.0]]), [0.9, 0.8, 0.7]
    known = coco_dataset(NAMES, [coco_image(1, "a.png", (64, 48))])
    truth = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "num_keypoints": 3, "area": 800.0}
    truth |= {"bbox": [10, 20, 40, 20], "keypoints": [value for uv in points for value in (*uv, 2)]}
    (tmp_path / "truth.json").write_text(json.dumps(known | {"annotations": [truth]}))
    (tmp_path / "found.json").write_text("".join(json_array([coco_result(1, points, confidence)])))
    annotations = coco.COCO(str(tmp_path / "truth.json"))
    found = annotations.loadRes(str(tmp_path / "found.json"))
    assert found.loadAnns(1)[0]["score"] == 0.8
    judged = pytest.importorskip("pycocotools.cocoeval").COCOeval(annotations, found, "keypoints")
    judged.params.kpt_oks_sigmas = np.full(3, 0.05)
    judged.evaluate()
    assert judged.ious[1, 1].tolist() == [[1.0]]


# The long table


@settings(deadline=None)
@given(frames, st.floats(0.1, 50.0), st.floats(0.1, 50.0), st.floats(-0.9, 0.9))
def test_the_long_table_keeps_everything(found, sigma_u, sigma_v, correlation):
    covariance = np.array([[sigma_u**2, correlation * sigma_u * sigma_v]] * 2)
    covariance[1] = covariance[1, 1], sigma_v**2
    text = points_table_header()
    for number, (points, confidence, _) in enumerate(found):
        known = {"frame": number, "image": "a,\nb.png", "camera": "LL", "time_s": number / 30}
        text += points_table_rows(NAMES, points, confidence, covariance=np.stack([covariance] * 3), **known)
    assert text.count("\n") == 1 + 3 * len(found)
    rows = list(csv.DictReader(io.StringIO(text)))
    for place, row in enumerate(rows):
        number, point = divmod(place, 3)
        points, confidence, there = found[number]
        assert (row["frame"], row["camera"], row["image"]) == (str(number), "LL", "a,\\nb.png")
        assert row["point"] == NAMES[point]
        assert float(row["time_s"]) == pytest.approx(number / 30, abs=SHARE)
        read = numbers([row["u_px"], row["v_px"]])
        assert np.abs(read - points[point]).max() <= PX if there[point] else np.isnan(read).all()
        assert float(row["confidence"]) == pytest.approx(float(confidence[point]), abs=SHARE)
        spread = [float(row[name]) for name in ("sigma_u_px", "sigma_v_px", "correlation")]
        assert spread == pytest.approx([sigma_u, sigma_v, correlation], abs=PX)


@pytest.mark.parametrize("nothing", [None, np.zeros((1, 2, 2)), np.full((1, 2, 2), np.nan)])
def test_what_is_not_known_is_an_empty_cell(nothing):
    (row,) = rows_of(points_table_rows(["tip"], [[-0.0, np.float32(0.1)]], [np.nan], frame=3, covariance=nothing))
    assert row == ["3", "", "", "", "tip", "0.0", "0.1", "", "", "", ""]


def test_parts_join_by_concatenation():
    parts = [points_table_rows(["tip"], [[n, n]], [1], frame=n) for n in range(4)]
    assert [row[0] for row in rows_of("".join(parts))] == list("0123")


# What does not belong together


@pytest.mark.parametrize(
    ("points", "confidence"),
    [([[1, 2]], [1, 1]), ([1, 2], [1, 1]), ([[1, 2, 3]], [1]), ([[1, 2]], [[1]]), ([[1, 2]], 1)],
)
def test_shapes_that_do_not_belong_together_are_refused(points, confidence):
    for write in (
        lambda: deeplabcut_row(0, points, confidence),
        lambda: coco_result(0, points, confidence),
        lambda: points_table_rows(["a"], points, confidence, frame=0),
    ):
        with pytest.raises(DataError, match="do not belong together"):
            write()


@pytest.mark.parametrize(
    ("names", "spread"), [(["a", "b"], None), (["a"], np.zeros((2, 2, 2))), (["a"], np.zeros((1, 2)))]
)
def test_names_and_covariances_of_other_points_are_refused(names, spread):
    with pytest.raises(DataError, match="do not belong together"):
        points_table_rows(names, [[1, 2]], [1], frame=0, covariance=spread)
