"""Ground truth of the objects in an image, carried beside the targets for the evaluation.

Axes: B batch, T objects of an image, filled up with zeros.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cogkp.data.boxes.labels import ObjectLabels
from cogkp.geometry.cuboid import POINTS


class ObjectTruth(NamedTuple):
    """The ground truth; arrays for an image, tensors with a leading B for a batch. OpenCV axes, unit of the data.

    Args:
        uv_source: (T, 9, 2) float64, pixels of the full frame.
        cuboid_to_camera: (T, 4, 4) float64; identity where not known.
        size_xyz: (T, 3) float64; ones where not known.
        visibility: (T,) float64.
        labelled: (T,) bool, where there is an object.
        located: (T,) bool, where its pose and size are known.
        K: (3, 3) float64; identity where not known.
        calibrated: () bool, whether it is known.
        ground: (2, 3) float64, a point of the ground and its normal; NaN where not known.
    """

    uv_source: Any
    cuboid_to_camera: Any
    size_xyz: Any
    visibility: Any
    labelled: Any
    located: Any
    K: Any
    calibrated: Any
    ground: Any


def object_truth(labels: ObjectLabels) -> ObjectTruth:
    """Pad the ground truth of one image."""
    count, most = labels.uv_source.shape[1], labels.room
    uv = np.where(np.isfinite(labels.uv_source[0]), labels.uv_source[0], 0.0)
    located = labels.located & labels.sized
    pose = np.where(located[:, None, None], labels.cuboid_to_camera, np.eye(4))
    size = np.where(located[:, None], labels.size_xyz, 1.0)
    ground = labels.ground
    return ObjectTruth(
        uv_source=_filled(uv, np.zeros((most, POINTS, 2))),
        cuboid_to_camera=_filled(pose, np.tile(np.eye(4), (most, 1, 1))),
        size_xyz=_filled(size, np.ones((most, 3))),
        visibility=_filled(labels.visibility, np.zeros(most)),
        labelled=np.arange(most) < count,
        located=_filled(located, np.zeros(most, bool)),
        K=np.eye(3) if labels.K is None else np.asarray(labels.K, np.float64),
        calibrated=np.asarray(labels.K is not None),
        ground=np.full((2, 3), np.nan) if ground is None else np.stack((ground.center, ground.normal)).astype(float),
    )


def _filled(values: npt.NDArray[Any], empty: npt.NDArray[Any]) -> npt.NDArray[Any]:
    empty[: len(values)] = values
    return empty
