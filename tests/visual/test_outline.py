"""Whole objects over an image: every line and number where it belongs, nothing where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from cogkp.visual.canvas import enlarged_uv
from cogkp.visual.marks import Outline
from cogkp.visual.overlay import BLUE, GREEN, RED, draw_outlines
from cogkp.visual.palette import WHITE

UV = np.array([[40.0, 40.0], [100.0, 40.0], [100.0, 90.0], [40.0, 90.0]])
LINES = ((0, 1, "edge"), (1, 2, "edge"), (0, 2, "x"), (0, 3, "z"))
DARK = np.zeros((128, 160, 3), np.uint8)


def share(picture, start, stop, colour):
    """How much of a line between two points has a colour."""
    along = np.linspace(0.1, 0.9, 40)[:, None] * (np.asarray(stop) - start) + start
    pixels = picture[np.round(along[:, 1]).astype(int), np.round(along[:, 0]).astype(int)].astype(int)
    return (np.abs(pixels - colour).max(1) < 60).mean()


def test_lines_have_the_colours_of_their_kinds():
    drawn = draw_outlines(DARK, [Outline(UV, ("",) * 4, LINES)])
    assert share(drawn, UV[0], UV[1], RED) > 0.9
    assert share(drawn, UV[0], UV[3], BLUE) > 0.9
    assert share(drawn, UV[2], UV[3], RED) == 0
    assert not DARK.any()


def test_the_truth_is_white_and_has_edges_only():
    drawn = draw_outlines(DARK, [Outline(UV, ("a",) * 4, LINES, "words")], plain=True)
    assert share(drawn, UV[0], UV[1], WHITE) > 0.9
    assert share(drawn, UV[0], UV[3], WHITE) == 0
    assert (drawn[:35] == 0).all()


def test_numbers_stand_beside_their_points():
    drawn = draw_outlines(DARK, [Outline(UV, ("", "7", "", ""), ())])
    written = np.argwhere((drawn == GREEN).all(-1))
    assert len(written) > 5
    assert (np.abs(written[:, ::-1] - UV[1]) < 16).all()


def test_text_stays_in_the_picture():
    for corner in ((-30.0, -30.0), (150.0, 120.0)):
        drawn = draw_outlines(DARK + 90, [Outline(np.array([corner, (80.0, 60.0)]), ("", ""), (), "0.5/1.0")])
        assert ((drawn == 0).all(-1)).sum() > 300
        assert (drawn > 200).any()


@pytest.mark.parametrize("uv", [np.full((4, 2), np.nan), np.full((4, 2), 1e7), np.full((4, 2), -1e7)])
def test_what_cannot_be_seen_is_left_out(uv):
    drawn = draw_outlines(DARK + 90, [Outline(uv, ("1", "2", "3", "4"), LINES, "words")])
    assert (drawn == 90).all()


def test_points_move_with_an_enlarged_picture():
    small, large = (Outline(uv, ("1", "", "", ""), LINES, "words") for uv in (UV / 3, enlarged_uv(UV / 3, 3)))
    assert (draw_outlines(DARK, [small], factor=3) == draw_outlines(DARK, [large])).all()
