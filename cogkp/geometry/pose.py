"""Refine object poses by minimising the reprojection error, and compute their covariance.

OpenCV axes; pixels without lens distortion. A pose changes by a turn about the object's own origin, with its axis in
the camera's frame, and by a shift, in this order: six numbers.
Source: R. Hartley and A. Zisserman, Multiple View Geometry, 2nd ed., sections 5.2, 7.2 and A6.2.

Axes: M objects, N points.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cogkp.errors import GeometryError
from cogkp.geometry.camera import MIN_DEPTH
from cogkp.geometry.pose_fit import refined
from cogkp.geometry.projection import check_points, cross

__all__ = ["Poses", "check_objects", "pose_covariance", "refine_poses"]

# A turn or shift is known if its share of the information is more than this, in units that make all six alike.
MIN_RELATIVE_PIVOT = 1e-12


class Poses(NamedTuple):
    """Where objects are, seen from the camera.

    Args:
        object_to_camera: (M, 4, 4) float64, rigid, length unit of the objects; identity where not valid.
        residual_px: (M,) float64, weighted root mean square distance of pixels from their points', or zero.
        valid: (M,) bool.
    """

    object_to_camera: Tensor
    residual_px: Tensor
    valid: Tensor


def check_objects(xyz_object: Tensor, uv: Tensor, K: Tensor) -> None:
    """Refuse points, pixels and intrinsics with which no pose can be found."""
    check_points("xyz_object", xyz_object, 3, "M, N")
    check_points("uv", uv, 2, "M, N")
    if xyz_object.shape[:-1] != uv.shape[:-1] or uv.dim() != 3:  # noqa: PLR2004
        raise GeometryError(
            "points and pixels do not belong together",
            expected="(M, N, 3) and (M, N, 2)",
            got=f"{tuple(xyz_object.shape)} and {tuple(uv.shape)}",
        )
    _check_intrinsics(K)


def _check_intrinsics(K: Tensor) -> None:
    if tuple(K.shape[-2:]) != (3, 3):
        raise GeometryError("intrinsics have the wrong shape", expected="(..., 3, 3)", got=str(tuple(K.shape)))
    focal = K.detach().diagonal(dim1=-2, dim2=-1)[..., :2]
    if not torch.isfinite(K).all() or not (focal > 0).all():
        raise GeometryError(
            "a pose needs the camera's intrinsics",
            expected="finite numbers, focal lengths > 0 px",
            got=f"focal lengths {focal.reshape(-1, 2)[0].tolist()}",
            hint="Calibrate the camera, or read its intrinsics from the image's metadata.",
        )


def refine_poses(
    object_to_camera: Tensor, xyz_object: Tensor, uv: Tensor, K: Tensor, weights: Tensor | None = None, steps: int = 20
) -> Poses:
    """Minimise the weighted reprojection error of poses (Levenberg-Marquardt).

    Args:
        object_to_camera: (M, 4, 4) float, rigid, where to start, with all points that count in front of the camera.
        xyz_object: (M, N, 3) float, frame of the object.
        uv: (M, N, 2) float, pixels.
        K: (3, 3) or (M, 3, 3) float, intrinsics, pixels.
        weights: (M, N) float, inverse variances of the pixels up to a common factor; all 1 if None, zero leaves out.
        steps: how often to try at most; it stops where nothing is gained.

    Returns:
        The poses; see :class:`Poses`. Not valid where the start is not finite or has a point behind the camera. The
        residual never grows.

    Raises:
        GeometryError: another shape, or intrinsics without focal length.

    Gradient: none; the result is a fit.
    Precision: float64 inside.
    Source: Hartley and Zisserman, 2nd ed., section A6.2.

    Example:
        >>> K = torch.tensor([[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]])
        >>> corners = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])
        >>> seen = torch.tensor([[[320.0, 240.0], [420.0, 240.0], [320.0, 340.0], [320.0, 240.0]]])
        >>> start = torch.eye(4).unsqueeze(0)
        >>> start[:, 2, 3] = 4.0
        >>> refine_poses(start, corners, seen, K).object_to_camera[0, 2, 3].round(decimals=3)
        tensor(5., dtype=torch.float64)
    """
    check_objects(xyz_object, uv, K)
    if tuple(object_to_camera.shape) != (len(uv), 4, 4):
        raise GeometryError(
            "poses have the wrong shape", expected=f"({len(uv)}, 4, 4)", got=str(tuple(object_to_camera.shape))
        )
    with torch.no_grad():
        return _refine(object_to_camera, xyz_object, uv, K, weights, steps)


def _refine(start: Tensor, xyz: Tensor, uv: Tensor, K: Tensor, weights: Tensor | None, steps: int) -> Poses:
    trust = torch.ones_like(uv[..., 0]) if weights is None else weights
    begin, points, pixels, matrix, trusted = (
        part.to(torch.float64).numpy(force=True) for part in (start, xyz, uv, K, trust)
    )
    found = refined(begin, points, pixels, matrix, trusted, steps)
    return Poses(*(torch.from_numpy(part).to(uv.device) for part in found))


def pose_covariance(object_to_camera: Tensor, xyz_object: Tensor, K: Tensor, uv_covariance: Tensor) -> Tensor:
    """Propagate the covariance of pixels to that of the refined pose, to first order.

    Args:
        object_to_camera: (M, 4, 4) float, rigid.
        xyz_object: (M, N, 3) float, frame of the object.
        K: (3, 3) or (M, 3, 3) float, intrinsics, pixels.
        uv_covariance: (M, N, 2, 2) float, pixels squared. A point is left out where it is not positive definite.

    Returns:
        (M, 6, 6) float64: the turn, radians, then the shift, length unit; see the module. Zero, which no true
        covariance is, where the pose is not finite, has a point behind the camera, or is not determined.

    Raises:
        GeometryError: another shape, or intrinsics without focal length.

    Gradient: flows to all tensors where the result is not zero.
    Precision: float64 inside.
    Source: Hartley and Zisserman, 2nd ed., result 5.10: inverse of the sum of J^T C^-1 J over the points.

    Example:
        >>> K = torch.tensor([[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]])
        >>> pose = torch.eye(4).unsqueeze(0)
        >>> pose[:, 2, 3] = 5.0
        >>> corners = torch.tensor([[[-1.0, 0, 0], [1.0, 0, 0], [0, -1.0, 0], [0, 1.0, 0], [0, 0, 1.0]]])
        >>> pose_covariance(pose, corners, K, torch.eye(2).expand(1, 5, 2, 2))[0].diagonal()[3:].sqrt()
        tensor([0.0056, 0.0056, 0.0250], dtype=torch.float64)
    """
    if uv_covariance.dim() != 4 or tuple(uv_covariance.shape[-2:]) != (2, 2):  # noqa: PLR2004
        raise GeometryError(
            "uv_covariance has the wrong shape", expected="(M, N, 2, 2)", got=str(tuple(uv_covariance.shape))
        )
    check_objects(xyz_object, uv_covariance[..., 0], K)
    pose, xyz, K, spread = (part.to(torch.float64) for part in (object_to_camera, xyz_object, K, uv_covariance))
    finite = torch.isfinite(pose).all(-1).all(-1) & torch.isfinite(xyz).all(-1).all(-1)
    pose = torch.where(finite[:, None, None], pose, torch.eye(4, dtype=torch.float64, device=pose.device))
    xyz = torch.where(finite[:, None, None], xyz, 0.0)
    weight, counted = _inverse(spread)
    slopes, ahead = _slopes(pose, xyz, K)
    information = (slopes.mT @ weight @ slopes).sum(1)
    return _inverted(information, finite & (ahead | ~counted).all(-1))


def _slopes(pose: Tensor, xyz: Tensor, K: Tensor) -> tuple[Tensor, Tensor]:
    """(M, N, 2, 6) how pixels change with a turn and a shift, and (M, N) which points are in front."""
    local = xyz @ pose[:, :3, :3].mT
    place = local + pose[:, None, :3, 3]
    ahead = place[..., 2:] > MIN_DEPTH
    inverse = torch.where(ahead, place[..., 2:], 1.0).reciprocal()
    block = K[..., None, :2, :2]
    projected = (block * (place[..., :2] * inverse).unsqueeze(-2)).sum(-1)
    by_place = torch.cat((block.expand(*projected.shape, 2), -projected.unsqueeze(-1)), -1) * inverse.unsqueeze(-1)
    return torch.cat((cross(local.unsqueeze(-2), by_place), by_place), -1), ahead.squeeze(-1)


def _inverse(spread: Tensor) -> tuple[Tensor, Tensor]:
    determinant = spread[..., 0, 0] * spread[..., 1, 1] - spread[..., 0, 1] * spread[..., 1, 0]
    definite = torch.isfinite(determinant) & (determinant > 0) & (spread[..., 0, 0] > 0)
    safe = torch.where(definite[..., None, None], spread, torch.eye(2).to(spread))
    return torch.where(definite[..., None, None], torch.linalg.inv(safe), 0.0), definite


def _inverted(information: Tensor, usable: Tensor) -> Tensor:
    size = information.diagonal(dim1=-2, dim2=-1)
    scale = torch.where(size > 0, size, 1.0).rsqrt()
    scaled = information * scale.unsqueeze(-1) * scale.unsqueeze(-2)
    with torch.no_grad():
        smallest = torch.linalg.eigvalsh(torch.where(usable[:, None, None], scaled, 0.0))[:, 0]
        known = usable & (smallest > MIN_RELATIVE_PIVOT)
    safe = torch.where(known[:, None, None], scaled, torch.eye(6).to(scaled))
    result = torch.linalg.inv(safe) * scale.unsqueeze(-1) * scale.unsqueeze(-2)
    return torch.where(known[:, None, None], 0.5 * (result + result.mT), 0.0)
