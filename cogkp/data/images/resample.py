"""Move the pixels of an image along one 3x3 map, once, without aliasing and without shifting anything.

Training and deployed models cut their input here, so that both see the same pixels.
Pixel rule: the centre of the top-left pixel is (0, 0).
Knows nothing of: torch, labels, which map is wanted.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from cogkp.data.images.reading import MISSING_MASK_IGNORE_INDEX

__all__ = ["warp_image", "warp_mask"]

Matrix = npt.NDArray[np.floating[Any]]

# Source pixels per crop pixel up to which linear interpolation alone aliases little.
PLAIN_SHRINK = 1.25


def warp_image(
    image: npt.NDArray[np.float32], source_to_crop: Matrix, size_wh: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """Resample an image.

    Where the map shrinks, areas are averaged first, so that fine texture turns grey instead of into false patterns.

    Args:
        image: (H, W) or (H, W, C) float32.
        source_to_crop: (3, 3) float64, invertible.
        size_wh: width and height of the result, pixels.

    Returns:
        (height, width) or (height, width, C) float32, zero outside the frame.
    """
    crop_to_source = np.linalg.inv(source_to_crop)
    shrink_uv = _shrink(source_to_crop, crop_to_source, size_wh)
    left, top, right, bottom = _sampled_region(image.shape, crop_to_source, size_wh, shrink_uv)
    if right <= left or bottom <= top:
        return np.zeros((*size_wh[::-1], *image.shape[2:]), np.float32)
    region = image[top:bottom, left:right]
    small = _reduced(region, shrink_uv)
    matrix = source_to_crop @ _back(region.shape, small.shape, left, top)
    moved: npt.NDArray[np.float32] = _warped(small, matrix, size_wh, cv2.INTER_LINEAR, 0)
    return moved


def warp_mask(mask: npt.NDArray[np.uint8], source_to_crop: Matrix, size_wh: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Resample class ids: each pixel takes its nearest, and ``MISSING_MASK_IGNORE_INDEX`` outside the frame.

    Args:
        mask: (H, W) uint8.
        source_to_crop: (3, 3) float64, invertible.
        size_wh: width and height of the result, pixels.

    Returns:
        (height, width) uint8.
    """
    moved: npt.NDArray[np.uint8] = _warped(mask, source_to_crop, size_wh, cv2.INTER_NEAREST, MISSING_MASK_IGNORE_INDEX)
    return moved


def _warped(image: npt.NDArray[Any], matrix: Matrix, size_wh: tuple[int, int], how: int, outside: int) -> Any:
    if not matrix[2, :2].any():
        return cv2.warpAffine(image, matrix[:2] / matrix[2, 2], size_wh, flags=how, borderValue=outside)
    return cv2.warpPerspective(image, matrix, size_wh, flags=how, borderValue=outside)


def _moved(matrix: Matrix, uv: Matrix) -> Matrix:
    moved = uv @ matrix[:, :2].T + matrix[:, 2]
    return np.asarray(moved[:, :2] / moved[:, 2:])


def _shrink(source_to_crop: Matrix, crop_to_source: Matrix, size_wh: tuple[int, int]) -> tuple[float, float]:
    """Say how many source pixels per crop pixel go along each source axis, at the middle of the crop."""
    middle = 0.5 * np.subtract(size_wh, 1.0)[None]
    depth = source_to_crop[2, :2] @ _moved(crop_to_source, middle)[0] + source_to_crop[2, 2]
    jacobian = (source_to_crop[:2, :2] - middle.T * source_to_crop[2:, :2]) / depth
    return 1.0 / math.hypot(*jacobian[:, 0]), 1.0 / math.hypot(*jacobian[:, 1])


def _sampled_region(
    shape: tuple[int, ...], crop_to_source: Matrix, size_wh: tuple[int, int], shrink_uv: tuple[float, float]
) -> tuple[int, int, int, int]:
    """Bound the part of the source that reaches the crop: left, top, right, bottom; all of it in perspective."""
    frame_wh = (shape[1], shape[0])
    if crop_to_source[2, :2].any():
        return 0, 0, *frame_wh
    right, bottom = size_wh[0] - 0.5, size_wh[1] - 0.5
    corners = _moved(crop_to_source, np.array([[-0.5, -0.5], [right, -0.5], [-0.5, bottom], [right, bottom]]))
    room = 2.0 * np.maximum(shrink_uv, 1.0) + 2.0
    low = np.clip(np.floor(corners.min(axis=0) - room), 0, frame_wh)
    high = np.clip(np.ceil(corners.max(axis=0) + room) + 1, 0, frame_wh)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _reduced(region: npt.NDArray[np.float32], shrink_uv: tuple[float, float]) -> npt.NDArray[np.float32]:
    height, width = region.shape[:2]
    small_wh = tuple(
        max(1, math.floor(length / max(1.0, shrink / PLAIN_SHRINK) + 0.5))
        for length, shrink in zip((width, height), shrink_uv, strict=True)
    )
    if small_wh == (width, height):
        return region
    return np.asarray(cv2.resize(region, small_wh, interpolation=cv2.INTER_AREA), np.float32)


def _back(shape: tuple[int, ...], small_shape: tuple[int, ...], left: int, top: int) -> Matrix:
    """Map pixels of the reduced region to pixels of the full source."""
    su, sv = shape[1] / small_shape[1], shape[0] / small_shape[0]
    return np.array([[su, 0.0, 0.5 * su - 0.5 + left], [0.0, sv, 0.5 * sv - 0.5 + top], [0.0, 0.0, 1.0]])
