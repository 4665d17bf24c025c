"""The labels of real photographs: one box written in five ways, which must all be the same box."""

import json

import numpy as np
import pytest
import torch

from cogkp.geometry.camera import PinholeCamera
from cogkp.geometry.camera_frame import CameraFrame
from cogkp.geometry.cuboid import Cuboids, Plane, fit_cuboids, scale_from_plane
from cogkp.geometry.iou3d import iou3d
from cogkp.geometry.pnp import solve_cuboids, to_true_size
from tests.builders.shared_data import shared

pytestmark = pytest.mark.real_data


def t(values):
    return torch.as_tensor(values, dtype=torch.float64)


def tensors(made):
    return Cuboids(t(made.cuboid_to_camera), t(made.size_xyz))


@pytest.fixture(scope="module")
def labels():
    return [json.loads(path.read_text()) for path in sorted(shared("cabinet-cuboid").glob("*/*.json"))]


@pytest.fixture(scope="module")
def cabinets(labels):
    """All boxes, OpenCV axes; the files are in OpenGL axes."""
    first = [label["objects"][0] for label in labels]
    fields = (t([each[name] for each in first]) for name in ("location", "quaternion_xyzw", "scale"))
    return Cuboids.placed(*fields).in_frame(CameraFrame.OPENGL, CameraFrame.OPENCV)


@pytest.fixture(scope="module")
def camera(labels):
    given = labels[0]["camera_data"]["intrinsics"]
    K = t([[given["fx"], 0, given["cx"]], [0, given["fy"], given["cy"]], [0, 0, 1]])
    return PinholeCamera(K, torch.eye(4, dtype=torch.float64), (640, 480))


def test_pose_and_size_make_the_points_of_the_files(labels, cabinets):
    points = t([label["objects"][0]["keypoints_3d"] for label in labels])
    made = cabinets.in_frame(CameraFrame.OPENCV, CameraFrame.OPENGL)
    assert len(labels) == 58
    assert (made.points() - points).abs().max() < 1e-5
    fitted = fit_cuboids(points.numpy())
    assert fitted.valid.all()
    assert fitted.residual.max() < 1e-5
    assert iou3d(tensors(fitted.cuboids), made).min() > 0.9999


def test_the_camera_sees_the_points_where_the_files_say(labels, cabinets, camera):
    uv = t([label["objects"][0]["projected_cuboid"] for label in labels])
    seen = camera.project(cabinets.points())
    assert seen.valid.all()
    assert (seen.uv - uv).abs().max() < 0.01


def test_the_pixels_and_the_floor_give_back_the_boxes(labels, cabinets, camera):
    uv = t([label["objects"][0]["projected_cuboid"] for label in labels])[:, 1:]
    unit = cabinets.size_xyz / cabinets.size_xyz[:, 1:2]
    found = solve_cuboids(uv.numpy(), unit.numpy(), camera.K.numpy())
    assert found.valid.all()
    assert not found.metric.any()
    assert found.residual_px.max() < 0.01
    down, forward = np.array([1, -1, -1]), [label["AR_data"] for label in labels]
    floor = Plane(*(np.array([each[name] for each in forward]) * down for name in ("plane_center", "plane_normal")))
    true = to_true_size(found, scale_from_plane(found.cuboids.points(), floor))
    assert true.metric.all()
    assert iou3d(tensors(true.cuboids), cabinets).min() > 0.999
    distance = np.linalg.norm(true.cuboids.points() - cabinets.points().numpy(), axis=-1)
    assert distance.max() < 2e-3
