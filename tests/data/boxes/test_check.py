"""The checker finds each kind of false label, and finds nothing in true ones."""

import json

import numpy as np
import pytest

from cogkp.data.boxes.check import ORDERS, best_order_of_pixels, best_order_of_points, check_root
from cogkp.data.boxes.writer import placed_box
from cogkp.geometry.camera_frame import CameraFrame
from tests.builders.box_files import K, annotation, box, spoilt, standing, write, write_set


@pytest.mark.parametrize("frame", list(CameraFrame))
def test_true_labels_pass(tmp_path, frame):
    report = check_root(write_set(tmp_path, 4, frame))
    assert report.problems == ()
    assert (report.files, len(report.checked)) == (4, 4)
    for file in report.checked:
        (found,) = file.boxes
        assert found.reprojection_px < 1e-6
        assert found.pnp_px < 1e-6
        assert found.turn_deg < 1e-4
        assert found.shift_share < 1e-6
    assert "no problems" in report.text()


@pytest.mark.parametrize("written", list(CameraFrame))
@pytest.mark.parametrize("declared", list(CameraFrame))
def test_the_right_axes_are_found(tmp_path, written, declared):
    for index in range(4):
        content = annotation(index, written)
        # Files whose points of space were written in other axes than they say.
        write(tmp_path, f"{index}", spoilt(content, "camera_data.camera_frame", declared.value))
    report = check_root(tmp_path)
    if written is declared:
        assert report.problems == ()
        return
    (problem,) = report.problems
    assert f"Declare camera_frame '{written.value}'." in str(problem)
    assert report.frame.residual_px[written] < 1e-6
    assert json.dumps(report.to_dict()["problems"])


def renumbered(content, order, *keys):
    for key in keys:
        points = content["objects"][0][key]
        content["objects"][0][key] = [points[index] for index in order]
    return content


SWAPPED = (0, 1, 3, 2, 4, 5, 7, 6, 8)  # y and z change places: a mirror


def problems_of(tmp_path, content):
    path = write(tmp_path, "a", content)
    lines = [str(problem) for problem in check_root(tmp_path).problems]
    assert all(str(path) in line or str(tmp_path) in line for line in lines)
    return lines


def test_mirrored_numbers_are_told_with_the_order_that_fits(tmp_path):
    (line, *_) = problems_of(tmp_path, renumbered(annotation(), SWAPPED, "keypoints_3d", "projected_cuboid"))
    assert "not middle and corners of a box" in line
    assert "numbered as in a mirror" in line


def test_pixels_alone_tell_a_wrong_order(tmp_path):
    content = renumbered(annotation(), SWAPPED, "projected_cuboid")
    for key in ("keypoints_3d", "location"):
        content = spoilt(content, f"objects.0.{key}")
    (line,) = problems_of(tmp_path, content)
    assert "no pose of the box explains its pixels" in line
    assert "numbered as in a mirror" in line


def stated(*keys, camera=True, **changes):
    """A file that states of one box only these keys."""
    content = annotation(frame=CameraFrame.OPENCV)
    entry = content["objects"][0]
    content["objects"] = [{key: entry[key] for key in keys} | changes]
    if not camera:
        content["camera_data"] = {"camera_frame": "opencv"}
    return content


def middle_last(points):
    return [*points[1:], points[0]]


@pytest.mark.parametrize("turned", [True, False])
def test_a_stated_place_is_compared_with_the_middle(tmp_path, turned):
    keys = ("location", "projected_cuboid", *(["quaternion_xyzw"] if turned else []))
    write(tmp_path, "a", stated(*keys))
    report = check_root(tmp_path)
    assert report.problems == ()
    assert report.compared == 1
    assert report.checked[0].boxes[0].centre_px < 1e-6
    assert "no problems: the files agree" in report.text()
    content = stated(*keys)
    uv = content["objects"][0]["projected_cuboid"]
    (line,) = problems_of(tmp_path, stated(*keys, projected_cuboid=middle_last(uv)))
    assert "the stated place does not fall on the middle's pixel" in line
    assert "It falls on point 9: the middle comes first" in line
    (line,) = problems_of(tmp_path, stated(*keys, location=[0.4, 0.0, 2.0]))
    assert "Check location, intrinsics and camera_frame." in line
    (line,) = problems_of(tmp_path, stated("location", "projected_cuboid", location=[0.1, 0.0, -2.0]))
    assert "none in front of the camera" in line


def test_a_middle_that_stands_last_is_told_by_pixels_and_by_points_of_space(tmp_path):
    content = stated("scale", "projected_cuboid")
    uv = content["objects"][0]["projected_cuboid"]
    (line,) = problems_of(tmp_path, stated("scale", "projected_cuboid", projected_cuboid=middle_last(uv)))
    assert "The middle stands last" in line
    both = annotation()
    for key in ("keypoints_3d", "projected_cuboid"):
        both["objects"][0][key] = middle_last(both["objects"][0][key])
    assert "The middle stands last" in problems_of(tmp_path, both)[0]


@pytest.mark.parametrize(
    "content",
    [
        stated("projected_cuboid"),
        stated("projected_cuboid", "scale", camera=False),
        stated("projected_cuboid", "location", "quaternion_xyzw", camera=False),
        stated("location", "quaternion_xyzw", "scale"),
        {"objects": []},
    ],
)
def test_a_check_that_compared_nothing_says_so(tmp_path, content):
    write(tmp_path, "a", content)
    report = check_root(tmp_path)
    assert report.problems == ()
    assert report.compared == report.to_dict()["compared"] == 0
    assert report.text().splitlines()[-1].startswith("nothing was compared: of ")
    assert "agree" not in report.text()


