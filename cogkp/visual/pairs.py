"""Draw stereo pairs: both views with epipolar lines, and the triangulated points, one pair per row."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
import numpy.typing as npt

from cogkp.visual.canvas import RgbImage, enlarged_uv, fit_text, text_width, write_text
from cogkp.visual.figure import LEGEND_PAD_PX, TRUTH_AND_PREDICTION, enlarged_errors, enlarged_tile, legend_bar
from cogkp.visual.grid import DARK
from cogkp.visual.marks import SpaceMarks, ViewMarks
from cogkp.visual.overlay import draw_curves
from cogkp.visual.palette import GREY, Colour, point_colours
from cogkp.visual.space import space_plot, view_of

__all__ = ["Pair", "pair_sheet", "view_tile"]

MIN_TILE_PX = 384
GAP_PX = 4
CAPTION_PX = 10
CAPTION_BAR_PX = 24
NOTES = (
    "thin lines: what the other view's prediction allows; ellipses: said to hold 90 % of truths; grey: true segments"
)


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

    Args:
        pairs: at least one, all of the same points and image size.
        title: one line above the legend; empty for none.
        min_side_px: least size of the longer side of a view.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: there are no pairs.
    """
    if not pairs:
        raise ValueError("a sheet needs at least one pair")
    names = pairs[0].marks.point_names
    colours = point_colours(len(names))
    rows = [_row(pair, colours, min_side_px) for pair in pairs]
    width = rows[0].shape[1]
    parts = [legend_bar(names, colours, width, TRUTH_AND_PREDICTION), _line(NOTES, width, GREY), *rows]
    if title:
        parts.insert(0, _line(title, width, GREY))
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
    bar = _line(fit_text(caption, CAPTION_PX, 2 * width), row.shape[1], GREY)
    _write_errors(bar, pair.marks, colours, 2 * (width + GAP_PX) + LEGEND_PAD_PX)
    return np.vstack([row, bar])


def _line(text: str, width: int, colour: Colour) -> RgbImage:
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
