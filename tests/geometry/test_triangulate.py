"""Triangulation finds exact points exactly, noisy points as well as can be, and marks what cannot be found."""

import json
import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cogkp.errors import GeometryError
from cogkp.geometry import gauss_newton
from cogkp.geometry.gauss_newton import refine
from cogkp.geometry.projection import reproject
from cogkp.geometry.triangulate import triangulate_pair, triangulate_views
from cogkp.geometry.uncertainty import covariance
from tests.builders.rigs import bundle, degenerate, pixels, rig, rigid, scene, svd_triangulate, t
from tests.builders.shared_data import shared

NAN, INF = math.nan, math.inf


def both(uv, P):
    """Two views by either route."""
    return triangulate_pair(uv[0], uv[1], P[0], P[1]), triangulate_views(uv, P)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
@pytest.mark.parametrize("seed", range(6))
def test_exact_pixels_give_exact_points(seed, dtype, tolerance):
    P, xyz, uv = scene(seed, views=2 + seed % 4)
    for found in (*both(t(uv[:2], dtype), t(P[:2], dtype)), triangulate_views(t(uv, dtype), t(P, dtype))):
        assert found.valid.all()
        assert found.xyz_world.dtype == dtype
        assert np.abs(found.xyz_world.numpy() - xyz).max() < tolerance * 6


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_opencv_and_the_svd(seed):
    P, xyz, uv = scene(seed, noise=0.01)
    opencv = cv2.triangulatePoints(P[0], P[1], uv[0].T.copy(), uv[1].T.copy())
    oracle = np.array([svd_triangulate(uv[:, n], P, np.ones(2)) for n in range(len(xyz))])
    for found in both(t(uv), t(P)):
        assert np.abs(found.xyz_world.numpy() - (opencv[:3] / opencv[3]).T).max() < 5e-4
        assert np.abs(found.xyz_world.numpy() - oracle).max() < 5e-4


@pytest.mark.parametrize("seed", range(4))
def test_weighted_views_agree_with_the_svd(seed):
    P, xyz, uv = scene(seed, views=3 + seed, noise=0.01)
    weights = np.random.default_rng(seed).uniform(0.2, 1, uv.shape[:2])
    weights[0, ::3] = 0
    oracle = [svd_triangulate(uv[:, n], P, np.sqrt(weights[:, n])) for n in range(len(xyz))]
    found = triangulate_views(t(uv), t(P), t(weights))
    assert found.valid.all()
    assert np.abs(found.xyz_world.numpy() - oracle).max() < 1e-4


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), views=st.integers(2, 6), reach=st.floats(0.01, 3.0))
def test_triangulation_undoes_projection(seed, views, reach):
    rng = np.random.default_rng(seed)
    P, xyz = rig(rng, views), reach * rng.uniform(-1, 1, (8, 3))
    seen = reproject(t(xyz), t(P))
    found = triangulate_views(seen.uv, t(P)), triangulate_pair(seen.uv[0], seen.uv[1], t(P[0]), t(P[1]))
    for xyz_world, valid in found:
        assert (xyz_world - t(xyz))[valid].abs().max() < 1e-6
        assert valid.float().mean() > 0.9
    back = reproject(found[0].xyz_world, t(P))
    assert (back.uv - seen.uv)[:, found[0].valid].abs().max() < 1e-6


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), views=st.integers(2, 6))
def test_the_order_of_views_does_not_matter(seed, views):
    P, xyz, uv = scene(seed, views, points=5, noise=0.5)
    rng = np.random.default_rng(seed)
    weights, order = rng.uniform(0.2, 1, uv.shape[:2]), rng.permutation(views)
    pixel = t(rng.uniform(0.5, 1, (views, 5, 1, 1)) * np.eye(2))
    one, other = (triangulate_views(t(uv[k]), t(P[k]), t(weights[k])) for k in (np.arange(views), order))
    assert torch.equal(one.valid, other.valid)
    assert torch.allclose(one.xyz_world, other.xyz_world, atol=1e-9)
    moved = [refine(t(xyz), t(uv[k]), t(P[k]), t(weights[k])) for k in (np.arange(views), order)]
    assert torch.allclose(*moved, atol=1e-9)
    known = [covariance(t(xyz), t(P[k]), pixel[k], t(weights[k])) for k in (np.arange(views), order)]
    assert torch.allclose(*known, rtol=1e-6)
    swapped = triangulate_pair(t(uv[1]), t(uv[0]), t(P[1]), t(P[0]))
    assert torch.allclose(
        swapped.xyz_world, triangulate_pair(t(uv[0]), t(uv[1]), t(P[0]), t(P[1])).xyz_world, atol=1e-8
    )


