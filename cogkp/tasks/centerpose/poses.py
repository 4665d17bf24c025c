"""Estimate poses and sizes of detected objects from the pixels of their corners (PnP).

Axes: B images, M objects found in all images together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import attrs
import numpy as np
import numpy.typing as npt

from cogkp.geometry.cuboid import CORNERS, Cuboids, Plane, scale_from_height, scale_from_plane
from cogkp.geometry.pnp import CuboidPoses, see_points, solve_cuboids, to_true_size
from cogkp.geometry.pose import Poses
from cogkp.tasks.centerpose.detections import BoolArray, Detections, IntArray

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
    """One detected object with its pose, as :class:`cogkp.tasks.centerpose.prediction.FoundObject`; OpenCV axes.

    Pixels are those of the full frame; ``class_id`` is always 0.
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
    ambiguous: bool
    second_cuboid_to_camera: FloatArray | None
    second_residual_px: float | None


@attrs.frozen(eq=False)
class ObjectPoses:
    """Detected objects with their poses, in the order of their detections; OpenCV axes.

    Args:
        detections: M of them.
        cuboids: M boxes, float64, frame of the camera.
        uv: (M, 9, 2) float64, their points as the camera sees them, pixels of the full frame.
        residual_px: (M,) float64.
        metric: (M,) bool, whether lengths are true; else they are known up to one common factor each.
        second: other poses of flat boxes, in the same unit; see :class:`cogkp.geometry.pnp.PoseSolutions`.
        ambiguous: (M,) bool, whether noise may be all that makes the second pose fit worse.
    """

    detections: Detections
    cuboids: Cuboids
    uv: FloatArray
    residual_px: FloatArray
    metric: BoolArray
    second: Poses
    ambiguous: BoolArray

    def __len__(self) -> int:
        return len(self.detections)

    def of_image(self, image: int) -> ObjectPoses:
        """Keep the objects of one image."""
        rows = self.detections.image == image
        return ObjectPoses(
            detections=self.detections.pick(rows),
            cuboids=self.cuboids[rows],
            uv=self.uv[rows],
            residual_px=self.residual_px[rows],
            metric=self.metric[rows],
            second=Poses(*(part[rows] for part in self.second)),
            ambiguous=self.ambiguous[rows],
        )

    def __iter__(self) -> Iterator[ObjectPose]:
        found, points, other = self.detections, self.cuboids.points(), self.second
        for m in range(len(self)):
            yield ObjectPose(
                score=float(found.score[m]),
                class_id=int(found.class_id[m]),
                box_uv=found.box_uv[m],
                uv_direct=found.uv_direct[m],
                uv=self.uv[m],
                cuboid_to_camera=self.cuboids.cuboid_to_camera[m],
                size_xyz=self.cuboids.size_xyz[m],
                xyz_camera=points[m],
                relative_size=found.relative_size[m],
                residual_px=float(self.residual_px[m]),
                metric=bool(self.metric[m]),
                ambiguous=bool(self.ambiguous[m]),
                second_cuboid_to_camera=other.object_to_camera[m] if other.valid[m] else None,
                second_residual_px=float(other.residual_px[m]) if other.valid[m] else None,
            )


def find_poses(
    detections: Detections,
    K: FloatArray,
    rules: PoseRules | None = None,
    *,
    distortion: FloatArray | None = None,
    metric: bool = False,
    height: FloatArray | None = None,
    ground: Plane | None = None,
) -> ObjectPoses:
    """Estimate the pose and size of each detection.

    Args:
        detections: of B images.
        K: (3, 3) or (B, 3, 3) float, intrinsics, pixels of the full frames.
        rules: how.
        distortion: (D,) or (B, D) float, of the lenses, OpenCV order; none if None.
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
    rules, image = rules or PoseRules(), detections.image
    K = _each(K, image, 2)
    lens = None if distortion is None else _each(distortion, image, 1)
    found = _solved(detections, K, lens, rules, metric)
    if height is not None:
        scale = scale_from_height(found.cuboids.size_xyz, np.asarray(height, np.float64)[image])
        found = to_true_size(found, scale.where(~found.metric))
    if ground is not None:
        plane = Plane(*(np.asarray(part, np.float64)[image] for part in ground))
        found = to_true_size(found, scale_from_plane(found.cuboids.points(), plane).where(~found.metric))
    rows = found.valid
    cuboids = found.cuboids[rows]
    return ObjectPoses(
        detections=detections.pick(rows),
        cuboids=cuboids,
        uv=see_points(cuboids.points(), K[rows], None if lens is None else lens[rows]),
        residual_px=found.residual_px[rows],
        metric=found.metric[rows],
        second=Poses(*(part[rows] for part in found.second)),
        ambiguous=found.ambiguous[rows],
    )


def _each(values: FloatArray, image: IntArray, axes: int) -> FloatArray:
    """Give each object what is known of its image, or of all images."""
    values = np.asarray(values, np.float64)
    return np.broadcast_to(values, (*image.shape, *values.shape)) if values.ndim == axes else values[image]


def _solved(
    detections: Detections, K: FloatArray, lens: FloatArray | None, rules: PoseRules, metric: bool
) -> CuboidPoses:
    solid = np.asarray((detections.relative_size > 0).all(-1))
    peaks = np.where(detections.peaked[..., None], detections.uv_peaks, np.nan)
    uv = np.stack((detections.uv_direct, peaks), -2).reshape(len(peaks), 2 * CORNERS, 2)
    uv = np.where(solid[:, None, None], uv, np.nan)
    weights = np.broadcast_to(np.tile((rules.direct_weight, rules.peak_weight), uv.shape[1] // 2), uv.shape[:2])
    size = np.where(solid[:, None], detections.relative_size, 1.0)
    return solve_cuboids(uv, size, K, weights, lens, metric=metric, max_residual_px=rules.max_residual_px)
