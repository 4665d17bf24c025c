"""A camera projects as OpenCV does, moves with its world, and never breaks a gradient."""

import cv2
import numpy as np
import pytest
import torch

from cogkp.errors import GeometryError
from cogkp.geometry.camera import PinholeCamera


def some_camera(rng, dtype=torch.float64):
    rvec, tvec = rng.normal(0, 0.4, 3), rng.normal(0, 0.3, 3) + np.array([0, 0, 6])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = cv2.Rodrigues(rvec)[0], tvec
    K = np.array([[400 + rng.uniform(-50, 50), 0, 160.3], [0, 390 + rng.uniform(-50, 50), 127.1], [0, 0, 1]])
    return PinholeCamera(torch.tensor(K, dtype=dtype), torch.tensor(pose, dtype=dtype), (320, 256)), rvec, tvec


def random_rigid(rng):
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = cv2.Rodrigues(rng.normal(0, 1, 3))[0], rng.normal(0, 2, 3)
    return torch.from_numpy(pose)


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_opencv(seed):
    rng = np.random.default_rng(seed)
    camera, rvec, tvec = some_camera(rng)
    xyz = rng.normal(0, 1, (50, 3))
    expected = cv2.projectPoints(xyz, rvec, tvec, camera.K.numpy(), None)[0][:, 0]

    uv, depth, valid = camera.project(torch.from_numpy(xyz))

    assert valid.all()
    assert np.abs(uv.numpy() - expected).max() < 1e-9
    assert torch.allclose(depth, (torch.from_numpy(xyz) @ camera.world_to_camera[:3, :3].T)[:, 2] + tvec[2])


def test_moving_world_and_camera_together_changes_nothing():
    rng = np.random.default_rng(1)
    camera, *_ = some_camera(rng)
    moved = random_rigid(rng)
    xyz = torch.from_numpy(rng.normal(0, 1, (20, 3)))
    follower = PinholeCamera(camera.K, camera.world_to_camera @ torch.linalg.inv(moved), camera.size_wh)

    seen = follower.project(xyz @ moved[:3, :3].T + moved[:3, 3])

    assert torch.allclose(seen.uv, camera.project(xyz).uv, atol=1e-9)


def test_scaling_the_world_about_the_camera_changes_only_depth():
    rng = np.random.default_rng(2)
    camera, *_ = some_camera(rng)
    pose = camera.world_to_camera.clone()
    pose[:3, 3] *= 30
    xyz = torch.from_numpy(rng.normal(0, 1, (20, 3)))

    small, large = camera.project(xyz), PinholeCamera(camera.K, pose, (320, 256)).project(30 * xyz)

    assert torch.allclose(small.uv, large.uv)
    assert torch.allclose(30 * small.depth, large.depth)


@pytest.mark.parametrize("batch", [(), (1,), (3, 2)])
def test_leading_axes_broadcast(batch):
    rng = np.random.default_rng(3)
    camera, *_ = some_camera(rng)
    xyz = torch.from_numpy(rng.normal(0, 1, (*batch, 7, 3)))
    stacked = PinholeCamera(camera.K.expand(*batch, 3, 3), camera.world_to_camera.expand(*batch, 4, 4), (320, 256))

    one, many = camera.project(xyz), stacked.project(xyz)

    assert one.uv.shape == (*batch, 7, 2)
    assert one.depth.shape == one.valid.shape == (*batch, 7)
    assert torch.equal(one.uv, many.uv)


def test_gradients_are_right():
    rng = np.random.default_rng(4)
    camera, *_ = some_camera(rng)
    inputs = [camera.K, camera.world_to_camera, torch.from_numpy(rng.normal(0, 1, (4, 3)))]

    def uv_and_depth(K, pose, xyz):
        return PinholeCamera(K, pose, (320, 256)).project(xyz)[:2]

    assert torch.autograd.gradcheck(uv_and_depth, [value.clone().requires_grad_() for value in inputs])


@pytest.mark.parametrize("bad", [[0.0, 0.0, -9.0], [0.0, 0.0, 0.0], [np.nan, 0.0, 1.0], [0.0, np.inf, 1.0]])
def test_unusable_points_are_marked_and_leave_gradients_finite(bad):
    K = torch.tensor([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]], requires_grad=True)
    pose = torch.eye(4, requires_grad=True)
    xyz = torch.tensor([bad, [0.1, 0.2, 2.0]], requires_grad=True)

    seen = PinholeCamera(K, pose, (100, 100)).project(xyz)
    (seen.uv.sum() + seen.depth.sum()).backward()

    assert seen.valid.tolist() == [False, True]
    assert seen.uv[0].tolist() == [0.0, 0.0]
    assert all(torch.isfinite(value.grad).all() for value in (K, pose, xyz))


def test_autocast_does_not_coarsen_pixels():
    camera, *_ = some_camera(np.random.default_rng(5), torch.float32)
    xyz = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        rough = camera.project(xyz).uv
    assert rough.dtype == torch.float32
    assert torch.equal(rough, camera.project(xyz).uv)


