"""Draw stereo pairs: both views with epipolar lines, and points of space from obliquely above."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import attrs
import cv2
import numpy as np
import numpy.typing as npt

from cogkp.visual.canvas import DARK, RgbImage, enlarged_uv, fit_text, text_width, write_text
from cogkp.visual.figure import LEGEND_PAD_PX, TRUTH_AND_PREDICTION, enlarged_errors, enlarged_tile, legend_bar
from cogkp.visual.marks import SpaceMarks, ViewMarks
from cogkp.visual.overlay import draw_curves, draw_errors
from cogkp.visual.palette import BLACK, GREY, WHITE, Colour, point_colours

MIN_TILE_PX = 384
GAP_PX = 4
CAPTION_PX = 10
CAPTION_BAR_PX = 24
NOTES = (
    "thin lines: what the other view's prediction allows; ellipses: said to hold 90 % of truths; grey: true segments"
)

FloatArray = npt.NDArray[np.floating]
SIDEWAYS_RAD = np.deg2rad(35.0)
DOWNWARDS_RAD = np.deg2rad(25.0)
GROUND: Colour = (36, 36, 36)
GRID: Colour = (72, 72, 72)
MARGIN_PX = 56.0
TICK_PX = 9
TICK_OFFSET_PX = 18.0
NAME_OFFSET_PX = 44.0
MIN_AXIS_PX = 30.0
WANTED_TICKS = 5
# Side of the box along an axis where nothing is extended, as a share of its longest side.
LEAST_SIDE = 0.3

PADDING = 0.08
# What lies farther from the middle of the truth than this many sizes of it would shrink all else to a dot.
FARTHEST = 1.1

ELLIPSE_SAMPLES = 65


@attrs.frozen(eq=False)
class Pair:
    """One row of a sheet.

    Args:
        images: left and right, grey or RGB, uint8 or 0..1, of one size.
        marks: what to draw over them and beside them.
        note: stands before the name of the pair.
    """

    images: tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]]
    marks: SpaceMarks
    note: str = ""


def view_tile(
    image: npt.NDArray[np.generic], view: ViewMarks, colours: Sequence[Colour], min_side_px: int = MIN_TILE_PX
) -> RgbImage:
    """Draw one view, enlarged by a whole factor: epipolar lines, truth as rings, predictions as crosses."""
    tile, factor = enlarged_tile(image, None, min_side_px)
    return enlarged_errors(draw_curves(tile, enlarged_uv(view.lines_uv, factor), colours), factor, view, colours)


def pair_sheet(pairs: Sequence[Pair], *, title: str = "", min_side_px: int = MIN_TILE_PX) -> RgbImage:
    """Set pairs under each other: left view, right view, space, with the errors of each point below.

    All are of the same points and image size; ``min_side_px`` is the least size of the longer side of a view.

    Raises:
        ValueError: there are no pairs.
    """
    if not pairs:
        raise ValueError("a sheet needs at least one pair")
    names = pairs[0].marks.point_names
    colours = point_colours(len(names))
    rows = [_row(pair, colours, min_side_px) for pair in pairs]
    width = rows[0].shape[1]
    parts = [legend_bar(names, colours, width, TRUTH_AND_PREDICTION), text_bar(NOTES, width, GREY), *rows]
    if title:
        parts.insert(0, text_bar(title, width, GREY))
    return np.vstack(parts)


def _row(pair: Pair, colours: Sequence[Colour], min_side_px: int) -> RgbImage:
    tiles = [
        view_tile(image, view, colours, min_side_px) for image, view in zip(pair.images, pair.marks.views, strict=True)
    ]
    height, width = tiles[0].shape[:2]
    plot = space_plot(pair.marks, colours, max(height, width))[:height]
    gap = np.full((height, GAP_PX, 3), DARK, np.uint8)
    row = np.hstack([tiles[0], gap, tiles[1], gap, plot])
    caption = " ".join(part for part in (pair.note, pair.marks.name) if part)
    bar = text_bar(fit_text(caption, CAPTION_PX, 2 * width), row.shape[1], GREY)
    _write_errors(bar, pair.marks, colours, 2 * (width + GAP_PX) + LEGEND_PAD_PX)
    return np.vstack([row, bar])


def text_bar(text: str, width: int, colour: Colour) -> RgbImage:
    """Write a line of text on a bar of a width, pixels."""
    bar: RgbImage = np.full((CAPTION_BAR_PX, width, 3), DARK, np.uint8)
    write_text(bar, fit_text(text, CAPTION_PX, width - 2 * LEGEND_PAD_PX), (LEGEND_PAD_PX, 17), CAPTION_PX, colour)
    return bar


def _write_errors(bar: RgbImage, marks: SpaceMarks, colours: Sequence[Colour], left: int) -> None:
    """Say how far each point is off, in its colour, worst first and as many as there is room for."""
    errors = np.where(marks.found, np.linalg.norm(marks.xyz_found - marks.xyz_true, axis=-1), np.inf)
    drawn = view_of(marks, MIN_TILE_PX).holds(marks.xyz_found)
    parts = [(f"off by, {marks.unit}:", GREY)]
    for point in sorted(np.flatnonzero(marks.known).tolist(), key=lambda n: -errors[n]):
        figure = f"{errors[point]:.3g}{'' if drawn[point] else ' (not drawn)'}" if marks.found[point] else "lost"
        parts.append((f"{marks.point_names[point]} {figure}", colours[point]))
    for text, colour in parts:
        if left + text_width(text, CAPTION_PX) > bar.shape[1]:
            return
        write_text(bar, text, (left, 17), CAPTION_PX, colour)
        left += text_width(text, CAPTION_PX) + 16


@attrs.frozen(eq=False)
class SpaceView:
    """A box of space and the way it is drawn.

    Args:
        low: (3,) corner of the box, world axes.
        high: (3,) opposite corner.
        axes: (3, 3) rows are the drawing's right, down and away from the eye, in world axes; orthonormal.
        scale: pixels per unit of length.
        centre_uv: (2,) where the middle of the box is drawn, pixels.
    """

    low: FloatArray
    high: FloatArray
    axes: FloatArray
    scale: float
    centre_uv: FloatArray

    def project(self, xyz: FloatArray) -> npt.NDArray[np.float64]:
        """Find the pixels (..., 2) of points of space (..., 3)."""
        return np.asarray((xyz - (self.low + self.high) / 2) @ self.axes[:2].T * self.scale + self.centre_uv)

    def holds(self, xyz: FloatArray) -> npt.NDArray[np.bool_]:
        """Tell which points of space (..., 3) lie in the box."""
        return np.asarray(((xyz >= self.low) & (xyz <= self.high)).all(-1))

    def ellipse(self, xyz: FloatArray, region: FloatArray) -> npt.NDArray[np.float64]:
        """Outline (K, 2) the ellipsoid d^T region^-1 d = 1 about a point, pixels."""
        values, vectors = np.linalg.eigh(self.axes[:2] @ region @ self.axes[:2].T)
        turn = np.linspace(0.0, 2.0 * np.pi, ELLIPSE_SAMPLES)
        circle = np.stack((np.cos(turn), np.sin(turn)), -1)
        return np.asarray(self.project(xyz) + self.scale * (circle * np.sqrt(values.clip(0.0))) @ vectors.T)

    @property
    def step(self) -> float:
        """Distance between ticks: 1, 2 or 5 times a power of ten."""
        raw = float((self.high - self.low).max()) / WANTED_TICKS
        power = 10.0 ** np.floor(np.log10(raw))
        return float(next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= raw * (1 - 1e-9)))

    def ticks(self, axis: int) -> npt.NDArray[np.float64]:
        """Return the multiples of the step inside the box."""
        step = self.step
        return np.arange(np.ceil(self.low[axis] / step), np.floor(self.high[axis] / step) + 1) * step


def view_of(marks: SpaceMarks, size_px: int) -> SpaceView:
    """Choose the box that holds truth and predictions, and the scale at which it fills a square drawing."""
    low, high = _box(marks)
    cosine, sine = np.cos(DOWNWARDS_RAD), np.sin(DOWNWARDS_RAD)
    away = np.array([np.sin(SIDEWAYS_RAD) * cosine, sine, np.cos(SIDEWAYS_RAD) * cosine])
    right = np.array([np.cos(SIDEWAYS_RAD), 0.0, -np.sin(SIDEWAYS_RAD)])
    axes = np.stack((right, np.cross(away, right), away)) @ marks.world_to_view
    reach = np.abs(axes[:2]) @ (high - low)
    scale = float((size_px - 2 * MARGIN_PX) / reach.max())
    return SpaceView(low, high, axes, scale, np.full(2, (size_px - 1) / 2))


def _box(marks: SpaceMarks) -> tuple[FloatArray, FloatArray]:
    true = marks.xyz_true[marks.known]
    if not len(true):
        return np.full(3, -1.0), np.full(3, 1.0)
    middle = (true.min(0) + true.max(0)) / 2
    least = float(np.finfo(np.float32).tiny)
    size = max(float(np.ptp(true, axis=0).max()), 1e-6 * float(np.abs(true).max()), least)
    near = marks.found & (np.abs(marks.xyz_found - middle) <= FARTHEST * size).all(-1)
    found, radii = marks.xyz_found[near], np.sqrt(np.diagonal(marks.region[near], axis1=-2, axis2=-1))
    corners = np.concatenate([true, found - radii, found + radii])
    corners = corners.clip(middle - FARTHEST * size, middle + FARTHEST * size)
    low, high = corners.min(0), corners.max(0)
    longest = max(float((high - low).max()), size)
    grow = np.maximum(LEAST_SIDE * longest - (high - low), 0.0) / 2 + PADDING * longest
    return low - grow, high + grow


def space_plot(marks: SpaceMarks, colours: Sequence[Colour], size_px: int) -> RgbImage:
    """Draw one pair's points of space in a square (S, S, 3) uint8 RGB.

    The truth is a ring with grey segments, the prediction a cross with coloured ones and the outline of the region that
    is said to hold nine tenths of all truths; a thin line joins the two. A prediction outside the box is left out.
    """
    view = view_of(marks, size_px)
    image: RgbImage = np.full((size_px, size_px, 3), GROUND, np.uint8)
    if not marks.known.any():
        write_text(image, "nothing to compare", (12, size_px // 2), 12, GREY)
        return image
    write_text(image, marks.unit, (14, 24), TICK_PX + 2, GREY)
    image = _draw_axes(image, view)
    true, found = view.project(marks.xyz_true), view.project(marks.xyz_found)
    shown = marks.found & view.holds(marks.xyz_found)
    image = _draw_segments(image, true, marks.known, marks.segments, [GREY] * len(true))
    image = _draw_segments(image, found, shown, marks.segments, colours)
    image = _draw_regions(image, view, marks, shown, colours)
    return draw_errors(
        image,
        true,
        found,
        truth_visible=marks.known,
        predicted_visible=shown,
        colours=colours,
        radius=max(5.0, size_px / 75),
    )


def _draw_regions(
    image: RgbImage, view: SpaceView, marks: SpaceMarks, shown: npt.NDArray[np.bool_], colours: Sequence[Colour]
) -> RgbImage:
    """Outline the regions that are known, as far as they lie before the box."""
    stated = np.flatnonzero(shown & (np.diagonal(marks.region, axis1=-2, axis2=-1) > 0).all(-1)).tolist()
    if not stated:
        return image
    outlines = np.stack([view.ellipse(marks.xyz_found[n], marks.region[n]) for n in stated])
    drawn = draw_curves(image, outlines, [colours[n] for n in stated])
    corners = np.array(list(product(*zip(view.low, view.high, strict=True))))
    hull = cv2.convexHull(np.round(view.project(corners)).astype(np.int32))
    box = cv2.fillConvexPoly(np.zeros(image.shape[:2], np.uint8), hull, 1)
    return np.where(box[..., None] > 0, drawn, image)


def _draw_segments(
    image: RgbImage,
    uv: FloatArray,
    shown: npt.NDArray[np.bool_],
    segments: Sequence[tuple[int, int]],
    colours: Sequence[Colour],
) -> RgbImage:
    """Draw each segment in two halves, in the colours of its ends."""
    ends = [(a, b) for a, b in segments if shown[a] and shown[b]]
    halves = [np.stack((uv[a], (uv[a] + uv[b]) / 2)) for pair in ends for a, b in (pair, pair[::-1])]
    if not halves:
        return image
    inks = [colours[end] for pair in ends for end in pair]
    rimmed = draw_curves(image, np.stack(halves), [BLACK] * len(halves), width=4)
    return draw_curves(rimmed, np.stack(halves), inks, width=2)


class _Edge(NamedTuple):
    """An edge of the box that carries the figures of one axis.

    Args:
        start: (3,) its lower end.
        outward: (2,) unit vector in the drawing, away from the box.
    """

    axis: int
    start: FloatArray
    outward: FloatArray


def _draw_axes(image: RgbImage, view: SpaceView) -> RgbImage:
    back = np.where(view.axes[2] > 0, view.high, view.low)
    front = view.low + view.high - back
    grid = np.stack(list(_grid(view, back)))
    image = draw_curves(image, grid, [GRID] * len(grid))
    for edge in _edges(view, back, front):
        image = draw_curves(image, view.project(_span(view, edge.axis, edge.start))[None], [GREY])
        for tick in view.ticks(edge.axis):
            at = view.project(_moved(edge.start, edge.axis, tick))
            _write_centred(image, _figure(tick, view.step), at + TICK_OFFSET_PX * edge.outward, GREY)
        middle = view.project(_span(view, edge.axis, edge.start)).mean(0)
        _write_centred(image, "xyz"[edge.axis], middle + NAME_OFFSET_PX * edge.outward, WHITE)
    return image


def _grid(view: SpaceView, back: FloatArray) -> Iterator[FloatArray]:
    """Draw lines through the ticks on the three faces behind everything, and their outlines."""
    for axis, along in product(range(3), range(3)):
        if axis == along:
            continue
        for tick in (view.low[axis], *view.ticks(axis), view.high[axis]):
            yield view.project(_span(view, along, _moved(back, axis, float(tick))))


def _span(view: SpaceView, axis: int, through: FloatArray) -> FloatArray:
    return np.stack((_moved(through, axis, float(view.low[axis])), _moved(through, axis, float(view.high[axis]))))


def _moved(xyz: FloatArray, axis: int, value: float) -> FloatArray:
    moved = np.array(xyz, np.float64)
    moved[axis] = value
    return moved


def _edges(view: SpaceView, back: FloatArray, front: FloatArray) -> Iterator[_Edge]:
    """Choose an edge of the outline for each axis that is long enough to be read: the lower, or the left one."""
    for axis in range(3):
        along = view.project(_span(view, axis, back))
        direction = along[1] - along[0]
        if np.linalg.norm(direction) < MIN_AXIS_PX:
            continue
        first, second = (other for other in range(3) if other != axis)
        candidates = [_moved(back, first, float(front[first])), _moved(back, second, float(front[second]))]
        upright = abs(direction[1]) > 2 * abs(direction[0])
        start = min(candidates, key=lambda at: _place(view, axis, at, upright))
        across = np.array([-direction[1], direction[0]]) / np.linalg.norm(direction)
        offset = view.project(_span(view, axis, start)).mean(0) - view.centre_uv
        yield _Edge(axis, start, across if across @ offset > 0 else -across)


def _place(view: SpaceView, axis: int, start: FloatArray, upright: bool) -> float:
    u, v = view.project(_span(view, axis, start)).mean(0)
    return float(u) if upright else -float(v)


def _figure(value: float, step: float) -> str:
    digits = max(0, -int(np.floor(np.log10(step) + 1e-9)))
    return f"{value + 0.0:.{digits}f}"


def _write_centred(image: RgbImage, text: str, uv: FloatArray, colour: Colour) -> None:
    left = round(float(uv[0]) - text_width(text, TICK_PX) / 2)
    write_text(image, text, (left, round(float(uv[1]) + TICK_PX / 2)), TICK_PX, colour)
