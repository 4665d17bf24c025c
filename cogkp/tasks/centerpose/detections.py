"""Detections in pixels of the images: a score threshold, then soft non-maximum suppression.

Axes: B images, K objects decoded, M objects found in all images together, J corners.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cogkp.geometry.cuboid import CORNERS
from cogkp.tasks.centerpose.decode import MISSING, DecodedObjects

__all__ = ["Detections", "FilterRules", "find_objects", "soft_suppression"]

FloatArray = npt.NDArray[np.floating[Any]]

# Pixels are counted as areas, both ends included.
BOTH_ENDS = 1.0
TWO_CORNERS = 2


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

    image: Tensor
    score: Tensor
    box_uv: Tensor
    uv_direct: Tensor
    uv_peaks: Tensor
    peaked: Tensor
    relative_size: Tensor
    class_id: Tensor

    def __len__(self) -> int:
        return len(self.image)

    def pick(self, rows: Tensor) -> Detections:
        """Keep some rows; indices or a mask."""
        return Detections(*(getattr(self, field.name)[rows] for field in attrs.fields(Detections)))


def find_objects(decoded: DecodedObjects, source_to_crop: Tensor, stride: int, rules: FilterRules) -> Detections:
    """Map decoded objects to their images, and filter them.

    Args:
        decoded: in cells of the grid.
        source_to_crop: (B, 3, 3) float64.
        stride: pixels of the crop per cell.
        rules: which objects are reported.

    Returns:
        The likely objects; none where a number of an object is not finite.
    """
    decoded = DecodedObjects(*(field.detach().cpu() for field in decoded))
    score = decoded.scores[..., 0]
    image, row = (score > rules.threshold).nonzero(as_tuple=True)
    finite = torch.cat([part[image, row] for part in decoded], -1).isfinite().all(-1)
    image, row = image[finite], row[finite]
    crop_to_source = torch.linalg.inv(source_to_crop.detach().cpu().double())[image]
    box, direct, peaks = (
        part[image, row].double().reshape(len(row), part.shape[-1] // 2, 2)
        for part in (decoded.bboxes, decoded.kps_displacement_mean, decoded.kps_heatmap_mean)
    )
    moved = _moved(crop_to_source, stride * torch.cat((box, direct, peaks), 1))
    corners, uv_direct, uv_peaks = moved[:, :TWO_CORNERS], moved[:, TWO_CORNERS:-CORNERS], moved[:, -CORNERS:]
    peaked = (peaks > 0.5 * MISSING).all(-1)
    found = Detections(
        image=image,
        score=score[image, row],
        box_uv=torch.cat((corners.amin(1), corners.amax(1)), -1),
        uv_direct=uv_direct,
        uv_peaks=torch.where(peaked.unsqueeze(-1), uv_peaks, 0.0),
        peaked=peaked,
        relative_size=decoded.obj_scale[image, row].double(),
        class_id=decoded.clses[image, row, 0].long(),
    )
    return _suppressed(found, rules) if rules.suppression else found


def _moved(matrix: Tensor, points: Tensor) -> Tensor:
    """Move (M, N, 2) by (M, 3, 3)."""
    moved = points @ matrix[:, :, :2].mT + matrix[:, None, :, 2]
    return moved[..., :2] / moved[..., 2:]


def _suppressed(found: Detections, rules: FilterRules) -> Detections:
    rows, scores = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    image, box, score = found.image.numpy(), found.box_uv.numpy(), found.score.numpy()
    for each in np.unique(image):
        own = np.flatnonzero(image == each)
        kept, left = soft_suppression(box[own], score[own], rules)
        rows.append(own[kept])
        scores.append(left)
    picked = found.pick(torch.from_numpy(np.concatenate(rows)))
    return attrs.evolve(picked, score=torch.from_numpy(np.concatenate(scores)))


def soft_suppression(
    box_uv: FloatArray, score: npt.NDArray[np.float32], rules: FilterRules
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Lower the scores of objects that overlap with others of higher score (soft NMS).

    Args:
        box_uv: (M, 4) left, top, right, bottom, pixels.
        score: (M,).
        rules: with the spread of the Gaussian by which scores fall with the overlap.

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
