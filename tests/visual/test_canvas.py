"""Points move with the image they are in."""

import numpy as np

from cogkp.visual.canvas import fit_text, fit_width, text_width


def test_points_move_with_the_resized_picture():
    picture = np.zeros((40, 60), np.uint8)
    picture[20, 30] = 255
    resized, uv = fit_width(picture, np.array([[30.0, 20.0]]), 240)
    assert resized.shape == (160, 240, 3)
    v, u = np.unravel_index(resized[..., 0].argmax(), resized.shape[:2])
    assert np.abs(uv[0] - (u, v)).max() <= 1


def test_letters_that_cannot_be_drawn_are_measured_as_what_is_drawn():
    """Half a character stands for a byte of a file name that is no UTF-8; OpenCV would end the process."""
    assert text_width("a\udcff\ud800é", 12) == text_width("a???", 12)
    assert fit_text("\udcff" * 100, 12, 60).endswith("..")
