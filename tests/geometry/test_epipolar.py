"""The epipolar constraint holds for what two cameras see, and its distance is one in pixels."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cogkp.errors import GeometryError
from cogkp.geometry.projection import epipolar_distance, fundamental, reproject
from tests.builders.rigs import pixels, rig, rigid


def t(value, dtype=torch.float64):
    return torch.as_tensor(value, dtype=dtype)


def scene(seed):
    rng = np.random.default_rng(seed)
    P, xyz = rig(rng), rng.uniform(-1, 1, (30, 3))
    return P, xyz, pixels(P, xyz)


def by_determinants(P):
    """F entry by entry as 4x4 determinants (Hartley and Zisserman, equation 17.3)."""
    F = np.empty((3, 3))
    for i in range(3):
        for j in range(3):
            rows = np.vstack([np.delete(P[0], j, 0), np.delete(P[1], i, 0)])
            F[i, j] = (-1) ** (i + j) * np.linalg.det(rows)
    return F / np.linalg.norm(F)


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_determinants(seed):
    P, *_ = scene(seed)
    F, expected = fundamental(t(P[0]), t(-3 * P[1])).numpy(), by_determinants(P)
    assert min(np.abs(F - expected).max(), np.abs(F + expected).max()) < 1e-12


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-8), (torch.float32, 1e-3)])
def test_true_correspondences_are_on_each_others_lines(dtype, tolerance):
    P, _, uv = scene(0)
    distance = epipolar_distance(t(uv[0], dtype), t(uv[1], dtype), fundamental(t(P[0]), t(P[1])))
    assert distance.max() < tolerance


def test_distance_is_the_mean_of_both_distances_and_the_same_from_either_side():
    P, _, uv = scene(1)
    uv = uv + np.random.default_rng(0).normal(0, 3, uv.shape)
    F = by_determinants(P)
    left, right = (np.c_[one, np.ones(len(one))] for one in uv)
    lines = left @ F.T, right @ F
    residual = np.abs((right * lines[0]).sum(1))
    expected = sum(residual / np.hypot(line[:, 0], line[:, 1]) for line in lines) / 2
    there = epipolar_distance(t(uv[0]), t(uv[1]), fundamental(t(P[0]), t(P[1]))).numpy()
    back = epipolar_distance(t(uv[1]), t(uv[0]), fundamental(t(P[1]), t(P[0]))).numpy()
    assert np.allclose(there, expected)
    assert np.allclose(there, back)


def test_swapped_cameras_show():
    P, _, uv = scene(2)
    good, swapped = (epipolar_distance(t(uv[i]), t(uv[1 - i]), fundamental(t(P[0]), t(P[1]))).median() for i in (0, 1))
    assert swapped > 1e3 * good + 1


def test_reprojects_as_the_camera_does():
    P, xyz, uv = scene(3)
    seen = reproject(t(xyz), t(-2 * P))
    assert seen.valid.all()
    assert np.abs(seen.uv.numpy() - uv).max() < 1e-9
    assert np.allclose(seen.depth.numpy(), (P[:, 2, :3] @ xyz.T + P[:, 2, 3:]))


@pytest.mark.parametrize("name", ["fundamental", "distance", "reproject"])
def test_gradients_are_right(name):
    P, xyz, uv = scene(4)
    F = by_determinants(P)
    function, values = {
        "fundamental": (fundamental, (P[0], P[1])),
        "distance": (epipolar_distance, (uv[0, :4] + 2, uv[1, :4] - 3, 1e6 * F)),
        "reproject": (lambda x, p: reproject(x, p)[:2], (xyz[:4], P)),
    }[name]
    assert torch.autograd.gradcheck(function, [t(value).requires_grad_() for value in values], atol=1e-5, rtol=1e-4)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(1e-3, 1e3))
def test_the_choice_of_world_does_not_show_in_pixels(seed, scale):
    P, xyz, uv = scene(seed)
    uv = uv + np.random.default_rng(seed).normal(0, 3, uv.shape)
    pose = rigid(np.random.default_rng(seed + 1))
    moved = scale * P @ np.linalg.inv(pose) @ np.diag([1 / scale] * 3 + [1.0])
    one, other = (epipolar_distance(t(uv[0]), t(uv[1]), fundamental(*t(p))) for p in (P, moved))
    assert torch.allclose(one, other, atol=1e-7)
    world = t(scale * (xyz @ pose[:3, :3].T + pose[:3, 3]))
    assert torch.allclose(reproject(world, t(moved)).uv, reproject(t(xyz), t(P)).uv, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bad", ["same", "zero", "nan", "flat"])
def test_cameras_that_make_no_pair_give_zero_and_finite_gradients(bad, dtype):
    P, xyz, uv = scene(5)
    left, right = t(P[0], dtype), t(P[1], dtype)
    right = {"same": left, "zero": 0 * right, "nan": math.nan * right, "flat": right * t([[1.0], [1.0], [0.0]], dtype)}[
        bad
    ]
    inputs = [value.clone().requires_grad_() for value in (left, right, *(t(v, dtype) for v in (uv[0], uv[1], xyz)))]
    F = fundamental(inputs[0], inputs[1])
    distance = epipolar_distance(inputs[2], inputs[3], F)
    seen = reproject(inputs[4], inputs[1])
    assert not F.any()
    assert not distance.any()
    assert seen.valid.any() == (bad == "same")
    (F.sum() + distance.sum() + seen.uv.sum() + seen.depth.sum()).backward()
    assert all(value.grad is None or torch.isfinite(value.grad).all() for value in inputs)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_pixels_and_points_that_are_not_finite_count_as_zero(bad):
    P, xyz, uv = (t(value) for value in scene(6))
    left, points = uv[0].clone(), xyz.clone()
    left[0, 0], points[1, 2] = bad, bad
    left.requires_grad_()
    points.requires_grad_()
    distance, seen = epipolar_distance(left, uv[1], fundamental(P[0], P[1])), reproject(points, P[0])
    (distance.sum() + seen.uv.sum()).backward()
    assert distance[0] == 0
    assert seen.valid.tolist() == [k != 1 for k in range(30)]
    assert torch.isfinite(left.grad).all()
    assert torch.isfinite(points.grad).all()


def test_wrong_shapes_are_refused():
    with pytest.raises(GeometryError, match="3x3"):
        epipolar_distance(torch.zeros(1, 2), torch.zeros(1, 2), torch.eye(4))
    with pytest.raises(GeometryError, match="projection matrices"):
        fundamental(torch.eye(3), torch.eye(3))
    with pytest.raises(GeometryError, match="xyz_world"):
        reproject(torch.zeros(3), torch.eye(3, 4))
