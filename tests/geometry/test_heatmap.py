"""Heatmap coordinates against float64 oracles, at the half-pixel rule and at the edges of float32."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cogkp.geometry.heatmap import centred_heatmap, expectation, gaussian_heatmap, soft_argmax, spatial_softmax
from cogkp.geometry.heatmap_moments import crop_to_grid, grid_to_crop, moments

STRIDE = 4
EXTREME = {
    "zero": torch.zeros(1, 2, 8, 8),
    "constant high": torch.full((1, 2, 8, 8), 1e4),
    "constant low": torch.full((1, 2, 8, 8), -1e4),
    "checkerboard": 1e4 * (1 - 2 * (torch.arange(128).reshape(1, 2, 8, 8) % 2).float()),
    "one cell": torch.nn.functional.one_hot(torch.tensor([[9, 63]]), 64).reshape(1, 2, 8, 8) * 2e4 - 1e4,
}


def reference(logits: np.ndarray, stride: float) -> np.ndarray:
    """Mean position in float64, written without the module under test."""
    weights = np.exp(logits - logits.max(axis=(-2, -1), keepdims=True))
    weights /= weights.sum(axis=(-2, -1), keepdims=True)
    v, u = np.mgrid[: logits.shape[-2], : logits.shape[-1]].astype(np.float64)
    mean = np.stack([(weights * u).sum((-2, -1)), (weights * v).sum((-2, -1))], -1)
    return stride * mean + stride / 2 - 0.5


def gaussian_logits(uv_crop: Tensor, shape_hw: tuple[int, int], sigma_cells: float) -> Tensor:
    """Logits whose softmax is a Gaussian sampled at the cell centres, centred on a pixel of the crop."""
    center = (uv_crop.double() + 0.5) / STRIDE - 0.5
    rows, columns = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in shape_hw), indexing="ij")
    return -((columns - center[0]) ** 2 + (rows - center[1]) ** 2) / (2 * sigma_cells**2)


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
def test_first_cell_covers_the_first_pixels(stride: int) -> None:
    covered = torch.arange(stride, dtype=torch.float64)
    assert grid_to_crop(torch.zeros(2, dtype=torch.float64), stride).tolist() == [covered.mean().item()] * 2


@settings(deadline=None)
@given(
    uv=st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=2),
    stride=st.sampled_from([1, 2, 4, 8, 16]),
)
def test_grid_and_crop_undo_each_other(uv: list[float], stride: int) -> None:
    point = torch.tensor(uv, dtype=torch.float64)
    torch.testing.assert_close(crop_to_grid(grid_to_crop(point, stride), stride), point)
    torch.testing.assert_close(grid_to_crop(crop_to_grid(point, stride), stride), point)


@settings(deadline=None)
@given(row=st.integers(0, 4), column=st.integers(0, 6))
def test_a_single_cell_reads_as_its_centre(row: int, column: int) -> None:
    heatmap = torch.zeros(5, 7)
    heatmap[row, column] = 1.0
    assert expectation(heatmap, STRIDE).tolist() == [column * 4 + 1.5, row * 4 + 1.5]


def test_a_peaked_logit_reads_as_its_centre() -> None:
    logits = torch.zeros(1, 1, 64, 64)
    logits[0, 0, 10, 20] = 100.0
    torch.testing.assert_close(soft_argmax(logits, STRIDE), torch.tensor([[[81.5, 41.5]]]))


@settings(max_examples=50, deadline=None)
@given(
    u=st.floats(80.0, 176.0),
    v=st.floats(60.0, 130.0),
    sigma=st.floats(0.6, 4.0),
)
def test_gaussian_blobs_are_read_without_bias_between_cells(u: float, v: float, sigma: float) -> None:
    point = torch.tensor([u, v], dtype=torch.float64)
    found = soft_argmax(gaussian_logits(point, (48, 64), sigma), STRIDE)
    assert (found - point).abs().max() < 0.02


def test_blob_bias_has_no_systematic_part() -> None:
    shifts = torch.linspace(0.0, STRIDE, 17)[:-1]
    points = [torch.stack((100.0 + shift, 100.0 - shift)) for shift in shifts]
    errors = torch.stack([soft_argmax(gaussian_logits(p, (64, 64), 1.0), STRIDE) - p for p in points])
    assert errors.mean(0).abs().max() < 1e-5


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31 - 1),
    shape=st.tuples(*(st.integers(1, n) for n in (3, 3, 9, 9))),
    spread=st.sampled_from([0.1, 1.0, 30.0]),
)
def test_agrees_with_numpy_in_float64(seed: int, shape: tuple[int, ...], spread: float) -> None:
    logits = spread * np.random.default_rng(seed).normal(size=shape)
    expected = reference(logits, STRIDE)
    np.testing.assert_allclose(soft_argmax(torch.from_numpy(logits), STRIDE).numpy(), expected, atol=1e-10)
    single = soft_argmax(torch.from_numpy(logits.astype(np.float32)), STRIDE)
    np.testing.assert_allclose(single.numpy(), expected, atol=2e-4)


@pytest.mark.parametrize("name", EXTREME)
def test_extreme_logits_give_finite_values_and_gradients(name: str) -> None:
    logits = EXTREME[name].float().clone().requires_grad_()
    uv = soft_argmax(logits, STRIDE)
    torch.nn.functional.smooth_l1_loss(uv, torch.full_like(uv, 3.0)).backward()
    assert uv.isfinite().all()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert (uv >= 1.5).all()
    assert (uv <= 7 * 4 + 1.5).all()


def test_gradient_is_exact() -> None:
    logits = torch.randn(2, 2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(lambda x: soft_argmax(x, STRIDE), (logits.requires_grad_(),))
    assert torch.autograd.gradcheck(spatial_softmax, (logits,))


def test_gradient_of_a_cell_is_its_mass_times_its_distance() -> None:
    logits = torch.randn(1, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    u = soft_argmax(logits, STRIDE)[0, 0]
    (slope,) = torch.autograd.grad(u, logits)
    centers = grid_to_crop(torch.arange(6, dtype=torch.float64), STRIDE)
    torch.testing.assert_close(slope, spatial_softmax(logits).detach() * (centers - u.detach()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_read_in_float32_under_autocast(dtype: torch.dtype) -> None:
    logits = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(2)).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        heatmaps, uv = spatial_softmax(logits), soft_argmax(logits, STRIDE)
    assert heatmaps.dtype == uv.dtype == torch.float32
    torch.testing.assert_close(uv, soft_argmax(logits.float(), STRIDE), rtol=0, atol=0)


def test_heatmaps_sum_to_one() -> None:
    heatmaps = spatial_softmax(5 * torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(3)))
    torch.testing.assert_close(heatmaps.sum((-2, -1)), torch.ones(2, 3))


def test_axes_are_column_then_row() -> None:
    logits = torch.zeros(1, 4, 8)
    logits[0, 3, 0] = 50.0
    torch.testing.assert_close(soft_argmax(logits, STRIDE), torch.tensor([[1.5, 13.5]]))


@settings(max_examples=50, deadline=None)
@given(st.floats(40.0, 88.0), st.floats(40.0, 88.0), st.floats(3.0, 8.0))
def test_a_gaussian_heatmap_has_its_point_as_mean_and_its_width_as_deviation(u, v, sigma_px):
    uv = torch.tensor([u, v], dtype=torch.float64)
    bump = gaussian_heatmap(uv, (32, 32), STRIDE, sigma_px)
    assert torch.allclose(expectation(bump, STRIDE), uv, atol=2e-2)
    columns = grid_to_crop(torch.arange(32, dtype=torch.float64), STRIDE)
    assert ((bump.sum(0) * (columns - u) ** 2).sum()).sqrt().item() == pytest.approx(sigma_px, rel=0.1)


def test_a_gaussian_heatmap_sums_to_one_wherever_its_point_lies():
    uv = torch.tensor([[3.0, 4.0], [-1e4, 20.0], [1e6, -1e6]])
    bump = gaussian_heatmap(uv, (8, 6), STRIDE, 2.0)
    assert bump.shape == (3, 8, 6)
    assert torch.allclose(bump.sum((-2, -1)), torch.ones(3))


def test_the_gradient_of_a_gaussian_heatmap_is_right():
    uv = torch.tensor([[9.0, 12.0], [2.0, 25.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda points: gaussian_heatmap(points, (8, 8), STRIDE, 4.0), (uv,))


def tilted_gaussian(uv, covariance, cells=64):
    """A Gaussian of any shape by its values at the cell centres, pixels of the crop; float64 numpy."""
    v, u = (np.mgrid[:cells, :cells] + 0.5) * STRIDE - 0.5
    d = np.stack([u - uv[0], v - uv[1]], -1)
    density = np.exp(-0.5 * np.einsum("...i,ij,...j->...", d, np.linalg.inv(covariance), d))
    return torch.from_numpy(density / density.sum())


@settings(max_examples=50, deadline=None)
@given(
    uv=st.tuples(st.floats(100.0, 156.0), st.floats(100.0, 156.0)),
    sigmas=st.tuples(st.floats(3.2, 18.0), st.floats(3.2, 18.0)),
    angle=st.floats(-math.pi, math.pi),
)
def test_moments_are_those_of_the_gaussian_that_was_drawn_without_a_correction_for_cells(uv, sigmas, angle):
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    covariance = turn @ np.diag(np.square(sigmas)) @ turn.T
    found = moments(tilted_gaussian(uv, covariance), STRIDE)
    np.testing.assert_allclose(found.uv_crop.numpy(), uv, atol=2e-3)
    # Sheppard's correction would be stride^2 / 12 = 1.33: thirty times more than what is allowed here.
    np.testing.assert_allclose(found.covariance.numpy(), covariance, atol=0.04)


def test_only_mass_that_is_gathered_over_cells_has_the_variance_that_sheppard_corrects():
    sigma, edges = 6.0, torch.arange(65, dtype=torch.float64) * STRIDE - 0.5
    gathered = (0.5 * (1 + torch.erf((edges - 130.2) / (sigma * math.sqrt(2))))).diff()
    drawn = gaussian_heatmap(torch.tensor([130.2, 130.2], dtype=torch.float64), (64, 64), STRIDE, sigma)
    squared = moments(gathered.outer(gathered), STRIDE).covariance
    torch.testing.assert_close(
        squared.diagonal(), torch.full((2,), sigma**2 + STRIDE**2 / 12).double(), rtol=1e-6, atol=0
    )
    torch.testing.assert_close(
        moments(drawn, STRIDE).covariance, sigma**2 * torch.eye(2).double(), rtol=1e-6, atol=1e-6
    )


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), rows=st.integers(1, 9), columns=st.integers(1, 9), total=st.floats(1e-3, 1e3))
def test_moments_agree_with_numpy_whatever_the_total(seed, rows, columns, total):
    mass = np.random.default_rng(seed).gamma(0.3, size=(rows, columns))
    v, u = np.mgrid[:rows, :columns] * float(STRIDE)
    expected = np.cov(np.stack([u.ravel(), v.ravel()]), aweights=mass.ravel(), bias=True)
    found = moments(torch.from_numpy(total * mass), STRIDE)
    np.testing.assert_allclose(found.covariance.numpy(), expected, atol=1e-9)
    np.testing.assert_allclose(found.uv_crop, expectation(torch.from_numpy(mass / mass.sum()), STRIDE), atol=1e-9)


def test_moments_follow_a_map_that_is_shifted_mirrored_or_turned():
    bump = tilted_gaussian((110.0, 130.0), np.array([[60.0, 25.0], [25.0, 40.0]]))
    plain = moments(bump, STRIDE).covariance
    torch.testing.assert_close(moments(bump.roll((2, -3), (0, 1)), STRIDE).covariance, plain)
    mirror, swap = torch.diag(torch.tensor([-1.0, 1.0]).double()), torch.tensor([[0.0, 1.0], [1.0, 0.0]]).double()
    torch.testing.assert_close(moments(bump.flip(1), STRIDE).covariance, mirror @ plain @ mirror)
    torch.testing.assert_close(moments(bump.T, STRIDE).covariance, swap @ plain @ swap)
    torch.testing.assert_close(moments(bump, 2 * STRIDE).covariance, 4 * plain)


def test_a_narrow_peak_far_from_the_origin_loses_no_digits():
    mass = torch.zeros(2048, 2048)
    mass[2000, 1999], mass[2000, 2000], mass[2000, 2001] = 1e-3, 1.0, 1e-3
    variance = moments(mass, 1).covariance[0, 0].item()
    assert variance == pytest.approx(2e-3 / 1.002, rel=1e-3)


@pytest.mark.parametrize("name", EXTREME)
def test_moments_of_extreme_maps_are_finite_and_never_negative(name):
    logits = EXTREME[name].float().clone().requires_grad_()
    found = moments(spatial_softmax(logits), STRIDE)
    sum(part.sum() for part in found).backward()
    assert found.covariance.isfinite().all()
    assert (found.covariance.diagonal(dim1=-2, dim2=-1) >= 0).all()
    assert logits.grad.isfinite().all()


def test_a_map_that_says_nothing_is_read_as_an_even_one():
    maps = torch.zeros(4, 6, 8)
    maps[1, 2, 3], maps[2, 0, 0], maps[3] = math.nan, math.inf, 7.0
    maps.requires_grad_()
    uv, covariance = moments(maps, STRIDE)
    assert torch.allclose(uv, torch.tensor([15.5, 11.5]))
    even = torch.diag(torch.tensor([63.0, 35.0])) * STRIDE**2 / 12  # (n^2 - 1) / 12 cells squared for n cells
    assert torch.allclose(covariance, even.expand(4, 2, 2), rtol=1e-5, atol=1e-4)
    (uv.sum() + covariance.sum()).backward()
    assert maps.grad.isfinite().all()
    assert not maps.grad[:3].any()


def test_one_cell_has_no_spread():
    one = torch.zeros(5, 7)
    one[3, 4] = 0.25
    uv, covariance = moments(one, STRIDE)
    assert uv.tolist() == [17.5, 13.5]
    assert not covariance.any()


def test_the_gradient_of_moments_is_right():
    mass = torch.rand(2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(4)).requires_grad_()
    assert torch.autograd.gradcheck(lambda maps: tuple(moments(maps, STRIDE)), (mass,))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_moments_of_half_precision_maps_are_float32_under_autocast(dtype):
    maps = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(5)).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        found = moments(maps, STRIDE)
    assert found.covariance.dtype == torch.float32
    assert all(torch.equal(one, other) for one, other in zip(found, moments(maps.float(), STRIDE), strict=True))


ROWS, COLUMNS = 24, 40


@settings(max_examples=60, deadline=None)
@given(u=st.floats(0.05, COLUMNS - 1.05), v=st.floats(0.05, ROWS - 1.05), sigma=st.floats(0.7, 4.0))
def test_a_bell_at_the_edge_is_moved_until_its_mean_is_the_point(u: float, v: float, sigma: float) -> None:
    point = grid_to_crop(torch.tensor([u, v], dtype=torch.float64), STRIDE)
    found = centred_heatmap(point, (ROWS, COLUMNS), STRIDE, sigma * STRIDE)
    assert found.sum().item() == pytest.approx(1.0)
    assert (expectation(found, STRIDE) - point).abs().max() < 1e-3 * STRIDE


@settings(max_examples=30, deadline=None)
@given(u=st.floats(0.05, COLUMNS - 1.05), v=st.floats(0.05, ROWS - 1.05))
def test_among_all_maps_with_that_mean_it_is_the_nearest_to_the_whole_bell(u: float, v: float) -> None:
    # The nearest one in Kullback-Leibler divergence differs from the bell by a factor exp(a + b column + c row).
    point = grid_to_crop(torch.tensor([u, v], dtype=torch.float64), STRIDE)
    moved, cut = (draw(point, (ROWS, COLUMNS), STRIDE, 12.0) for draw in (centred_heatmap, gaussian_heatmap))
    factor = (moved.log() - cut.log()).numpy()
    assert np.ptp(np.diff(factor, axis=0)) < 1e-6 * (1 + np.ptp(factor))
    assert np.ptp(np.diff(factor, axis=1)) < 1e-6 * (1 + np.ptp(factor))


def test_far_from_the_edge_it_is_the_bell_itself() -> None:
    point = torch.tensor([83.3, 51.9], dtype=torch.float64)
    both = [draw(point, (ROWS, COLUMNS), STRIDE, 6.0) for draw in (centred_heatmap, gaussian_heatmap)]
    torch.testing.assert_close(*both, atol=1e-9, rtol=1e-6)


@pytest.mark.parametrize("sigma_px", [0.01, 0.5, 6.0, 500.0])
def test_points_beyond_the_edge_and_bells_of_any_width_stay_finite(sigma_px: float) -> None:
    points = torch.tensor([[-1e6, 1e6], [-0.5, 95.5], [1e30, -1e30]])
    maps = centred_heatmap(points, (ROWS, COLUMNS), STRIDE, sigma_px)
    assert maps.isfinite().all()
    torch.testing.assert_close(maps.sum((-2, -1)), torch.ones(3))
