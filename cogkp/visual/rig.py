"""Draw a calibration: the rig from above and from the side, and the distortion of each lens."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import attrs
import cv2
import numpy as np
import numpy.typing as npt

from cogkp.visual.canvas import DARK, RgbImage, fit_text, text_width, write_text
from cogkp.visual.lens import DrawnLens, draw_lens
from cogkp.visual.palette import BLACK, GREY, WHITE, Colour, point_colours

TITLE_BAR_PX = 32
TITLE_PX = 12
LENSES_PER_ROW = 2

FloatArray = npt.NDArray[np.floating]
PANEL_HW = (440, 600)
MARGIN_PX = 48
TEXT_PX = 9
LINE_PX = 18
BITS = 5
FILL = 0.22
MOST_LENGTHS = 3
"""Lengths between more cameras than this would lie one over the other."""

RIGHT, DOWN, FORWARD = range(3)
GROUND: Colour = (34, 36, 42)
TINY = 1e-9
LEAST_COMMON = 0.1
"""A mean of unit vectors shorter than this points nowhere."""


def calibration_sheet(
    cameras: Sequence[DrawnCamera], lenses: Sequence[DrawnLens], reach: float, *, title: str = ""
) -> RgbImage:
    """Draw a rig of at least one camera and its lenses, one each: (H, W, 3) uint8 RGB.

    The pyramids of sight are drawn as far as ``reach``, world unit; the title is one line on top.

    Raises:
        ValueError: there are no cameras.
    """
    views = draw_rig(cameras, reach)
    width = views.shape[1]
    tiles = [draw_lens(lens, width // LENSES_PER_ROW) for lens in lenses]
    rows = [_row(tiles[start : start + LENSES_PER_ROW], width) for start in range(0, len(tiles), LENSES_PER_ROW)]
    bar = np.full((TITLE_BAR_PX, width, 3), DARK, np.uint8)
    write_text(bar, fit_text(title, TITLE_PX, width - 20), (10, 22), TITLE_PX, GREY)
    return np.vstack([*([bar] if title else []), views, *rows])


def _row(tiles: Sequence[RgbImage], width: int) -> RgbImage:
    row = np.full((max(tile.shape[0] for tile in tiles), width, 3), DARK, np.uint8)
    left = 0
    for tile in tiles:
        row[: tile.shape[0], left : left + tile.shape[1]] = tile
        left += tile.shape[1]
    return row


@attrs.frozen(eq=False)
class DrawnCamera:
    """What is drawn of one camera.

    Args:
        name: beside it.
        center: (3,) where it stands, world.
        axes: (3, 3) its right, down and forward as rows, world.
        corners: (4, 3) rays through the corners of its frame in order, world, of depth 1.
    """

    name: str
    center: FloatArray
    axes: FloatArray
    corners: FloatArray


@attrs.frozen(eq=False)
class _Panel:
    """One view of space: which axis runs along the columns and which along the rows, and in which sense."""

    image: RgbImage
    axes: tuple[int, int]
    senses: tuple[int, int]
    middle: FloatArray
    scale: float

    def place(self, points: FloatArray) -> FloatArray:
        """Turn (N, 3) display coordinates into (N, 2) pixels."""
        height, width = self.image.shape[:2]
        flat = (points - self.middle)[:, list(self.axes)] * self.senses * self.scale
        return np.asarray(flat + np.array([width / 2, height / 2]))


def draw_rig(cameras: Sequence[DrawnCamera], reach: float, unit: str = "units") -> RgbImage:
    """Draw a rig from above and from the side, at one scale: (H, W, 3) uint8 RGB; ValueError without cameras.

    The pyramids of sight are drawn as far as ``reach``, world unit; ``unit`` is the word behind lengths.
    """
    if not cameras:
        raise ValueError("a rig needs at least one camera")
    basis = _display_axes(cameras)
    solids = [np.vstack([camera.center, camera.center + reach * camera.corners]) @ basis.T for camera in cameras]
    ahead = [np.stack([c.center, c.center + reach * c.axes[FORWARD]]) @ basis.T for c in cameras]
    low, high = (edge(np.vstack(solids), axis=0) for edge in (np.min, np.max))
    room = np.array(PANEL_HW[::-1]) - 2 * MARGIN_PX
    views = (("from above", (RIGHT, FORWARD), (1, -1)), ("from the right", (FORWARD, DOWN), (1, 1)))
    size = np.maximum(high - low, TINY)
    scale = float(min((room / size[list(axes)]).min() for _, axes, _ in views))
    panels = []
    for title, axes, senses in views:
        panel = _Panel(np.full((*PANEL_HW, 3), GROUND, np.uint8), axes, senses, (low + high) / 2, scale)
        _draw_view(panel, [camera.name for camera in cameras], solids, ahead, unit)
        write_text(panel.image, title, (10, 20), TEXT_PX + 1, WHITE)
        _draw_scale(panel, unit)
        _draw_compass(panel)
        panels.append(panel.image)
    gap = np.full((PANEL_HW[0], 4, 3), DARK, np.uint8)
    return np.hstack([panels[0], gap, panels[1]])


def _display_axes(cameras: Sequence[DrawnCamera]) -> FloatArray:
    """(3, 3) right, down, forward of the mean camera as rows."""
    down, forward = (sum(camera.axes[axis] for camera in cameras) / len(cameras) for axis in (DOWN, FORWARD))
    first = cameras[0].axes
    # Cameras all around look nowhere in the mean: then the first one's forward is taken, across the common down.
    across = first[FORWARD] - (first[FORWARD] @ down) / max(down @ down, TINY) * down
    choices = ((down, forward), (down, across), (first[DOWN], first[FORWARD]))
    down, forward = next(pair for pair in choices if np.linalg.norm(np.cross(*pair)) > LEAST_COMMON)
    forward = forward / np.linalg.norm(forward)
    down = down - (down @ forward) * forward
    down = down / np.linalg.norm(down)
    return np.stack([np.cross(down, forward), down, forward])


def _draw_view(
    panel: _Panel, names: Sequence[str], solids: Sequence[FloatArray], ahead: Sequence[FloatArray], unit: str
) -> None:
    colours = point_colours(len(names))
    for solid, colour in zip(solids, colours, strict=True):
        _fill(panel.image, panel.place(solid), colour)
    for solid, axis, colour in zip(solids, ahead, colours, strict=True):
        uv = panel.place(solid)
        for corner in range(1, 5):
            _line(panel.image, uv[0], uv[corner], colour)
            _line(panel.image, uv[corner], uv[corner % 4 + 1], colour)
        start, stop = panel.place(axis)
        cv2.arrowedLine(panel.image, _fixed(start), _fixed(stop), WHITE, 1, cv2.LINE_AA, BITS, tipLength=0.03)
    centers = [solid[0] for solid in solids]
    for one, other in pairwise(centers):
        ends = panel.place(np.stack([one, other]))
        _line(panel.image, ends[0], ends[1], WHITE)
    taken: list[tuple[int, int, int, int]] = []
    for name, solid, axis, colour in zip(names, solids, ahead, colours, strict=True):
        uv = panel.place(solid[:1])[0]
        cv2.circle(panel.image, _fixed(uv), 4 << BITS, colour, cv2.FILLED, cv2.LINE_AA, BITS)
        back = panel.place(axis)[0] - panel.place(axis)[1]
        length = float(np.linalg.norm(back))
        _label(panel.image, name, uv + (16 * back / length if length > TINY else np.array([0.0, 16.0])), colour, taken)
    if len(names) <= MOST_LENGTHS:
        _label_baselines(panel, centers, unit, taken)


def _label_baselines(
    panel: _Panel, centers: Sequence[FloatArray], unit: str, taken: list[tuple[int, int, int, int]]
) -> None:
    for one, other in pairwise(centers):
        uv = panel.place(np.stack([one, other]))
        length = float(np.linalg.norm(other - one))
        # A baseline that is seen end on has no place for its length.
        if np.linalg.norm(uv[1] - uv[0]) > 0.6 * length * panel.scale:
            _label(panel.image, f"{length:.4g} {unit}", uv.mean(0) + np.array([0.0, 14.0]), WHITE, taken)


def _label(image: RgbImage, text: str, uv: FloatArray, colour: Colour, taken: list[tuple[int, int, int, int]]) -> None:
    """Write a word near a place, lower where another word is already."""
    width = text_width(text, TEXT_PX)
    left = int(np.clip(uv[0] - width / 2, 4, image.shape[1] - width - 4))
    base = int(np.clip(uv[1] + TEXT_PX / 2, LINE_PX, image.shape[0] - 6))
    while any(left < r and left + width > x and base - TEXT_PX < b and base > t for x, t, r, b in taken):
        base += LINE_PX
    taken.append((left, base - TEXT_PX - 4, left + width, base + 4))
    for right, down in ((-1, 0), (1, 0), (0, -1), (0, 1)):  # a dark rim, to be read on any ground
        write_text(image, text, (left + right, base + down), TEXT_PX, BLACK)
    write_text(image, text, (left, base), TEXT_PX, colour)


def _draw_scale(panel: _Panel, unit: str) -> None:
    """Draw a bar of a round length."""
    longest = 120 / panel.scale
    power = 10.0 ** np.floor(np.log10(longest))
    length = power * max(step for step in (1, 2, 5) if step * power <= longest)
    height, width = panel.image.shape[:2]
    start = np.array([width - 20 - length * panel.scale, height - 16.0])
    stop = np.array([width - 20.0, height - 16.0])
    _line(panel.image, start, stop, GREY, 2)
    text = f"{length:g} {unit}"
    write_text(panel.image, text, (width - 20 - text_width(text, TEXT_PX), height - 24), TEXT_PX, GREY)


def _draw_compass(panel: _Panel) -> None:
    """Say which way the axes run, in the lower left corner."""
    words = {RIGHT: "right", DOWN: "down", FORWARD: "forward"}
    base = panel.image.shape[0] - 16
    across, along = panel.axes
    up = panel.senses[1] < 0
    start = np.array([16.0, base if up else base - 34.0])
    for step in (np.array([34.0, 0.0]), np.array([0.0, -34.0 if up else 34.0])):
        cv2.arrowedLine(panel.image, _fixed(start), _fixed(start + step), GREY, 1, cv2.LINE_AA, BITS, tipLength=0.2)
    row = int(start[1])
    write_text(panel.image, words[across], (56, row + 4), TEXT_PX, GREY)
    write_text(panel.image, words[along], (24, row - 26 if up else row + 34), TEXT_PX, GREY)


def _fixed(uv: FloatArray) -> tuple[int, int]:
    u, v = np.round(np.asarray(uv) * (1 << BITS)).astype(int).tolist()
    return u, v


def _line(image: RgbImage, start: FloatArray, stop: FloatArray, colour: Colour, width: int = 1) -> None:
    cv2.line(image, _fixed(start), _fixed(stop), colour, width, cv2.LINE_AA, BITS)


def _fill(image: RgbImage, uv: FloatArray, colour: Colour) -> None:
    hull = cv2.convexHull(np.round(uv * (1 << BITS)).astype(np.int32))
    layer = image.copy()
    cv2.fillConvexPoly(layer, hull, colour, cv2.LINE_AA, BITS)
    image[:] = np.round((1 - FILL) * image + FILL * layer).astype(np.uint8)
