"""The fundamental matrix of two cameras, and the distance of points from epipolar lines.

Pixels without lens distortion.
Source: R. Hartley and A. Zisserman, Multiple View Geometry, 2nd ed., chapters 9 and 11.

Axes: N points; leading axes are batch axes and broadcast.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cogkp.errors import GeometryError
from cogkp.geometry.arrays import check_points
from cogkp.geometry.projection import cross, read_cameras, reproject, work_dtype

__all__ = ["epipolar_distance", "fundamental", "reproject"]

# Squared length below which a line of a unit-norm fundamental matrix has no direction.
MIN_LINE = 1e-30


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
