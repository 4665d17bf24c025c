"""Marks lie where they belong, differ in shape, and never fail on odd points."""

import numpy as np
import pytest

from cogkp.visual.overlay import draw_errors, draw_mark, draw_points, tint_mask
from cogkp.visual.palette import point_colours

GREY = np.full((80, 100, 3), 90, np.uint8)
ORANGE = (230, 159, 0)


def touched(before, after):
    return (before != after).any(-1)


def centroid(area):
    return np.argwhere(area)[:, ::-1].mean(0)


@pytest.mark.parametrize("shape", ["ring", "cross", "dot"])
@pytest.mark.parametrize("uv", [(40.0, 30.0), (40.5, 30.25), (61.3, 52.8)])
def test_marks_are_centred_on_their_points(shape, uv):
    drawn = GREY.copy()
    draw_mark(drawn, np.array(uv), shape, ORANGE, 8.0)
    weights = np.abs(drawn.astype(float) - GREY).sum(-1)
    v, u = np.mgrid[:80, :100]
    middle = np.array([(weights * u).sum(), (weights * v).sum()]) / weights.sum()
    assert np.abs(middle - uv).max() < 0.15


def test_rings_are_hollow_and_crosses_are_not():
    for shape, filled in (("ring", False), ("cross", True), ("dot", True)):
        drawn = GREY.copy()
        draw_mark(drawn, np.array([50.0, 40.0]), shape, ORANGE, 8.0)
        assert (tuple(drawn[40, 50]) == ORANGE) == filled
        assert touched(GREY, drawn)[40, 58] == (shape != "cross")


def test_marks_have_a_dark_rim_on_any_ground():
    for ground in (0, 128, 255):
        picture = np.full((40, 40, 3), ground, np.uint8)
        drawn = draw_points(picture, np.array([[20.0, 20.0]]), colours=[(255, 255, 255)], radius=6.0)
        assert tuple(drawn[20, 20]) == (255, 255, 255)
        assert drawn[20].max(-1).min() < 60


def test_points_that_cannot_be_drawn_are_left_out():
    odd = np.array([[np.nan, 10.0], [np.inf, 1.0], [-500.0, 10.0], [1e12, -1e12], [20.0, 20.0]])
    shown = np.array([True, True, True, True, False])
    with np.errstate(all="raise"):
        assert np.array_equal(draw_points(GREY, odd, shown=shown), GREY)
        assert np.array_equal(draw_errors(GREY, odd, odd, truth_visible=shown, predicted_visible=shown), GREY)


def test_marks_at_the_border_are_cut():
    drawn = draw_points(GREY, np.array([[-3.0, 40.0]]), radius=6.0)
    assert touched(GREY, drawn)[40, :4].any()
    assert not touched(GREY, drawn)[:, 6:].any()


def test_the_picture_given_is_not_written_to():
    picture = GREY.copy()
    draw_errors(picture, np.array([[20.0, 20.0]]), np.array([[30.0, 20.0]]))
    tint_mask(picture, np.ones((80, 100), np.uint8))
    assert np.array_equal(picture, GREY)


def test_a_line_joins_truth_and_prediction():
    truth, predicted = np.array([[20.0, 40.0]]), np.array([[80.0, 40.0]])
    joined = touched(GREY, draw_errors(GREY, truth, predicted, radius=4.0))
    assert joined[40, 20:81].all()
    apart = draw_errors(GREY, truth, predicted, predicted_visible=np.array([False]), radius=4.0)
    assert not touched(GREY, apart)[40, 40:].any()


def test_a_line_leads_to_a_prediction_outside():
    drawn = draw_errors(GREY, np.array([[20.0, 40.0]]), np.array([[150.0, 40.0]]), radius=4.0)
    assert touched(GREY, drawn)[40, 30:].all()


def test_masks_tint_their_class_and_leave_background_and_unknown():
    mask = np.zeros((80, 100), np.uint8)
    mask[20:40, 30:60], mask[50:60, 30:60] = 1, 255
    drawn = tint_mask(GREY, mask, contour_px=0)
    assert np.array_equal(touched(GREY, drawn), mask == 1)
    assert np.array_equal(tint_mask(GREY, mask * 0), GREY)


def test_masks_follow_the_size_of_the_picture():
    mask = np.zeros((40, 50), np.uint8)
    mask[10:20, 10:20] = 2
    area = touched(GREY, tint_mask(GREY, mask, contour_px=0))
    assert np.array_equal(np.argwhere(area)[[0, -1]], [[20, 20], [39, 39]])


@pytest.mark.parametrize("count", [0, 1, 8, 9, 17, 40])
def test_every_point_has_a_colour_of_its_own(count):
    colours = point_colours(count)
    assert len(colours) == len(set(colours)) == count


def test_ramps_grow_lighter_all_the_way():
    light = np.array(point_colours(17)) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(light) > 0).all()


def test_centroid_of_two_points_lies_between():
    drawn = draw_points(GREY, np.array([[30.0, 40.0], [70.0, 40.0]]), colours=[ORANGE, ORANGE])
    assert np.allclose(centroid(touched(GREY, drawn)), [50, 40], atol=0.1)
