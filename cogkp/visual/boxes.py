"""Boxes drawn over a picture: their edges, the numbers of their corners, and which way they face.

Each box has its own colour. From its middle three lines lead to the faces on the sides of its axes: red to x, green to
y, blue to z.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from cogkp.visual.canvas import Picture, as_picture, write_text
from cogkp.visual.overlay import draw_mark
from cogkp.visual.palette import BLACK, Colour, point_colours

__all__ = ["draw_boxes", "fit_width"]

FloatArray = npt.NDArray[np.floating]

AXIS_COLOURS: tuple[Colour, ...] = ((230, 60, 60), (60, 200, 80), (70, 120, 255))
SUBPIXEL_BITS = 6
NUMBER_PX = 9
REACH = 4.0
"""Points farther outside than so many pictures are not drawn; OpenCV's numbers would overflow."""


def _line(picture: Picture, ends: FloatArray, colour: Colour, width: int) -> None:
    first, second = (tuple(end) for end in np.round(ends * (1 << SUBPIXEL_BITS)).astype(int).tolist())
    cv2.line(picture, first, second, BLACK, width + 2, cv2.LINE_AA, SUBPIXEL_BITS)
    cv2.line(picture, first, second, colour, width, cv2.LINE_AA, SUBPIXEL_BITS)


def _drawable(picture: Picture, uv: FloatArray) -> bool:
    limit = REACH * max(picture.shape[:2])
    with np.errstate(invalid="ignore"):
        return bool((abs(uv) < limit).all())


def draw_boxes(
    picture: Picture,
    uv: FloatArray,
    *,
    edges: Sequence[tuple[int, int]],
    axes: Sequence[Sequence[int]],
    seen_uv: FloatArray | None = None,
    numbers: bool = True,
) -> Picture:
    """Draw boxes over a picture.

    Args:
        picture: (H, W, 3) uint8 RGB.
        uv: (M, 9, 2) middle and corners, pixels of ``picture``; boxes with points that are not finite are left out.
        edges: pairs of points to be joined.
        axes: for x, y and z the points of the face on that side.
        seen_uv: (M, 9, 2) the same points found in another way, marked by crosses; None marks none.
        numbers: whether corners carry their numbers.

    Returns:
        A new picture.
    """
    drawn: Picture = picture.copy()
    colours = point_colours(max(len(uv), 1))
    for index, points in enumerate(uv):
        if not _drawable(drawn, points):
            continue
        for first, second in edges:
            _line(drawn, points[[first, second]], colours[index], 1)
        for face, colour in zip(axes, AXIS_COLOURS, strict=True):
            _line(drawn, np.stack([points[0], points[list(face)].mean(0)]), colour, 2)
        if numbers:
            _write_numbers(drawn, points)
    for points in () if seen_uv is None else seen_uv:
        if _drawable(drawn, points):
            for point in points:
                draw_mark(drawn, point, "cross", (255, 255, 255), 3.0)
    return drawn


def _write_numbers(drawn: Picture, points: FloatArray) -> None:
    for number, (u, v) in enumerate(np.round(points).astype(int).tolist()):
        if number:
            for shift, colour in ((1, BLACK), (0, (255, 255, 255))):
                write_text(drawn, str(number), (u + 3 + shift, v - 3 + shift), NUMBER_PX, colour)


def fit_width(image: npt.NDArray[np.generic], uv: FloatArray, width_px: int) -> tuple[Picture, FloatArray]:
    """Resize a picture to a width, and its points with it.

    Args:
        image: grey or RGB, uint8 or 0..1.
        uv: (..., 2) pixels of it.
        width_px: of the result.

    Returns:
        The picture and the points in it.

    Example:
        >>> fit_width(np.zeros((4, 8, 3), np.uint8), np.array([[0.0, 3.0]]), 16)[1]
        array([[0.5, 6.5]])
    """
    picture = as_picture(image)
    scale = width_px / picture.shape[1]
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    size = width_px, max(1, round(picture.shape[0] * scale))
    resized = np.asarray(cv2.resize(picture, size, interpolation=how), np.uint8)
    factors = np.array([size[0] / picture.shape[1], size[1] / picture.shape[0]])
    return resized, np.asarray((uv + 0.5) * factors - 0.5)
