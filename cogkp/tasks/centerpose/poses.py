"""Estimate poses and sizes of detected objects from the pixels of their corners (PnP).

Axes: B images, M objects found in all images together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import attrs
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cogkp.geometry.cuboid import Cuboids
from cogkp.geometry.cuboid_fit import Plane, scale_from_height, scale_from_plane
from cogkp.geometry.pnp import CuboidPoses, solve_cuboids, to_true_size
from cogkp.tasks.centerpose.detections import Detections

__all__ = ["ObjectPose", "ObjectPoses", "PoseRules", "find_poses"]

FloatArray = npt.NDArray[np.float64]


@attrs.frozen
class PoseRules:
    """Options of the pose estimation.

    Args:
        direct_weight: trust in corners as the object's centre sees them; an inverse variance up to a common factor.
        peak_weight: trust in corners on their own maps.
        max_residual_px: an object that fits worse is dropped, pixels of the full frame.
    """

    direct_weight: float = 1.0
    peak_weight: float = 1.0
    max_residual_px: float = math.inf


@attrs.frozen(eq=False)
class ObjectPose:
    """One detected object with its pose; OpenCV axes.

    Args:
        score: probability.
        class_id: always 0.
        box_uv: (4,) left, top, right, bottom, pixels of the full frame.
        uv_direct: (8, 2) corners as the network saw them, pixels of the full frame.
        uv: (9, 2) middle and corners of the box in space, as the camera sees them.
        cuboid_to_camera: (4, 4).
        size_xyz: (3,) full side lengths.
        xyz_camera: (9, 3) middle and corners.
        relative_size: (3,) sides as predicted.
        residual_px: how well the box fits, weighted root mean square distance of its corners.
        metric: whether lengths are true; else they are known up to one common factor.
    """

    score: float
    class_id: int
    box_uv: FloatArray
    uv_direct: FloatArray
    uv: FloatArray
    cuboid_to_camera: FloatArray
    size_xyz: FloatArray
    xyz_camera: FloatArray
    relative_size: FloatArray
    residual_px: float
    metric: bool


@attrs.frozen(eq=False)
class ObjectPoses:
    """Detected objects with their poses, in the order of their detections; OpenCV axes.

    Args:
        detections: M of them.
        cuboids: M boxes, float64, frame of the camera.
        uv: (M, 9, 2) float64, their points as the camera sees them, pixels of the full frame.
        residual_px: (M,) float64.
        metric: (M,) bool, whether lengths are true; else they are known up to one common factor each.
    """

    detections: Detections
    cuboids: Cuboids
    uv: Tensor
    residual_px: Tensor
    metric: Tensor

    def __len__(self) -> int:
        return len(self.detections)

    def of_image(self, image: int) -> ObjectPoses:
        """Keep the objects of one image."""
        rows = self.detections.image == image
        picked = self.detections.pick(rows)
        return ObjectPoses(picked, self.cuboids[rows], self.uv[rows], self.residual_px[rows], self.metric[rows])

    def __iter__(self) -> Iterator[ObjectPose]:
        found, pose = self.detections, self.cuboids.cuboid_to_camera.numpy()
        size, points = self.cuboids.size_xyz.numpy(), self.cuboids.points().numpy()
        for m in range(len(self)):
            yield ObjectPose(
                score=float(found.score[m]),
                class_id=int(found.class_id[m]),
                box_uv=found.box_uv[m].numpy(),
                uv_direct=found.uv_direct[m].numpy(),
                uv=self.uv[m].numpy(),
                cuboid_to_camera=pose[m],
                size_xyz=size[m],
                xyz_camera=points[m],
                relative_size=found.relative_size[m].numpy(),
                residual_px=float(self.residual_px[m]),
                metric=bool(self.metric[m]),
            )


def find_poses(
    detections: Detections,
    K: Tensor,
    rules: PoseRules | None = None,
    *,
    metric: bool = False,
    height: Tensor | None = None,
    ground: Plane | None = None,
) -> ObjectPoses:
    """Estimate the pose and size of each detection.

    Args:
        detections: of B images.
        K: (3, 3) or (B, 3, 3) float, intrinsics, pixels of the full frames.
        rules: how.
        metric: whether predicted sizes are true lengths.
        height: (B,) float, true height of all objects of an image, world unit; NaN where not known.
        ground: what the objects of each image stand on, (B, 3) each, world unit; NaN where not known. Where a height
            is known too, the height counts.

    Returns:
        The boxes; objects without a pose are dropped. Lengths are true where sizes are, or a height or the ground
        tells them.

    Raises:
        GeometryError: intrinsics without focal length.

    Source: Terzakis and Lourakis 2020, see :mod:`cogkp.geometry.pnp`.
    """
    rules = rules or PoseRules()
    K = K.expand(*detections.image.shape, 3, 3) if K.dim() == 2 else K[detections.image]  # noqa: PLR2004
    found = _solved(detections, K.double(), rules, metric)
    for known in ((height, None), (None, ground)):
        found = _grown(found, detections.image, *known)
    rows = found.valid
    cuboids = found.cuboids[rows]
    return ObjectPoses(
        detections.pick(rows),
        cuboids,
        _in_front(cuboids, K[rows].double()),
        found.residual_px[rows],
        found.metric[rows],
    )


def _solved(detections: Detections, K: Tensor, rules: PoseRules, metric: bool) -> CuboidPoses:
    size = detections.relative_size
    solid = (size > 0).all(-1)
    peaks = torch.where(detections.peaked.unsqueeze(-1), detections.uv_peaks, torch.nan)
    uv = torch.stack((detections.uv_direct, peaks), -2).flatten(1, 2)
    uv = torch.where(solid[:, None, None], uv, torch.nan)
    weights = uv.new_tensor((rules.direct_weight, rules.peak_weight)).repeat(uv.shape[1] // 2).expand(uv.shape[:2])
    size = torch.where(solid[:, None], size, 1.0)
    return solve_cuboids(uv, size, K, weights, metric=metric, max_residual_px=rules.max_residual_px)


def _grown(found: CuboidPoses, image: Tensor, height: Tensor | None, ground: Plane | None) -> CuboidPoses:
    if height is not None:
        scale = scale_from_height(found.cuboids.size_xyz, height.double()[image])
    elif ground is not None:
        plane = Plane(ground.center.double()[image], ground.normal.double()[image])
        scale = scale_from_plane(found.cuboids.points(), plane)
    else:
        return found
    wanted = scale.valid & ~found.metric
    factor = torch.where(wanted, scale.factor, 1.0)
    return to_true_size(found, scale._replace(factor=factor, valid=wanted))


def _in_front(cuboids: Cuboids, K: Tensor) -> Tensor:
    """(M, 9, 2) pixels of points, all of which are in front of the camera: every corner counted in its pose."""
    pixel = cuboids.points() @ K.mT
    return pixel[..., :2] / pixel[..., 2:]
