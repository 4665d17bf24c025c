"""Refined points fit their pixels as well as can be, and their covariance is that of many draws."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cogkp.geometry.gauss_newton import refine
from cogkp.geometry.triangulate import triangulate_views
from cogkp.geometry.uncertainty import covariance
from tests.builders.rigs import bundle, degenerate, pixels, rig, rigid, scene, t

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize("views", [2, 3, 5])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_refined_points_are_within_two_percent_of_the_optimum(views, dtype):
    P, xyz, uv = scene(views, views, points=100, noise=0.5)
    weights = np.random.default_rng(views).uniform(0.2, 1, uv.shape[:2])
    best = bundle(xyz, uv, P, weights)
    start = triangulate_views(t(uv, dtype), t(P, dtype), t(weights, dtype)).xyz_world
    found = refine(start, t(uv, dtype), t(P, dtype), t(weights, dtype)).numpy()
    error = np.linalg.norm(best - xyz, axis=1)
    assert np.sqrt(np.mean((found - xyz) ** 2)) < 1.02 * np.sqrt(np.mean((best - xyz) ** 2))
    assert np.linalg.norm(found - best, axis=1).max() < 0.02 * error.mean()


def test_refining_never_raises_the_reprojection_error():
    P, xyz, uv = scene(3, 4, noise=2.0)
    start = xyz + np.random.default_rng(0).normal(0, 1.5, xyz.shape)
    moved = refine(t(start), t(uv), t(P), steps=3).numpy()
    before, after = (((pixels(P, points) - uv) ** 2).sum((0, 2)) for points in (start, moved))
    assert (after <= before * (1 + 1e-9)).all()
    assert np.median(after) < 1e-2 * np.median(before)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(1e-3, 1e3))
def test_refinement_and_covariance_move_and_scale_along(seed, scale):
    P, xyz, uv = scene(seed, 3, points=5, noise=0.5)
    pose, pixel = rigid(np.random.default_rng(seed + 1)), 0.25 * torch.eye(2, dtype=torch.float64).repeat(3, 5, 1, 1)
    moved_P = scale * P @ np.linalg.inv(pose) @ np.diag([1 / scale] * 3 + [1.0])

    def there(points):
        return t(scale * (points @ pose[:3, :3].T + pose[:3, 3]))

    one, other = refine(t(xyz), t(uv), t(P)), refine(there(xyz), t(uv), t(moved_P))
    assert torch.allclose(other, there(one.numpy()), atol=1e-7 * scale)
    turn = t(pose[:3, :3])
    expected = scale**2 * turn @ covariance(t(xyz), t(P), pixel) @ turn.mT
    assert torch.allclose(covariance(there(xyz), t(moved_P), pixel), expected, rtol=1e-6, atol=1e-9 * scale**2)


@pytest.mark.parametrize("cameras", ["good", "identical", "zero"])
def test_refinement_and_covariance_survive_what_cannot_be_found(cameras):
    uv, P = degenerate(torch.float32)
    P = {"good": P, "identical": P[:1].repeat(2, 1, 1), "zero": torch.zeros_like(P)}[cameras].requires_grad_()
    xyz = torch.zeros(9, 3)
    xyz[:, 2] = torch.tensor([1.0, -1.0, NAN, INF, 1e30, 0.0, 1e12, 2.0, 2.0])
    xyz.requires_grad_()
    pixel = torch.zeros(2, 9, 2, 2) + torch.tensor([0.0, NAN, 1.0, -1.0, 1.0, 1.0, 1.0, 1.0, 1.0])[
        :, None, None
    ] * torch.eye(2)
    pixel.requires_grad_()
    weights = torch.ones(2, 9)
    weights[:, 5], weights[0, 6] = NAN, -1.0
    weights.requires_grad_()
    results = refine(xyz, uv, P, weights), covariance(xyz, P, pixel, weights)
    assert all(torch.isfinite(result).all() for result in results)
    sum(result.sum() for result in results).backward()
    assert all(torch.isfinite(value.grad).all() for value in (xyz, P, pixel, weights))


def test_covariance_is_that_of_many_draws():
    rng = np.random.default_rng(7)
    P, xyz = rig(rng, 3), np.array([[0.2, -0.3, 0.4]])
    pixel = np.array([[[0.3, 0.1], [0.1, 0.2]], [[0.1, 0.0], [0.0, 0.5]], [[0.2, -0.1], [-0.1, 0.2]]])
    draws = 40_000
    noise = np.stack([rng.multivariate_normal([0, 0], c, draws) for c in pixel])
    mean = pixels(P, xyz)
    moved = np.repeat(mean, draws, 1) + noise
    jacobian = np.stack([(pixels(P, xyz + 1e-6 * e) - pixels(P, xyz - 1e-6 * e))[:, 0] / 2e-6 for e in np.eye(3)], -1)
    information = sum(j.T @ np.linalg.inv(c) @ j for j, c in zip(jacobian, pixel, strict=True))
    found = covariance(t(xyz), t(P), t(pixel)[:, None])[0].numpy()
    assert np.allclose(found, np.linalg.inv(information), rtol=1e-6)
    isotropic = covariance(t(xyz), t(P), 0.25 * torch.eye(2, dtype=torch.float64).repeat(3, 1, 1, 1))[0].numpy()
    spread = mean + 0.5 * rng.normal(size=moved.shape)
    cloud = refine(triangulate_views(t(spread), t(P)).xyz_world, t(spread), t(P)).numpy()
    whitener = np.linalg.inv(np.linalg.cholesky(isotropic))
    assert np.allclose(whitener @ np.cov(cloud.T) @ whitener.T, np.eye(3), atol=0.03)
