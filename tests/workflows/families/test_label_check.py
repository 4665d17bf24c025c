"""Checking a folder gives a report and a drawing."""

import os

import numpy as np
import pytest

from cogkp.data.images import read_colour
from cogkp.errors import DataError
from cogkp.geometry.cuboid import EDGES
from cogkp.workflows.families.centerpose.label_check import TILE_PX, check_box_labels
from tests.builders.box_files import SIZE_WH, annotation, spoilt, write, write_set

GAP_PX = 4  # round each tile


def test_report_and_drawing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = check_box_labels(write_set(tmp_path / "set", 3))
    assert found.report.problems == ()
    assert found.drawing_path is not None
    assert found.drawing_path.resolve() == tmp_path / "set.check.png"
    assert read_colour(found.drawing_path).shape[1] > 1200  # three images side by side


def test_faulty_labels_are_drawn_first(tmp_path):
    write_set(tmp_path / "set", 30)
    wrong = annotation()
    wrong["objects"][0]["projected_cuboid"][1][0] += 30
    write(tmp_path / "set", "zz", wrong)
    found = check_box_labels(tmp_path / "set", output=tmp_path / "a.png")
    assert len(found.report.problems) == 2
    picture = read_colour(tmp_path / "a.png")
    assert picture.shape[0] > 4 * 300  # sixteen images in four rows
    assert np.ptp(picture) > 0.5


def test_boxes_and_what_the_camera_sees_of_them_are_drawn_where_they_are(tmp_path):
    content = annotation()
    write(tmp_path / "set", "a", content)
    check_box_labels(tmp_path / "set", output=tmp_path / "a.png")
    drawn = read_colour(tmp_path / "a.png")
    uv = (np.array(content["objects"][0]["projected_cuboid"]) + 0.5) * TILE_PX / SIZE_WH[0] - 0.5 + GAP_PX
    at = np.round(uv).astype(int)
    assert all(drawn[v, u].min() > 0.95 for u, v in at)  # crosses
    along = np.round(uv[[first for first, _ in EDGES]] * 0.6 + uv[[second for _, second in EDGES]] * 0.4).astype(int)
    assert sum(drawn[v, u, 0] > 0.8 and drawn[v, u, 1:].max() < 0.3 for u, v in along) >= len(EDGES) - 2


def test_damaged_pictures_are_not_drawn(tmp_path):
    path = write(tmp_path / "set", "a", annotation()).with_suffix(".png")
    path.write_bytes(path.read_bytes()[:-40])
    found = check_box_labels(tmp_path / "set", output=tmp_path / "a.png")
    assert found.drawing_path is None
    assert len(found.report.problems) == 1


def test_axes_are_words(tmp_path):
    content = spoilt(annotation(), "camera_data.camera_frame")
    write(tmp_path / "set", "a", content)
    assert not check_box_labels(tmp_path / "set", camera_frame="objectron", output=tmp_path / "a.png").report.problems
    assert check_box_labels(tmp_path / "set", camera_frame="opengl", output=tmp_path / "a.png").report.problems
    with pytest.raises(DataError, match="Did you mean 'opengl'"):
        check_box_labels(tmp_path / "set", camera_frame="opengles")


def test_images_whose_names_are_no_utf_8_are_checked_and_drawn(tmp_path):
    write(tmp_path / "set", os.fsdecode(b"\xff\x80"), annotation())
    found = check_box_labels(tmp_path / "set", output=tmp_path / "a.png")
    assert found.report.problems == ()
    assert read_colour(tmp_path / "a.png").any()
