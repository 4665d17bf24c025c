"""The numbers of a report are those that follow from the formulas of a textbook."""

import json
import math

import numpy as np
import pytest
import torch

from cogkp.data.calibration import check_pairs, lens_shift, read_calibration, summarize
from cogkp.geometry.rig import CameraRig
from tests.builders.calibrations import camera, pose_of, rectified, toed_in
from tests.builders.shared_data import shared


def test_a_rectified_pair():
    (pair,) = summarize(rectified()).pairs
    assert pair.rectified
    assert pair.row_difference_px == pytest.approx(0.0, abs=1e-9)
    assert pair.baseline == pytest.approx(1.6)
    assert pair.direction == pytest.approx((1.6, 0.0, 0.0))
    assert (pair.axes_deg, pair.convergence) == (0.0, None)
    assert [each.depth for each in pair.depth_errors] == [5.0, 20.0, 50.0]
    for each in pair.depth_errors:
        assert each.error == pytest.approx(each.depth**2 / (700.0 * 1.6), rel=1e-6)


def test_a_pair_whose_axes_meet():
    angle = math.radians(6.0)
    poses = []
    for side in (-1, 1):
        turn = pose_of([0.0, side * angle, 0.0], [0, 0, 0])
        turn[:3, 3] = -turn[:3, :3] @ [side * 0.85, 0.0, 0.0]
        poses.append(turn)
    (pair,) = summarize(CameraRig(("a", "b"), tuple(camera(pose) for pose in poses))).pairs
    assert pair.axes_deg == pytest.approx(12.0)
    assert pair.convergence == pytest.approx(0.85 / math.sin(angle))
    assert not pair.rectified


def test_one_camera():
    report = summarize(CameraRig(("B",), (camera(np.eye(4), distortion=[]),)))
    (found,) = report.cameras
    assert found.focal_px == (700.0, 707.0)
    assert found.principal_offset_px == (3.0, 1.5)
    across = math.degrees(math.atan(323.0 / 700.0) + math.atan(317.0 / 700.0))
    assert found.field_of_view_deg[0] == pytest.approx(across)
    assert (found.undone_share, report.pairs, report.notes) == (1.0, (), ())
    assert found.largest_shift_px == pytest.approx(0.0, abs=1e-9)


def test_the_shift_of_a_lens_is_undone_by_projecting():
    each = camera(np.eye(4))
    shift = lens_shift(each, (7, 9))
    assert bool(shift.valid.all())
    assert shift.uv[0, 0].tolist() == [-0.5, -0.5]
    assert shift.uv[-1, -1].tolist() == [639.5, 479.5]
    rays = torch.linalg.solve(each.K, torch.cat((shift.straight, torch.ones(7, 9, 1)), -1).reshape(-1, 3).T).T
    assert torch.allclose(each.project(rays).uv, shift.uv.reshape(-1, 2), atol=1e-6)


ODD = {
    "resolution": (camera(np.eye(4), size_wh=(1280, 960), distortion=[]), "is the resolution that of the calibration"),
    "focal length": (camera(np.eye(4), focal=8.0, distortion=[]), "is its focal length in pixels"),
    "folding lens": (camera(np.eye(4), 500.0, distortion=[-0.45, 0.0, 0.0, 0.0]), "cannot be undone in"),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_cameras_are_noted(name):
    each, words = ODD[name]
    (note,) = summarize(CameraRig(("B",), (each,))).notes
    assert words in note
    assert f"note: {note}" in summarize(CameraRig(("B",), (each,))).text()


def test_a_right_camera_that_stands_left_is_noted():
    left, right = rectified().cameras
    (note,) = summarize(CameraRig(("UL", "UR"), (right, left))).notes
    assert note.startswith("UR stands to the left of UL")
    assert summarize(CameraRig(("front", "back"), (right, left))).notes == ()


def test_cameras_that_face_each_other_have_no_depth():
    opposite = camera(pose_of([0.0, math.pi, 0.0], [0.0, 0.0, 10.0]))
    (pair,) = summarize(CameraRig(("a", "b"), (camera(np.eye(4)), opposite))).pairs
    assert pair.depth_errors == ()
    assert math.isinf(pair.row_difference_px)
    assert "unknown" in summarize(CameraRig(("a", "b"), (camera(np.eye(4)), opposite))).text()


def test_the_report_is_for_people_and_for_programs():
    left, right = toed_in().cameras
    uv = toed_in().project(torch.tensor(np.random.default_rng(0).uniform((-1, -1, 6), (1, 1, 9), (30, 3)))).uv.numpy()
    good = summarize(toed_in(), format="a form", files=("a.yml",), consistency=check_pairs(left, right, *uv))
    assert good.text().startswith("a.yml: a form\nLL: 640x480, focal length 700.0 x 707.0 px")
    assert "30 labelled pairs lie 0.00 px off" in good.text()
    assert good.text().endswith("they fit")
    bad = summarize(toed_in(), consistency=check_pairs(right, left, *uv))
    assert bad.text().splitlines()[-1].startswith("problem: the cameras look swapped")
    content = json.loads(json.dumps(bad.to_dict()))
    assert content["consistency"]["swapped"] is True
    assert content["pairs"][0]["depth_errors"][0].keys() == {"depth", "error"}
    assert content["cameras"][1]["name"] == "LR"


@pytest.mark.real_data
def test_a_real_rig():
    report = summarize(read_calibration(shared("stereo-chessboard") / "calibration.s6.mm.json"))
    (pair,) = report.pairs
    assert pair.baseline == pytest.approx(99.8146, rel=1e-5)
    assert not pair.rectified
    assert [camera.undone_share for camera in report.cameras] == [1.0, 1.0]
    assert report.notes == ()
