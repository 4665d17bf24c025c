"""RGB images as arrays: conversion, resizing, text, and a grid of images as one.

Images are (H, W, 3) uint8 RGB. Functions return new arrays unless they say otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from cogkp.visual.palette import WHITE, Colour

DARK: Colour = (24, 24, 24)
CAPTION_PX = 9
CAPTION_BAR_PX = 20

RgbImage = npt.NDArray[np.uint8]
FONT = cv2.FONT_HERSHEY_SIMPLEX
TEXT_SCALE_PER_PX = 1 / 22
"""Hershey capitals are about 22 pixels high at scale 1."""


def shape_to(image: RgbImage, shape_hw: tuple[int, int]) -> RgbImage:
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
    tiles = [shape_to(tile, (tiles[0].shape[0], tiles[0].shape[1])) for tile in tiles]
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


def as_rgb(image: npt.NDArray[np.generic]) -> RgbImage:
    """Convert an image, (H, W), (1, H, W), (H, W, 1) or (H, W, 3), uint8 or float on the scale 0..1, to RGB, uint8."""
    # A colour image of one row also begins with a one.
    pixels = image[0] if image.ndim == 3 and image.shape[0] == 1 and image.shape[2] not in (1, 3) else image  # noqa: PLR2004
    if pixels.dtype != np.uint8:
        pixels = np.round(np.clip(np.nan_to_num(pixels), 0.0, 1.0) * 255).astype(np.uint8)
    flat = pixels.reshape(*pixels.shape[:2], -1)
    rgb: RgbImage = np.array(np.broadcast_to(flat, (*flat.shape[:2], 3)), dtype=np.uint8)
    return rgb


def enlarge(rgb: RgbImage, factor: int) -> RgbImage:
    """Enlarge by a whole factor, so that marks drawn later are finer than a pixel of the original."""
    if factor == 1:
        return np.array(rgb)
    height, width = rgb.shape[:2]
    return np.asarray(cv2.resize(rgb, (width * factor, height * factor), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def enlarged_uv(uv: npt.NDArray[np.floating], factor: int) -> npt.NDArray[np.float64]:
    """Move points along with :func:`enlarge`.

    Example:
        >>> enlarged_uv(np.array([[0.0, 1.0]]), 2)
        array([[0.5, 2.5]])
    """
    return np.asarray((np.asarray(uv, np.float64) + 0.5) * factor - 0.5)


def fit_width(
    image: npt.NDArray[np.generic], uv: npt.NDArray[np.floating], width_px: int
) -> tuple[RgbImage, npt.NDArray[np.float64]]:
    """Resize an image, grey or RGB, uint8 or 0..1, to a width, and its points (..., 2) with it.

    Example:
        >>> fit_width(np.zeros((4, 8, 3), np.uint8), np.array([[0.0, 3.0]]), 16)[1]
        array([[0.5, 6.5]])
    """
    rgb = as_rgb(image)
    scale = width_px / rgb.shape[1]
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    size = width_px, max(1, round(rgb.shape[0] * scale))
    resized = np.asarray(cv2.resize(rgb, size, interpolation=how), np.uint8)
    factors = np.array([size[0] / rgb.shape[1], size[1] / rgb.shape[0]])
    return resized, np.asarray((uv + 0.5) * factors - 0.5)


def text_width(text: str, height_px: int) -> int:
    """Measure a line of text, pixels."""
    (width, _), _ = cv2.getTextSize(_drawn(text), FONT, height_px * TEXT_SCALE_PER_PX, 1)
    return int(width)


def fit_text(text: str, height_px: int, width_px: int) -> str:
    """Shorten text so that it fits a width; what was cut is shown by two dots."""
    if text_width(text, height_px) <= width_px:
        return text
    shorter = next(
        (text[:keep] for keep in range(len(text), 0, -1) if text_width(text[:keep] + "..", height_px) <= width_px), ""
    )
    return f"{shorter}.." if shorter else ""


def write_text(
    rgb: RgbImage, text: str, left_baseline: tuple[int, int], height_px: int, colour: Colour = WHITE
) -> None:
    """Write one line of text, in place; ``height_px`` is the height of a capital letter."""
    cv2.putText(rgb, _drawn(text), left_baseline, FONT, height_px * TEXT_SCALE_PER_PX, colour, 1, cv2.LINE_AA)


def _drawn(text: str) -> str:
    """Replace letters that OpenCV's font lacks; half a character (from a file name that is no UTF-8) would end it."""
    return text.encode("ascii", "replace").decode()
