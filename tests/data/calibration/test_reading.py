"""Any known form is found by its content, anything else is refused with the list; conversion keeps every number."""

import logging

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cogkp.data.calibration import FORMATS, open_calibration, read_calibration, write_calibration
from cogkp.errors import DataError, OutputError
from cogkp.geometry.rig import CameraRig
from tests.builders.calibrations import (
    anipose_text,
    camera,
    chain,
    kalibr_text,
    pose_of,
    same,
    stereo_entries,
    toed_in,
    write_storage,
)


def written(folder, form):
    if form == FORMATS[1]:
        return write_storage(folder / "a.yml", {**stereo_entries(toed_in()), "imageSize": np.array([640, 480])})
    path = folder / "a"
    if form == FORMATS[0]:
        write_calibration(toed_in(), path)
    else:
        path = folder / "a.yaml"
        path.write_text(anipose_text(toed_in()) if form == FORMATS[2] else kalibr_text(chain()))
    return path


@pytest.mark.parametrize("form", FORMATS)
def test_the_form_is_found_and_told_and_any_becomes_ours(tmp_path, caplog, form):
    path = written(tmp_path, form)
    with caplog.at_level(logging.INFO, "cogkp"):
        rig = read_calibration(path)
    assert f"{path}: {form}, cameras {', '.join(rig.names)}" in caplog.text
    write_calibration(rig, tmp_path / "ours.json")
    again = open_calibration(tmp_path / "ours.json")
    assert again.format == FORMATS[0]
    assert again.rig.names == rig.names
    assert same(again.rig, rig)


numbers = st.floats(-1, 1, allow_nan=False)


@given(
    turns=st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=4),
    focal=st.floats(300, 3000),
    bends=st.sampled_from([0, 4, 5, 8, 12, 14]),
)
def test_what_is_written_is_read_bit_by_bit(tmp_path_factory, turns, focal, bends):
    path = tmp_path_factory.mktemp("rig") / "rig.json"
    cameras = [
        camera(pose_of(turn, [index, 0.1, -0.3]), focal, distortion=[1e-3 / 3] * bends)
        for index, turn in enumerate(turns)
    ]
    rig = CameraRig(tuple(f"c{index}" for index in range(len(cameras))), tuple(cameras))
    centers = torch.stack([-(c.world_to_camera[:3, :3].T @ c.world_to_camera[:3, 3]) for c in cameras])
    if len(cameras) > 1 and float(torch.pdist(centers).min()) < 1e-6:
        return
    write_calibration(rig, path)
    assert same(read_calibration(path), rig)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.txt", b"hello"),
        ("table.csv", b"a,b\n1,2\n"),
        ("page.xml", b"<?xml version='1.0'?><html></html>"),
        ("picture.png", b"\x89PNG\r\n\x1a\n\0\0\0"),
        ("latin.yml", "gr\u00f6\u00dfe: 1".encode("latin-1")),
        ("other.yaml", b"a: 1\n"),
        ("list.yaml", b"- 1\n- 2\n"),
        ("empty.yml", b""),
    ],
)
def test_other_files_are_refused_with_what_would_do(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match="unknown format") as refusal:
        read_calibration(path)
    assert all(form in str(refusal.value) for form in FORMATS)
    assert "\n" not in str(refusal.value)


def test_a_lens_that_folds_in_the_corners_is_told(tmp_path, caplog):
    folding = camera(np.eye(4), 500.0, distortion=[-0.45, 0.0, 0.0, 0.0])
    write_calibration(CameraRig(("B",), (folding,)), tmp_path / "b.json")
    read_calibration(tmp_path / "b.json")
    assert "the lens of B cannot be undone in " in caplog.text


def test_nothing_is_written_where_it_cannot_be(tmp_path):
    (tmp_path / "a.json").mkdir()
    with pytest.raises(OutputError):
        write_calibration(toed_in(), tmp_path / "a.json")
