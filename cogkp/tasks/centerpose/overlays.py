"""What to draw over images of boxes: edges, numbered corners, axes and sizes.

Without a camera an axis is drawn from the middle to the mean of the four corners of its face, a little off its true
end; drawings of poses show the true one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cogkp.geometry.camera import PinholeCamera
from cogkp.geometry.cuboid import EDGES, POINTS, UNIT_POINTS
from cogkp.geometry.warp import ImageWarp
from cogkp.tasks.base import Marks, Outline
from cogkp.tasks.centerpose.decode import DecodedObjects
from cogkp.tasks.centerpose.detections import Detections, FilterRules, find_objects
from cogkp.tasks.centerpose.ground_truth import ObjectTruth
from cogkp.tasks.centerpose.poses import ObjectPose

__all__ = ["box_outline", "detection_outlines", "pose_outline", "prediction_marks", "truth_marks"]

FloatArray = npt.NDArray[np.floating[Any]]

AXES = "xyz"
LINES = (
    *((start, stop, "edge") for start, stop in EDGES),
    *((0, POINTS + k, axis) for k, axis in enumerate(AXES)),
)
NAMES = (*map(str, range(POINTS)), "", "", "")

# The corners of the faces right, top and front.
POSITIVE = np.asarray(UNIT_POINTS)[1:].T > 0


def _marks(outlines: list[Outline]) -> Marks:
    return Marks(np.zeros((0, 2)), np.zeros(0, bool), (), outlines=tuple(outlines))


def box_outline(uv: FloatArray, text: str = "") -> Outline:
    """Outline a box from its points alone.

    Args:
        uv: (9, 2) middle and corners, pixels.
        text: one line about it.
    """
    ends = [uv[1:][face].mean(0) for face in POSITIVE]
    return Outline(np.concatenate((uv, ends)), NAMES, LINES, text)


def _sizes(size_xyz: FloatArray) -> str:
    return "/".join(f"{side:.3f}" for side in size_xyz)


def truth_marks(truth: ObjectTruth, source_to_crop: Tensor) -> list[Marks]:
    """Return the labelled boxes of each input.

    Args:
        truth: of a batch.
        source_to_crop: (B, 3, 3) float64.
    """
    uv = ImageWarp(source_to_crop.unsqueeze(1)).apply(truth.uv_source).cpu().numpy()
    labelled, size = truth.labelled.cpu().numpy(), truth.size_xyz.cpu().numpy()
    return [
        _marks([box_outline(points, _sizes(sides)) for points, sides in zip(uv[b][rows], size[b][rows], strict=True)])
        for b, rows in enumerate(labelled)
    ]


def prediction_marks(decoded: DecodedObjects, stride: int, rules: FilterRules) -> list[Marks]:
    """Return the predicted boxes of each input, corners as regressed from the object's centre.

    Objects with a side that is not above zero are left out: they have no pose, so that no evaluation counts them.
    """
    count = len(decoded.scores)
    found = find_objects(decoded, torch.eye(3, dtype=torch.float64).expand(count, 3, 3), stride, rules)
    found = found.pick((found.relative_size > 0).all(-1))
    outlines = detection_outlines(found)
    rows = found.image.tolist()
    return [_marks([each for each, row in zip(outlines, rows, strict=True) if row == b]) for b in range(count)]


def detection_outlines(found: Detections) -> list[Outline]:
    """Outline each detection by its regressed corners, in their pixels."""
    corners = found.uv_direct.numpy()
    points = np.concatenate((corners.mean(1, keepdims=True), corners), 1)
    return [
        box_outline(uv, f"{score:.2f}  {_sizes(size)}")
        for uv, size, score in zip(points, found.relative_size.numpy(), found.score.tolist(), strict=True)
    ]


def pose_outline(pose: ObjectPose, K: FloatArray, axis_size: float = 0.5) -> Outline:
    """Outline a pose in its image.

    Args:
        pose: the object.
        K: (3, 3) intrinsics, pixels of the image.
        axis_size: length of the axes, in the unit of the predicted sizes.

    Returns:
        Points in pixels of the full frame.
    """
    length = axis_size * pose.size_xyz[1] / pose.relative_size[1]
    ends = pose.cuboid_to_camera[:3, 3] + length * pose.cuboid_to_camera[:3, :3].T
    camera = PinholeCamera(torch.as_tensor(K, dtype=torch.float64), torch.eye(4, dtype=torch.float64), (0, 0))
    projected = camera.project(torch.from_numpy(ends))
    uv = np.where(projected.valid[:, None], projected.uv, np.nan)
    return Outline(np.concatenate((pose.uv, uv)), NAMES, LINES, _sizes(pose.relative_size))
