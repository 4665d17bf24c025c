"""A calibration file becomes a rig, or is refused with camera and reason."""

import json

import numpy as np
import pytest
import torch

from cogkp.data.calibration import read_calibration
from cogkp.data.keypoint.scene.render import calibration, stereo_head
from cogkp.errors import DataError
from tests.builders.shared_data import shared


def written(tmp_path, change=lambda content: None):
    content = calibration(stereo_head())
    change(content)
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(content))
    return path


def test_what_was_written_is_read(tmp_path):
    rig = read_calibration(written(tmp_path, lambda content: content.update(board={"squares": 9})))
    for name, camera in stereo_head().items():
        assert torch.equal(rig[name].K, camera.K)
        assert torch.equal(rig[name].world_to_camera, camera.world_to_camera)
        assert rig[name].size_wh == camera.size_wh
    assert rig.names == ("LL", "LR")


def test_three_rows_and_nested_distortion_are_read(tmp_path):
    def change(content):
        content["LL"].update(extrinsic=content["LL"]["extrinsic"][:3], distortion=[[0.1, 0.0, 0.0, 0.0, 0.2]])

    rig = read_calibration(written(tmp_path, change))
    assert rig["LL"].world_to_camera.shape == (4, 4)
    assert rig["LL"].distortion.tolist() == [0.1, 0.0, 0.0, 0.0, 0.2]


FLIPPED = np.diag([-1.0, 1.0, 1.0, 1.0]).tolist()


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("extrinsic", (2 * np.eye(4)).tolist(), "not a rotation"),
        ("extrinsic", FLIPPED, "left-handed"),
        ("extrinsic", np.eye(3).tolist(), "wrong shape"),
        ("intrinsic", np.diag([-1.0, 1.0, 1.0]).tolist(), "focal length"),
        ("intrinsic", [[float("nan")] * 3] * 3, "not finite"),
        ("intrinsic", "wide", "table of numbers"),
        ("distortion", [0.0] * 6, "number of coefficients"),
        ("resolution", [320, 0], "size of images"),
        ("resolution", [320.5, 256], "size of images"),
    ],
)
def test_impossible_cameras_are_refused(tmp_path, field, value, reason):
    with pytest.raises(DataError, match=rf"{reason}.*LR"):
        read_calibration(written(tmp_path, lambda content: content["LR"].update({field: value})))


def test_no_baseline_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"same place.*LL and LR"):
        read_calibration(written(tmp_path, lambda content: content.update(LR=content["LL"])))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"LL": {"resolution": [1, 1]}}'])
def test_files_without_cameras_are_refused(tmp_path, text):
    path = tmp_path / "calibration.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"calibration\.json"):
        read_calibration(path)
    with pytest.raises(DataError, match="cannot read"):
        read_calibration(tmp_path / "absent.json")


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "file", "baseline"),
    [
        ("adapter-stereo", "calibration.s6.mm.json", 49.83686675),
        ("adapter-stereo", "calibration.s6.unit30mm.json", 1.6612288916666667),
        ("stereo-chessboard", "calibration.s6.mm.json", 99.8146),
        ("stereo-chessboard", "calibration.s6.unit60mm.json", 1.66358),
    ],
)
def test_real_files_are_read(name, file, baseline):
    rig = read_calibration(shared(name) / file)
    assert rig.names == ("LL", "LR")
    assert float(rig["LR"].world_to_camera[:3, 3].norm()) == pytest.approx(baseline, rel=1e-5)
