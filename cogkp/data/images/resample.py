"""Resample an image along a 3x3 map, once, without aliasing and without a shift.

Training and deployed models cut their input here, so that both see the same pixels.
Pixel rule: the centre of the top-left pixel is (0, 0).
Knows nothing of: torch, labels, which map is wanted.
"""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from cogkp.data.images.reading import MISSING_MASK_IGNORE_INDEX
from cogkp.geometry.plane_map import map_points

Matrix = npt.NDArray[np.floating[Any]]

# Source pixels per crop pixel up to which linear interpolation alone aliases little.
PLAIN_SHRINK = 1.25
ROOM_SHARE, ROOM_PX = 2.0, 2.0
"""Room round what is seen: crop pixels where the map shrinks, and source pixels."""
DECIMALS = 6
"""Digits of what is rounded to whole pixels, so that the last bit of a computation never adds a pixel."""

RESAMPLING: Mapping[str, Any] = {
    "outside": 0.0,
    "interpolation": "linear",
    "shrinking": (
        "where a crop pixel spans s > linear_up_to source pixels, the seen part is reduced first, by averaging areas, "
        "to floor(length * linear_up_to / s + 0.5) pixels; the seen part is the crop's square widened on each side by "
        "room[0] * max(s, 1) + room[1] source pixels, from floor(low) to ceil(high), end included, within the image; "
        "numbers are rounded to 6 decimals before floor and ceil"
    ),
    "linear_up_to": PLAIN_SHRINK,
    "room": [ROOM_SHARE, ROOM_PX],
}
"""What :func:`warp_image` does along a map without rotation, for manifests."""


def warp_image(
    image: npt.NDArray[np.float32], source_to_crop: Matrix, size_wh: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """Resample an image, (H, W) or (H, W, C) float32, along an invertible map to ``size_wh``; zero outside the frame.

    Where the map shrinks, areas are averaged first, so that fine texture turns grey instead of into false patterns.
    """
    plan = _plan(image.shape[:2], np.asarray(source_to_crop, np.float64).tobytes(), size_wh)
    if plan is None:
        return np.zeros((*size_wh[::-1], *image.shape[2:]), np.float32)
    left, top, right, bottom = plan.region
    region = image[top:bottom, left:right]
    if plan.small_wh != (right - left, bottom - top):
        region = np.asarray(cv2.resize(region, plan.small_wh, interpolation=cv2.INTER_AREA), np.float32)
    moved: npt.NDArray[np.float32] = _warped(region, plan.matrix, size_wh, cv2.INTER_LINEAR, 0)
    return moved


def warp_mask(mask: npt.NDArray[np.uint8], source_to_crop: Matrix, size_wh: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Resample uint8 class ids: each pixel takes its nearest, and ``MISSING_MASK_IGNORE_INDEX`` outside the frame."""
    moved: npt.NDArray[np.uint8] = _warped(mask, source_to_crop, size_wh, cv2.INTER_NEAREST, MISSING_MASK_IGNORE_INDEX)
    return moved


def _warped(image: npt.NDArray[Any], matrix: Matrix, size_wh: tuple[int, int], how: int, outside: int) -> Any:
    if not matrix[2, :2].any():
        return cv2.warpAffine(image, matrix[:2] / matrix[2, 2], size_wh, flags=how, borderValue=outside)
    return cv2.warpPerspective(image, matrix, size_wh, flags=how, borderValue=outside)


class _Plan(NamedTuple):
    """How an image is resampled.

    Args:
        region: left, top, right, bottom of the part of the image that is seen, pixels.
        small_wh: what this part is reduced to before it is moved.
        matrix: (3, 3) from the reduced part to the result.
    """

    region: tuple[int, int, int, int]
    small_wh: tuple[int, int]
    matrix: Matrix


# A model that is asked about a stream of images makes the same plan for each of them.
@lru_cache(maxsize=64)
def _plan(shape_hw: tuple[int, int], source_to_crop: bytes, size_wh: tuple[int, int]) -> _Plan | None:
    """Plan the way along a map, given by its bytes; None where nothing of the image is seen."""
    there = np.frombuffer(source_to_crop, np.float64).reshape(3, 3)
    back = np.linalg.inv(there)
    shrink_uv = _shrink(there, back, size_wh)
    left, top, right, bottom = _sampled_region(shape_hw, back, size_wh, shrink_uv)
    if right <= left or bottom <= top:
        return None
    seen_wh = right - left, bottom - top
    small_wh = _small_size(seen_wh, shrink_uv)
    return _Plan((left, top, right, bottom), small_wh, there @ _back(seen_wh, small_wh, left, top))


def _shrink(source_to_crop: Matrix, crop_to_source: Matrix, size_wh: tuple[int, int]) -> tuple[float, float]:
    """Say how many source pixels per crop pixel go along each source axis, at the middle of the crop."""
    middle = 0.5 * np.subtract(size_wh, 1.0)[None]
    depth = source_to_crop[2, :2] @ map_points(crop_to_source, middle)[0] + source_to_crop[2, 2]
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
    corners = map_points(crop_to_source, np.array([[-0.5, -0.5], [right, -0.5], [-0.5, bottom], [right, bottom]]))
    room = ROOM_SHARE * np.maximum(shrink_uv, 1.0) + ROOM_PX
    low = np.clip(np.floor((corners.min(axis=0) - room).round(DECIMALS)), 0, frame_wh)
    high = np.clip(np.ceil((corners.max(axis=0) + room).round(DECIMALS)) + 1, 0, frame_wh)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _small_size(size_wh: tuple[int, int], shrink_uv: tuple[float, float]) -> tuple[int, int]:
    width, height = (
        max(1, math.floor(round(length / max(1.0, shrink / PLAIN_SHRINK) + 0.5, DECIMALS)))
        for length, shrink in zip(size_wh, shrink_uv, strict=True)
    )
    return width, height


def _back(size_wh: tuple[int, int], small_wh: tuple[int, int], left: int, top: int) -> Matrix:
    """Map pixels of the reduced region to pixels of the full source."""
    su, sv = size_wh[0] / small_wh[0], size_wh[1] / small_wh[1]
    return np.array([[su, 0.0, 0.5 * su - 0.5 + left], [0.0, sv, 0.5 * sv - 0.5 + top], [0.0, 0.0, 1.0]])
