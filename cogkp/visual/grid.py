"""A grid of images as one image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from cogkp.visual.canvas import RgbImage, as_rgb, fit_text, write_text
from cogkp.visual.palette import Colour

__all__ = ["image_grid"]

DARK: Colour = (24, 24, 24)
CAPTION_PX = 9
CAPTION_BAR_PX = 20


def _shape_to(image: RgbImage, shape_hw: tuple[int, int]) -> RgbImage:
    """Shrink or enlarge an image to a tile, unstretched, and pad what is left."""
    height, width = shape_hw
    scale = min(height / image.shape[0], width / image.shape[1])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    tile = np.full((height, width, 3), DARK, np.uint8)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    tile[top : top + size[1], left : left + size[0]] = (
        cv2.resize(image, size, interpolation=how) if size != image.shape[1::-1] else image
    )
    return tile


def _captioned(tile: RgbImage, caption: str) -> RgbImage:
    """Add a bar with the caption below a tile, so that words never cover pixels."""
    bar = np.full((CAPTION_BAR_PX, tile.shape[1], 3), DARK, np.uint8)
    write_text(bar, fit_text(caption, CAPTION_PX, tile.shape[1] - 8), (4, CAPTION_BAR_PX - 6), CAPTION_PX)
    return np.vstack([tile, bar])


def image_grid(
    images: Sequence[npt.NDArray[np.generic]],
    *,
    captions: Sequence[str] | None = None,
    columns: int | None = None,
    gap_px: int = 4,
) -> RgbImage:
    """Arrange images in a grid of equal tiles.

    Args:
        images: at least one; grey or RGB, uint8 or 0..1; the first gives the size of all tiles.
        captions: one line per image, set below it.
        columns: tiles per row; None makes as many rows as columns, a square grid.
        gap_px: space around each tile.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: there are no images.

    Example:
        >>> image_grid([np.zeros((32, 32), np.uint8)] * 5).shape
        (112, 112, 3)
    """
    tiles = [as_rgb(image) for image in images]
    if not tiles:
        raise ValueError("a grid needs at least one image")
    side = math.ceil(math.sqrt(len(tiles)))
    rows = side if columns is None else math.ceil(len(tiles) / columns)
    tiles = [_shape_to(tile, (tiles[0].shape[0], tiles[0].shape[1])) for tile in tiles]
    if captions is not None:
        tiles = [_captioned(tile, caption) for tile, caption in zip(tiles, captions, strict=True)]
    return _laid_out(tiles, rows, columns or side, gap_px)


def _laid_out(tiles: Sequence[RgbImage], rows: int, columns: int, gap_px: int) -> RgbImage:
    height, width = tiles[0].shape[:2]
    sheet = np.full((rows * (height + gap_px) + gap_px, columns * (width + gap_px) + gap_px, 3), DARK, np.uint8)
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        top, left = gap_px + row * (height + gap_px), gap_px + column * (width + gap_px)
        sheet[top : top + height, left : left + width] = tile
    return sheet
