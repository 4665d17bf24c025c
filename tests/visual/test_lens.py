"""The drawing of a lens shows where it moves pixels, and where it cannot be undone."""

import numpy as np
import pytest

from cogkp.visual.lens import FOLDED, MARGIN_PX, TITLE_PX, DrawnLens, draw_lens

WIDTH = 600


def grid(rows=31, columns=41, size_wh=(640, 480)):
    axes = (np.linspace(-0.5, side - 0.5, count) for side, count in zip(size_wh, (columns, rows), strict=True))
    return np.stack(np.meshgrid(*axes), -1)


def lens(amount, valid=None):
    uv = grid()
    middle = np.array([319.5, 239.5])
    known = np.ones(uv.shape[:2], bool) if valid is None else valid
    return DrawnLens("LL", (640, 480), uv, middle + (1 + amount) * (uv - middle), known)


def body(picture):
    return picture[TITLE_PX + 4 : -MARGIN_PX - 4, MARGIN_PX : MARGIN_PX + 300]


@pytest.mark.parametrize("amount", [0.3, 0.05, 0.001, -0.1])
def test_the_corners_are_lighter_than_the_middle(amount):
    picture = draw_lens(lens(amount), WIDTH)
    assert picture.shape[1] == WIDTH
    frame = picture[TITLE_PX:-MARGIN_PX].astype(int)
    corner, middle = frame[2, MARGIN_PX + 2], frame[frame.shape[0] // 2 + 8, MARGIN_PX + 236]
    assert corner.sum() > middle.sum() + 60


def test_where_it_cannot_be_undone_it_is_grey():
    valid = np.ones((31, 41), bool)
    valid[:, :10] = False
    frame = body(draw_lens(lens(0.05, valid), WIDTH))
    assert (frame[:, :60] == FOLDED).all(-1).mean() > 0.9
    assert (frame[:, 200:] == FOLDED).all(-1).mean() < 0.01


def test_a_lens_that_does_nothing_takes_little_room():
    assert draw_lens(lens(0.0), WIDTH).shape == (TITLE_PX + MARGIN_PX, WIDTH, 3)
