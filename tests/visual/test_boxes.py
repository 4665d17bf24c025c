"""Boxes are drawn where their points are, and only where they can be."""

import numpy as np

from cogkp.geometry.cuboid import EDGES, FACES
from cogkp.visual.boxes import AXIS_COLOURS, draw_boxes, fit_width
from tests.builders.box_files import box

AXES = FACES[0], FACES[2], FACES[4]
GROUND = np.full((144, 192, 3), 128, np.uint8)


def drawn(uv, **options):
    return draw_boxes(GROUND, uv, edges=EDGES, axes=AXES, **options)


def test_corners_edges_and_axes_are_where_the_points_are():
    uv = 2 * box().uv_source[None] + 0.5
    picture = drawn(uv, numbers=False)
    changed = (picture != GROUND).any(-1)
    for first, second in EDGES:
        u, v = np.round(0.5 * (uv[0, first] + uv[0, second])).astype(int)
        assert changed[v, u]
    for face, colour in zip(AXES, AXIS_COLOURS, strict=True):
        u, v = np.round(uv[0, list(face)].mean(0)).astype(int)
        near = picture[v - 2 : v + 3, u - 2 : u + 3].reshape(-1, 3)
        assert np.abs(near.astype(int) - colour).sum(-1).min() < 60
    low, high = uv[0].min(0) - 4, uv[0].max(0) + 4
    v, u = np.nonzero(changed)
    assert (u >= low[0]).all()
    assert (u <= high[0]).all()
    assert (v >= low[1]).all()
    assert (v <= high[1]).all()


def test_the_picture_given_is_left_alone_and_numbers_are_added():
    uv = 2 * box().uv_source[None] + 0.5
    before = GROUND.copy()
    assert (drawn(uv) != drawn(uv, numbers=False)).any()
    assert (before == GROUND).all()


def test_second_points_are_marked():
    uv = 2 * box().uv_source[None] + 0.5
    moved = uv + 30
    marked = drawn(uv, seen_uv=moved, numbers=False)
    u, v = np.round(moved[0, 0]).astype(int)
    assert (marked[v, u] != drawn(uv, numbers=False)[v, u]).any()


def test_what_cannot_be_drawn_is_left_out():
    uv = np.stack([box().uv_source] * 3)
    uv[0, 3] = np.nan
    uv[1, 3] = 1e9
    assert (drawn(uv[:2]) == GROUND).all()
    assert (drawn(uv) != GROUND).any()
    assert (drawn(np.zeros((0, 9, 2))) == GROUND).all()


def test_points_move_with_the_resized_picture():
    picture = np.zeros((40, 60), np.uint8)
    picture[20, 30] = 255
    resized, uv = fit_width(picture, np.array([[30.0, 20.0]]), 240)
    assert resized.shape == (160, 240, 3)
    v, u = np.unravel_index(resized[..., 0].argmax(), resized.shape[:2])
    assert np.abs(uv[0] - (u, v)).max() <= 1
