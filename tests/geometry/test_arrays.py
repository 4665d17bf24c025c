"""The geometry that a deployed model needs says the same of NumPy arrays as of torch tensors."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cogkp.errors import GeometryError
from cogkp.geometry.arrays import at_least_float32, cast, counting, is_floating, namespace
from cogkp.geometry.covariance import move_covariance, remove_blur, with_noise
from cogkp.geometry.heatmap_moments import mass_near, moments
from cogkp.geometry.plane_map import map_jacobian, map_points

seeds = st.integers(0, 2**31 - 1)
dtypes = st.sampled_from([np.float32, np.float64])


def agree(ours, *arrays, atol=0.0):
    """Ask with arrays and with tensors; kinds and dtypes are kept, values equal."""
    plain = ours(*arrays)
    tensor = ours(*(torch.from_numpy(array) for array in arrays))
    assert isinstance(plain, np.ndarray)
    assert isinstance(tensor, torch.Tensor)
    assert plain.dtype == tensor.numpy().dtype
    np.testing.assert_allclose(plain, tensor.numpy(), rtol=2e-5 if plain.dtype == np.float32 else 1e-11, atol=atol)


def heatmaps(rng, dtype, shape=(3, 8, 12)):
    maps = rng.random(shape) ** 4
    return (maps / maps.sum((-2, -1), keepdims=True)).astype(dtype)


@given(seeds, dtypes)
def test_heatmaps_are_read_alike(seed, dtype):
    rng = np.random.default_rng(seed)
    maps = heatmaps(rng, dtype)
    uv_crop = rng.uniform(-4, 50, (3, 2)).astype(dtype)
    agree(lambda h: moments(h, 4.0).uv_crop, maps, atol=1e-5)
    agree(lambda h: moments(h, 4.0).covariance, maps, atol=1e-4)
    agree(lambda h, uv: mass_near(h, uv, 4.0, 2.0), maps, uv_crop, atol=1e-6)


def test_heatmaps_that_say_nothing_are_read_alike():
    empty = np.stack([np.zeros((4, 4)), np.full((4, 4), np.inf), np.full((4, 4), np.nan)])
    agree(lambda h: moments(h, 4.0).uv_crop, empty)
    agree(lambda h: moments(h, 4.0).covariance, empty)


@given(seeds, dtypes)
def test_covariances_are_changed_alike(seed, dtype):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(5, 2, 2))
    covariances = (root @ root.swapaxes(-1, -2)).astype(dtype)
    covariances[0] = np.eye(2)
    agree(lambda c: remove_blur(c, 0.7), covariances, atol=1e-5)
    agree(lambda c: with_noise(c, 0.3), covariances)
    agree(move_covariance, covariances, rng.normal(size=(5, 3, 2)).astype(np.float32), atol=1e-4)


@given(seeds, dtypes)
def test_points_are_moved_alike(seed, dtype):
    rng = np.random.default_rng(seed)
    matrix = np.eye(3) + rng.normal(scale=(1e-1, 1e-1, 10.0), size=(2, 3, 3)) * [[1.0], [1.0], [1e-4]]
    uv = rng.uniform(0, 200, (2, 4, 2)).astype(dtype)
    agree(map_points, matrix, uv, atol=1e-4)
    agree(map_jacobian, matrix, uv, atol=1e-4)


def test_points_on_the_horizon_stay_finite():
    horizon = np.array([[1.0, 0, 0], [0, 1, 0], [1, 0, -2]])
    assert np.isfinite(map_points(horizon, np.array([[2.0, 1.0]]))).all()
    assert np.isfinite(map_jacobian(horizon, np.array([[2.0, 1.0]]))).all()


def test_the_kind_of_an_array_is_kept():
    array, tensor = np.zeros(2, np.float16), torch.zeros(2, dtype=torch.float16)
    assert namespace(array) is np
    assert namespace(np.float32(1.0)) is np
    assert namespace(tensor) is torch
    assert cast(array, np.float16) is array
    assert at_least_float32(array).dtype == np.float32
    assert at_least_float32(tensor).dtype == torch.float32
    assert at_least_float32(array, np.zeros(1)).dtype == np.float64
    assert at_least_float32(tensor, torch.zeros(1, dtype=torch.float64)).dtype == torch.float64
    assert counting(3, array).tolist() == counting(3, tensor).tolist() == [0.0, 1.0, 2.0]
    assert counting(3, array).dtype == np.float16
    assert counting(3, tensor).dtype == torch.float16
    assert is_floating(array)
    assert is_floating(tensor)
    assert not is_floating(np.zeros(2, int))
    assert not is_floating(torch.zeros(2, dtype=torch.int64))


@pytest.mark.parametrize("wrong", [np.zeros(2), np.zeros((2, 3)), np.zeros((2, 2), int)])
def test_what_is_no_covariance_is_refused(wrong):
    with pytest.raises(GeometryError, match="a covariance has the wrong shape"):
        with_noise(wrong, 1.0)
