"""Detections in pixels of the images: a score threshold, then soft non-maximum suppression.

An exported network puts out decoded objects; from here on all is NumPy.
Axes: B images, K objects decoded, M objects found in all images together, J corners.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import attrs
import numpy as np
import numpy.typing as npt

from cogkp.geometry.arrays import Array
from cogkp.geometry.cuboid import CORNERS

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

MISSING = -10000.0
"""Both coordinates of a corner that no peak was found for."""

# Pixels are counted as areas, both ends included.
BOTH_ENDS = 1.0
TWO_CORNERS = 2
PLACES = TWO_CORNERS + 2 * CORNERS


class DecodedObjects(NamedTuple):
    """Decoded objects, highest score first; arrays or tensors.

    Args:
        bboxes: (B, K, 4) float32, left, top, right, bottom.
        scores: (B, K, 1) float32, probability; zero where the map has not so many peaks.
        kps: (B, K, 16) float32, x y of the corners 1 to 8: the peak found for it, else where the centre's cell sees it.
        clses: (B, K, 1) float32, 0.
        obj_scale: (B, K, 3) float32, sides in units of the height.
        kps_displacement_mean: (B, K, 16) float32, the corners where the centre's cell sees them.
        kps_heatmap_mean: (B, K, 16) float32, the peaks found for them, ``MISSING`` where there is none.
    """

    bboxes: Array
    scores: Array
    kps: Array
    clses: Array
    obj_scale: Array
    kps_displacement_mean: Array
    kps_heatmap_mean: Array


@attrs.frozen
class FilterRules:
    """Which detections are reported.

    Args:
        threshold: an object less likely than this is not, 0 to 1.
        suppression: whether objects lose likelihood by likelier ones that they overlap with.
        sigma: how much overlap is forgiven; the larger, the more.
    """

    threshold: float = 0.3
    suppression: bool = True
    sigma: float = 0.5


@attrs.frozen(eq=False)
class Detections:
    """Detected objects, image by image, highest score first.

    Args:
        image: (M,) int64, which image.
        score: (M,) float32, probability, less what overlaps took from it.
        box_uv: (M, 4) float64, left, top, right, bottom, pixels of the full frame.
        uv_direct: (M, 8, 2) float64, corners as the object's centre sees them, pixels of the full frame.
        uv_peaks: (M, 8, 2) float64, corners on their own maps, pixels of the full frame; zero where there is none.
        peaked: (M, 8) bool, where there is one.
        relative_size: (M, 3) float64, sides in units of the height, as predicted.
        class_id: (M,) int64.
    """

    image: IntArray
    score: FloatArray
    box_uv: FloatArray
    uv_direct: FloatArray
    uv_peaks: FloatArray
    peaked: BoolArray
    relative_size: FloatArray
    class_id: IntArray

    def __len__(self) -> int:
        return len(self.image)

    def pick(self, rows: IntArray | BoolArray) -> Detections:
        """Keep some rows; indices or a mask."""
        return Detections(*(getattr(self, field.name)[rows] for field in attrs.fields(Detections)))


def find_objects(decoded: DecodedObjects, source_to_crop: FloatArray, stride: int, rules: FilterRules) -> Detections:
    """Map decoded objects, arrays in cells of the grid of so many pixels of the crop (``stride``), to their images.

    Only the likely ones are kept; none where a number of an object is not finite.
    """
    likely = decoded.scores[..., 0] > rules.threshold
    finite = np.concatenate([np.isfinite(part[likely]) for part in decoded], -1).all(-1)
    image, row = (index[finite] for index in likely.nonzero())
    bboxes, scores, _, clses, obj_scale, direct, peaks = (part[image, row] for part in decoded)
    cells = np.concatenate((bboxes, direct, peaks), -1).astype(np.float64).reshape(len(row), PLACES, 2)
    moved = _moved(np.linalg.inv(np.asarray(source_to_crop, np.float64))[image], stride * cells)
    corners, uv_direct, uv_peaks = moved[:, :TWO_CORNERS], moved[:, TWO_CORNERS:-CORNERS], moved[:, -CORNERS:]
    peaked = np.asarray((cells[:, -CORNERS:] > 0.5 * MISSING).all(-1))
    found = Detections(
        image=image,
        score=scores[:, 0],
        box_uv=np.concatenate((corners.min(1), corners.max(1)), -1),
        uv_direct=uv_direct,
        uv_peaks=np.where(peaked[..., None], uv_peaks, 0.0),
        peaked=peaked,
        relative_size=obj_scale.astype(np.float64),
        class_id=clses[:, 0].astype(np.int64),
    )
    return _suppressed(found, rules) if rules.suppression else found


def _moved(matrix: FloatArray, points: FloatArray) -> FloatArray:
    """Move (M, N, 2) by (M, 3, 3)."""
    moved = (points[..., None, :] * matrix[:, None, :, :2]).sum(-1) + matrix[:, None, :, 2]
    return np.asarray(moved[..., :2] / moved[..., 2:])


def _suppressed(found: Detections, rules: FilterRules) -> Detections:
    rows, scores = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    for each in np.unique(found.image):
        own = np.flatnonzero(found.image == each)
        kept, left = soft_suppression(found.box_uv[own], found.score[own], rules)
        rows.append(own[kept])
        scores.append(left)
    return attrs.evolve(found.pick(np.concatenate(rows)), score=np.concatenate(scores))


def soft_suppression(
    box_uv: FloatArray, score: FloatArray, rules: FilterRules
) -> tuple[IntArray, npt.NDArray[np.float32]]:
    """Lower the scores (M,) of objects that overlap with others of higher score (soft NMS); boxes (M, 4) in pixels.

    Returns:
        The rows that stay, the likeliest first, and what is left of their scores.

    Source: N. Bodla et al., Soft-NMS, ICCV 2017, equation 4.

    Example:
        >>> boxes = np.array([[0.0, 0.0, 9.0, 9.0], [0.0, 0.0, 9.0, 9.0], [20.0, 0.0, 29.0, 9.0]])
        >>> rows, left = soft_suppression(boxes, np.array([0.5, 0.9, 0.7], np.float32), FilterRules())
        >>> rows, left
        (array([1, 2]), array([0.9, 0.7], dtype=float32))
    """
    overlap = _overlap(box_uv)
    fall = np.exp(-np.square(overlap) / rules.sigma)
    left, waiting = np.array(score, np.float32), np.ones(len(score), bool)
    order: list[int] = []
    while waiting.any():
        best = int(np.where(waiting, left, -1.0).argmax())
        waiting[best] = False
        order.append(best)
        left[waiting] *= fall[best, waiting]
        waiting &= left >= rules.threshold
    rows = np.array(order, np.int64)
    return rows, left[rows]


def _overlap(box: FloatArray) -> FloatArray:
    """(M, M) intersection over union of boxes."""
    low = np.maximum(box[:, None, :2], box[None, :, :2])
    high = np.minimum(box[:, None, 2:], box[None, :, 2:])
    shared = (high - low + BOTH_ENDS).clip(0).prod(-1)
    area = (box[:, 2:] - box[:, :2] + BOTH_ENDS).clip(0).prod(-1)
    union = area[:, None] + area[None] - shared
    return np.asarray(np.where(union > 0, shared / np.where(union > 0, union, 1.0), 0.0))
