"""A majority of views finds the point; whoever saw something else is left out, and says so."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cogkp.errors import GeometryError
from cogkp.geometry.triangulate import triangulate_robust, triangulate_views
from tests.builders.rigs import pixels, rig, rigid

NAN = math.nan


def t(value, dtype=torch.float64):
    return torch.as_tensor(value, dtype=dtype)


def scene(seed, views=4, points=12, noise=0.5):
    rng = np.random.default_rng(seed)
    P, xyz = rig(rng, views), rng.uniform(-1, 1, (points, 3))
    return P, xyz, pixels(P, xyz) + noise * rng.normal(size=(views, points, 2)), rng


def with_outliers(uv, rng):
    """Move one view of each point by 40 to 200 px; return pixels and who was left alone (V, N)."""
    views, points, _ = uv.shape
    wrong = rng.integers(0, views, points)
    angle, far = rng.uniform(0, 2 * np.pi, points), rng.uniform(40, 200, points)
    moved = uv.copy()
    moved[wrong, np.arange(points)] += far[:, None] * np.c_[np.cos(angle), np.sin(angle)]
    right = np.ones((views, points), dtype=bool)
    right[wrong, np.arange(points)] = False
    return moved, right


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), views=st.integers(4, 7))
def test_one_gross_outlier_changes_nothing(seed, views):
    P, _, uv, rng = scene(seed, views)
    weights = rng.uniform(0.5, 2, uv.shape[:2])
    moved, right = with_outliers(uv, rng)
    found = triangulate_robust(t(moved), t(P), t(weights))
    without = triangulate_views(t(uv), t(P), t(weights * right))
    # Two true views and the outlier may agree by chance, when it moved along their epipolar line: four views only.
    told = (found.inliers.numpy() == right).all(0)
    assert told.mean() > (0.8 if views == 4 else 0.99)
    assert found.valid.all()
    assert torch.allclose(found.xyz_world[told], without.xyz_world[told], atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), views=st.integers(2, 6))
def test_without_outliers_it_is_the_plain_estimate(seed, views):
    P, _, uv, rng = scene(seed, views)
    weights = t(rng.uniform(0.5, 2, uv.shape[:2]))
    for trust in (None, weights):
        found, plain = triangulate_robust(t(uv), t(P), trust), triangulate_views(t(uv), t(P), trust)
        assert found.inliers.all()
        assert torch.equal(found.valid, plain.valid)
        assert torch.allclose(found.xyz_world, plain.xyz_world, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(1e-2, 1e2))
def test_order_of_views_and_choice_of_world_do_not_matter(seed, scale):
    P, _, uv, rng = scene(seed, 5)
    moved, _ = with_outliers(uv, rng)
    one = triangulate_robust(t(moved), t(P))
    order = rng.permutation(5)
    other = triangulate_robust(t(moved[order]), t(P[order]))
    assert torch.equal(other.inliers, one.inliers[order])
    assert torch.allclose(other.xyz_world, one.xyz_world, atol=1e-9)
    pose = rigid(rng)
    world_P = scale * P @ np.linalg.inv(pose) @ np.diag([1 / scale] * 3 + [1.0])
    there = triangulate_robust(t(moved), t(world_P))
    world = scale * (one.xyz_world.numpy() @ pose[:3, :3].T + pose[:3, 3])
    assert torch.equal(there.inliers, one.inliers)
    assert np.abs(there.xyz_world.numpy() - world).max() < 1e-7 * scale


def test_a_sure_and_wrong_view_is_outvoted():
    P, _, uv, rng = scene(0, 5)
    moved, right = with_outliers(uv, rng)
    found = triangulate_robust(t(moved), t(P), t(np.where(right, 0.01, 100.0)))
    assert torch.equal(found.inliers, torch.as_tensor(right))


def test_two_outliers_among_six():
    P, xyz, uv, _ = scene(3, 6)
    uv[0] += 60.0
    uv[4] -= (80.0, -30.0)
    found = triangulate_robust(t(uv), t(P))
    assert found.inliers.all(1).tolist() == [False, True, True, True, False, True]
    assert np.abs(found.xyz_world.numpy() - xyz).max() < 0.1


def test_two_views_cannot_tell():
    P, _, uv, _ = scene(1, 3)
    uv[1] += 50.0
    uv[2, :6] = NAN
    found, plain = triangulate_robust(t(uv), t(P)), triangulate_views(t(uv), t(P))
    assert found.inliers[:, :6].all(1).tolist() == [True, True, False]
    assert torch.equal(found.xyz_world[:6], plain.xyz_world[:6])


def test_gradient_flows_through_the_final_estimate_alone():
    P, _, uv, rng = scene(2, 4, points=3)
    uv[1] += 70.0
    values = [t(value).requires_grad_() for value in (uv, P, rng.uniform(0.5, 1, uv.shape[:2]))]
    assert torch.autograd.gradcheck(lambda *v: triangulate_robust(*v).xyz_world, values, atol=1e-6, rtol=1e-4)
    triangulate_robust(*values).xyz_world.sum().backward()
    assert not values[0].grad[1].any()
    assert not values[2].grad[1].any()
    assert values[0].grad[[0, 2, 3]].all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_cannot_be_found_is_zero_and_leaves_gradients_finite(dtype):
    P, _, uv, rng = scene(4, 4, points=6)
    weights = rng.uniform(0.5, 1, uv.shape[:2])
    uv[:, 0], uv[1:, 1], weights[:, 2], weights[:, 3] = NAN, math.inf, NAN, -1.0
    uv[:, 4] = rng.uniform(-3000, 3000, (4, 2))
    values = [t(value, dtype).requires_grad_() for value in (uv, P, weights)]
    found = triangulate_robust(*values)
    assert found.valid.tolist()[:4] == [False] * 4
    assert found.valid[5]
    assert not found.xyz_world[~found.valid].any()
    assert not found.inliers[:, ~found.valid].any()
    found.xyz_world.sum().backward()
    assert all(torch.isfinite(value.grad).all() for value in values)


@pytest.mark.parametrize("batch", [(1,), (3, 2)])
def test_leading_axes_broadcast(batch):
    P, _, uv, rng = scene(5, 4)
    moved, _ = with_outliers(uv, rng)
    one, many = triangulate_robust(t(moved), t(P)), triangulate_robust(t(moved).expand(*batch, *uv.shape), t(P))
    assert torch.equal(many.inliers, one.inliers.expand(*batch, *one.inliers.shape))
    assert torch.allclose(many.xyz_world, one.xyz_world.expand(*batch, *one.xyz_world.shape), atol=1e-10)


@pytest.mark.parametrize("threshold", [0.0, -1.0, NAN])
def test_a_threshold_must_be_positive(threshold):
    with pytest.raises(GeometryError, match="threshold_px"):
        triangulate_robust(torch.zeros(2, 1, 2), torch.eye(3, 4).repeat(2, 1, 1), threshold_px=threshold)
