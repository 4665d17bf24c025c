"""Triangulation of stereo pairs inside a batch, and the loss terms on reprojection and known lengths.

Pixels are those of the sensor as it was calibrated; a frame that is a scaled copy is scaled back first.

Axes: B batch, P stereo pairs, N keypoints; views are left, then right.
"""

from collections.abc import Callable
from functools import lru_cache

import attrs
import torch
from torch import Tensor
from torch.nn import functional as F

from cogkp.data.keypoint.targets import KeypointTargets
from cogkp.data.sample import Batch
from cogkp.geometry.camera import Projection
from cogkp.geometry.rig import CameraRig


@attrs.frozen(eq=False)
class Reconstruction:
    """Points triangulated from pairs of pixels, and their reprojections.

    Args:
        xyz_world: (P, N, 3) float, world unit; zero where not valid.
        valid: (P, N) bool: finite, in front of both cameras, rays not near parallel, and allowed to count.
        uv: (P, 2, N, 2) float, the pixels given, sensor pixels.
        uv_again: (P, 2, N, 2) float, the pixels that see ``xyz_world``, sensor pixels; zero where not valid.
        width_px: (2,) float, widths of both sensors.
        allowed: (P, N) bool, what was to be counted if it could be triangulated.
        over_step: see :class:`~cogkp.data.sample.Batch`.
    """

    xyz_world: Tensor
    valid: Tensor
    uv: Tensor
    uv_again: Tensor
    width_px: Tensor
    allowed: Tensor
    over_step: Callable[[Tensor], Tensor]

    @property
    def residual_px(self) -> Tensor:
        """(P, 2, N, 2) sensor pixels; zero where not valid."""
        return torch.where(self.valid[:, None, :, None], self.uv_again - self.uv, 0.0)

    @property
    def used_share(self) -> Tensor:
        """() float32, how much of what was allowed in the step could be triangulated; 1 where nothing was allowed."""
        allowed, parts = self.over_step(torch.stack([self.allowed.sum(), torch.ones_like(self.allowed.sum())]))
        return torch.where(allowed > 0, self.valid.sum() / allowed.clamp(min=1), 1.0 / parts)


@attrs.frozen(eq=False)
class StereoGeometry:
    """Two calibrated cameras, left and right, and triangulation of a batch's pairs."""

    rig: CameraRig

    def sensor_pixels(self, uv_source: Tensor, batch: Batch[KeypointTargets]) -> Tensor:
        """Pair pixels (B, N, 2) of full frames and scale them to the calibrated size: (P, 2, N, 2) sensor pixels.

        Gradient: flows to ``uv_source``.
        """
        return (uv_source[batch.pairs] + 0.5) * self._scale(uv_source, batch)[..., None, None] - 0.5

    def frame_pixels(self, uv_sensor: Tensor, batch: Batch[KeypointTargets]) -> Tensor:
        """Undo the scaling of :meth:`sensor_pixels` of (P, 2, ..., 2); gradient flows to ``uv_sensor``."""
        scale = self._scale(uv_sensor, batch).reshape(-1, 2, *(1,) * (uv_sensor.dim() - 2))
        return (uv_sensor + 0.5) / scale - 0.5

    def project(self, xyz_world: Tensor) -> Projection:
        """Project points of space (..., N, 3) to sensor pixels (..., 2, N, 2); see :meth:`CameraRig.project`."""
        return _on_device(self.rig, xyz_world.device).project(xyz_world)

    def _scale(self, like: Tensor, batch: Batch[KeypointTargets]) -> Tensor:
        """Return (P, 2), pixels of the sensor per pixel of the frame."""
        full = torch.tensor([camera.size_wh[0] for camera in self.rig.cameras], device=like.device)
        return (full / batch.source_size_wh[batch.pairs][..., 0]).to(like.dtype)

    def reconstruct(self, uv_source: Tensor, batch: Batch[KeypointTargets], allowed: Tensor) -> Reconstruction:
        """Triangulate the pairs of a batch, pixels (B, N, 2) of each full frame, and reproject the points.

        ``allowed`` (P, N) bool says what may count.

        Gradient: flows to ``uv_source``; zero for points that are not valid, finite everywhere.

        Precision: float64 inside, float32 or better outside, also under autocast.
        """
        rig = _on_device(self.rig, uv_source.device)
        uv = self.sensor_pixels(uv_source, batch)
        found = rig.triangulate(uv)
        again = rig.project(found.xyz_world)
        valid = found.valid & again.valid.all(-2) & allowed
        width = torch.tensor([float(camera.size_wh[0]) for camera in rig.cameras], device=uv.device)
        return Reconstruction(found.xyz_world, valid, uv, again.uv, width, allowed, batch.over_step)

    def covariance(self, space: Reconstruction, uv_covariance: Tensor, batch: Batch[KeypointTargets]) -> Tensor:
        """Propagate the covariance of pixels, (B, N, 2, 2) of full frames, to the triangulated points, to first order.

        Returns:
            (P, N, 3, 3) in the dtype of the points, world unit squared; zero where unknown or not valid.

        Gradient: flows to points, pixels and covariances.
        """
        rig = _on_device(self.rig, uv_covariance.device)
        scale = self._scale(uv_covariance, batch)[..., None, None, None]
        known = rig.covariance(space.xyz_world, space.uv, uv_covariance[batch.pairs] * scale.square())
        return torch.where(space.valid[..., None, None], known, 0.0)


@lru_cache(maxsize=8)
def _on_device(rig: CameraRig, device: torch.device) -> CameraRig:
    # A rig is frozen and compared by identity: it is sent to a GPU once, not once per step.
    return rig.to(device)


@attrs.frozen
class Reprojection:
    """Smooth L1, a parabola up to ``beta_px`` sensor pixels, of the reprojection error, over the image's width."""

    beta_px: float = 1.0

    def __call__(self, space: Reconstruction) -> Tensor:
        """Return () float, averaged over the coordinates of valid points; a share of the image's width."""
        residual = space.residual_px
        each = F.smooth_l1_loss(residual, torch.zeros_like(residual), reduction="none", beta=self.beta_px)
        total = (each.sum((-1, -2)) / space.width_px).sum()
        mean: Tensor = total / (2 * 2 * space.over_step(space.valid.sum())).clamp(min=1)
        return mean


@attrs.frozen
class Rigidity:
    """Smooth L1, a parabola up to ``beta`` world units, of triangulated and known (point, point, length)."""

    segments: tuple[tuple[int, int, float], ...]
    beta: float = 1.0

    def __call__(self, space: Reconstruction) -> Tensor:
        """Return () float, averaged over the segments both of whose ends are valid; world units."""
        starts, ends = [segment[0] for segment in self.segments], [segment[1] for segment in self.segments]
        lengths = space.xyz_world.new_tensor([segment[2] for segment in self.segments])
        known = space.valid[:, starts] & space.valid[:, ends]
        apart = space.xyz_world[:, ends] - space.xyz_world[:, starts]
        # Two ends that fall together pull in no direction; the norm's own gradient is zero there.
        found = torch.linalg.vector_norm(torch.where(known.unsqueeze(-1), apart, 0.0), dim=-1)
        error = torch.where(known, found - lengths, 0.0)
        total = F.smooth_l1_loss(error, torch.zeros_like(error), reduction="sum", beta=self.beta)
        mean: Tensor = total / space.over_step(known.sum()).clamp(min=1)
        return mean
