"""Real cameras, real corners: what is known of the board and of the adapter comes out of the pixels."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch

from cogkp.data.calibration import read_calibration
from tests.builders.shared_data import shared

ROWS, COLUMNS, SQUARE_MM = 6, 9, 30.0


@pytest.fixture(scope="module")
def board():
    """The rig in millimetres, and the corners (14, 2, 54, 2) as they were found, lens and all."""
    home = shared("stereo-chessboard")
    pairs = json.loads((home / "corners.json").read_text())
    seen = [[pair[side]["corners"] for side in ("left", "right")] for pair in pairs]
    rig = read_calibration(home / "calibration.s6.mm.json").select(("LL", "LR"))
    return rig, torch.tensor(np.array(seen), dtype=torch.float64)


def edges_mm(xyz: np.ndarray) -> np.ndarray:
    """Lengths of all sides of all squares."""
    grid = xyz.reshape(-1, ROWS, COLUMNS, 3)
    return np.concatenate([np.linalg.norm(np.diff(grid, axis=axis), axis=-1).ravel() for axis in (1, 2)])


def opencv_triangulated(rig, seen) -> np.ndarray:
    """OpenCV's own way: undistort to pixels, then the linear solution."""
    straight, cameras = [], []
    criteria = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 100, 1e-12)
    # OpenCV 4 keeps the number of steps for another function; five suffice for this lens.
    patience = {"criteria": criteria} if int(cv2.__version__[0]) > 4 else {}
    for view, camera in enumerate(rig.cameras):
        K, lens = camera.K.numpy(), camera.distortion.numpy()
        pixels = seen[:, view].reshape(-1, 1, 2).numpy()
        undone = cv2.undistortPoints(pixels, K, lens, R=np.eye(3), P=K, **patience)
        straight.append(undone.reshape(-1, 2).T)
        cameras.append(K @ camera.world_to_camera.numpy()[:3])
    homogeneous = cv2.triangulatePoints(*cameras, *straight)
    return (homogeneous[:3] / homogeneous[3]).T


def test_squares_of_the_board_have_their_size_and_spread_no_more_than_opencvs(board):
    rig, seen = board
    found = rig.triangulate(seen)
    assert found.valid.all()
    ours, theirs = edges_mm(found.xyz_world.numpy()), edges_mm(opencv_triangulated(rig, seen))
    assert ours.mean() == pytest.approx(SQUARE_MM, rel=0.005)
    assert ours.std() <= theirs.std()
    assert np.abs(ours - SQUARE_MM).mean() <= np.abs(theirs - SQUARE_MM).mean()


def test_the_board_is_as_long_and_as_wide_as_it_is(board):
    rig, seen = board
    grid = rig.triangulate(seen).xyz_world.reshape(-1, ROWS, COLUMNS, 3)
    long_side = (grid[:, :, -1] - grid[:, :, 0]).norm(dim=-1)
    short_side = (grid[:, -1] - grid[:, 0]).norm(dim=-1)
    assert long_side.mean().item() == pytest.approx(240.0, rel=0.005)
    assert short_side.mean().item() == pytest.approx(150.0, rel=0.005)


def test_corners_are_seen_again_where_they_were_found(board):
    rig, seen = board
    again = rig.project(rig.triangulate(seen).xyz_world)
    assert again.valid.all()
    rms_px = (again.uv - seen).square().sum(-1).mean().sqrt().item()
    assert rms_px < 0.085  # the calibration states 0.080


def test_the_adapter_has_its_two_lengths():
    home = shared("adapter-stereo")
    rig = read_calibration(home / "calibration.s6.mm.json").select(("LL", "LR"))
    lines = [json.loads(text) for text in (home / "pairs.jsonl").read_text().splitlines()]
    seen = [[[line[camera][name] for name in ("tip", "turn", "end")] for camera in rig] for line in lines]
    found = rig.triangulate(torch.tensor(np.array(seen), dtype=torch.float64))
    assert found.valid.all()
    lengths = found.xyz_world.diff(dim=-2).norm(dim=-1)
    torch.testing.assert_close(lengths, torch.tensor([45.0, 60.0]).double().expand_as(lengths), rtol=1e-3, atol=0)