def test_a_check_that_compared_some_says_how_many(tmp_path):
    write(tmp_path, "a", stated("projected_cuboid"))
    write(tmp_path, "b", annotation())
    assert "no problems in 1 of 2 boxes; the others state nothing twice" in check_root(tmp_path).text()


def test_every_order_is_found_again():
    true = box(0)
    for order in ORDERS:
        given = np.empty((9, 2))
        given[list(order.points)] = true.uv_source
        found, left = best_order_of_pixels(given, true.size_xyz, K)
        assert left < 1e-6
        np.testing.assert_allclose(
            np.linalg.norm(given[list(found.points)][1] - given[list(found.points)][8]) >= 0, True
        )
        assert found.mirrored == order.mirrored
    assert len({order.points for order in ORDERS}) == 48
    assert sum(order.mirrored for order in ORDERS) == 24
    assert ORDERS[0].points == tuple(range(9))


def test_points_of_no_box_have_no_order():
    assert best_order_of_points(np.random.default_rng(0).normal(size=(9, 3)))[1] > 0.05


def test_other_units_and_half_lengths_are_told(tmp_path):
    content = annotation()
    half = [0.5 * side for side in content["objects"][0]["scale"]]
    (line,) = problems_of(tmp_path, spoilt(content, "objects.0.scale", half))
    assert "All sides differ by the factor 0.5" in line


def test_exchanged_sides_are_told(tmp_path):
    content = annotation()
    width, height, depth = content["objects"][0]["scale"]
    lines = problems_of(tmp_path, spoilt(content, "objects.0.scale", [width, depth, height]))
    assert "scale and points of space disagree" in lines[0]
    assert "no pose of the box explains its pixels" in lines[1]


def test_a_pose_in_the_wrong_order_of_numbers_is_told(tmp_path):
    content = annotation()
    x, y, z, w = content["objects"][0]["quaternion_xyzw"]
    (line,) = problems_of(tmp_path, spoilt(content, "objects.0.quaternion_xyzw", [w, x, y, z]))
    assert "the pose does not lead to the points of space" in line


def test_wrong_intrinsics_are_told(tmp_path):
    lines = problems_of(tmp_path, spoilt(annotation(), "camera_data.intrinsics.cx", 60.0))
    assert any("points of space do not fall on their pixels" in line and "13.00 px" in line for line in lines)


def test_a_single_wrong_pixel_is_told(tmp_path):
    content = annotation()
    content["objects"][0]["projected_cuboid"][3][0] += 20.0
    lines = problems_of(tmp_path, content)
    assert "20.00 px" in lines[0]
    assert "No order of the corners fits either" in lines[1]


def test_the_tolerance_is_respected(tmp_path):
    content = annotation()
    content["objects"][0]["projected_cuboid"][3][0] += 3.0
    write(tmp_path, "a", content)
    assert check_root(tmp_path, tolerance_px=2.0).problems
    assert not check_root(tmp_path, tolerance_px=4.0).problems


def test_boxes_on_their_side_are_told_for_the_whole_folder(tmp_path):
    lying = standing() @ np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    made = placed_box("crate", lying, np.array([0.5, 0.3, 0.8]), K)
    (line,) = problems_of(tmp_path, annotation(boxes=[made]))
    assert "do not stand on their y axis" in line
    assert "mostly z" in line


def test_a_damaged_picture_is_told_and_the_rest_checked(tmp_path):
    write_set(tmp_path, 3)
    record = tmp_path / "0001.png"
    record.write_bytes(record.read_bytes()[:-40])
    report = check_root(tmp_path)
    (problem,) = report.problems
    assert "0001.png" in str(problem)
    assert len(report.checked) == 3


def test_faulty_files_do_not_hide_the_others(tmp_path):
    write_set(tmp_path, 3)
    write(tmp_path, "broken", "{")
    report = check_root(tmp_path)
    assert len(report.problems) == 1
    assert (report.files, len(report.checked)) == (4, 3)


def test_pixels_alone_are_said_to_tell_nothing(tmp_path):
    content = annotation()
    write(tmp_path, "a", {"objects": [{"projected_cuboid": content["objects"][0]["projected_cuboid"]}]})
    report = check_root(tmp_path)
    assert report.problems == ()
    assert report.text().count("unknown, the files do not say enough") == 2
    assert "1 file, 1 box, camera_frame" in report.text()
    assert report.to_dict()["reprojection_px"] is None


def test_pictures_without_a_camera_are_told_though_their_files_agree(tmp_path):
    write_set(tmp_path, 3)
    assert "no camera" not in check_root(tmp_path).text()
    write(tmp_path, "a", spoilt(annotation(), "camera_data"))
    report = check_root(tmp_path)
    assert report.problems == ()
    refused = "1 of 4 images has no camera: evaluate and the validation of a training refuse it"
    assert refused in report.text().splitlines()
    assert (report.to_dict()["pictures"], report.to_dict()["without_camera"]) == (4, 1)
    write(tmp_path, "b", spoilt(annotation(), "camera_data"))
    assert "2 of 5 images have no camera" in check_root(tmp_path).text()


def test_an_empty_folder_is_a_problem(tmp_path):
    (problem,) = check_root(tmp_path).problems
    assert "there are no labelled images" in str(problem)
