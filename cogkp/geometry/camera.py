"""A pinhole camera with optional lens distortion: projection of points and back-projection of pixels to rays.

OpenCV axes: +x right, +y down, +z forward. Pixels: the centre of the top-left pixel is (0, 0).
Knows nothing of: files, and the lens's formulas (see cogkp.geometry.distortion).
Source: R. Hartley and A. Zisserman, Multiple View Geometry, 2nd ed., section 6.1.

Axes: N points.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import attrs
import torch
from torch import Tensor

from cogkp.errors import GeometryError
from cogkp.geometry.camera_frame import MIN_DEPTH
from cogkp.geometry.distortion import check_distortion, distort, invertible, undo
from cogkp.geometry.lens import all_finite, columns, only


class Projection(NamedTuple):
    """Pixels of projected points.

    Args:
        uv: (..., N, 2) float, pixels; zero where not valid.
        depth: (..., N) float, z in the camera's frame, world unit; zero where the point is not finite.
        valid: (..., N) bool, the point is finite and in front of the camera, before the first fold of its lens; it may
            lie outside the frame.
    """

    uv: Tensor
    depth: Tensor
    valid: Tensor


class Rays(NamedTuple):
    """Viewing directions of pixels.

    Args:
        xyz_camera: (..., N, 3) float, camera's frame, z = 1; zero where not valid.
        valid: (..., N) bool, the pixel is finite and its lens can be undone there.
    """

    xyz_camera: Tensor
    valid: Tensor


def _ends_with(*shape: int) -> Callable[[object, attrs.Attribute[Tensor], Tensor], None]:
    def check(_instance: object, attribute: attrs.Attribute[Tensor], value: Tensor) -> None:
        if tuple(value.shape[-len(shape) :]) != shape:
            wanted = ", ".join(map(str, shape))
            raise GeometryError(
                f"camera field {attribute.name!r} has the wrong shape",
                expected=f"(..., {wanted})",
                got=str(tuple(value.shape)),
            )

    return check


def _check_lens(_instance: object, _attribute: object, value: Tensor) -> None:
    check_distortion(value)


def _turn(matrix: Tensor, columns: Tensor) -> Tensor:
    # A matmul would be lowered to bf16 under autocast and to TF32 on a GPU; a sum of products is not.
    return (matrix.unsqueeze(-3) * columns.unsqueeze(-2)).sum(-1)


def _plane(u: Tensor, v: Tensor, K: Tensor) -> tuple[Tensor, Tensor]:
    """Bring pixels to the image plane behind the lens; K (..., 1, 3, 3)."""
    over_x, over_y = K[..., 0, 0].reciprocal(), K[..., 1, 1].reciprocal()
    # First the difference, which is exact near the principal point.
    y = (v - K[..., 1, 2]) * over_y
    x = (u - K[..., 0, 2]) * over_x
    if K.requires_grad or K[..., 0, 1].any():
        x = torch.addcmul(x, K[..., 0, 1] * over_x, y, value=-1)
    return x, y


@attrs.frozen(eq=False)
class PinholeCamera:
    """A camera, with or without lens distortion.

    Args:
        K: (..., 3, 3) float, intrinsics, pixels.
        world_to_camera: (..., 4, 4) float, rigid, world unit.
        size_wh: width and height of its frame, pixels.
        distortion: (..., D) float, OpenCV order, D one of 0, 4, 5, 8, 12, 14; none by default.

    Example:
        >>> K = torch.tensor([[100.0, 0.0, 31.5], [0.0, 100.0, 23.5], [0.0, 0.0, 1.0]])
        >>> camera = PinholeCamera(K, torch.eye(4), (64, 48))
        >>> camera.project(torch.tensor([[0.1, 0.0, 2.0]])).uv
        tensor([[36.5000, 23.5000]])
    """

    K: Tensor = attrs.field(validator=_ends_with(3, 3))
    world_to_camera: Tensor = attrs.field(validator=_ends_with(4, 4))
    size_wh: tuple[int, int]
    distortion: Tensor = attrs.field(factory=lambda: torch.zeros(0), validator=_check_lens)

    def project(self, xyz_world: Tensor) -> Projection:
        """Project points of space to pixels.

        Args:
            xyz_world: (..., N, 3) float, world unit; leading axes broadcast with those of the camera.

        Returns:
            Pixels, depths and validity; see :class:`Projection`.

        Raises:
            GeometryError: the points do not have the shape above.

        Gradient: flows to points, intrinsics, distortion and pose; zero for rows that are not valid, finite everywhere.
        Precision: float32 or better, also under autocast.
        Source: Hartley and Zisserman, 2nd ed., equation 6.6.

        Example:
            >>> camera = PinholeCamera(torch.eye(3), torch.eye(4), (64, 48))
            >>> camera.project(torch.tensor([[1.0, 2.0, -1.0]])).valid
            tensor([False])
        """
        if xyz_world.dim() < 2 or xyz_world.shape[-1] != 3:  # noqa: PLR2004
            raise GeometryError(
                "points of space have the wrong shape", expected="(..., N, 3)", got=str(tuple(xyz_world.shape))
            )
        dtype = torch.promote_types(xyz_world.dtype, torch.float32)
        work = torch.promote_types(dtype, torch.promote_types(self.K.dtype, self.world_to_camera.dtype))
        finite = torch.isfinite(xyz_world).all(-1)
        points = torch.where(finite.unsqueeze(-1), xyz_world.to(work), 0.0)
        pose = self.world_to_camera.to(work)
        xyz_camera = _turn(pose[..., :3, :3], points) + pose[..., None, :3, 3]
        depth = xyz_camera[..., 2]
        front = finite & (depth > MIN_DEPTH)
        # Dividing by a harmless number first keeps the gradient of the rows left out finite.
        rays = xyz_camera / torch.where(front, depth, 1.0).unsqueeze(-1)
        rays, valid = self._through_lens(rays, front)
        uv = torch.where(valid.unsqueeze(-1), _turn(self.K.to(work)[..., :2, :], rays), 0.0)
        return Projection(uv.to(dtype), torch.where(finite, depth, 0.0).to(dtype), valid)

    def _through_lens(self, rays: Tensor, front: Tensor) -> tuple[Tensor, Tensor]:
        if self.distortion.shape[-1] == 0:
            return rays, front
        plane = torch.where(front.unsqueeze(-1), rays[..., :2], 0.0)
        valid = front & invertible(plane, self.distortion)
        bent = distort(torch.where(valid.unsqueeze(-1), plane, 0.0), self.distortion)
        return torch.cat((bent, torch.ones_like(bent[..., :1])), -1), valid

    def unproject_rays(self, uv: Tensor) -> Rays:
        """Back-project pixels to viewing directions; undoes :meth:`project` up to depth.

        Args:
            uv: (..., N, 2) float, pixels of the frame; leading axes broadcast with those of the camera.

        Returns:
            Directions and validity; see :class:`Rays`.

        Raises:
            GeometryError: the pixels do not have the shape above.

        Gradient: flows to pixels, intrinsics and distortion; zero for rows that are not valid, finite everywhere.
        Precision: float32 or better, also under autocast.
        Source: Hartley and Zisserman, 2nd ed., section 6.2.3 (K is upper triangular).

        Example:
            >>> K = torch.tensor([[100.0, 0.0, 31.5], [0.0, 100.0, 23.5], [0.0, 0.0, 1.0]])
            >>> PinholeCamera(K, torch.eye(4), (64, 48)).unproject_rays(torch.tensor([[36.5, 23.5]])).xyz_camera
            tensor([[0.0500, 0.0000, 1.0000]])
        """
        if uv.dim() < 2 or uv.shape[-1] != 2:  # noqa: PLR2004
            raise GeometryError("pixels have the wrong shape", expected="(..., N, 2)", got=str(tuple(uv.shape)))
        dtype = torch.promote_types(uv.dtype, torch.float32)
        work = torch.promote_types(torch.promote_types(dtype, self.K.dtype), self.distortion.dtype)
        K = self.K.to(work).unsqueeze(-3)
        finite = None if all_finite(uv) else torch.isfinite(uv).all(-1)
        u, v = uv[..., 0].to(work), uv[..., 1].to(work)
        x, y = _plane(*((u, v) if finite is None else only(finite, u, v)), K)
        x, y, undone = undo(x, y, self.distortion.to(uv.device, work))
        valid = undone if finite is None else undone & finite
        return Rays(columns(*only(valid, x, y), valid.to(work)).to(dtype), valid)

    def undistort_pixels(self, uv: Tensor) -> Tensor:
        """Move pixels to where this camera without its lens distortion would have seen them.

        Args:
            uv: (..., N, 2) float, pixels of the frame.

        Returns:
            (..., N, 2) in the dtype of ``uv`` (float32 at least), pixels of the pinhole with the same intrinsics; NaN
            where a pixel is not finite or its lens cannot be undone there.

        Raises:
            GeometryError: the pixels do not have the shape above.

        Gradient: flows to pixels, intrinsics and distortion; zero where the result is NaN.
        Precision: float32 or better, also under autocast.
        Source: as :meth:`unproject_rays`.

        Example:
            >>> K = torch.tensor([[100.0, 0.0, 31.5], [0.0, 100.0, 23.5], [0.0, 0.0, 1.0]])
            >>> bent = PinholeCamera(K, torch.eye(4), (64, 48), torch.tensor([-0.2, 0.0, 0.0, 0.0]))
            >>> bent.undistort_pixels(torch.tensor([[79.0, 23.5]]))
            tensor([[81.5000, 23.5000]])
        """
        rays = self.unproject_rays(uv)
        x, y, _ = rays.xyz_camera.unbind(-1)
        K = self.K.to(x.dtype).unsqueeze(-3)
        u = K[..., 0, 0] * x + K[..., 0, 1] * y + K[..., 0, 2]
        v = K[..., 1, 1] * y + K[..., 1, 2]
        return torch.where(rays.valid.unsqueeze(-1), torch.stack((u, v), -1), torch.nan)

    @property
    def center(self) -> Tensor:
        """(..., 3) float, where the camera stands, world unit."""
        pose = self.world_to_camera
        return -(pose[..., :3, :3] * pose[..., :3, 3:]).sum(-2)

    def contains(self, uv: Tensor, margin_px: float = 0.0) -> Tensor:
        """Tell which pixels lie inside the frame.

        Args:
            uv: (..., 2) float, pixels.
            margin_px: distance to keep from the frame's border.

        Returns:
            (...) bool.
        """
        width, height = self.size_wh
        limit = uv.new_tensor([width, height]) - 0.5 - margin_px
        return ((uv >= margin_px - 0.5) & (uv <= limit)).all(-1)