def test_the_frame_ends_half_a_pixel_beyond_its_outer_centres():
    camera, *_ = some_camera(np.random.default_rng(6))
    uv = torch.tensor([[-0.5, -0.5], [319.5, 255.5], [-0.6, 10.0], [10.0, 255.6]])
    assert camera.contains(uv).tolist() == [True, True, False, False]
    assert camera.contains(uv, margin_px=1.0).tolist() == [False] * 4


def test_wrong_shapes_are_refused():
    with pytest.raises(GeometryError, match="'K'"):
        PinholeCamera(torch.eye(4), torch.eye(4), (1, 1))
    with pytest.raises(GeometryError, match="points of space"):
        PinholeCamera(torch.eye(3), torch.eye(4), (1, 1)).project(torch.zeros(3))


def with_lens(camera, *coefficients):
    return PinholeCamera(
        camera.K, camera.world_to_camera, camera.size_wh, torch.tensor(coefficients, dtype=camera.K.dtype)
    )


@pytest.mark.parametrize("length", [4, 5, 8, 12, 14])
def test_a_lens_agrees_with_opencv_and_is_undone(length):
    rng = np.random.default_rng(length)
    camera, rvec, tvec = some_camera(rng)
    full = [-0.2, 0.05, 1e-3, -2e-3, 0.01, 0.1, -0.02, 0.01, 1e-3, 2e-3, -1e-3, 5e-4, 0.02, -0.03]
    camera = with_lens(camera, *full[:length])
    xyz = rng.normal(0, 1, (50, 3))
    expected = cv2.projectPoints(xyz, rvec, tvec, camera.K.numpy(), np.array(full[:length]))[0][:, 0]

    uv, depth, valid = camera.project(torch.from_numpy(xyz))
    rays, seen = camera.unproject_rays(uv)

    assert valid.all()
    assert seen.all()
    assert np.abs(uv.numpy() - expected).max() < 1e-9
    in_camera = torch.from_numpy(xyz) @ camera.world_to_camera[:3, :3].T + camera.world_to_camera[:3, 3]
    assert torch.allclose(rays * depth[:, None], in_camera, atol=1e-9)


def test_a_ray_past_the_fold_of_a_lens_is_not_seen():
    camera = PinholeCamera(torch.eye(3), torch.eye(4), (1, 1), torch.tensor([-0.3, 0.0, 0.0, 0.0]))
    seen = camera.project(torch.tensor([[1.5, 0.0, 1.0], [0.5, 0.0, 1.0]]))
    assert seen.valid.tolist() == [False, True]
    assert seen.uv[0].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("length", [0, 4, 5, 8, 12, 14])
def test_gradients_of_a_projection_through_a_lens_are_right(length):
    rng = np.random.default_rng(9)
    camera, *_ = some_camera(rng)
    full = [-0.2, 0.05, 1e-3, -2e-3, 0.01, 0.1, -0.02, 0.01, 1e-3, 2e-3, -1e-3, 5e-4, 0.02, -0.03]
    coefficients = torch.tensor(full[:length], dtype=torch.float64)
    inputs = [camera.K, camera.world_to_camera, torch.from_numpy(rng.normal(0, 1, (4, 3)))]

    def uv(K, pose, xyz, *distortion):
        return PinholeCamera(K, pose, (320, 256), *distortion).project(xyz).uv

    inputs += [coefficients] if length else []
    assert torch.autograd.gradcheck(uv, [value.clone().requires_grad_() for value in inputs])


@pytest.mark.parametrize("length", [4, 5, 8, 12, 14])
def test_gradients_through_a_lens_are_right(length):
    camera, *_ = some_camera(np.random.default_rng(7))
    full = [-0.2, 0.05, 1e-3, -2e-3, 0.01, 0.1, -0.02, 0.01, 1e-3, 2e-3, -1e-3, 5e-4, 0.02, -0.03]
    coefficients = torch.tensor(full[:length], dtype=torch.float64)
    uv = torch.tensor([[20.0, 30.0], [300.0, 200.0]], dtype=torch.float64)
    inputs = [value.clone().requires_grad_() for value in (camera.K, coefficients, uv)]

    def rays(K, distortion, uv):
        return PinholeCamera(K, camera.world_to_camera, (320, 256), distortion).unproject_rays(uv).xyz_camera

    assert torch.autograd.gradcheck(rays, inputs)


def test_pixels_that_are_no_numbers_give_no_rays():
    camera, *_ = some_camera(np.random.default_rng(8))
    rays, valid = camera.unproject_rays(torch.tensor([[np.nan, 1.0], [1.0, 1.0]]))
    assert valid.tolist() == [False, True]
    assert rays[0].tolist() == [0.0, 0.0, 0.0]


def test_the_center_is_where_the_camera_stands():
    turn = torch.linalg.matrix_exp(torch.tensor([[0.0, -0.3, 0.2], [0.3, 0.0, -0.1], [-0.2, 0.1, 0.0]]).double())
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3], pose[:3, 3] = turn, torch.tensor([1.0, -2.0, 3.0])
    camera = PinholeCamera(torch.eye(3, dtype=torch.float64), pose, (64, 48))
    at_home = pose[:3, :3] @ camera.center + pose[:3, 3]
    torch.testing.assert_close(at_home, torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-12)
