"""The drawing of space: one scale for all directions, everything at its place, nothing over the words."""

from __future__ import annotations

import attrs
import numpy as np
import pytest

from cogkp.visual.canvas import enlarged_uv
from cogkp.visual.marks import SpaceMarks, ViewMarks
from cogkp.visual.overlay import draw_curves
from cogkp.visual.palette import point_colours
from cogkp.visual.space import Pair, pair_sheet, space_plot, view_of, view_tile

COLOURS = point_colours(3)
TRUE = np.array([[-1.2, -0.9, 8.0], [0.0, 0.0, 8.1], [1.6, 1.2, 8.2]])
ALL = np.ones(3, bool)
SIDE = 384


def line_through(uv: np.ndarray) -> np.ndarray:
    """(N, K, 2) level lines through points, with a gap at their right ends."""
    along = np.linspace(-40.0, 200.0, 60)
    lines = np.stack([np.stack((along, np.full(60, v)), -1) for _, v in uv])
    lines[:, along > 100] = np.nan
    return lines


UV = np.array([[20.0, 10.0], [30.0, 40.0], [50.0, 55.0]])
VIEW = ViewMarks(
    row=0, truth_uv=UV, truth_visible=ALL, predicted_uv=UV + 2.0, predicted_visible=ALL, lines_uv=line_through(UV)
)
MARKS = SpaceMarks(
    name="held out:3 LL",
    point_names=("tip", "turn", "end"),
    views=(VIEW, VIEW),
    xyz_true=TRUE,
    known=ALL,
    xyz_found=TRUE + np.array([0.1, 0.0, 0.4]),
    found=ALL,
    region=np.tile(np.diag([0.01, 0.01, 0.25]), (3, 1, 1)),
    segments=((0, 1), (1, 2)),
    world_to_view=np.eye(3),
    unit="world units",
)
IMAGE = np.full((64, 64), 90, np.uint8)


