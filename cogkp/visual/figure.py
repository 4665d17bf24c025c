"""Draw predictions beside the labels on one sheet of frames."""

from collections.abc import Sequence

import attrs
import numpy as np
import numpy.typing as npt

from cogkp.visual.canvas import DARK, RgbImage, as_rgb, enlarge, enlarged_uv, image_grid, text_width, write_text
from cogkp.visual.marks import ViewMarks
from cogkp.visual.overlay import RED, Shape, draw_errors, draw_mark, tint_mask
from cogkp.visual.palette import GREY, WHITE, Colour, point_colours

FloatArray = npt.NDArray[np.floating]
BoolArray = npt.NDArray[np.bool_]

MIN_TILE_PX = 384
LEGEND_PX = 10
LEGEND_ROW_PX = 26
LEGEND_PAD_PX = 10
TRUTH_AND_PREDICTION: tuple[tuple[Shape, str, Colour], ...] = (("ring", "truth", WHITE), ("cross", "prediction", WHITE))
OUTLINES: tuple[tuple[Shape, str, Colour], ...] = (("dot", "truth", WHITE), ("dot", "prediction", RED))


@attrs.frozen(eq=False, kw_only=True)
class LabelledPrediction:
    """One frame with its truth and its prediction, all in the pixels of ``image``.

    Args:
        image: grey or RGB, uint8 or 0..1.
        truth_uv: (N, 2).
        truth_visible: (N,) bool, labelled points.
        predicted_uv: (N, 2).
        predicted_visible: (N,) bool; None means all.
        mask: (H, W) predicted class ids, or None.
        caption: one line; empty means the errors of this tile.
        name: which frame this is; stands behind the errors.
        frame_px: pixels of the full frame per pixel of ``image``; errors are given in the former.
    """

    image: npt.NDArray[np.generic]
    truth_uv: FloatArray
    truth_visible: BoolArray
    predicted_uv: FloatArray
    predicted_visible: BoolArray | None = None
    mask: npt.NDArray[np.uint8] | None = None
    caption: str = ""
    name: str = ""
    frame_px: float = 1.0


def error_caption(comparison: LabelledPrediction) -> str:
    """Say how far the predictions of one tile are from their labels, in pixels of the full frame."""
    visible = comparison.truth_visible
    if comparison.predicted_visible is not None:
        visible = visible & comparison.predicted_visible
    errors = np.linalg.norm(comparison.predicted_uv[visible] - comparison.truth_uv[visible], axis=-1)
    finite = errors[np.isfinite(errors)] * comparison.frame_px
    if not finite.size:
        return "nothing to compare"
    return f"mean {finite.mean():.1f} px, worst {finite.max():.1f} px"


def enlarged_tile(
    image: npt.NDArray[np.generic], mask: npt.NDArray[np.uint8] | None, min_side_px: int
) -> tuple[RgbImage, int]:
    """Enlarge a frame by the least whole factor that makes its longer side reach a size, and tint its mask."""
    rgb = as_rgb(image)
    factor = max(1, -(-min_side_px // max(rgb.shape[:2])))
    tile = enlarge(rgb, factor)
    return (tile if mask is None else tint_mask(tile, mask)), factor


def comparison_tile(
    comparison: LabelledPrediction, colours: Sequence[Colour], min_side_px: int = MIN_TILE_PX
) -> RgbImage:
    """Draw one frame, enlarged by a whole factor to at least ``min_side_px``, with mask, truth and prediction."""
    tile, factor = enlarged_tile(comparison.image, comparison.mask, min_side_px)
    return enlarged_errors(tile, factor, comparison, colours)


def enlarged_errors(
    tile: RgbImage, factor: int, marks: LabelledPrediction | ViewMarks, colours: Sequence[Colour]
) -> RgbImage:
    """Draw truth and prediction over a tile that is ``factor`` times as large as what they were marked in."""
    return draw_errors(
        tile,
        enlarged_uv(marks.truth_uv, factor),
        enlarged_uv(marks.predicted_uv, factor),
        truth_visible=marks.truth_visible,
        predicted_visible=marks.predicted_visible,
        colours=colours,
        radius=max(5.0, max(tile.shape[:2]) / 90),
    )


def legend_bar(
    names: Sequence[str],
    colours: Sequence[Colour],
    width: int,
    shapes: Sequence[tuple[Shape, str, Colour]] = (),
) -> RgbImage:
    """Explain shapes first, then the colour of each point; wraps where the sheet ends."""
    entries = list(shapes)
    entries += [("dot", name, colour) for name, colour in zip(names, colours, strict=True)]
    places, left, row = [], LEGEND_PAD_PX, 0
    for _, text, _ in entries:
        step = 20 + text_width(text, LEGEND_PX) + 22
        if left + step > width and left > LEGEND_PAD_PX:
            left, row = LEGEND_PAD_PX, row + 1
        places.append((left, row))
        left += step
    legend = np.full(((row + 1) * LEGEND_ROW_PX + 8, width, 3), DARK, np.uint8)
    for (shape, text, colour), (start, line) in zip(entries, places, strict=True):
        middle = line * LEGEND_ROW_PX + LEGEND_ROW_PX // 2 + 4
        draw_mark(legend, np.array([start + 6.0, middle]), shape, colour, 6.0)
        write_text(legend, text, (start + 20, middle + LEGEND_PX // 2), LEGEND_PX)
    return legend


def comparison_sheet(
    comparisons: Sequence[LabelledPrediction],
    names: Sequence[str],
    *,
    title: str = "",
    columns: int | None = None,
    min_side_px: int = MIN_TILE_PX,
) -> RgbImage:
    """Set frames, at least one, with truth and prediction side by side, each with its errors, under one legend.

    Args:
        comparisons: at least one, else ValueError.
        names: N words, one per point.
        title: one line above the legend; empty for none.
        columns: tiles per row; None makes a square grid.
        min_side_px: least size of the longer side of a tile.
    """
    colours = point_colours(len(names))
    tiles = [comparison_tile(comparison, colours, min_side_px) for comparison in comparisons]
    captions = [each.caption or f"{error_caption(each)}   {each.name}" for each in comparisons]
    rows = columns or min(len(tiles), -(-len(tiles) // max(1, round(len(tiles) ** 0.5))))
    grid = image_grid(tiles, captions=captions, columns=rows)
    parts = [legend_bar(names, colours, grid.shape[1], TRUTH_AND_PREDICTION if names else OUTLINES), grid]
    if title:
        bar = np.full((30, grid.shape[1], 3), DARK, np.uint8)
        write_text(bar, title, (LEGEND_PAD_PX, 22), 12, GREY)
        parts.insert(0, bar)
    return np.vstack(parts)