@pytest.mark.parametrize("seed", range(4))
def test_noisy_pairs_reach_the_optimum_in_closed_form(seed):
    P, xyz, uv = scene(seed, points=60, noise=0.5)
    best = bundle(xyz, uv, P, np.ones(uv.shape[:2]))
    found = triangulate_pair(t(uv[0]), t(uv[1]), t(P[0]), t(P[1])).xyz_world.numpy()
    assert np.abs(found - best).max() < 1e-3 * np.linalg.norm(best - xyz, axis=1).mean()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(1e-3, 1e3), sign=st.sampled_from([-1.0, 1.0]))
def test_moving_and_scaling_the_world_moves_the_points_along(seed, scale, sign):
    P, _, uv = scene(seed, 3, points=5, noise=0.5)
    pose = rigid(np.random.default_rng(seed + 1))
    stretch = np.diag([1 / scale] * 3 + [1.0])
    moved_P = sign * scale * P @ np.linalg.inv(pose) @ stretch
    for before, after in zip(
        (*both(t(uv[:2]), t(P[:2])), triangulate_views(t(uv), t(P))),
        (*both(t(uv[:2]), t(moved_P[:2])), triangulate_views(t(uv), t(moved_P))),
        strict=True,
    ):
        world = scale * (before.xyz_world.numpy() @ pose[:3, :3].T + pose[:3, 3])
        assert torch.equal(before.valid, after.valid)
        kept = before.valid.numpy()
        assert np.abs(after.xyz_world.numpy() - world)[kept].max(initial=0) < 1e-8 * scale * 10


def test_weight_zero_equals_leaving_the_view_out():
    P, _, uv = scene(1, 4, noise=0.5)
    weights = np.random.default_rng(0).uniform(0.5, 2, uv.shape[:2])
    kept = [0, 1, 3]
    weights[2] = 0
    gone = uv.copy()
    gone[2] = NAN
    pixel = 0.25 * torch.eye(2, dtype=torch.float64).repeat(*uv.shape[:2], 1, 1)
    expected = triangulate_views(t(uv[kept]), t(P[kept]), t(weights[kept])).xyz_world
    for pixels_given in (uv, gone):
        found = triangulate_views(t(pixels_given), t(P), t(weights)).xyz_world
        assert torch.allclose(found, expected, atol=1e-10)
        assert torch.allclose(
            refine(found, t(pixels_given), t(P), t(weights)),
            refine(expected, t(uv[kept]), t(P[kept]), t(weights[kept])),
            atol=1e-9,
        )
    assert torch.allclose(
        triangulate_views(t(gone), t(P)).xyz_world, triangulate_views(t(uv[kept]), t(P[kept])).xyz_world
    )
    assert torch.allclose(
        covariance(expected, t(P), pixel, t(weights)),
        covariance(expected, t(P[kept]), pixel[kept], t(weights[kept])),
    )


def test_only_the_ratio_of_weights_matters():
    P, _, uv = scene(2, 3, noise=0.5)
    weights = t(np.random.default_rng(0).uniform(0.1, 1, uv.shape[:2]))
    one, other = (triangulate_views(t(uv), t(P), factor * weights).xyz_world for factor in (1.0, 1e-6))
    assert torch.allclose(one, other, atol=1e-9)


