"""A calibrated rig of named cameras: projection, undistortion and triangulation.

World: the frame of the calibration; every camera's pose refers to it.

Axes: V views, N points; leading axes are batch axes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import torch
from torch import Tensor

from cogkp.errors import GeometryError, closest
from cogkp.geometry.camera import PinholeCamera, Projection
from cogkp.geometry.covariance import move_covariance
from cogkp.geometry.distortion import distort_jacobian
from cogkp.geometry.gauss_newton import MIN_ANGLE_RAD
from cogkp.geometry.triangulate import (
    THRESHOLD_PX,
    RobustTriangulated,
    Triangulated,
    triangulate_pair,
    triangulate_robust,
    triangulate_views,
)
from cogkp.geometry.uncertainty import least_squares_covariance

PAIR = 2


@attrs.frozen(eq=False)
class CameraRig:
    """Named cameras of one calibration.

    Args:
        names: one name per camera, each once.
        cameras: the cameras, in the order of the names.

    Example:
        >>> K = torch.tensor([[100.0, 0.0, 32.0], [0.0, 100.0, 24.0], [0.0, 0.0, 1.0]])
        >>> aside = torch.eye(4)
        >>> aside[0, 3] = -1.0  # one unit to the right of the first
        >>> rig = CameraRig(("LL", "LR"), tuple(PinholeCamera(K, pose, (64, 48)) for pose in (torch.eye(4), aside)))
        >>> rig["LR"].size_wh
        (64, 48)
        >>> seen = rig.project(torch.tensor([[0.5, 0.0, 4.0]]))
        >>> rig.triangulate(seen.uv).xyz_world[0, ::2]
        tensor([0.5000, 4.0000])
    """

    names: tuple[str, ...]
    cameras: tuple[PinholeCamera, ...]

    def __attrs_post_init__(self) -> None:
        if len(self.names) != len(self.cameras) or not self.names or len(set(self.names)) != len(self.names):
            raise GeometryError(
                "a rig needs one name per camera",
                expected="at least one camera, each name once",
                got=f"{len(self.cameras)} cameras named {', '.join(self.names)}",
            )

    def __getitem__(self, name: str) -> PinholeCamera:
        """Return the camera of a name, or say which names there are."""
        if name not in self.names:
            raise GeometryError(
                "the rig has no such camera",
                expected=f"one of {', '.join(self.names)}",
                got=repr(name),
                hint=closest(name, self.names),
            )
        return self.cameras[self.names.index(name)]

    def __iter__(self) -> Iterator[str]:
        """Go through the names in order."""
        return iter(self.names)

    def __len__(self) -> int:
        """Count the cameras."""
        return len(self.names)

    def select(self, names: Sequence[str]) -> CameraRig:
        """Return a rig of some cameras, in the order asked for; refuses unknown names."""
        return CameraRig(tuple(names), tuple(self[name] for name in names))

    def to(self, device: torch.device | str) -> CameraRig:
        """Return the same rig with its tensors on a device."""
        return CameraRig(self.names, tuple(_moved(camera, device) for camera in self.cameras))

    @property
    def projection_matrices(self) -> Tensor:
        """(V, 3, 4), world to pixels without lens distortion."""
        return torch.stack([camera.K @ camera.world_to_camera[..., :3, :] for camera in self.cameras], -3)

    def project(self, xyz_world: Tensor) -> Projection:
        """Project points of space to the pixels of every camera.

        Args:
            xyz_world: (..., N, 3) float, world unit.

        Returns:
            Pixels (..., V, N, 2), lens included, depths and validity (..., V, N).

        Raises:
            GeometryError: the points do not have the shape above.

        Gradient: as :meth:`PinholeCamera.project`.
        Source: as :meth:`PinholeCamera.project`.
        """
        projections = [camera.project(xyz_world) for camera in self.cameras]
        uv, depth, valid = zip(*projections, strict=True)
        return Projection(torch.stack(uv, -3), torch.stack(depth, -2), torch.stack(valid, -2))

    def undistort_pixels(self, uv: Tensor) -> Tensor:
        """Move pixels to where a camera without lens distortion would have seen them.

        Args:
            uv: (..., V, N, 2) float, pixels of each camera's frame; not finite where a view does not see a point.

        Returns:
            (..., V, N, 2), pixels of the pinhole with the same intrinsics; NaN where a pixel is not finite or its lens
            cannot be undone there, which triangulation takes as not seen.

        Raises:
            GeometryError: the pixels do not have the shape above.

        Gradient: flows to pixels and cameras; zero where the result is NaN.
        Source: as :meth:`PinholeCamera.undistort_pixels`.
        """
        self._check_views(uv)
        views = zip(self.cameras, uv.unbind(-3), strict=True)
        return torch.stack([camera.undistort_pixels(pixels) for camera, pixels in views], -3)

    def triangulate(
        self, uv: Tensor, weights: Tensor | None = None, *, min_angle_rad: float = MIN_ANGLE_RAD
    ) -> Triangulated:
        """Triangulate points from the pixels of all cameras.

        Two cameras without weights use the closed form, others the weighted linear solution.

        Args:
            uv: (..., V, N, 2) float, pixels of each camera's frame, lens included; not finite where not seen.
            weights: (..., V, N) float, inverse variances of the pixels up to a common factor; all 1 if None.
            min_angle_rad: least angle between rays, radians.

        Returns:
            Points (..., N, 3) in the dtype of ``uv``, and validity.

        Raises:
            GeometryError: pixels or weights have another shape.

        Gradient: flows to pixels, weights and cameras; zero for rows that are not valid, finite everywhere.
        Precision: camera algebra in float64.
        Source: as :func:`triangulate_pair` and :func:`triangulate_views`.
        """
        straight, P = self.undistort_pixels(uv), self.projection_matrices
        if len(self) == PAIR and weights is None:
            left, right = straight.unbind(-3)
            return triangulate_pair(left, right, P[..., 0, :, :], P[..., 1, :, :], min_angle_rad=min_angle_rad)
        return triangulate_views(straight, P, weights, min_angle_rad=min_angle_rad)

    def triangulate_robust(
        self,
        uv: Tensor,
        weights: Tensor | None = None,
        *,
        threshold_px: float = THRESHOLD_PX,
        min_angle_rad: float = MIN_ANGLE_RAD,
    ) -> RobustTriangulated:
        """Triangulate points, leaving out views that disagree with the others.

        Args:
            uv: (..., V, N, 2) float, pixels of each camera's frame, lens included; not finite where not seen.
            weights: (..., V, N) float, inverse variances of the pixels up to a common factor; all 1 if None.
            threshold_px: reprojection error from which a view is an outlier, pixels without lens distortion.
            min_angle_rad: least angle between rays, radians.

        Returns:
            Points (..., N, 3) in the dtype of ``uv``, validity, and which views were believed.

        Raises:
            GeometryError: pixels or weights have another shape, or the threshold is not positive.

        Gradient: as :func:`triangulate_robust`, through the lenses.
        Precision: computed in float64.
        Source: as :func:`triangulate_robust`.
        """
        straight = self.undistort_pixels(uv)
        return triangulate_robust(
            straight, self.projection_matrices, weights, threshold_px=threshold_px, min_angle_rad=min_angle_rad
        )

    def covariance(self, xyz_world: Tensor, uv: Tensor, uv_covariance: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the covariance of the points that :meth:`triangulate` finds from uncertain pixels, to first order.

        Args:
            xyz_world: (..., N, 3) float, world unit, as triangulated.
            uv: (..., V, N, 2) float, pixels of each camera's frame, lens included; not finite where not seen.
            uv_covariance: (..., V, N, 2, 2) float, pixels of each camera's frame squared.
            weights: (..., V, N) float, those the points were triangulated with; all 1 if None.

        Returns:
            (..., N, 3, 3) in the dtype of ``xyz_world``, world unit squared; zero where unknown: see
            :func:`least_squares_covariance`. Mask points that triangulation could not find by their own validity.

        Raises:
            GeometryError: points, pixels, covariances or weights have another shape.

        Gradient: flows to points, pixels, covariances and cameras; finite everywhere.
        Precision: camera algebra in float64.
        Source: as :func:`least_squares_covariance`, after J C J^T through the lens.

        Example:
            >>> poses = torch.eye(4).repeat(2, 1, 1)
            >>> poses[1, 0, 3] = -1.0
            >>> K = torch.diag(torch.tensor([100.0, 100.0, 1.0]))
            >>> rig = CameraRig(("LL", "LR"), tuple(PinholeCamera(K, pose, (64, 48)) for pose in poses))
            >>> xyz = torch.tensor([[0.5, 0.0, 4.0]])
            >>> pixel = torch.eye(2).expand(2, 1, 2, 2)  # one pixel of standard deviation, along both axes
            >>> rig.covariance(xyz, rig.project(xyz).uv, pixel).diagonal(dim1=-2, dim2=-1).sqrt()
            tensor([[0.0283, 0.0283, 0.2263]])
        """
        straight = self.undistort_pixels(uv)
        if uv_covariance.shape[-4:] != (*uv.shape[-3:-1], 2, 2):
            raise GeometryError(
                "uv_covariance has the wrong shape",
                expected=f"(..., {uv.shape[-3]}, {uv.shape[-2]}, 2, 2)",
                got=str(tuple(uv_covariance.shape)),
            )
        views = zip(self.cameras, straight.unbind(-3), strict=True)
        jacobian = torch.stack([_straightening(camera, pixels) for camera, pixels in views], -4)
        moved = move_covariance(uv_covariance, jacobian)
        return least_squares_covariance(xyz_world, straight, self.projection_matrices, moved, weights)

    def _check_views(self, uv: Tensor) -> None:
        if uv.dim() < 3 or uv.shape[-3] != len(self) or uv.shape[-1] != 2:  # noqa: PLR2004
            raise GeometryError(
                "pixels of a rig have the wrong shape", expected=f"(..., {len(self)}, N, 2)", got=str(tuple(uv.shape))
            )


