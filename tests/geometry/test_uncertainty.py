"""Covariances move, lose a blur and make regions as theory says, and say where nothing is known."""

import math
import statistics

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cogkp.errors import GeometryError
from cogkp.geometry.covariance import move_covariance, remove_blur, with_noise
from cogkp.geometry.uncertainty import inside_region, mahalanobis2, missing_noise, region_radius2
from cogkp.geometry.warp import ImageWarp

NAN, INF = math.nan, math.inf
seeds = st.integers(0, 2**31 - 1)


def random_covariance(rng, *shape, size=2, least=0.05):
    root = rng.normal(size=(*shape, size, size))
    return torch.from_numpy(root @ np.swapaxes(root, -1, -2) + least * np.eye(size))


@given(seeds)
def test_a_moved_covariance_agrees_with_numpy(seed):
    rng = np.random.default_rng(seed)
    C, J = random_covariance(rng, 4, size=2), torch.from_numpy(rng.normal(size=(4, 3, 2)))
    moved = move_covariance(C, J)
    np.testing.assert_allclose(moved, J.numpy() @ C.numpy() @ np.swapaxes(J.numpy(), -1, -2), atol=1e-12)
    assert torch.equal(moved, moved.mT)


def test_a_covariance_moves_as_the_points_do():
    rng = np.random.default_rng(0)
    perspective = ImageWarp(torch.tensor([[1.1, 0.2, 5.0], [-0.3, 0.9, 2.0], [1e-4, -2e-4, 1.0]], dtype=torch.float64))
    at = torch.tensor([[320.0, 200.0]], dtype=torch.float64)
    C = random_covariance(rng, 1)
    cloud = at + torch.from_numpy(rng.multivariate_normal(np.zeros(2), C[0].numpy(), 40_000))
    expected = torch.from_numpy(np.cov(perspective.apply(cloud).numpy().T))
    found = move_covariance(C, perspective.jacobian(at))[0]
    torch.testing.assert_close(found, expected, rtol=0.03, atol=0.03 * float(expected.diagonal().mean()))


def test_moving_there_and_back_changes_nothing():
    C = random_covariance(np.random.default_rng(1), 5)
    warp, at = ImageWarp.turn(0.7, 2.5, (3.0, 4.0)), torch.zeros(5, 2, dtype=torch.float64)
    there = move_covariance(C, warp.jacobian(at))
    torch.testing.assert_close(move_covariance(there, warp.inverse().jacobian(warp.apply(at))), C)


@given(seeds, st.floats(0.0, 8.0))
def test_a_blur_that_was_added_is_taken_out(seed, sigma):
    C = random_covariance(np.random.default_rng(seed), 3)
    torch.testing.assert_close(remove_blur(with_noise(C, sigma), sigma), C, rtol=1e-9, atol=1e-9)


@given(seeds, st.floats(0.0, 4.0))
def test_what_is_left_is_the_positive_semidefinite_part(seed, sigma):
    C = random_covariance(np.random.default_rng(seed), 3)
    values, axes = np.linalg.eigh(C.numpy() - sigma**2 * np.eye(2))
    expected = axes @ (np.maximum(values, 0.0)[..., None] * np.swapaxes(axes, -1, -2))
    np.testing.assert_allclose(remove_blur(C, sigma).numpy(), expected, atol=1e-9)


@given(seeds, st.floats(1e-3, 4.0), st.sampled_from([1, 2, 3]))
def test_noise_adds_its_variance_along_every_direction(seed, noise, size):
    C = random_covariance(np.random.default_rng(seed), 3, size=size)
    found = with_noise(C, noise)
    np.testing.assert_allclose(torch.linalg.eigvalsh(found), torch.linalg.eigvalsh(C) + noise**2, atol=1e-9)
    torch.testing.assert_close(with_noise(found, 2 * noise), with_noise(C, noise * math.sqrt(5)))


@pytest.mark.parametrize("values", [(0.0, 0.0, 0.0), (4.0, 0.0, 4.0), (1e-30, 1e-30, 1e-30), (4.0, 1e-18, 4.0)])
def test_round_and_vanishing_covariances_have_finite_gradients(values):
    a, b, c = values
    C = torch.tensor([[a, b], [b, c]], requires_grad=True)
    found = with_noise(remove_blur(C, 2.0), 0.1)
    found.sum().backward()
    assert C.grad.isfinite().all()
    assert (torch.linalg.eigvalsh(found.detach()) >= 0.1**2 * (1 - 1e-5)).all()


@given(seeds, st.sampled_from([1, 2, 3, 4]))
def test_distances_agree_with_numpy(seed, size):
    rng = np.random.default_rng(seed)
    C, d = random_covariance(rng, 6, size=size), rng.normal(size=(6, size))
    found = mahalanobis2(torch.from_numpy(d), C)
    assert found.valid.all()
    expected = np.einsum("ni,nij,nj->n", d, np.linalg.inv(C.numpy()), d)
    np.testing.assert_allclose(found.squared.numpy(), expected, rtol=1e-8)


