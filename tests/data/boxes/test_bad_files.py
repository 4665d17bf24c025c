"""Every fault of an annotation is told with its file and key, and all of them at once."""

import json

import cv2
import numpy as np
import pytest

from cogkp.data.boxes.reader import read_objectron
from cogkp.errors import DataError
from tests.builders.box_files import annotation, spoilt, write, write_set

NAN = float("nan")

WRONG = {
    "no objects": (("objects",), "objects: expected a list of JSON objects"),
    "objects are a number": (("objects", 3), "objects: expected a list"),
    "an object is a number": (("objects.0", 3), "objects: expected a list"),
    "no camera dictionary": (("camera_data", []), "camera_data: expected a JSON object"),
    "other width": (("camera_data.width", 640), "camera_data.width: expected 96, as the image has, got 640"),
    "height zero": (("camera_data.height", 0), "camera_data.height: expected a whole number >= 1"),
    "focal length zero": (("camera_data.intrinsics.fx", 0), "intrinsics.fx: expected a number > 0, pixels, got 0"),
    "all intrinsics zero": (
        ("camera_data.intrinsics", {"fx": 0, "fy": 0, "cx": 0, "cy": 0}),
        "no camera is assumed",
    ),
    "negative focal length": (("camera_data.intrinsics.fy", -5.0), "intrinsics.fy: expected a number > 0"),
    "no focal length": (("camera_data.intrinsics.fx",), "intrinsics.fx: expected a number > 0, pixels, got nothing"),
    "no principal point": (("camera_data.intrinsics.cy",), "intrinsics.cy: expected a finite number"),
    "NaN principal point": (("camera_data.intrinsics.cx", NAN), "intrinsics.cx: expected a finite number"),
    "unknown axes": (("camera_data.camera_frame", "unity"), "camera_frame: expected one of opencv, opengl, objectron"),
    "eight pixels": (("objects.0.projected_cuboid", [[1, 2]] * 8), "There are 8 where 9 belong"),
    "one coordinate": (("objects.0.projected_cuboid.4", [1]), "projected_cuboid: expected 9 x 2 finite numbers"),
    "NaN pixel": (("objects.0.projected_cuboid.4.0", NAN), "NaN and infinity are not labels"),
    "word for a pixel": (("objects.0.projected_cuboid.4.0", "5"), "projected_cuboid: expected 9 x 2"),
    "endless pixel": (("objects.0.projected_cuboid.4.0", 10**400), "projected_cuboid: expected 9 x 2"),
    "ten points": (("objects.0.keypoints_3d", [[0, 0, 1]] * 10), "There are 10 where 9 belong"),
    "infinite point": (("objects.0.keypoints_3d.0.2", float("inf")), "keypoints_3d: expected 9 x 3 finite"),
    "width zero": (("objects.0.scale", [0.0, 1.0, 1.0]), "objects[0].scale: expected three side lengths > 0"),
    "negative width": (("objects.0.scale", [-1.0, 1.0, 1.0]), "objects[0].scale: expected three side lengths > 0"),
    "two sizes": (("objects.0.scale", [1.0, 1.0]), "There are 2 where 3 belong"),
    "no turn": (("objects.0.quaternion_xyzw", [0, 0, 0, 0]), "quaternion_xyzw: expected four numbers that are not all"),
    "short place": (("objects.0.location", [0, 1]), "There are 2 where 3 belong"),
    "more than full sight": (("objects.0.visibility", 1.5), "visibility: expected a number from 0 to 1"),
    "perhaps symmetric": (("objects.0.symmetric", "perhaps"), "symmetric: expected true or false"),
    "half a turn": (("objects.0.num_symmetry", 0.5), "num_symmetry: expected a whole number >= 1"),
    "class is a number": (("objects.0.class", 7), "class: expected a text"),
    "ground of two numbers": (("AR_data.plane_center", [0, 0]), "AR_data.plane_center: expected 3 finite numbers"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_is_named(tmp_path, name):
    change, words = WRONG[name]
    write(tmp_path, "fine", annotation(1))
    path = write(tmp_path, "spoilt", spoilt(annotation(), *change))
    with pytest.raises(DataError) as caught:
        read_objectron(tmp_path)
    (line,) = str(caught.value).splitlines()
    assert str(path) in line
    assert words in line


BOTH = {
    "neither pixels nor space": (("projected_cuboid", "keypoints_3d", "location"), "expected nine points, got nothing"),
    "neither pixels nor sizes": (("projected_cuboid", "keypoints_3d", "scale"), "expected nine points, got nothing"),
}


@pytest.mark.parametrize("name", BOTH)
def test_what_nothing_implies_is_missed(tmp_path, name):
    keys, words = BOTH[name]
    content = annotation()
    for key in keys:
        content = spoilt(content, f"objects.0.{key}")
    write(tmp_path, "a", content)
    with pytest.raises(DataError, match=words):
        read_objectron(tmp_path)


def test_pixels_need_a_camera(tmp_path):
    content = spoilt(annotation(), "objects.0.projected_cuboid")
    content = spoilt(spoilt(content, "camera_data.intrinsics"), "camera_data.camera_projection_matrix")
    write(tmp_path, "a", content)
    with pytest.raises(DataError, match="and intrinsics"):
        read_objectron(tmp_path)


def test_flat_points_are_no_box(tmp_path):
    content = spoilt(annotation(), "objects.0.scale")
    for point in content["objects"][0]["keypoints_3d"]:
        point[2] = -1.0
    for point in content["objects"][0]["keypoints_3d"]:
        point[1] = 0.5 * point[0]
    write(tmp_path, "a", content)
    with pytest.raises(DataError, match="a box whose sides are > 0"):
        read_objectron(tmp_path)


@pytest.mark.parametrize("keys", [("location", "keypoints_3d"), ("location",)])
def test_an_object_behind_the_camera_is_named(tmp_path, keys):
    write_set(tmp_path, 3)
    content = annotation()
    for key in keys:
        content["objects"][0][key] = (-np.array(content["objects"][0][key])).tolist()
    path = write(tmp_path, "behind", content)
    with pytest.raises(DataError, match="the object is behind the camera") as caught:
        read_objectron(tmp_path)
    assert f"{path} objects[0]" in str(caught.value)


TEXTS = {
    "empty": "",
    "broken": '{"objects": [',
    "a list": "[]",
    "nested without end": "[" * 100_000,
}


@pytest.mark.parametrize("name", TEXTS)
def test_files_that_are_no_record_are_named(tmp_path, name):
    path = write(tmp_path, "a", TEXTS[name])
    with pytest.raises(DataError, match="the annotation is") as caught:
        read_objectron(tmp_path)
    assert str(path) in str(caught.value)


def test_bytes_that_are_no_text_are_named(tmp_path):
    write(tmp_path, "a", annotation()).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="the annotation is not text"):
        read_objectron(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_unreadable_pictures_are_named(tmp_path, content):
    write(tmp_path, "a", annotation()).with_suffix(".png").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.png"):
        read_objectron(tmp_path)


def test_two_pictures_of_one_stem_are_refused(tmp_path):
    write(tmp_path, "a", annotation())
    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((72, 96, 3), np.uint8))
    with pytest.raises(DataError, match=r"several images share one JSON file .* got a\.jpg, a\.png"):
        read_objectron(tmp_path)


def test_equal_names_in_different_folders_are_fine(tmp_path):
    write_set(tmp_path / "one", 1)
    write_set(tmp_path / "two", 1)
    assert [record.name for record in read_objectron(tmp_path).records] == ["one/0000", "two/0000"]


def test_all_faults_are_listed_together(tmp_path):
    write(tmp_path, "a", spoilt(annotation(), "objects.0.scale", [0, 0, 0]))
    two = annotation()
    pair = spoilt(two, "objects.0.visibility", 7), spoilt(two, "objects.0.scale", [1])
    two["objects"] = [each["objects"][0] for each in pair]
    write(tmp_path, "b", two)
    write(tmp_path, "c", "nothing")
    with pytest.raises(DataError) as caught:
        read_objectron(tmp_path)
    lines = str(caught.value).splitlines()
    places = ["a.json objects[0].scale", "b.json objects[0].visibility", "b.json objects[1].scale", "c.json"]
    assert len(lines) == len(places)
    assert all(place in line for place, line in zip(places, lines, strict=True))


def test_folders_without_labelled_pictures_are_refused(tmp_path):
    with pytest.raises(DataError, match="the data set's folder does not exist"):
        read_objectron(tmp_path / "absent")
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 4), np.uint8))
    with pytest.raises(DataError, match="got 1 times an image without a JSON file"):
        read_objectron(tmp_path)


def test_strict_json_is_not_needed_to_tell_nan(tmp_path):
    text = json.dumps(spoilt(annotation(), "objects.0.location", [NAN, 0, 0]))
    assert "NaN" in text
    write(tmp_path, "a", text)
    with pytest.raises(DataError, match=r"objects\[0\]\.location"):
        read_objectron(tmp_path)
