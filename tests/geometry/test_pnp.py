"""Poses from pixels: exact input, noise against OpenCV and the truth, weights, lenses, what cannot be solved."""

import math

import cv2
import numpy as np
import pytest
import torch

from cogkp.errors import GeometryError
from cogkp.geometry.camera import PinholeCamera
from cogkp.geometry.camera_frame import CameraFrame
from cogkp.geometry.cuboid import Cuboids, Scale, scale_from_height, scale_from_plane
from cogkp.geometry.pnp import solve_cuboids, solve_pnp, to_true_size
from cogkp.geometry.pose import refine_poses
from cogkp.geometry.pose_covariance import pose_covariance
from tests.builders.boxes import array_boxes, floor_under, pose, turn

K = np.array([[600.0, 0, 310], [0, 620, 245], [0, 0, 1]])
EYE = np.eye(4)
NAN = math.nan


def scene(seed, count=30):
    """Boxes of height one in front of the camera, turned any way."""
    rng = np.random.default_rng(seed)
    sizes = rng.uniform(0.3, 1.5, (count, 3))
    sizes /= sizes[:, 1:2]
    places = np.stack([rng.uniform(-1.2, 1.2, count), rng.uniform(-1, 1, count), rng.uniform(3.5, 9, count)], 1)
    return array_boxes([pose(turn(rng.normal(0, 1.5, 3)), place) for place in places], sizes)


def pixels(made, repeats=1, camera_matrix=K, distortion=None):
    parts = camera_matrix, EYE, np.zeros(0) if distortion is None else distortion, made.points()
    matrix, still, lens, points = map(torch.from_numpy, parts)
    uv = PinholeCamera(matrix, still, (640, 480), lens).project(points).uv[..., 1:, :]
    return np.repeat(uv.numpy(), repeats, -2)


def noise(seed, like, px):
    return px * np.random.default_rng(seed).normal(size=like.shape)


def distance_px(matrix, local, uv):
    """Root mean square distance of pixels, by OpenCV."""
    seen = cv2.projectPoints(local, cv2.Rodrigues(matrix[:3, :3])[0], matrix[:3, 3], K, None)[0][:, 0]
    return np.sqrt(np.square(seen - uv).sum(1).mean())


@pytest.mark.parametrize("repeats", [1, 2])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_exact_pixels_give_the_exact_box(repeats, dtype):
    made = scene(0)
    found = solve_cuboids(pixels(made, repeats).astype(dtype), made.size_xyz.astype(dtype), K.astype(dtype))
    assert found.valid.all()
    assert not found.metric.any()
    tolerance = 1e-6 if dtype == np.float64 else 2e-4
    assert abs(found.cuboids.points() - made.points()).max() < tolerance
    assert found.residual_px.max() < (1e-6 if dtype == np.float64 else 1e-3)


@pytest.mark.parametrize("px", [1.0, 3.0, 8.0])
def test_no_solver_of_opencv_and_not_even_the_truth_fits_better(px):
    made = scene(1, 60)
    uv = pixels(made) + noise(2, pixels(made), px)
    found = solve_cuboids(uv, made.size_xyz, K)
    assert found.valid.all()
    local = Cuboids(EYE, made.size_xyz).points()[:, 1:]
    from_truth = refine_poses(made.cuboid_to_camera, local, uv, K)
    for m in range(60):
        ours = distance_px(found.cuboids.cuboid_to_camera[m], local[m], uv[m])
        assert ours == pytest.approx(float(found.residual_px[m]), abs=1e-9)
        assert ours <= from_truth.residual_px[m] * 1.0001
        assert ours <= distance_px(made.cuboid_to_camera[m], local[m], uv[m])
        for solver in (cv2.SOLVEPNP_ITERATIVE, cv2.SOLVEPNP_EPNP, cv2.SOLVEPNP_SQPNP):
            _, vector, shift = cv2.solvePnP(local[m], uv[m], K, None, flags=solver)
            theirs = pose(cv2.Rodrigues(vector)[0], shift[:, 0])
            if shift[2, 0] > 0:  # the iterative solver lands behind the camera at times
                assert ours <= distance_px(theirs, local[m], uv[m]) * 1.0001


def test_errors_of_the_pose_are_as_large_as_the_covariance_says():
    made = scene(3, 1)
    trials, px = 600, 0.5
    local = Cuboids(EYE, made.size_xyz).points()[:, 1:].repeat(trials, 0)
    uv = pixels(made).repeat(trials, 0)
    found = solve_pnp(uv + noise(4, uv, px), local, K)
    assert found.valid.all()
    spread = np.tile(px**2 * np.eye(2), (1, 8, 1, 1))
    parts = made.cuboid_to_camera, local[:1], K, spread
    predicted = pose_covariance(*map(torch.from_numpy, parts))[0].numpy()
    true = made.cuboid_to_camera[0]
    turned = found.object_to_camera[:, :3, :3] @ true[:3, :3].T
    errors = np.concatenate(
        (np.stack([cv2.Rodrigues(each)[0][:, 0] for each in turned]), found.object_to_camera[:, :3, 3] - true[:3, 3]), 1
    )
    whitened = np.linalg.solve(np.linalg.cholesky(predicted), errors.T)
    np.testing.assert_allclose(np.cov(whitened), np.eye(6), atol=0.25)
    # The residual tells the noise: sixteen numbers less the six that were fitted.
    assert np.square(found.residual_px).mean() == pytest.approx(px**2 * (16 - 6) / 8, rel=0.08)


