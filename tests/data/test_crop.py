"""Where the crop lies in an image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cogkp.config.augment import Crop
from cogkp.data.crop import Bounds, crop_map
from cogkp.errors import ConfigError
from cogkp.geometry.plane_map import inverse_map, map_points

sizes = st.tuples(st.integers(1, 4000), st.integers(1, 4000))


def corners(matrix, side):
    """The image's pixels at the outer corners of the crop."""
    outer = np.array([[-0.5, -0.5], [side - 0.5, side - 0.5]])
    return map_points(inverse_map(matrix), outer)


@given(sizes)
def test_the_whole_image_fills_the_crop_along_its_longer_side(size_wh):
    low, high = corners(crop_map(Crop(output_size=64), size_wh), 64)
    middle = 0.5 * np.subtract(size_wh, 1)
    assert np.allclose(0.5 * (low + high), middle, atol=1e-6)
    assert np.allclose(high - low, max(size_wh))


@given(sizes, st.floats(0, 1), st.floats(2, 200), st.integers(0, 2**31))
def test_points_lie_in_the_square_with_their_margin(size_wh, margin, least, seed):
    uv = np.random.default_rng(seed).uniform(0, 300, (5, 2))
    bounds = Bounds(uv.min(0), uv.max(0))
    stage = Crop(output_size=64, region="points", margin=margin, min_size_px=least)
    low, high = corners(crop_map(stage, size_wh, bounds), 64)
    side = max((bounds.high - bounds.low).max() * (1 + 2 * margin), least)
    assert np.allclose(high - low, side)
    assert np.allclose(low + high, bounds.low + bounds.high)
    shifted, _ = corners(crop_map(stage, size_wh, bounds, np.array([0.1, -0.2])), 64)
    assert np.allclose(shifted - low, [0.1 * side, -0.2 * side], atol=1e-9 * side)


def test_without_points_the_whole_image_is_shown():
    stage = Crop(output_size=64, region="points")
    assert np.array_equal(crop_map(stage, (30, 20)), crop_map(Crop(output_size=64), (30, 20)))


def test_a_fixed_box_is_cut_from_every_image():
    low, high = corners(crop_map(Crop(output_size=64, region="box", box=(10, 20, 30, 30)), (500, 400)), 64)
    assert np.allclose([low, high], [(9.5, 19.5), (39.5, 49.5)])
    with pytest.raises(ConfigError, match="needs a box"):
        crop_map(Crop(region="box"), (500, 400))


def test_the_way_back_is_kept_and_not_written_to():
    matrix = crop_map(Crop(), (30, 20))
    assert inverse_map(matrix) is inverse_map(matrix.copy())
    assert not inverse_map(matrix).flags.writeable
    assert np.allclose(inverse_map(matrix) @ matrix, np.eye(3))