def changed(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(K, 2) pixels that differ."""
    return np.argwhere((first != second).any(-1))[:, ::-1]


def bare(**changes) -> SpaceMarks:
    """No prediction, no segment: only what the changes say."""
    return attrs.evolve(MARKS, **({"found": ~ALL, "segments": ()} | changes))


@pytest.mark.parametrize("turn", [0.0, 1.0, 2.5, 4.0])
def test_all_directions_have_one_scale(turn):
    rotation = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
    view = view_of(attrs.evolve(MARKS, world_to_view=rotation), SIDE)
    np.testing.assert_allclose(view.axes @ view.axes.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(view.axes) == pytest.approx(1.0)
    for axis in view.axes[:2]:
        apart = view.project(TRUE[0] + axis) - view.project(TRUE[0])
        assert np.linalg.norm(apart) == pytest.approx(view.scale)
    corners = np.array(np.meshgrid(*zip(view.low, view.high, strict=True))).reshape(3, -1).T
    assert ((view.project(corners) > 0) & (view.project(corners) < SIDE - 1)).all()


def test_right_is_right_down_is_down_and_depth_shows():
    view = view_of(MARKS, SIDE)
    steps = view.project(TRUE[1] + np.eye(3)) - view.project(TRUE[1])
    assert steps[0, 0] > 0  # x of the camera
    assert steps[1, 1] > 0  # y of the camera
    assert np.linalg.norm(steps[2]) > 0.3 * view.scale  # away from the camera


def test_truth_lies_where_the_view_says():
    without = space_plot(bare(known=np.array([True, False, True])), COLOURS, SIDE)
    assert view_of(bare(known=np.array([True, False, True])), SIDE).scale == view_of(bare(), SIDE).scale
    marked = changed(space_plot(bare(), COLOURS, SIDE), without)
    np.testing.assert_allclose(marked.mean(0), view_of(bare(), SIDE).project(TRUE[1]), atol=0.5)


def test_predictions_lie_where_the_view_says_and_far_ones_are_left_out():
    view = view_of(MARKS, SIDE)
    plot = space_plot(attrs.evolve(MARKS, segments=()), COLOURS, SIDE)
    for xyz, colour in zip(MARKS.xyz_found, COLOURS, strict=True):
        u, v = view.project(xyz).round().astype(int)
        assert np.abs(plot[v, u].astype(int) - colour).max() < 60
    away = MARKS.xyz_found.copy()
    away[1] = (0.0, 0.0, 500.0)
    far = attrs.evolve(MARKS, xyz_found=away)
    span = view_of(far, SIDE).high - view_of(far, SIDE).low
    assert span.max() < 20
    near = attrs.evolve(far, found=np.array([True, False, True]), xyz_found=TRUE)
    assert view_of(near, SIDE).scale < 3 * view_of(far, SIDE).scale  # the tool stays large


def test_an_outline_is_that_of_the_ellipsoid():
    rng = np.random.default_rng(0)
    root = rng.normal(0, 0.2, (3, 3))
    region = root @ root.T
    view = view_of(MARKS, SIDE)
    outline = view.ellipse(TRUE[0], region)
    directions = rng.normal(size=(20000, 3))
    surface = view.project(TRUE[0] + directions / np.linalg.norm(directions, axis=-1, keepdims=True) @ root.T)
    centre = view.project(TRUE[0])
    for angle in np.linspace(0, np.pi, 7):
        along = np.array([np.cos(angle), np.sin(angle)])
        widest, drawn = ((surface - centre) @ along).max(), ((outline - centre) @ along).max()
        assert drawn == pytest.approx(widest, rel=0.02)


def test_unknown_regions_and_lost_points_draw_nothing_and_break_nothing():
    blank = attrs.evolve(MARKS, region=np.zeros((3, 3, 3)))
    assert space_plot(blank, COLOURS, SIDE).dtype == np.uint8
    lost = space_plot(attrs.evolve(MARKS, found=~ALL, xyz_found=np.zeros((3, 3))), COLOURS, SIDE)
    assert len(changed(lost, space_plot(MARKS, COLOURS, SIDE)))
    nothing = space_plot(attrs.evolve(MARKS, known=~ALL, found=~ALL), COLOURS, SIDE)
    assert len(np.unique(nothing.reshape(-1, 3), axis=0)) > 3  # words say so


@pytest.mark.parametrize("size", [1e-4, 1.0, 380.0, 1e5])
def test_figures_stand_at_round_places_and_there_are_a_few(size):
    marks = attrs.evolve(MARKS, xyz_true=TRUE * size, xyz_found=MARKS.xyz_found * size, region=MARKS.region * size**2)
    view = view_of(marks, SIDE)
    counts = [len(view.ticks(axis)) for axis in range(3)]
    assert 2 <= max(counts) <= 6
    step = view.step / 10 ** np.floor(np.log10(view.step) + 1e-9)
    assert round(step, 6) in {1, 2, 5}
    assert space_plot(marks, COLOURS, SIDE).shape == (SIDE, SIDE, 3)


@pytest.mark.parametrize("xyz", [np.tile(TRUE[:1], (3, 1)), np.zeros((3, 3))], ids=["one place", "the origin"])
def test_points_that_fall_together_can_be_drawn(xyz):
    marks = attrs.evolve(MARKS, xyz_true=xyz, xyz_found=xyz, region=np.zeros((3, 3, 3)))
    assert np.isfinite(view_of(marks, SIDE).scale)
    assert space_plot(marks, COLOURS, SIDE).shape == (SIDE, SIDE, 3)


def test_curves_are_drawn_where_they_are_and_break_where_they_are_not_known():
    ground = np.zeros((64, 256, 3), np.uint8)
    drawn = draw_curves(ground, line_through(UV), COLOURS)
    for (_, v), colour in zip(UV.astype(int), COLOURS, strict=True):
        ink = drawn[v - 2 : v + 3, 2:95].astype(float).sum(-1) / sum(colour)
        assert ink[2].min() > 0.75  # smoothed, and yet on its row
        assert ink[[0, 4]].max() < 0.05
        assert not drawn[v, 105:].any()
    assert not ground.any()


def test_far_away_curves_are_left_out():
    far = np.full((1, 8, 2), 1e12)
    far[0, 0] = (10.0, 10.0)
    assert draw_curves(np.zeros((64, 64, 3), np.uint8), far, COLOURS[:1]).sum() <= 3 * 255


def test_a_view_shows_lines_truth_and_prediction_at_their_places():
    tile = view_tile(IMAGE, VIEW, COLOURS, min_side_px=256)
    blank = attrs.evolve(VIEW, truth_visible=~ALL, predicted_visible=~ALL)
    lines = view_tile(IMAGE, blank, COLOURS, min_side_px=256)
    factor = tile.shape[0] // 64
    rows = enlarged_uv(UV, factor)[:, 1].round().astype(int)
    for row, colour in zip(rows, COLOURS, strict=True):
        drawn = lines[row - 1 : row + 2, 3:-3].astype(int)
        assert np.abs(drawn - colour).max(-1).min(0).max() < 130
    crosses = attrs.evolve(VIEW, truth_visible=np.array([True, False, False]), predicted_visible=~ALL)
    ring = changed(view_tile(IMAGE, crosses, COLOURS, 256), lines)
    np.testing.assert_allclose(ring.mean(0), enlarged_uv(UV[0], factor), atol=0.5)


def test_a_sheet_has_a_row_per_pair_and_says_the_errors():
    one = pair_sheet([Pair((IMAGE, IMAGE), MARKS, "1 of 2:")], min_side_px=128)
    two = pair_sheet([Pair((IMAGE, IMAGE), MARKS, "1 of 2:")] * 2, title="held out", min_side_px=128)
    assert one.shape[1] == two.shape[1] == 3 * 128 + 8
    assert two.shape[0] > one.shape[0] + 128
    lost = pair_sheet([Pair((IMAGE, IMAGE), attrs.evolve(MARKS, found=~ALL))], min_side_px=128)
    assert len(changed(lost[-24:], one[-24:]))
    with pytest.raises(ValueError, match="at least one pair"):
        pair_sheet([])