@pytest.mark.parametrize("route", ["pair", "views", "refine", "covariance"])
def test_gradients_are_right(route):
    P, xyz, uv = scene(5, 2 if route == "pair" else 3, points=3, noise=0.5)
    weights, pixel = np.random.default_rng(0).uniform(0.5, 1, uv.shape[:2]), np.array([[0.3, 0.1], [0.1, 0.2]])
    calls = {
        "pair": (lambda u, p: triangulate_pair(u[0], u[1], p[0], p[1]).xyz_world, (uv, P)),
        "views": (lambda u, p, w: triangulate_views(u, p, w).xyz_world, (uv, P, weights)),
        "refine": (lambda x, u, p, w: refine(x, u, p, w), (xyz, uv, P, weights)),
        "covariance": (covariance, (xyz, P, np.broadcast_to(pixel, (*uv.shape[:2], 2, 2)).copy(), weights)),
    }
    function, values = calls[route]
    assert torch.autograd.gradcheck(function, [t(value).requires_grad_() for value in values], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("cameras", ["good", "identical", "zero", "nan", "facing"])
def test_what_cannot_be_found_is_zero_and_leaves_gradients_finite(dtype, cameras):
    uv, P = degenerate(dtype)
    P = {
        "good": P,
        "identical": P[:1].repeat(2, 1, 1),
        "zero": torch.zeros_like(P),
        "nan": P * t([[[1.0]], [[NAN]]], dtype),
        "facing": torch.stack(
            [P[0], P[0] @ t(np.diag([-1.0, 1, -1, 1]) + 4 * np.eye(4)[2][:, None] * np.eye(4)[3], dtype)]
        ),
    }[cameras]
    expected = [False] * 8 + [cameras == "good"]
    for k in range(2):
        inputs = uv.clone().requires_grad_(), P.clone().requires_grad_()
        found = both(*inputs)[k]
        if cameras != "facing":
            assert found.valid.tolist() == expected
        assert not found.xyz_world[~found.valid].any()
        found.xyz_world.sum().backward()
        assert all(torch.isfinite(value.grad).all() for value in inputs)
        assert not inputs[0].grad[:, ~found.valid].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bad", ["ray", "infinity", "behind", "baseline", "pixels", "weights", "negative", "one view"])
def test_views_that_say_nothing_are_zero_in_value_and_gradient(dtype, bad):
    P, xyz, _ = scene(6, 3, points=4)
    where = {"infinity": 1e9 * xyz, "behind": xyz - (0.0, 0.0, 30.0)}.get(bad, xyz)
    P = np.repeat(P[:1], 3, 0) if bad in ("ray", "baseline") else P
    uv, weights = pixels(P, where), np.ones((3, 4))
    if bad == "baseline":  # cameras in one place that look in different directions
        P = np.array([k @ P[0] for k in (np.eye(3), np.diag([1.1, 1.1, 1]), np.diag([0.9, 1.2, 1]))])
        uv = pixels(P, where)
    if bad == "pixels":
        uv[:] = NAN
    weights[:] = {"weights": NAN, "negative": -1.0}.get(bad, 1.0)
    if bad == "one view":
        weights[1:] = 0
    inputs = [t(value, dtype).requires_grad_() for value in (uv, P, weights)]
    routes = [triangulate_views(*inputs)]
    if not bad.startswith(("weights", "negative", "one")):
        routes.append(triangulate_pair(inputs[0][0], inputs[0][1], inputs[1][0], inputs[1][1]))
    for found in routes:
        assert found.xyz_world.dtype == dtype
        assert not found.valid.any()
        assert not found.xyz_world.any()
        found.xyz_world.sum().backward()
    assert not any(value.grad.any() or value.grad.isnan().any() for value in inputs)


def test_a_view_that_hardly_counts_does_not_determine_a_point():
    P, xyz, uv = scene(9, 2, points=3)
    weights = t([[1.0] * 3, [1e-5, 1e-9, 1e-25]])
    found = triangulate_views(t(uv), t(P), weights)
    assert found.valid.tolist() == [True, True, False]
    assert np.abs(found.xyz_world.numpy() - xyz)[:2].max() < 1e-4


def test_parts_change_nothing(monkeypatch):
    P, _, uv = scene(8, 3, points=50, noise=0.5)
    weights = np.random.default_rng(0).uniform(0.5, 1, uv.shape[:2])
    results = []
    for size in (1000, 7):
        monkeypatch.setattr(gauss_newton, "POINTS_AT_ONCE", size)
        inputs = [t(value).requires_grad_() for value in (uv, P, weights)]
        found = triangulate_views(*inputs)
        found.xyz_world.square().sum().backward()
        results.append((found.xyz_world, found.valid, *(value.grad for value in inputs)))
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-10)


def test_a_rotated_pair_of_parallel_rays_is_refused_at_any_threshold_above_its_angle():
    P = np.stack([np.eye(3, 4), np.c_[np.eye(3), [-1.0, 0, 0]]])
    uv = pixels(P, np.array([[0.5, 0.0, 100.0]]))
    for least, expected in [(0.0099, True), (0.0101, False)]:
        assert triangulate_pair(t(uv[0]), t(uv[1]), t(P[0]), t(P[1]), min_angle_rad=least).valid.item() is expected
        assert triangulate_views(t(uv), t(P), min_angle_rad=least).valid.item() is expected


