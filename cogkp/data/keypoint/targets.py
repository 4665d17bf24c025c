"""Training targets of one view: its labels in pixels of the crop.

Axes: N keypoints, S side of the crop.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from cogkp.data.images import MISSING_MASK_IGNORE_INDEX
from cogkp.data.keypoint.labels import KeypointLabels
from cogkp.data.sample import Sample

# No camera sees that far; larger labels would overflow float32 and pass for predictions that are no numbers.
FARTHEST_PX = 1e6
HALF_PX = 0.5


class KeypointTargets(NamedTuple):
    """Training targets of one view; arrays for a view, tensors with a leading B for a batch.

    Args:
        uv_crop: (N, 2) float32, crop pixels; zero where not labelled, kept where it falls outside the crop.
        valid: (N,) bool, labelled and inside the crop.
        uv_source: (N, 2) float32, pixels of the full frame; zero where not labelled.
        labelled: (N,) bool.
        xyz_world: (N, 3) float64, exact places in space, world units; zero where not known.
        located: (N,) bool, where they are known.
        mask: (S, S) int64 class ids, ``MISSING_MASK_IGNORE_INDEX`` where unknown; (0, 0) without segmentation.
    """

    uv_crop: Any
    valid: Any
    uv_source: Any
    labelled: Any
    xyz_world: Any
    located: Any
    mask: Any


def keypoint_targets(sample: Sample[KeypointLabels], *, segmentation: bool) -> KeypointTargets:
    """Make the targets of one view, with the mask where ``segmentation`` is trained."""
    labels, side = sample.labels, sample.image.shape[-1]
    labelled = labels.labelled
    uv_source = np.where(labelled[:, None], labels.uv_source, 0.0).clip(-FARTHEST_PX, FARTHEST_PX)
    moved = sample.source_to_crop.apply(torch.from_numpy(uv_source)).numpy()
    uv_crop = np.where(labelled[:, None], moved, 0.0)
    inside = ((uv_crop >= -HALF_PX) & (uv_crop <= side - HALF_PX)).all(axis=-1)
    return KeypointTargets(
        uv_crop=uv_crop.astype(np.float32),
        valid=labelled & inside,
        uv_source=uv_source.astype(np.float32),
        labelled=labelled,
        xyz_world=labels.xyz_world,
        located=labels.located,
        mask=_mask(labels.mask_crop, side) if segmentation else np.zeros((0, 0), np.int64),
    )


def _mask(mask_crop: npt.NDArray[np.uint8] | None, side: int) -> npt.NDArray[np.int64]:
    if mask_crop is None:
        return np.full((side, side), MISSING_MASK_IGNORE_INDEX, np.int64)
    return mask_crop.astype(np.int64)
