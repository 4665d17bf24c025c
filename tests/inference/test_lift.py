"""Points of space from several views: exact points come back, routes agree, covariances hold, liars are outvoted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cogkp.errors import GeometryError
from cogkp.geometry.camera import PinholeCamera
from cogkp.geometry.rig import CameraRig
from cogkp.inference.lift import ViewCamera, lift
from tests.builders.rigs import bundle, pixels

SIZE_WH = (640, 480)
LENSES = ([], [-0.25, 0.08, 0.001, -0.002], [-0.3, 0.1, 0.0, 0.001, -0.02, 0.01, 0.0, 0.0])


def around(seed, views=3, lens=(), size_wh=SIZE_WH):
    """Cameras that look at the origin from about six units away."""
    rng = np.random.default_rng(seed)
    cameras = []
    for _ in range(views):
        K = np.array([[600 + rng.uniform(-50, 50), 0, 315.3], [0, 590 + rng.uniform(-50, 50), 243.1], [0, 0, 1]])
        pose = np.eye(4)
        turn = rng.normal(0, 0.25, 3)
        angle = np.linalg.norm(turn)
        a, b, c = turn / angle
        cross = np.array([[0, -c, b], [c, 0, -a], [-b, a, 0]])
        pose[:3, :3] = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
        pose[:3, 3] = rng.normal((0, 0, 6), 0.4)
        cameras.append(PinholeCamera(torch.tensor(K), torch.tensor(pose), size_wh, torch.tensor(lens).double()))
    return CameraRig(tuple(f"C{view}" for view in range(views)), tuple(cameras))


def ready(rig, size_wh=SIZE_WH):
    return [ViewCamera.of(rig[name], size_wh, name) for name in rig]


def points(seed, count=7):
    return np.random.default_rng(seed).uniform(-0.7, 0.7, (count, 3))


def round_pixels(views, count, sigma=1.0):
    return np.broadcast_to(np.eye(2) * sigma**2, (views, count, 2, 2))


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(2, 5), st.sampled_from(LENSES))
def test_exact_pixels_give_exact_points(seed, views, lens):
    rig, xyz = around(seed, views, lens), points(seed)
    seen = rig.project(torch.tensor(xyz))
    found = lift(ready(rig), seen.uv.numpy(), round_pixels(views, 7), seen.valid.numpy(), 5.0)
    assert found.valid.all()
    np.testing.assert_allclose(found.xyz_world, xyz, atol=2e-6)
    assert np.nanmax(found.reprojection_px) < 1e-4
    assert found.used.all()


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(2, 4))
def test_noisy_pixels_give_the_point_of_least_squares(seed, views):
    rng = np.random.default_rng(seed)
    rig, xyz = around(seed, views), points(seed, 4)
    P = rig.projection_matrices.numpy()
    uv = pixels(P, xyz) + rng.normal(0, 0.5, (views, 4, 2))
    sigma = rng.uniform(0.5, 2.0, (views, 4))
    covariance = np.eye(2) * sigma[..., None, None] ** 2
    found = lift(ready(rig), uv, covariance, np.ones((views, 4), bool), 100.0)
    np.testing.assert_allclose(found.xyz_world, bundle(xyz, uv, P, sigma**-2.0), atol=2e-4)


@pytest.mark.parametrize("lens", LENSES)
def test_the_covariance_is_that_of_the_rig_s_own_route(lens):
    rig, xyz = around(3, 2, lens), torch.tensor(points(3))
    uv, spread = rig.project(xyz).uv, torch.tensor(round_pixels(2, 7, 0.7)).clone()
    found = lift(ready(rig), uv.numpy(), spread.numpy(), np.ones((2, 7), bool), 5.0)
    np.testing.assert_allclose(found.covariance, rig.covariance(xyz, uv, spread).numpy(), rtol=0.02, atol=1e-9)


@pytest.mark.parametrize("views", [2, 4])
def test_stated_covariances_hold(views):
    """Mahalanobis distances of many draws have the mean of a chi-squared distribution."""
    rng = np.random.default_rng(5)
    rig = around(5, views)
    xyz = np.tile(points(5, 3), (400, 1))
    factor = rng.normal(0, 1, (views, len(xyz), 2, 2)) + 1.5 * np.eye(2)
    covariance = 0.2 * factor @ factor.swapaxes(-1, -2)
    uv = pixels(rig.projection_matrices.numpy(), xyz)
    uv = uv + (np.linalg.cholesky(covariance) @ rng.normal(0, 1, (*uv.shape, 1)))[..., 0]
    found = lift(ready(rig), uv, covariance, np.ones((views, len(xyz)), bool), 1e6)
    assert found.valid.all()
    off = found.xyz_world - xyz
    squared = np.einsum("ni,nij,nj->n", off, np.linalg.inv(found.covariance), off)
    assert squared.mean() == pytest.approx(3.0, abs=0.3)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(4, 6))
def test_a_view_that_sees_something_else_is_left_out(seed, views):
    rng = np.random.default_rng(seed)
    rig, xyz = around(seed, views), points(seed)
    uv = pixels(rig.projection_matrices.numpy(), xyz)
    wrong = int(rng.integers(views))
    uv[wrong] += rng.choice([-1, 1], (7, 2)) * rng.uniform(40, 90, (7, 2))
    sure_and_wrong = round_pixels(views, 7).copy()
    sure_and_wrong[wrong] *= 1e-4
    found = lift(ready(rig), uv, sure_and_wrong, np.ones((views, 7), bool), 5.0)
    np.testing.assert_allclose(found.xyz_world, xyz, atol=1e-5)
    assert not found.used[wrong].any()
    assert (found.reprojection_px[wrong] > 30).all()


def test_of_three_views_the_two_that_agree_count():
    rig, xyz = around(8, 3), points(8)
    uv = pixels(rig.projection_matrices.numpy(), xyz)
    uv[1, :, :] += (60.0, -60.0)
    found = lift(ready(rig), uv, round_pixels(3, 7), np.ones((3, 7), bool), 5.0)
    far = found.used.sum(0) == 2
    assert far.any()
    np.testing.assert_allclose(found.xyz_world[far & ~found.used[1]], xyz[far & ~found.used[1]], atol=1e-5)


def test_of_two_views_that_disagree_none_is_believed():
    rig, xyz = around(1, 2), points(1)
    uv = pixels(rig.projection_matrices.numpy(), xyz)
    baseline = rig.cameras[1].world_to_camera[:3, 3] - rig.cameras[0].world_to_camera[:3, 3]
    across = (0.0, 60.0) if abs(float(baseline[0])) > abs(float(baseline[1])) else (60.0, 0.0)
    uv[1, 2] += across
    found = lift(ready(rig), uv, round_pixels(2, 7), np.ones((2, 7), bool), 5.0)
    assert found.valid.tolist() == [number != 2 for number in range(7)]
    assert (found.xyz_world[2] == 0).all()
    assert (found.covariance[2] == 0).all()
    assert not found.used[:, 2].any()
    assert found.reprojection_px[:, 2].max() > 5.0


def test_what_cannot_be_found_is_not_valid_and_never_a_number():
    K = np.array([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]])
    aside = np.eye(4)
    aside[0, 3] = -1.0
    rig = CameraRig(
        ("L", "R"),
        tuple(PinholeCamera(torch.tensor(K), torch.tensor(pose), (100, 100)) for pose in (np.eye(4), aside)),
    )
    nan, inf = np.nan, np.inf
    left = [[50, 50], [nan, 1], [inf, 1], [1e30, 1], [50, 50], [60, 50], [100, 50]]
    right = [[50, 50], [50, 50], [50, 50], [50, 50], [-50, nan], [70, 50], [50, 50]]
    uv = np.array([left, right])
    with np.errstate(all="raise", under="ignore"):
        found = lift(ready(rig, (100, 100)), uv, round_pixels(2, 7), np.ones((2, 7), bool), 5.0)
    assert found.valid.tolist() == [False] * 6 + [True]
    np.testing.assert_allclose(found.xyz_world[6], (1.0, 0.0, 2.0), atol=1e-9)
    assert np.isfinite(found.xyz_world).all()
    assert np.isfinite(found.covariance).all()


def test_views_that_are_not_to_count_do_not():
    rig, xyz = around(2, 3), points(2)
    uv = pixels(rig.projection_matrices.numpy(), xyz)
    seen = np.ones((3, 7), bool)
    seen[0, 0] = False
    seen[:2, 1] = False
    uv[0, 0] += 300
    found = lift(ready(rig), uv, None, seen, 5.0)
    assert found.valid.tolist() == [True, False, True, True, True, True, True]
    assert found.used[:, 0].tolist() == [False, True, True]
    np.testing.assert_allclose(found.xyz_world[0], xyz[0], atol=1e-6)
    assert found.covariance is None
    assert np.isnan(found.reprojection_px[0, 0])


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_images_of_another_size_give_the_same_points(scale):
    rig, xyz = around(4, 2), points(4)
    uv = pixels(rig.projection_matrices.numpy(), xyz)
    size = tuple(int(scale * side) for side in SIZE_WH)
    found = lift(ready(rig, size), (uv + 0.5) * scale - 0.5, None, np.ones((2, 7), bool), 5.0)
    np.testing.assert_allclose(found.xyz_world, xyz, atol=1e-6)


def test_images_of_another_shape_are_refused():
    rig = around(4, 2)
    with pytest.raises(GeometryError, match=r"camera 'C0' is for other images: expected 640 x 480"):
        ready(rig, (640, 640))
    for whole in ((213, 160), (91, 69), (1281, 960)):  # a third, a seventh, twice, rounded to whole pixels
        ready(rig, whole)
    for other in ((91, 72), (1281, 955)):
        with pytest.raises(GeometryError, match="is for other images"):
            ready(rig, other)


def test_a_pixel_beyond_the_fold_of_a_lens_has_no_place():
    lens = [-0.6, 0.0, 0.0, 0.0]
    rig = around(6, 2, lens)
    camera = ready(rig)[0]
    radius = np.sqrt(1 / (3 * 0.6))  # x (1 - 0.6 x^2) is largest there
    edge = radius * (1 - 0.6 * radius**2) * camera.K[0, 0] + camera.K[0, 2]
    _, _, ok = camera.straight(np.array([[edge - 15, camera.K[1, 2]], [edge + 20, camera.K[1, 2]]]))
    assert ok.tolist() == [True, False]


def test_another_unit_scales_points_and_covariances():
    rig, xyz = around(7, 2), points(7)
    uv = pixels(rig.projection_matrices.numpy(), xyz)
    found = lift(ready(rig), uv, round_pixels(2, 7), np.ones((2, 7), bool), 5.0)
    np.testing.assert_allclose(found.scaled(30.0).xyz_world, 30 * found.xyz_world)
    np.testing.assert_allclose(found.scaled(30.0).covariance, 900 * found.covariance)
