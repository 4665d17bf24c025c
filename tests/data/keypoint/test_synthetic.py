"""A synthetic recording is a complete StructuredDataset with calibration and configuration."""

import json

import cv2
import numpy as np
import pytest

from cogkp.data.keypoint.scene.render import render_frame
from cogkp.data.keypoint.structured import read_lines
from cogkp.data.keypoint.synthetic import TARGETS, demo_config, write_recording
from cogkp.errors import OutputError


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    root = tmp_path_factory.mktemp("recording") / "train"
    calibration = write_recording(root, 3, seed=5)
    return root, calibration


def look_up(line, datakey):
    for part in datakey.split("."):
        line = line[part]
    return line


def test_everything_the_configuration_asks_for_is_there(recording):
    root, _ = recording
    config = demo_config(root, root)
    lines = [line.content for line in read_lines(root)]
    assert len(lines) == 3
    for line in lines:
        assert look_up(line, config["data_mappings"]["valid"]) is True
        for image, mask in zip(config["data_mappings"]["x"], config["data_mappings"]["mask"], strict=True):
            for key in (image, mask):
                assert cv2.imread(str(root / look_up(line, key)), cv2.IMREAD_UNCHANGED).shape == (256, 320)
        for row in config["data_mappings"]["y"]:
            assert all(len(look_up(line, key)) == 2 for key in row)


def test_files_carry_the_rendered_frames_unchanged(recording):
    root, _ = recording
    line = read_lines(root)[1].content
    frame = render_frame(5, 1)
    for camera, view in frame.views.items():
        assert np.array_equal(cv2.imread(str(root / line[camera]["image"]), cv2.IMREAD_UNCHANGED), view.image)
        mask = root / look_up(line, f"{TARGETS}.{camera}.mask")
        assert np.array_equal(cv2.imread(str(mask), cv2.IMREAD_UNCHANGED), view.mask)
        assert look_up(line, f"{TARGETS}.{camera}.tip") == view.uv[0].tolist()
    assert line["truth"]["xyz_world"]["end"] == frame.xyz_world[2].tolist()


def test_the_calibration_file_projects_truth_onto_labels(recording):
    root, path = recording
    cameras = json.loads(path.read_text())
    for line in read_lines(root):
        xyz = np.array(list(line.content["truth"]["xyz_world"].values()))
        for name, camera in cameras.items():
            rotation = cv2.Rodrigues(np.array(camera["extrinsic"])[:3, :3])[0]
            shift, distortion = np.array(camera["extrinsic"])[:3, 3], np.array(camera["distortion"])
            uv = cv2.projectPoints(xyz, rotation, shift, np.array(camera["intrinsic"]), distortion)[0][:, 0]
            labels = [look_up(line.content, f"{TARGETS}.{name}.{point}") for point in ("tip", "turn", "end")]
            assert np.abs(uv - labels).max() < 1e-9
            assert camera["resolution"] == [320, 256]


def test_a_recording_is_not_overwritten(recording):
    with pytest.raises(OutputError, match="already"):
        write_recording(recording[0], 1, seed=0)