def test_weights_say_whom_to_trust():
    made = scene(5)
    uv = pixels(made, 2)
    uv[:, 1::2] += noise(6, uv[:, 1::2], 20.0)
    weights = np.ones((30, 16))
    weights[:, 1::2] = 1e-4
    close = solve_cuboids(uv, made.size_xyz, K, weights).cuboids.points() - made.points()
    plain = solve_cuboids(uv, made.size_xyz, K).cuboids.points() - made.points()
    assert np.square(close).mean() < 1e-3 * np.square(plain).mean()
    weights[:, 1::2] = 0.0
    assert abs(solve_cuboids(uv, made.size_xyz, K, weights).cuboids.points() - made.points()).max() < 1e-6


def test_lens_and_skew_are_undone():
    made = scene(7)
    skewed = K.copy()
    skewed[0, 1] = 12.0
    lens = np.array([-0.2, 0.05, 0.001, -0.002])
    uv = pixels(made, 1, skewed, lens)
    seen = solve_cuboids(uv, made.size_xyz, skewed, distortion=lens)
    assert seen.valid.all()
    assert abs(seen.cuboids.points() - made.points()).max() < 1e-5
    assert (solve_cuboids(uv, made.size_xyz, skewed).residual_px > 0.1).any()


def test_each_object_may_have_its_own_camera():
    made = scene(8, 3)
    each = np.stack([K, K, K])
    each[1, 0, 0], each[2, 1, 2] = 700.0, 200.0
    uv = np.stack([pixels(made[m], 1, each[m]) for m in range(3)])
    together = solve_cuboids(uv, made.size_xyz, each)
    assert abs(together.cuboids.points() - made.points()).max() < 1e-6
    for m in range(3):
        alone = solve_cuboids(uv[m : m + 1], made.size_xyz[m : m + 1], each[m])
        np.testing.assert_allclose(alone.cuboids.points()[0], together.cuboids.points()[m], rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("seen", [(1, 4, 6, 7), (0, 1, 2, 4), (0, 3, 5, 6, 7)])
def test_few_corners_suffice(seen):
    made = scene(9)
    uv, weights = pixels(made), np.zeros((30, 8))
    weights[:, seen] = 1.0
    uv[:, [k for k in range(8) if k not in seen]] = -10000.0
    found = solve_cuboids(uv, made.size_xyz, K, weights)
    assert found.valid.all()
    assert found.residual_px.max() < 1e-4
    near = abs(found.cuboids.points() - made.points()).max((1, 2)) < 1e-4
    assert near.mean() > (0.85 if len(seen) == 4 else 0.95)


def spoilt():
    made = scene(10, 1)
    uv, size = pixels(made), made.size_xyz
    three = np.zeros((1, 8))
    three[:, :3] = 1.0
    yield pytest.param(uv, size, three, id="three corners")
    yield pytest.param(np.full_like(uv, NAN), size, None, id="no pixels")
    yield pytest.param(uv, 0 * size, None, id="no size")
    yield pytest.param(uv, size * [0.0, 1.0, 0.0], None, id="a line")
    yield pytest.param(uv, size * NAN, None, id="size unknown")
    yield pytest.param(uv, size, np.full((1, 8), NAN), id="trust unknown")
    yield pytest.param(uv, size, -np.ones((1, 8)), id="no trust")


@pytest.mark.parametrize(("uv", "size", "weights"), list(spoilt()))
def test_what_cannot_be_solved_is_marked_and_spares_its_neighbours(uv, size, weights):
    good = scene(11, 2)
    uv, size = np.concatenate((pixels(good), uv)), np.concatenate((good.size_xyz, size))
    weights = None if weights is None else np.concatenate((np.ones((2, 8)), weights))
    found = solve_cuboids(uv, size, K, weights)
    assert found.valid.tolist() == [True, True, False]
    assert np.array_equal(found.cuboids.cuboid_to_camera[2], EYE)
    assert found.residual_px[2] == 0
    assert abs(found.cuboids[:2].points() - good.points()).max() < 1e-6


def test_repeats_of_three_corners_are_still_three():
    made = scene(12, 1)
    weights = np.zeros((1, 16))
    weights[:, :6] = 1.0
    assert not solve_cuboids(pixels(made, 2), made.size_xyz, K, weights).valid.any()


def test_a_limit_on_the_residual_refuses_what_is_no_box():
    rng = np.random.default_rng(0)
    uv = rng.uniform(0, 480, (5, 8, 2))
    free = solve_cuboids(uv, np.ones((5, 3)), K)
    assert free.residual_px[free.valid].min() > 20
    assert not solve_cuboids(uv, np.ones((5, 3)), K, max_residual_px=20).valid.any()


def test_no_objects_are_no_trouble():
    found = solve_cuboids(np.zeros((0, 8, 2)), np.zeros((0, 3)), K)
    assert found.valid.shape == (0,)
    assert found.cuboids.points().shape == (0, 9, 3)


def test_boxes_are_up_to_scale_until_a_height_or_the_ground_is_known():
    true = scene(13, 4)
    heights = np.array([0.1, 0.4, 2.0, NAN])
    metric = true.scaled(np.nan_to_num(heights, nan=1.0))
    found = solve_cuboids(pixels(true), true.size_xyz, K)
    for scale in (
        scale_from_height(found.cuboids.size_xyz, heights),
        scale_from_plane(found.cuboids.points(), floor_under(metric, [0.0, 1.0, 0.0])),
    ):
        grown = to_true_size(found, scale)
        assert grown.metric[:3].any()
        np.testing.assert_allclose(
            grown.cuboids[:3].points()[scale.valid[:3]], metric.points()[:3][scale.valid[:3]], rtol=1e-7, atol=1e-7
        )
    by_height = to_true_size(found, scale_from_height(found.cuboids.size_xyz, heights))
    assert by_height.metric.tolist() == [True, True, True, False]
    np.testing.assert_allclose(by_height.cuboids.points(), metric.points(), atol=1e-6, rtol=1e-6)
    assert to_true_size(
        solve_cuboids(pixels(metric), metric.size_xyz, K, metric=True),
        Scale(np.ones(4), np.zeros(4, bool)),
    ).metric.all()


def test_a_pose_in_the_frame_of_the_annotation_files_sees_the_same_pixels():
    made = scene(14, 3)
    found = solve_cuboids(pixels(made), made.size_xyz, K).cuboids
    in_file = found.in_frame(CameraFrame.OPENCV, CameraFrame.OBJECTRON)
    assert (in_file.points()[..., 2] < 0).all()
    back = in_file.in_frame(CameraFrame.OBJECTRON, CameraFrame.OPENCV)
    np.testing.assert_allclose(pixels(back), pixels(made), atol=1e-4, rtol=0)


def test_refining_never_raises_the_residual_and_refuses_a_start_behind():
    made = scene(15, 20)
    local = Cuboids(EYE, made.size_xyz).points()[:, 1:]
    start = made.scaled(np.array(1.3)).cuboid_to_camera @ pose(turn([0.4, -0.3, 0.5]))
    first = refine_poses(start, local, pixels(made), K, steps=0)
    assert first.valid.all()
    residual = first.residual_px
    for steps in (1, 2, 5, 30):
        now = refine_poses(start, local, pixels(made), K, steps=steps).residual_px
        assert (now <= residual).all()
        residual = now
    assert np.median(residual) < 1e-6
    behind = start.copy()
    behind[:, 2, 3] *= -1
    assert not refine_poses(behind, local, pixels(made), K).valid.any()


def test_covariance_is_zero_where_a_pose_is_not_determined():
    made = scene(16, 4)
    local = torch.from_numpy(Cuboids(EYE, made.size_xyz).points()[:, 1:])
    spread = torch.eye(2).double().expand(4, 8, 2, 2).clone()
    matrix = torch.from_numpy(made.cuboid_to_camera)
    matrix[1, 2, 3] *= -1
    local[2] = local[2, 0]
    spread[3, 2:] = -1.0
    found = pose_covariance(matrix, local, torch.from_numpy(K), spread)
    assert (torch.linalg.eigvalsh(found[0]) > 0).all()
    assert (found[1:] == 0).all()


def test_derivatives_of_the_covariance_agree_with_differences():
    made = scene(17, 2)
    local = torch.from_numpy(Cuboids(EYE, made.size_xyz).points()[:, 1:]).requires_grad_()
    spread = torch.tensor([[2.0, 0.3], [0.3, 1.0]]).double().expand(2, 8, 2, 2).clone().requires_grad_()
    matrix = torch.from_numpy(made.cuboid_to_camera).requires_grad_()

    def deviations(matrix, local, spread):
        return pose_covariance(matrix, local, torch.from_numpy(K), spread).diagonal(dim1=-2, dim2=-1).sqrt()

    assert torch.autograd.gradcheck(deviations, (matrix, local, spread), atol=1e-5)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"K": np.zeros((3, 3))}, r"focal lengths > 0 px, got focal lengths \[0.0, 0.0\]. Calibrate"),
        ({"K": NAN * K}, "finite numbers"),
        ({"K": EYE}, r"\(4, 4\)"),
        ({"uv": np.zeros((1, 9, 2))}, "8 D"),
        ({"uv": np.zeros((1, 0, 2))}, "8 D"),
        ({"size_xyz": np.ones((2, 3))}, "8 D"),
    ],
)
def test_refusals_say_what_is_wrong(changed, message):
    with pytest.raises(GeometryError, match=message):
        solve_cuboids(**{"uv": np.zeros((1, 8, 2)), "size_xyz": np.ones((1, 3)), "K": K} | changed)