def test_one_view_is_not_enough():
    P, _, uv = scene(0, 3, points=2)
    weights = t([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
    assert triangulate_views(t(uv), t(P), weights).valid.tolist() == [False, True]


@pytest.mark.parametrize("batch", [(1,), (3, 2), (0,)])
def test_leading_axes_broadcast(batch):
    P, xyz, uv = scene(4, 3, points=6, noise=0.5)
    many = t(uv).expand(*batch, *uv.shape)
    pixel = torch.eye(2, dtype=torch.float64).expand(3, 6, 2, 2)
    one = triangulate_views(t(uv), t(P)).xyz_world
    assert torch.equal(triangulate_views(many, t(P)).xyz_world, one.expand(*batch, 6, 3))
    assert refine(t(xyz), many, t(P)).shape == (*batch, 6, 3)
    assert covariance(t(xyz).expand(*batch, 6, 3), t(P), pixel).shape == (*batch, 6, 3, 3)
    pairs = triangulate_pair(many[..., 0, :, :], many[..., 1, :, :], t(P)[0].expand(*batch, 3, 4), t(P)[1])
    assert pairs.xyz_world.shape == (*batch, 6, 3)


def test_autocast_and_half_precision_do_not_coarsen_points():
    P, _, uv = (torch.as_tensor(value, dtype=torch.float32) for value in scene(0, noise=0.5))
    with torch.autocast("cpu", torch.bfloat16):
        rough = both(uv, P)
    for one, other in zip(rough, both(uv, P), strict=True):
        assert torch.equal(one.xyz_world, other.xyz_world)
    assert triangulate_views(uv.half(), P).xyz_world.dtype == torch.float32


def test_wrong_shapes_are_refused():
    P = torch.eye(3, 4)
    with pytest.raises(GeometryError, match="uv_left"):
        triangulate_pair(torch.zeros(3), torch.zeros(1, 2), P, P)
    with pytest.raises(GeometryError, match="projection matrices"):
        triangulate_pair(torch.zeros(1, 2), torch.zeros(1, 2), torch.eye(4), P)
    with pytest.raises(GeometryError, match="same views"):
        triangulate_views(torch.zeros(2, 1, 2), P.repeat(3, 1, 1))
    with pytest.raises(GeometryError, match="same views"):
        triangulate_views(torch.zeros(0, 1, 2), torch.zeros(0, 3, 4))
    with pytest.raises(GeometryError, match="weights"):
        triangulate_views(torch.zeros(2, 1, 2), P.repeat(2, 1, 1), torch.ones(2, 3))
    with pytest.raises(GeometryError, match="uv_covariance"):
        covariance(torch.zeros(1, 3), P.repeat(2, 1, 1), torch.ones(2, 1, 2))


@pytest.mark.real_data
def test_the_squares_of_a_real_board_have_their_size():
    home = shared("stereo-chessboard")
    uv, P = board(home)
    edges = []
    for left, right in zip(*uv, strict=True):
        for found in both(torch.stack([t(left), t(right)]), P):
            assert found.valid.all()
        grid = found.xyz_world.reshape(6, 9, 3)
        edges += [torch.linalg.norm(grid.diff(dim=axis), dim=-1).flatten() for axis in (0, 1)]
    assert torch.cat(edges).mean().item() == pytest.approx(30.0, rel=0.005)


def board(home):
    """Pixels (2 cameras, 14 pairs, 54 corners, 2) without distortion, and both projection matrices."""
    facts, pairs = (json.loads((home / name).read_text()) for name in ("calibration.json", "corners.json"))
    poses = np.eye(3, 4), np.c_[facts["R_left_to_right"], facts["T_left_to_right_mm"]]
    uv, P = [], []
    for side, pose in zip(("left", "right"), poses, strict=True):
        K, bend = np.array(facts[side]["K"]), np.array(facts[side]["dist_k1k2p1p2k3"])
        seen = np.array([pair[side]["corners"] for pair in pairs])
        uv.append(cv2.undistortPoints(seen.reshape(-1, 1, 2), K, bend, P=K).reshape(seen.shape))
        P.append(K @ pose)
    return uv, t(np.array(P))
