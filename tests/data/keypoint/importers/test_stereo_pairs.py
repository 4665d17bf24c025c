"""Stereo pairs keep their geometry when pixels are counted anew."""

import json

import cv2
import numpy as np
import pytest

from cogkp.config.keypoint.spec import DataMappings
from cogkp.data.keypoint.dataset import open_roots
from cogkp.data.keypoint.importers import import_dataset
from cogkp.data.keypoint.importers.stereo_pairs import read_stereo_pairs
from cogkp.errors import DataError
from tests.builders.shared_data import shared

K = [[100.0, 0.0, 4.0], [0.0, 100.0, 3.0], [0.0, 0.0, 1.0]]


def view(side, masked=True):
    mask = {"mask": f"mask_{side}.png"} if masked else {}
    return {"image": f"{side}.png", **mask, "tip": [1, 2], "turn": [3, 4.5], "end": [5, 6], "box": [[0, 0], [8, 6]]}


def pairs(tmp_path, *changes, masked=True):
    """Make a folder of pairs; each change is laid over one line."""
    tmp_path.mkdir(exist_ok=True)
    for name in ("left", "right", "mask_left", "mask_right"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((6, 8), np.uint8))
    lines = [
        {"id": index, "split": "train", "LL": view("left", masked), "LR": view("right", masked), **change}
        for index, change in enumerate(changes or ({},))
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    left = {"intrinsic": K, "extrinsic": np.eye(4).tolist(), "distortion": [], "resolution": [8, 6]}
    aside = np.eye(4)
    aside[0, 3] = -1.0
    right = {**left, "extrinsic": aside.tolist()}
    (tmp_path / "calibration.config.json").write_text(json.dumps({"LL": left, "LR": right}))
    return tmp_path


def refusal(source):
    with pytest.raises(DataError) as caught:
        read_stereo_pairs(source)
    return str(caught.value).splitlines()


def test_points_and_principal_point_move_by_half_a_pixel(tmp_path):
    imported = read_stereo_pairs(pairs(tmp_path))
    left = imported.lines[0].record["LL"]
    assert left["tip"] == [0.5, 1.5]
    assert left["box"] == [[-0.5, -0.5], [7.5, 5.5]]
    assert left["image"] == tmp_path / "left.png"
    assert imported.calibration["LL"]["intrinsic"] == [[100.0, 0.0, 3.5], [0.0, 100.0, 2.5], [0.0, 0.0, 1.0]]
    assert imported.calibration["LR"]["resolution"] == [8, 6]


def test_rays_stay_where_they_were(tmp_path):
    """K^-1 (u, v, 1) is the same before and after counting anew."""
    imported = read_stereo_pairs(pairs(tmp_path))
    before = np.linalg.solve(K, [3, 4.5, 1])
    after = np.linalg.solve(imported.calibration["LL"]["intrinsic"], [*imported.lines[0].record["LL"]["turn"], 1])
    assert np.allclose(before, after)


def test_the_source_says_where_its_lines_belong(tmp_path):
    imported = read_stereo_pairs(pairs(tmp_path, {}, {"split": "val"}, {"split": None}))
    assert [line.part for line in imported.lines] == ["train", "validation", None]


@pytest.mark.parametrize("tip", [None, [-1, -1], [-1.0, -1.0], [float("nan"), 3.0], [float("-inf"), 1.0]])
def test_a_point_marked_as_missing_is_null_and_measures_no_length(tmp_path, tip):
    imported = read_stereo_pairs(pairs(tmp_path, {}, {"LL": {**view("left"), "tip": tip}}))
    first, second = (line.record["LL"]["tip"] for line in imported.lines)
    assert (first, second) == ([0.5, 1.5], None)
    assert imported.segments == read_stereo_pairs(pairs(tmp_path)).segments


def test_the_first_pixel_is_no_mark(tmp_path):
    (line,) = read_stereo_pairs(pairs(tmp_path, {"LL": {**view("left"), "tip": [0, 0]}})).lines
    assert line.record["LL"]["tip"] == [-0.5, -0.5]


def test_masks_are_trained_only_where_all_pictures_have_one(tmp_path):
    assert read_stereo_pairs(pairs(tmp_path)).config["data_mappings"]["mask"] == ["LL.mask", "LR.mask"]
    assert "mask" not in read_stereo_pairs(pairs(tmp_path, masked=False)).config["data_mappings"]


def test_a_folder_without_calibration_is_fine(tmp_path):
    source = pairs(tmp_path)
    (source / "calibration.config.json").unlink()
    imported = read_stereo_pairs(source)
    assert imported.calibration is None
    assert imported.segments is None
    assert "stereo_pairing" not in imported.config


def tool(stretch=1.0):
    """Labels of one bent tool, 4 units away, before the two cameras of the test, counted from the pixel's edge."""
    xyz = np.array([[-0.3, -0.3, 4.0], [0.1, 0.0, 4.0], [0.1, 0.25 * stretch, 4.0]])
    views = {}
    for name, shift in (("LL", 0.0), ("LR", -1.0)):
        uv = (xyz + np.array([shift, 0, 0])) @ np.array(K).T
        uv = uv[:, :2] / uv[:, 2:]
        views[name] = {**view("left"), **dict(zip(("tip", "turn", "end"), uv.tolist(), strict=True))}
    return views


def test_lengths_that_are_the_same_in_all_pairs_are_known(tmp_path):
    assert read_stereo_pairs(pairs(tmp_path, tool(), tool())).segments == ((0, 1, 0.5), (1, 2, 0.25))
    loose = read_stereo_pairs(pairs(tmp_path, tool(), tool(1.1)))
    assert loose.segments == ((0, 1, 0.5),)
    assert loose.config["stereo_pairing"] == {"enabled": True}


def test_every_bad_line_is_named(tmp_path):
    no_tip = {key: value for key, value in view("left").items() if key != "tip"}
    source = pairs(
        tmp_path,
        {"LL": None},
        {"LL": no_tip},
        {"LR": {**view("right"), "image": "../left.png"}},
        {"LR": {**view("right"), "mask": "absent.png"}},
        {"split": "test"},
    )
    with (source / "pairs.jsonl").open("a") as file:
        file.write("\n{broken\n[]")
    lines = refusal(source)
    expected = ("camera is missing", "tip", "left.png", "absent.png", "not a pair", "broken JSON", "not a pair")
    for number, (line, words) in enumerate(zip(lines, expected, strict=True), start=1):
        assert f"pairs.jsonl:{number}" in line
        assert words in line


def test_unusable_sources_are_refused(tmp_path):
    assert "pairs.jsonl" in refusal(tmp_path)[0]
    (tmp_path / "pairs.jsonl").write_text("\n")
    assert "no pairs" in refusal(tmp_path)[0]
    source = pairs(tmp_path)
    (source / "calibration.config.json").write_text('{"LL": {}}')
    assert "calibration" in refusal(source)[0]


@pytest.mark.real_data
def test_real_labels_agree_with_their_poses_after_counting_anew():
    """Projecting the pose of the object with the shifted K gives the shifted labels of both cameras."""
    source = shared("adapter-stereo")
    imported = read_stereo_pairs(source)
    names = json.loads((source / "object.json").read_text())["extra_points_xyz"]
    worst = 0.0
    for line in imported.lines:
        for camera in ("LL", "LR"):
            view = line.record[camera]
            xyz = np.array([names[name] for name in ("tip", "turn", "end")]) @ np.array(view["pose"]["R"]).T
            seen = (xyz + view["pose"]["t_mm"]) @ np.array(imported.calibration[camera]["intrinsic"]).T
            labels = np.array([view[name] for name in ("tip", "turn", "end")])
            worst = max(worst, np.abs(seen[:, :2] / seen[:, 2:] - labels).max())
    assert len(imported.lines) == 400
    assert worst < 0.01


@pytest.mark.real_data
def test_triangulated_real_labels_have_the_documented_lengths():
    """tip-turn and turn-end measure 1.5 and 2.0 world units in the copied calibration."""
    imported = read_stereo_pairs(shared("adapter-stereo"))
    matrices = [
        np.array(imported.calibration[camera]["intrinsic"]) @ np.array(imported.calibration[camera]["extrinsic"])[:3]
        for camera in ("LL", "LR")
    ]
    assert imported.segments == ((0, 1, 1.5), (1, 2, 2.0))
    for line in imported.lines[::40]:
        views = [np.array([line.record[camera][name] for name in ("tip", "turn", "end")]).T for camera in ("LL", "LR")]
        homogeneous = cv2.triangulatePoints(*matrices, *views)
        xyz = (homogeneous[:3] / homogeneous[3]).T
        lengths = np.linalg.norm(np.diff(xyz, axis=0), axis=1)
        assert np.allclose(lengths, [1.5, 2.0], atol=0.01)


def test_missing_points_in_lists_stay_missing_and_the_others_move(tmp_path):
    left = view("left") | {"more": [[1, 2], [-1, -1], None, [None, None], [float("nan"), 1]]}
    (line,) = read_stereo_pairs(pairs(tmp_path, {"LL": left})).lines
    assert line.record["LL"]["more"] == [[0.5, 1.5], None, None, None, None]


def test_labels_at_the_corner_where_many_tools_write_nothing_are_told(tmp_path, caplog):
    source = pairs(tmp_path / "s", {"LL": view("left") | {"tip": [0, 0]}}, {})
    import_dataset(source, tmp_path / "out", format="stereo-pairs")
    assert "1 label exactly at [0, 0] and used" in caplog.text
    caplog.clear()
    roots = [str(tmp_path / "out" / part) for part in ("train", "validation") if (tmp_path / "out" / part).exists()]
    open_roots(roots, DataMappings(x=("LL.image",), y=(("LL.tip",),)))
    assert "1 label exactly at [0, 0] and used" in caplog.text


def test_a_label_outside_is_told_with_its_camera(tmp_path, caplog):
    source = pairs(tmp_path / "s", {"LR": view("right") | {"tip": [80, 2]}}, {})
    import_dataset(source, tmp_path / "out", format="stereo-pairs")
    assert "pairs.jsonl:1 LR.tip [79.5, 1.5]" in caplog.text


def test_masks_that_only_some_images_have_are_told(tmp_path, caplog):
    left = view("left") | {"maks": "mask_left.png"}
    del left["mask"]
    imported = read_stereo_pairs(pairs(tmp_path, {}, {"LL": left}))
    assert "mask" not in imported.config["data_mappings"]
    assert "only 3 of 4 images have a mask" in caplog.text


def test_a_mark_of_the_byte_order_and_odd_line_ends_within_text_are_read(tmp_path):
    source = pairs(tmp_path, {"note": "MARK"})
    path = source / "pairs.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"MARK", "a\u2028b\x85c".encode()) + b"\r\n")
    assert read_stereo_pairs(source).lines[0].record["note"] == "a\u2028b\x85c"
