"""Covariance of an object's pose, propagated from the covariances of its pixels.

A pose changes by a turn about the object's own origin, with its axis in the camera's frame, and by a shift, in this
order: six numbers. OpenCV axes; pixels without lens distortion.
Source: R. Hartley and A. Zisserman, Multiple View Geometry, 2nd ed., section 5.2.

Axes: M objects, N points.
"""

import torch
from torch import Tensor

from cogkp.errors import GeometryError
from cogkp.geometry.camera_frame import MIN_DEPTH
from cogkp.geometry.pose import check_objects
from cogkp.geometry.projection import cross

# A turn or shift is known if its share of the information is more than this, in units that make all six alike.
MIN_RELATIVE_PIVOT = 1e-12


def pose_covariance(object_to_camera: Tensor, xyz_object: Tensor, K: Tensor, uv_covariance: Tensor) -> Tensor:
    """Carry the uncertainty of pixels to that of the pose fitted to them, to first order.

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
    check_objects(*(part.numpy(force=True) for part in (xyz_object, uv_covariance[..., 0], K)))
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
    seen = (block * (place[..., :2] * inverse).unsqueeze(-2)).sum(-1)
    by_place = torch.cat((block.expand(*seen.shape, 2), -seen.unsqueeze(-1)), -1) * inverse.unsqueeze(-1)
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
