"""Grids are square, tiles are whole, words never cover pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cogkp.visual.canvas import as_rgb, enlarge, enlarged_uv, fit_text, image_grid, text_width


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 40), side=st.integers(1, 24), gap=st.integers(0, 6))
def test_square_tiles_make_a_square_grid(count, side, gap):
    grid = image_grid([np.zeros((side, side), np.uint8)] * count, gap_px=gap)
    cells = int(np.ceil(np.sqrt(count)))
    assert grid.shape == (cells * (side + gap) + gap,) * 2 + (3,)
    assert grid.dtype == np.uint8


def test_tiles_keep_their_pixels_and_order():
    images = [np.full((8, 10), 30 * index, np.uint8) for index in range(5)]
    grid = image_grid(images, columns=3, gap_px=2)
    assert grid.shape == (2 * 10 + 2, 3 * 12 + 2, 3)
    for index in range(5):
        row, column = divmod(index, 3)
        tile = grid[2 + row * 10 :, 2 + column * 12 :][:8, :10]
        assert (tile == 30 * index).all()


def test_odd_sizes_are_fitted_unstretched():
    wide = np.full((10, 40), 200, np.uint8)
    tile = image_grid([np.zeros((40, 40), np.uint8), wide], columns=2, gap_px=0)[:, 40:, 0]
    assert (tile[15:25] == 200).all()
    assert (tile[:14] < 60).all()
    assert (tile[26:] < 60).all()


def test_captions_lie_below_their_tiles():
    images = [np.full((64, 64), 120, np.uint8)] * 2
    plain, worded = image_grid(images, columns=2), image_grid(images, columns=2, captions=["one", ""])
    assert worded.shape[0] > plain.shape[0]
    assert (worded[4:68, 4:68] == 120).all()
    below = worded[68:-4]
    assert (below[:, 4:68] > 128).any()
    assert not (below[:, 72:136] > 128).any()


def test_long_captions_are_cut_to_the_tile():
    text = "a very long caption that no tile could hold"
    assert text_width(fit_text(text, 9, 100), 9) <= 100
    assert fit_text(text, 9, 100).endswith("..")
    assert fit_text("ok", 9, 100) == "ok"
    assert fit_text(text, 9, 2) == ""


def test_no_pictures_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        image_grid([])


@pytest.mark.parametrize(
    "image",
    [np.full((4, 6), 0.5, np.float32), np.full((1, 4, 6), 0.5, np.float32), np.full((4, 6, 3), 0.5, np.float64)],
)
def test_any_image_becomes_a_picture(image):
    picture = as_rgb(image)
    assert picture.shape == (4, 6, 3)
    assert picture.dtype == np.uint8
    assert (picture == 128).all()


def test_odd_values_do_not_wrap_round():
    picture = as_rgb(np.array([[np.nan, -1.0, 2.0]]))
    assert picture[0, :, 0].tolist() == [0, 0, 255]


@pytest.mark.parametrize("factor", [1, 2, 5])
def test_enlarged_points_stay_on_their_pixels(factor):
    """The centre of a bright pixel is found at the moved point."""
    image = np.zeros((9, 9, 3), np.uint8)
    image[4, 6] = 255
    weights = enlarge(image, factor)[..., 0].astype(float)
    v, u = np.mgrid[: 9 * factor, : 9 * factor]
    middle = np.array([(weights * u).sum(), (weights * v).sum()]) / weights.sum()
    assert np.allclose(middle, enlarged_uv(np.array([6.0, 4.0]), factor), atol=0.05)
