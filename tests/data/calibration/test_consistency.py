"""Labelled pairs tell right cameras from exchanged, inverted and foreign ones."""

import json

import attrs
import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cogkp.data.calibration import check_pairs, read_calibration
from cogkp.data.keypoint.scene.render import stereo_head
from cogkp.errors import GeometryError
from cogkp.geometry.rig import CameraRig
from tests.builders.calibrations import camera, pose_of, rectified, toed_in
from tests.builders.shared_data import shared

HEAD = stereo_head()
RIGS = {"toed in": toed_in(), "rectified": rectified(), "head": CameraRig(tuple(HEAD), tuple(HEAD.values()))}


def seen(rig, count=60, noise_px=0.5, seed=0, low=(-1.5, -1.0, 6.0), high=(1.5, 1.0, 10.0)):
    generator = np.random.default_rng(seed)
    uv = rig.project(torch.tensor(generator.uniform(low, high, (count, 3))))
    assert bool(uv.valid.all())
    return [view + generator.normal(0, noise_px, view.shape) for view in uv.uv.numpy()]


def inverted(each):
    return attrs.evolve(each, world_to_camera=torch.linalg.inv(each.world_to_camera))


@pytest.mark.parametrize("name", RIGS)
def test_right_cameras_have_no_problem(name):
    left, right = RIGS[name].cameras
    found = check_pairs(left, right, *seen(RIGS[name]))
    assert (found.count, found.behind_share, found.swapped, found.inverted) == (60, 0.0, False, False)
    assert 0.1 < found.median_px < 1.0
    assert found.problem() is None


@pytest.mark.parametrize("name", RIGS)
def test_exchanged_cameras_and_exchanged_labels_are_the_same_and_are_found(name):
    left, right = RIGS[name].cameras
    uv = seen(RIGS[name])
    for found in (check_pairs(right, left, *uv), check_pairs(left, right, *uv[::-1])):
        assert found.swapped
        assert found.swapped_median_px < 1.0
        assert found.problem().startswith("the cameras look swapped: ")
        assert "\n" not in found.problem()


def test_of_a_rectified_pair_only_the_sign_of_disparity_tells():
    left, right = rectified().cameras
    found = check_pairs(right, left, *seen(rectified()))
    assert found.median_px == pytest.approx(found.swapped_median_px)
    assert found.behind_share == 1.0
    assert "Inverted extrinsics would explain it too." in found.problem()


@pytest.mark.parametrize("name", ["toed in", "head"])
def test_inverted_poses_are_told_from_exchanged_cameras(name):
    left, right = RIGS[name].cameras
    found = check_pairs(inverted(left), inverted(right), *seen(RIGS[name]))
    assert (found.inverted, found.swapped) == (True, False)
    assert found.problem().startswith("the extrinsics look inverted: ")


def test_a_calibration_of_other_cameras_is_found():
    left, right = toed_in().cameras
    found = check_pairs(left, camera(pose_of([0.2, 0.0, 0.1], [-1.6, 0.8, 0.0])), *seen(toed_in()))
    assert (found.swapped, found.inverted) == (False, False)
    assert found.problem().startswith("the calibration does not fit the labels: ")
    halved = [uv / 2 for uv in seen(toed_in(), noise_px=0.0)]
    assert "at this resolution?" in check_pairs(left, right, *halved).problem()


def test_the_residual_is_the_distance_to_opencvs_lines():
    left, right = toed_in().cameras
    uv = seen(toed_in())
    straight = [
        cv2.undistortPoints(pixels[:, None], each.K.numpy(), each.distortion.numpy(), P=each.K.numpy())[:, 0]
        for pixels, each in zip(uv, (left, right), strict=True)
    ]
    pose = right.world_to_camera.numpy()
    tx, ty, tz = pose[:3, 3]
    E = np.array([[0, -tz, ty], [tz, 0, -tx], [-ty, tx, 0]]) @ pose[:3, :3]
    F = np.linalg.inv(right.K.numpy()).T @ E @ np.linalg.inv(left.K.numpy())
    distances = []
    for which, here, there in ((1, straight[0], straight[1]), (2, straight[1], straight[0])):
        lines = cv2.computeCorrespondEpilines(here[:, None], which, F)[:, 0]
        distances.append(np.abs((lines[:, :2] * there).sum(1) + lines[:, 2]))
    found = check_pairs(left, right, *uv)
    assert found.median_px == pytest.approx(np.median(np.mean(distances, 0)), rel=1e-3)
    assert found.p95_px == pytest.approx(np.percentile(np.mean(distances, 0), 95), rel=1e-3)


@settings(max_examples=25, deadline=None)
@given(turn=st.tuples(*[st.floats(-1, 1)] * 3), move=st.tuples(*[st.floats(-9, 9)] * 3), scale=st.floats(0.01, 100))
def test_the_world_and_its_unit_do_not_matter(turn, move, scale):
    world = torch.tensor(pose_of(turn, move))
    uv = seen(toed_in())

    def moved(each):
        pose = each.world_to_camera @ world
        pose[:3, 3] *= scale
        return attrs.evolve(each, world_to_camera=pose)

    left, right = toed_in().cameras
    for pair in ((left, right), (right, left)):
        plain, other = check_pairs(*pair, *uv), check_pairs(*map(moved, pair), *uv)
        assert other.median_px == pytest.approx(plain.median_px, rel=1e-6)
        assert (other.behind_share, other.swapped) == (plain.behind_share, plain.swapped)


def test_points_that_were_not_labelled_are_left_out():
    left, right = toed_in().cameras
    uv = seen(toed_in())
    uv[0][::2] = np.nan
    uv[1][1] = np.inf
    found = check_pairs(left, right, *uv)
    assert found.count == 29
    assert found.problem() is None


@pytest.mark.parametrize("count", [0, 1, 7])
def test_too_few_pairs_give_no_verdict(count):
    left, right = toed_in().cameras
    found = check_pairs(right, left, *(uv[:count] for uv in seen(toed_in())))
    assert found.count == count
    assert found.problem() is None
    assert all(np.isfinite(value) for value in attrs.astuple(found))


def test_parallel_rays_are_on_no_side():
    left, right = rectified().cameras
    uv = np.random.default_rng(0).uniform(0, 400, (20, 2))
    for disparity in (np.array([0.2, 0.0]), np.array([-0.2, 0.0])):
        assert check_pairs(left, right, uv, uv + disparity).problem() is None


def test_other_shapes_are_refused():
    left, right = toed_in().cameras
    with pytest.raises(GeometryError, match="pairs of pixels"):
        check_pairs(left, right, np.zeros((3, 2)), np.zeros((4, 2)))


@pytest.mark.real_data
def test_real_corners_fit_and_tell_exchanged_cameras():
    home = shared("stereo-chessboard")
    left, right = read_calibration(home / "calibration.s6.mm.json").cameras
    pairs = json.loads((home / "corners.json").read_text())
    uv = [np.concatenate([np.array(pair[side]["corners"]) for pair in pairs]) for side in ("left", "right")]
    found = check_pairs(left, right, *uv)
    assert (found.count, found.problem()) == (756, None)
    assert found.median_px < 0.15
    assert found.p95_px < 0.5
    assert "look swapped" in check_pairs(right, left, *uv).problem()
    assert "look inverted" in check_pairs(inverted(left), inverted(right), *uv).problem()
