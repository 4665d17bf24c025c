"""Files in any camera axes, with any optional key left out, say the same."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cogkp.data.boxes.box_fields import Fields, read_box
from cogkp.data.boxes.clip import clip_matrix, intrinsics_of
from cogkp.data.boxes.reader import read_objectron, scan_objectron
from cogkp.data.boxes.records import BoxDataSize
from cogkp.data.boxes.writer import annotation_of, placed_box
from cogkp.errors import DataError
from cogkp.geometry.camera_frame import CameraFrame, frame_to_frame
from tests.builders.box_files import SIZE_WH, K, annotation, box, spoilt, standing, write, write_set

FRAMES = list(CameraFrame)


def read_one(folder, content, **options):
    write(folder, "a", content)
    (record,) = read_objectron(folder, **options).records
    return record


def same_box(first, second, atol=1e-9):
    for name in ("uv_source", "xyz_camera", "cuboid_to_camera", "size_xyz"):
        np.testing.assert_allclose(getattr(first, name), getattr(second, name), atol=atol, err_msg=name)
    return True


@pytest.mark.parametrize("frame", FRAMES)
def test_every_frame_is_read_back_in_opencv_axes(tmp_path, frame):
    record = read_one(tmp_path, annotation(frame=frame))
    assert same_box(record.boxes[0], box())
    assert record.camera_frame is frame
    np.testing.assert_allclose(record.K, K, atol=1e-9)
    pose = standing()
    np.testing.assert_allclose(record.ground.center, pose[:3, 3] - 0.4 * pose[:3, 1], atol=1e-12)
    np.testing.assert_allclose(record.ground.normal, pose[:3, 1], atol=1e-12)


@settings(deadline=None, max_examples=60)
@given(
    frame=st.sampled_from(FRAMES),
    yaw=st.floats(-3.2, 3.2),
    tilt=st.floats(-1.5, 1.5),
    size=st.tuples(*[st.floats(0.05, 1.0)] * 3),
    place=st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.floats(1.5, 9.0)),
)
def test_writing_and_reading_are_inverse(frame, yaw, tilt, size, place):
    made = placed_box("crate", standing(yaw, place, tilt), np.array(size), K, visibility=0.5)
    content = annotation_of([made], SIZE_WH, K, camera_frame=frame)
    to_opencv = frame_to_frame(frame, CameraFrame.OPENCV)
    assert same_box(read_box(Fields("f objects[0]", content["objects"][0]), 0, K, to_opencv), made)


@pytest.mark.parametrize("frame", [CameraFrame.OPENGL, CameraFrame.OBJECTRON])
def test_clip_matrix_projects_as_the_intrinsics_do(frame):
    points = standing()[:3, 3] + np.random.default_rng(0).normal(0, 0.2, (20, 3))
    seen = (points @ K[:2].T) / points[:, 2:]
    matrix = clip_matrix(K, SIZE_WH, frame)
    own = points @ frame_to_frame(CameraFrame.OPENCV, frame).T
    clip = np.hstack([own, np.ones((20, 1))]) @ matrix.T
    ndc = clip[:, :2] / clip[:, 3:]
    if frame is CameraFrame.OPENGL:  # y points up in the image
        uv = np.stack([(ndc[:, 0] + 1) / 2 * SIZE_WH[0], (1 - ndc[:, 1]) / 2 * SIZE_WH[1]], -1)
    else:  # the first coordinate is the vertical one
        uv = np.stack([(ndc[:, 1] + 1) / 2 * SIZE_WH[0], (ndc[:, 0] + 1) / 2 * SIZE_WH[1]], -1)
    np.testing.assert_allclose(uv, seen, atol=1e-9)
    np.testing.assert_allclose(intrinsics_of(matrix, SIZE_WH, frame), K, atol=1e-9)
    assert clip_matrix(K, SIZE_WH, CameraFrame.OPENCV) is None


DERIVED = [
    "camera_data.width",
    "camera_data.height",
    "camera_data.intrinsics",
    "camera_data.camera_projection_matrix",
    "camera_data.camera_view_matrix",
    "objects.0.class",
    "objects.0.name",
    "objects.0.provenance",
    "objects.0.visibility",
    "objects.0.location",
    "objects.0.quaternion_xyzw",
    "objects.0.scale",
    "objects.0.keypoints_3d",
    "objects.0.projected_cuboid",
    "AR_data",
    "AR_data.plane_normal",
]


@pytest.mark.parametrize("how", ["absent", "null"])
@pytest.mark.parametrize("key", DERIVED)
def test_each_optional_key_follows_from_the_others(tmp_path, key, how):
    content = spoilt(annotation(), key) if how == "absent" else spoilt(annotation(), key, None)
    record = read_one(tmp_path, content)
    assert same_box(record.boxes[0], box(), atol=1e-6)
    np.testing.assert_allclose(record.K, K, atol=1e-9)
    assert record.boxes[0].visibility == 1.0
    assert (record.ground is None) == key.startswith("AR_data")


def test_camera_axes_come_from_the_file_the_caller_or_the_form(tmp_path):
    silent = spoilt(annotation(), "camera_data.camera_frame")
    assert same_box(read_one(tmp_path / "a", silent).boxes[0], box())
    opengl = spoilt(annotation(frame=CameraFrame.OPENGL), "camera_data.camera_frame")
    assert same_box(read_one(tmp_path / "b", opengl, camera_frame=CameraFrame.OPENGL).boxes[0], box())
    with pytest.raises(DataError, match=r"a\.json camera_data\.camera_frame: expected 'opencv', as declared"):
        read_one(tmp_path / "c", annotation(), camera_frame=CameraFrame.OPENCV)


def test_nothing_is_made_up(tmp_path):
    content = annotation()
    only = {"class": "crate", "projected_cuboid": content["objects"][0]["projected_cuboid"]}
    record = read_one(tmp_path, {"objects": [only]})
    (found,) = record.boxes
    assert record.size_wh == SIZE_WH
    assert (record.K, record.ground) == (None, None)
    assert (found.xyz_camera, found.cuboid_to_camera, found.size_xyz, found.symmetric) == (None, None, None, None)
    assert found.name == "crate_0"
    for need in ("intrinsics", "scale", "pose"):
        with pytest.raises(DataError):
            read_objectron(tmp_path, need=[need])
    assert read_objectron(tmp_path, intrinsics=K, need=["intrinsics"]).records[0].K is K


def test_all_boxes_and_empty_pictures_are_read(tmp_path):
    made = [box(0), box(1), box(2)]
    record = read_one(tmp_path, annotation(boxes=made))
    assert [same_box(*pair) for pair in zip(record.boxes, made, strict=True)] == [True] * 3
    assert [each.name for each in record.boxes] == ["crate_0", "crate_1", "crate_2"]
    assert read_one(tmp_path, spoilt(annotation(), "objects", [])).boxes == ()


@pytest.mark.parametrize(
    ("symmetric", "number", "turns"),
    [
        *((None, None, 12), (True, None, 12), ("True", None, 12), (False, None, 1)),
        *(("False", 4, 1), (True, 4, 4), (None, 2, 2)),
    ],
)
def test_symmetry_is_told_per_object(tmp_path, symmetric, number, turns):
    content = spoilt(annotation(), "objects.0.symmetric", symmetric)
    assert read_one(tmp_path, spoilt(content, "objects.0.num_symmetry", number)).boxes[0].turns(12) == turns


def test_only_folders_without_folders_are_read(tmp_path, caplog):
    write_set(tmp_path / "train" / "video_1", 2)
    write_set(tmp_path / "train" / "video_2", 1)
    write(tmp_path / "train", "beside", annotation())
    (tmp_path / "train" / "video_1" / ".thumbnails").mkdir()
    (tmp_path / "train" / "video_2" / "alone.json").write_text("not even JSON")
    write(tmp_path / "train" / "video_2", "bare", annotation()).unlink()
    index = read_objectron(tmp_path)
    names = ["train/video_1/0000", "train/video_1/0001", "train/video_2/0000"]
    assert [record.name for record in index.records] == names
    assert index.dropped == {
        "an image beside folders": 1,
        "an image without a JSON file": 1,
        "a JSON file without an image": 1,
    }
    assert "left out 1 times: an image beside folders" in caplog.text
    assert "3 images; boxes: crate 3; 1 left out" in str(BoxDataSize.of([index]))


def test_links_are_followed_once(tmp_path):
    write_set(tmp_path / "data" / "a", 1)
    (tmp_path / "data" / "a" / "up").symlink_to(tmp_path / "data")
    write_set(tmp_path / "elsewhere", 2)
    (tmp_path / "data" / "b").symlink_to(tmp_path / "elsewhere")
    assert [record.name for record in read_objectron(tmp_path / "data").records] == ["b/0000", "b/0001"]


def test_boxes_that_no_picture_shows_are_left_out(tmp_path):
    aside = placed_box("crate", standing(location=(9.0, 0.0, 3.0)), np.array([0.5, 0.8, 0.3]), K)
    partly = placed_box("crate", standing(location=(1.1, 0.0, 2.0)), np.array([0.5, 0.8, 0.3]), K)
    assert (partly.uv_source[:, 0] > SIZE_WH[0]).any()
    index = read_objectron(write(tmp_path, "a", annotation(boxes=[aside, partly])).parent)
    assert same_box(index.records[0].boxes[0], partly)
    assert index.dropped == {"a box wholly outside its image": 1}


def test_wrong_axes_are_one_line_that_names_the_right_ones(tmp_path):
    write_set(tmp_path, 3, CameraFrame.OPENGL)
    for path in tmp_path.glob("*.json"):
        path.write_text(json.dumps(spoilt(json.loads(path.read_text()), "camera_data.camera_frame")))
    scan = scan_objectron(tmp_path)
    assert scan.frame.better is CameraFrame.OPENGL
    (problem,) = scan.problems
    assert "Declare camera_frame 'opengl'." in str(problem)
    assert not scan_objectron(tmp_path, camera_frame=CameraFrame.OPENGL).problems


def test_quaternions_of_any_length_are_turns(tmp_path):
    content = annotation()
    twice = (2 * torch.tensor(content["objects"][0]["quaternion_xyzw"])).tolist()
    assert same_box(read_one(tmp_path, spoilt(content, "objects.0.quaternion_xyzw", twice)).boxes[0], box(), 1e-6)