@given(seeds, st.tuples(*[st.floats(-9, 9)] * 3))
def test_distances_do_not_depend_on_units_or_axes(seed, powers):
    rng = np.random.default_rng(seed)
    C, d = random_covariance(rng, 6, size=3), torch.from_numpy(rng.normal(size=(6, 3)))
    turned, _ = torch.linalg.qr(torch.from_numpy(rng.normal(size=(3, 3))))
    unit = torch.diag(10.0 ** torch.tensor(powers, dtype=torch.float64))
    other = mahalanobis2(d @ turned.mT @ unit, move_covariance(C, unit @ turned))
    assert other.valid.all()
    torch.testing.assert_close(other.squared, mahalanobis2(d, C).squared, rtol=1e-7, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_no_covariance_is_not_counted_and_has_no_gradient(dtype):
    entries = [(0, 0, 0), (1, 2, 1), (-1, 0, 1), (1, 1, 1), (NAN, 0, 1), (1, INF, 1), (INF, 0, 1), (1, 0, 1), (1, 0, 1)]
    C = torch.tensor([[[a, b], [b, c]] for a, b, c in entries], dtype=dtype, requires_grad=True)
    d = torch.ones(9, 2, dtype=dtype)
    d[7, 0] = NAN
    d.requires_grad_()
    found = mahalanobis2(d, C)
    assert found.valid.tolist() == [False] * 8 + [True]
    assert found.squared.tolist() == [0.0] * 8 + [2.0]
    found.squared.sum().backward()
    assert C.grad.isfinite().all()
    assert d.grad.isfinite().all()
    assert not C.grad[:8].any()
    region = inside_region(d, C, 0.9)
    assert region.inside.tolist() == region.valid.tolist() == [False] * 8 + [True]


def test_long_thin_covariances_still_count_in_float32():
    C = torch.diag(torch.tensor([1e-8, 1e-8, 1.0]))
    turned, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    long = move_covariance(torch.diag(torch.tensor([1.0, 1.0, 1e4])).double(), turned).float()
    assert mahalanobis2(torch.ones(3), C).squared.item() == pytest.approx(2e8 + 1)
    found = mahalanobis2((turned @ torch.tensor([1.0, 1.0, 100.0], dtype=torch.float64)).float(), long)
    assert found.squared.item() == pytest.approx(3.0, rel=2e-3)


@pytest.mark.parametrize("share", [1e-6, 0.1, 0.5, 0.9, 0.99, 0.999999])
def test_radii_agree_with_the_closed_forms(share):
    assert region_radius2(share, 1) == pytest.approx(statistics.NormalDist().inv_cdf(0.5 + share / 2) ** 2, rel=1e-8)
    assert region_radius2(share, 2) == pytest.approx(-2 * math.log1p(-share), rel=1e-8)
    r = math.sqrt(region_radius2(share, 3))
    held = math.erf(r / math.sqrt(2)) - math.sqrt(2 / math.pi) * r * math.exp(-r * r / 2)
    assert held == pytest.approx(share, rel=1e-8)
    half = region_radius2(share, 4) / 2
    assert -math.expm1(-half) - half * math.exp(-half) == pytest.approx(share, rel=1e-7)


@settings(deadline=None)
@given(st.floats(1e-9, 1 - 1e-9), st.integers(1, 30))
def test_radii_grow_with_share_and_dimensions(share, dimensions):
    assert region_radius2(share * 0.99, dimensions) < region_radius2(share, dimensions)
    assert region_radius2(share, dimensions) < region_radius2(share, dimensions + 1)


@pytest.mark.parametrize(("share", "dimensions"), [(0.0, 2), (1.0, 2), (NAN, 2), (-0.1, 3), (0.5, 0)])
def test_impossible_regions_are_refused(share, dimensions):
    with pytest.raises(GeometryError, match="no such region"):
        region_radius2(share, dimensions)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_regions_hold_their_share_of_a_gaussian(size, share):
    rng = np.random.default_rng(size)
    C = random_covariance(rng, size=size)
    d = torch.from_numpy(rng.multivariate_normal(np.zeros(size), C.numpy(), 40_000))
    assert inside_region(d, C, share).inside.double().mean().item() == pytest.approx(share, abs=0.01)


def lacking(rng, size, noise, count=4000):
    """Offsets of known covariances, and round noise that those leave out."""
    C = random_covariance(rng, count, size=size)
    root = torch.linalg.cholesky(C)
    known, extra = (torch.from_numpy(rng.normal(size=(count, size, 1))) for _ in range(2))
    return (root @ known + noise * extra).squeeze(-1), C


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_noise_that_covariances_lack_is_found(size, share):
    d, C = lacking(np.random.default_rng(size), size, 3.0)
    assert missing_noise(d, C, share) == pytest.approx(3.0, rel=0.05)


@given(seeds, st.floats(0.05, 0.95), st.floats(1e-3, 1e3))
@settings(max_examples=30, deadline=None)
def test_the_noise_found_is_the_least_that_holds_the_share(seed, share, scale):
    d, C = lacking(np.random.default_rng(seed), 2, 2.0, count=25)
    noise = missing_noise(d, C, share)
    assert inside_region(d, with_noise(C, noise), share).inside.double().mean() >= share
    if noise:
        assert inside_region(d, with_noise(C, noise * (1 - 2e-4)), share).inside.double().mean() < share
    assert missing_noise(scale * d, scale**2 * C, share) == pytest.approx(scale * noise, rel=2e-4)


def test_without_covariance_the_noise_is_a_quantile_of_the_distance():
    d = torch.from_numpy(np.random.default_rng(0).normal(size=(1001, 2)))
    farthest = np.sort(d.norm(dim=-1).numpy())[900]
    found = missing_noise(d, torch.zeros(1001, 2, 2), 0.9)
    assert found == pytest.approx(farthest / math.sqrt(region_radius2(0.9, 2)), rel=2e-4)


def test_one_far_offset_does_not_decide_and_none_that_is_wide_enough_counts():
    d = torch.tensor([[1e6, 0.0]] + [[1.0, 0.0]] * 19)
    assert missing_noise(d, torch.zeros(20, 2, 2), 0.9) == pytest.approx(
        1 / math.sqrt(region_radius2(0.9, 2)), rel=1e-3
    )
    assert missing_noise(d, 9 * torch.eye(2).expand(20, 2, 2), 0.9) == 0.0
    assert missing_noise(torch.zeros(3, 2), torch.zeros(3, 2, 2), 0.9) == 0.0
    assert missing_noise(torch.tensor([[1.0, 0.0]] + [[0.0, 0.0]] * 19), torch.zeros(20, 2, 2), 0.9) == 0.0


@pytest.mark.parametrize("route", ["move", "blur", "distance 2", "distance 3"])
def test_gradients_are_right(route):
    rng = np.random.default_rng(2)
    calls = {
        "move": (move_covariance, (random_covariance(rng, 3), torch.from_numpy(rng.normal(size=(3, 3, 2))))),
        # One covariance is wider than the blur, one along one axis, one along none.
        "blur": (
            lambda C: with_noise(remove_blur(C, 1.2), 0.5),
            (torch.tensor([[[5.0, 1.0], [1.0, 3.0]], [[4.0, 0.3], [0.3, 0.8]], [[0.5, 0.1], [0.1, 0.9]]]).double(),),
        ),
        **{
            f"distance {size}": (
                lambda d, C: mahalanobis2(d, C).squared,
                (torch.from_numpy(rng.normal(size=(4, size))), random_covariance(rng, 4, size=size, least=0.5)),
            )
            for size in (2, 3)
        },
    }
    function, values = calls[route]
    assert torch.autograd.gradcheck(function, [value.requires_grad_() for value in values])


def test_autocast_does_not_coarsen():
    rng = np.random.default_rng(3)
    C, J = random_covariance(rng, 4).float(), torch.from_numpy(rng.normal(size=(4, 2, 2))).float()
    plain = move_covariance(C, J), with_noise(remove_blur(C, 0.1), 0.1), mahalanobis2(J[..., 0], C).squared
    with torch.autocast("cpu", torch.bfloat16):
        cast = move_covariance(C, J), with_noise(remove_blur(C, 0.1), 0.1), mahalanobis2(J[..., 0], C).squared
    assert all(torch.equal(one, other) for one, other in zip(plain, cast, strict=True))


@pytest.mark.parametrize(
    "call",
    [
        lambda: move_covariance(torch.zeros(2, 3), torch.zeros(2, 2)),
        lambda: move_covariance(torch.eye(2), torch.zeros(2, 3)),
        lambda: move_covariance(torch.eye(2).long(), torch.eye(2)),
        lambda: remove_blur(torch.eye(3), 1.0),
        lambda: with_noise(torch.zeros(2, 3), 1.0),
        lambda: missing_noise(torch.zeros(4, 2), torch.zeros(3, 2, 2), 0.9),
        lambda: missing_noise(torch.zeros(4, 2), torch.zeros(2, 2), 0.9),
        lambda: missing_noise(torch.zeros(0, 2), torch.zeros(0, 2, 2), 0.9),
        lambda: mahalanobis2(torch.zeros(3), torch.eye(2)),
        lambda: inside_region(torch.zeros(4, 2), torch.eye(3), 0.9),
    ],
)
def test_shapes_that_do_not_fit_are_refused(call):
    with pytest.raises(GeometryError, match="covariance"):
        call()