def _straightening(camera: PinholeCamera, straight: Tensor) -> Tensor:
    """Return (..., N, 2, 2), how undistorted pixels change with those of the sensor; zero where there are none."""
    K = camera.K.to(straight.dtype).unsqueeze(-3)
    finite = straight.isfinite().all(-1)
    u, v = torch.where(finite.unsqueeze(-1), straight, K[..., :2, 2]).unbind(-1)
    y = (v - K[..., 1, 2]) / K[..., 1, 1]
    x = (u - K[..., 0, 2] - K[..., 0, 1] * y) / K[..., 0, 0]
    lens = distort_jacobian(torch.stack((x, y), -1), camera.distortion.to(x))
    (a, b), (c, d) = (row.unbind(-1) for row in lens.unbind(-2))
    over = 1.0 / (a * d - b * c)
    undone = torch.stack((torch.stack((d, -b), -1), torch.stack((-c, a), -1)), -2) * over[..., None, None]
    to_pixels = K[..., :2, :2]
    jacobian = _multiply(_multiply(to_pixels, undone), torch.linalg.inv(to_pixels))
    return torch.where(finite[..., None, None], jacobian, 0.0)


def _multiply(left: Tensor, right: Tensor) -> Tensor:
    # A matmul would be lowered to bf16 under autocast and to TF32 on a GPU; a sum of products is not.
    return (left.unsqueeze(-1) * right.unsqueeze(-3)).sum(-2)


def _moved(camera: PinholeCamera, device: torch.device | str) -> PinholeCamera:
    return attrs.evolve(
        camera,
        K=camera.K.to(device),
        world_to_camera=camera.world_to_camera.to(device),
        distortion=camera.distortion.to(device),
    )
