"""What to draw over images of boxes: edges, numbered corners, axes and sizes.

Without a camera an axis is drawn from the middle to the mean of the four corners of its face, a little off its true
end; drawings of poses show the true one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cogkp.geometry.cuboid import EDGES, POINTS, UNIT_POINTS
from cogkp.geometry.plane_map import map_points
from cogkp.geometry.pnp import see_points
from cogkp.tasks.centerpose.detections import DecodedObjects, Detections, FilterRules, find_objects
from cogkp.tasks.centerpose.poses import ObjectPose
from cogkp.visual.marks import Marks, Outline

if TYPE_CHECKING:
    from cogkp.tasks.centerpose.ground_truth import ObjectTruth

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
    """Outline a box from its points alone, (9, 2) middle and corners, pixels, with one line of text."""
    ends = [uv[1:][face].mean(0) for face in POSITIVE]
    return Outline(np.concatenate((uv, ends)), NAMES, LINES, text)


def _sizes(size_xyz: FloatArray) -> str:
    return "/".join(f"{side:.3f}" for side in size_xyz)


def truth_marks(truth: ObjectTruth, source_to_crop: FloatArray) -> list[Marks]:
    """Return the labelled boxes of each input of a batch, whose truth is given as arrays."""
    uv = map_points(source_to_crop[:, None], truth.uv_source)
    size = truth.size_xyz
    return [
        _marks([box_outline(points, _sizes(sides)) for points, sides in zip(uv[b][rows], size[b][rows], strict=True)])
        for b, rows in enumerate(truth.labelled)
    ]


def prediction_marks(decoded: DecodedObjects, stride: int, rules: FilterRules) -> list[Marks]:
    """Return the predicted boxes of each input, corners as regressed from the object's centre.

    Objects with a side that is not above zero are left out: they have no pose, so that no evaluation counts them.
    """
    count = len(decoded.scores)
    found = find_objects(decoded, np.tile(np.eye(3), (count, 1, 1)), stride, rules)
    found = found.pick(np.asarray((found.relative_size > 0).all(-1)))
    outlines = detection_outlines(found)
    rows = found.image.tolist()
    return [_marks([each for each, row in zip(outlines, rows, strict=True) if row == b]) for b in range(count)]


def detection_outlines(found: Detections) -> list[Outline]:
    """Outline each detection by its regressed corners, in their pixels."""
    return [
        box_outline(uv, f"{score:.2f}  {_sizes(size)}")
        for uv, size, score in zip(detection_points(found), found.relative_size, found.score, strict=True)
    ]


def detection_points(found: Detections) -> FloatArray:
    """(M, 9, 2) corners as each object's centre sees them, after their mean."""
    return np.concatenate((found.uv_direct.mean(1, keepdims=True), found.uv_direct), 1)


def pose_outline(
    pose: ObjectPose, K: FloatArray, axis_size: float = 0.5, distortion: FloatArray | None = None
) -> Outline:
    """Outline a pose in its image, in pixels of the full frame; axes are sized in the unit of the predicted sizes."""
    length = axis_size * pose.size_xyz[1] / pose.relative_size[1]
    ends = pose.cuboid_to_camera[:3, 3] + length * pose.cuboid_to_camera[:3, :3].T
    uv = see_points(ends[None], np.asarray(K, np.float64), distortion)[0]
    return Outline(np.concatenate((pose.uv, uv)), NAMES, LINES, _sizes(pose.relative_size))
