"""What 3x4 projection matrices hold: centres, viewing rays, depths, reprojections, and epipolar lines of two.

OpenCV axes; pixels without lens distortion. A matrix counts up to scale and sign, P = K [R | t] being one choice.
Camera algebra is done in float64 whatever comes in: it is small, and its differences of large numbers are not.

Axes: N points; leading axes are batch axes and broadcast.
Source: R. Hartley and A. Zisserman, Multiple View Geometry, 2nd ed., chapters 6, 9 and 11.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from cogkp.errors import GeometryError
from cogkp.geometry.arrays import check_points
from cogkp.geometry.camera import Projection
from cogkp.geometry.camera_frame import MIN_DEPTH

MIN_RELATIVE_DETERMINANT = 1e-12

# Squared length below which a line of a unit-norm fundamental matrix has no direction.
MIN_LINE = 1e-30


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


def fundamental(P_left: Tensor, P_right: Tensor) -> Tensor:
    """Compute the fundamental matrix F of two cameras, x_right^T F x_left = 0.

    Args:
        P_left: (..., 3, 4) float, world to left pixels, any scale and sign.
        P_right: (..., 3, 4) float, world to right pixels.

    Returns:
        (..., 3, 3) in the wider dtype of both, of Frobenius norm 1; zero where both cameras stand in one place or one
        of them is not usable.

    Raises:
        GeometryError: the matrices are not 3x4.

    Gradient: flows to both matrices; zero where the result is zero, finite everywhere.
    Source: Hartley and Zisserman, 2nd ed., section 9.2.2: the ray planes through the baseline.

    Example:
        >>> P_left = torch.eye(3, 4)
        >>> P_right = torch.tensor([[1.0, 0.0, 0.0, -1.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
        >>> F = fundamental(P_left, P_right)  # beside each other: the same row of pixels
        >>> bool(F[1, 2] == -F[2, 1]), F[0].abs().sum().item()
        (True, 0.0)
    """
    left, right = read_cameras(P_left), read_cameras(P_right)
    baseline = (right.center - left.center).unsqueeze(-2)
    planes = cross(baseline, left.inverse.mT).mT
    raw = (right.inverse.mT.unsqueeze(-1) * planes.unsqueeze(-3)).sum(-2)
    size = raw.detach().abs().amax((-2, -1))
    reach = torch.maximum(left.center.detach().abs().amax(-1), right.center.detach().abs().amax(-1))
    apart = baseline.detach().abs().amax((-2, -1)) > torch.finfo(torch.float64).eps * reach
    known = left.usable & right.usable & apart & (size > 0)
    scaled = torch.where(known[..., None, None], raw, 1.0) / torch.where(known, size, 1.0)[..., None, None]
    unit = scaled / torch.linalg.matrix_norm(scaled, keepdim=True)
    return torch.where(known[..., None, None], unit, 0.0).to(work_dtype(P_left, P_right))


def epipolar_distance(uv_left: Tensor, uv_right: Tensor, F: Tensor) -> Tensor:
    """Measure the symmetric distance of two pixels from each other's epipolar line.

    Args:
        uv_left: (..., N, 2) float, pixels.
        uv_right: (..., N, 2) float, pixels.
        F: (..., 3, 3) float, any scale; see :func:`fundamental`.

    Returns:
        (..., N) in the wider dtype of both, pixels: the mean of each pixel's distance to the line that the other one
        draws in its image. Zero where a pixel is not finite or draws no line, so mask those before taking means.

    Raises:
        GeometryError: pixels or matrices have another shape.

    Gradient: flows to pixels and ``F``; finite everywhere, zero at distance zero.
    Precision: computed in float64.
    Source: Hartley and Zisserman, 2nd ed., section 11.4.3, as a mean of distances rather than a sum of squares.

    Example:
        >>> F = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
        >>> epipolar_distance(torch.tensor([[5.0, 3.0]]), torch.tensor([[1.0, 3.5]]), F)
        tensor([0.5000])
    """
    check_points("uv_left", uv_left, 2)
    check_points("uv_right", uv_right, 2)
    if tuple(F.shape[-2:]) != (3, 3):
        raise GeometryError("a fundamental matrix is 3x3", expected="(..., 3, 3)", got=str(tuple(F.shape)))
    finite = torch.isfinite(uv_left).all(-1) & torch.isfinite(uv_right).all(-1)
    finite = finite & torch.isfinite(F).all(-1).all(-1).unsqueeze(-1)
    left, right = (torch.where(finite.unsqueeze(-1), uv, 0.0).to(torch.float64) for uv in (uv_left, uv_right))
    matrix = torch.nan_to_num(F, 0.0, 0.0, 0.0).to(torch.float64)
    line_right, line_left = _lines(matrix, left), _lines(matrix.mT, right)
    residual = (right * line_right[..., :2]).sum(-1) + line_right[..., 2]
    squares = line_right[..., :2].square().sum(-1), line_left[..., :2].square().sum(-1)
    size = matrix.detach().square().sum((-2, -1)).unsqueeze(-1)
    known = finite & (squares[0] > MIN_LINE * size) & (squares[1] > MIN_LINE * size)
    slopes = sum(torch.where(known, square, 1.0).rsqrt() for square in squares)
    distance = torch.where(known, 0.5 * residual.abs() * slopes, 0.0)
    return distance.to(work_dtype(uv_left, uv_right))


def _lines(F: Tensor, uv: Tensor) -> Tensor:
    turn = F.unsqueeze(-3)
    return turn[..., 0] * uv[..., :1] + turn[..., 1] * uv[..., 1:] + turn[..., 2]
