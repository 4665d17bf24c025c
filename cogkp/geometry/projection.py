"""What a 3x4 projection matrix holds: the camera's centre, viewing rays, depth, and reprojection.

OpenCV axes; pixels without lens distortion. A matrix counts up to scale and sign, P = K [R | t] being one choice.
Camera algebra is done in float64 whatever comes in: it is small, and its differences of large numbers are not.
Source: R. Hartley and A. Zisserman, Multiple View Geometry, 2nd ed., chapter 6.

Axes: N points; leading axes are batch axes and broadcast.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cogkp.errors import GeometryError
from cogkp.geometry.arrays import check_points
from cogkp.geometry.camera import MIN_DEPTH, Projection

__all__ = ["Cameras", "cross", "read_cameras", "reproject", "work_dtype"]

MIN_RELATIVE_DETERMINANT = 1e-12


class Cameras(NamedTuple):
    """Projection matrices, scaled so that a point's third coordinate is its depth.

    Args:
        P: (..., 3, 4) float64; [I | 0] where not usable.
        inverse: (..., 3, 3) float64, takes (u, v, 1) to the ray it sees, of unit depth, world axes.
        center: (..., 3) float64, where the camera stands, world unit.
        principal_uv: (..., 2) float64, pixels, without gradient.
        focal_px: (...) float64, geometric mean over both image axes, without gradient.
        usable: (...) bool, the matrix is finite and its left 3x3 block invertible.
    """

    P: Tensor
    inverse: Tensor
    center: Tensor
    principal_uv: Tensor
    focal_px: Tensor
    usable: Tensor


def cross(a: Tensor, b: Tensor) -> Tensor:
    """Multiply vectors (..., 3) so that the product stands on both."""
    a0, a1, a2 = a.unbind(-1)
    b0, b1, b2 = b.unbind(-1)
    return torch.stack((a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0), -1)


def work_dtype(*values: Tensor) -> torch.dtype:
    """Return the dtype to compute in: the widest of those given, float32 at least."""
    dtype = torch.float32
    for value in values:
        dtype = torch.promote_types(dtype, value.dtype)
    return dtype


def read_cameras(P: Tensor) -> Cameras:
    """Take projection matrices apart.

    Args:
        P: (..., 3, 4) float, any scale and sign.

    Returns:
        The cameras; see :class:`Cameras`.

    Raises:
        GeometryError: the matrices are not 3x4.

    Gradient: flows to ``P``; zero where not usable, finite everywhere.
    Source: Hartley and Zisserman, 2nd ed., sections 6.2.1 to 6.2.4.
    """
    if tuple(P.shape[-2:]) != (3, 4):
        raise GeometryError("projection matrices have the wrong shape", expected="(..., 3, 4)", got=str(tuple(P.shape)))
    wide = P.to(torch.float64)
    usable = _usable(wide.detach())
    safe = torch.where(usable[..., None, None], wide, torch.eye(3, 4, dtype=torch.float64, device=P.device))
    adjugate, determinant = _adjugate(safe[..., :3])
    scale = torch.linalg.vector_norm(safe[..., 2, :3], dim=-1) * determinant.detach().sign()
    inverse = adjugate * (scale / determinant)[..., None, None]
    safe = safe / scale[..., None, None]
    block = safe.detach()[..., :3]
    return Cameras(
        P=safe,
        inverse=inverse,
        center=-(inverse * safe[..., None, :, 3]).sum(-1),
        principal_uv=(block[..., :2, :] * block[..., 2:, :]).sum(-1),
        focal_px=(determinant.detach() / scale.detach() ** 3).sqrt(),
        usable=usable,
    )


def _adjugate(block: Tensor) -> tuple[Tensor, Tensor]:
    first, second, third = block.unbind(-2)
    columns = cross(second, third), cross(third, first), cross(first, second)
    return torch.stack(columns, -1), (first * columns[0]).sum(-1)


def _usable(P: Tensor) -> Tensor:
    finite = torch.isfinite(P).all(-1).all(-1)
    block = torch.where(finite[..., None, None], P[..., :3], 0.0)
    lengths: Tensor = torch.linalg.vector_norm(block, dim=-1)
    size = lengths[..., 0] * lengths[..., 1] * lengths[..., 2]
    determinant = _adjugate(block)[1]
    return finite & (size > 0) & (determinant.abs() > MIN_RELATIVE_DETERMINANT * size)


def reproject(xyz_world: Tensor, P: Tensor) -> Projection:
    """Project points of space to pixels without lens distortion.

    Args:
        xyz_world: (..., N, 3) float, world unit; leading axes broadcast with those of ``P``.
        P: (..., 3, 4) float, world to pixels, any scale and sign.

    Returns:
        Pixels, depths and validity; see :class:`cogkp.geometry.camera.Projection`. Nothing is valid in a camera whose
        matrix is not usable.

    Raises:
        GeometryError: points or matrices have another shape.

    Gradient: flows to points and matrices; zero for rows that are not valid, finite everywhere.
    Precision: float32 or better, also under autocast.
    Source: Hartley and Zisserman, 2nd ed., equations 6.1 and 6.15.

    Example:
        >>> P = torch.tensor([[100.0, 0.0, 32.0, 0.0], [0.0, 100.0, 24.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
        >>> reproject(torch.tensor([[0.1, 0.0, 2.0], [0.0, 0.0, -1.0]]), P).uv
        tensor([[37., 24.],
                [ 0.,  0.]])
    """
    check_points("xyz_world", xyz_world, 3)
    cameras = read_cameras(P)
    dtype = work_dtype(xyz_world)
    finite = torch.isfinite(xyz_world).all(-1)
    points = torch.where(finite.unsqueeze(-1), xyz_world, 0.0).to(work_dtype(xyz_world, P))
    matrix = cameras.P.to(points.dtype)
    moved = (matrix[..., None, :, :3] * points.unsqueeze(-2)).sum(-1) + matrix[..., None, :, 3]
    usable = finite & cameras.usable.unsqueeze(-1)
    depth = moved[..., 2]
    valid = usable & (depth > MIN_DEPTH)
    uv = moved[..., :2] / torch.where(valid, depth, 1.0).unsqueeze(-1)
    return Projection(
        torch.where(valid.unsqueeze(-1), uv, 0.0).to(dtype), torch.where(usable, depth, 0.0).to(dtype), valid
    )
