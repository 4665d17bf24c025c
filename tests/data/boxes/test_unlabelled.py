"""Images without labels: which are found, and what is known of them."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from cogkp.data.boxes.reader import read_objectron, read_unlabelled
from cogkp.data.images.survey import find_images
from cogkp.errors import DataError
from cogkp.geometry.camera_frame import CameraFrame
from tests.builders.box_files import annotation, write_set

K = np.array([[50.0, 0, 20], [0, 50, 15], [0, 0, 1]])


def record(path, size_wh=(8, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((size_wh[1], size_wh[0], 3), np.uint8))
    return path


def test_all_folders_are_looked_into_in_a_fixed_order(tmp_path):
    names = ["b.png", "a/1.JPG", "a/c/2.bmp", ".hidden/3.png", "a/.4.png"]
    for name in names:
        record(tmp_path / name)
    (tmp_path / "a" / "notes.txt").write_text("no image")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    found = [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)]
    assert found == ["b.png", "a/1.JPG", "a/c/2.bmp"]
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match="no images"):
        find_images(tmp_path / "out")
    with pytest.raises(DataError, match="does not exist"):
        find_images(tmp_path / "none")


def test_labels_and_what_surrounds_them_are_read_alike(tmp_path):
    root = write_set(tmp_path / "set", 2)
    for labelled in read_objectron(root).records:
        bare = read_unlabelled(root, labelled.image)
        assert (bare.name, bare.size_wh, bare.boxes) == (labelled.name, labelled.size_wh, ())
        np.testing.assert_array_equal(bare.K, labelled.K)
        assert (bare.ground is None) == (labelled.ground is None)


def test_a_picture_may_stand_alone(tmp_path):
    image = record(tmp_path / "alone.png")
    bare = read_unlabelled(tmp_path, image)
    assert (bare.size_wh, bare.K, bare.ground, bare.object_height) == ((8, 6), None, None, None)
    np.testing.assert_array_equal(read_unlabelled(tmp_path, image, intrinsics=K).K, K)


def test_the_file_beside_a_picture_wins_over_the_callers_camera(tmp_path):
    image = record(tmp_path / "own.png")
    camera = {"intrinsics": {"fx": 9.0, "fy": 8.0, "cx": 4.0, "cy": 3.0}}
    image.with_suffix(".json").write_text(json.dumps({"camera_data": camera, "object_height": 0.5}))
    bare = read_unlabelled(tmp_path, image, intrinsics=K)
    assert bare.K[0, 0] == 9.0
    assert bare.object_height == 0.5


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"object_height": 0}, "object_height: expected a number > 0"),
        ({"object_height": "tall"}, "object_height: expected a number > 0"),
        ({"camera_data": {"width": 9}}, "width: expected 8"),
        ({"camera_data": {"intrinsics": {"fx": 0, "fy": 1, "cx": 1, "cy": 1}}}, "fx: expected a number > 0"),
        ({"camera_data": 3}, "a JSON object"),
        ([], "not an object"),
    ],
)
def test_a_wrong_file_is_told_with_its_key(tmp_path, content, match):
    image = record(tmp_path / "own.png")
    image.with_suffix(".json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=match):
        read_unlabelled(tmp_path, image, intrinsics=K)


def test_a_file_of_other_axes_than_declared_is_told(tmp_path):
    root = write_set(tmp_path / "set", 1)
    file = min(root.glob("*.json"))
    file.write_text(json.dumps(annotation(0, CameraFrame.OPENGL)))
    image = next(path for path in root.iterdir() if path.suffix != ".json")
    with pytest.raises(DataError, match="as declared"):
        read_unlabelled(root, image, camera_frame=CameraFrame.OPENCV)
