"""Rotations as matrices, quaternions and rotation vectors.

A matrix acts on columns. A quaternion is (x, y, z, w), as in annotation files; it and its negative are one rotation.
Source: J. Solà, Quaternion kinematics for the error-state Kalman filter, 2017, sections 1 and 2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cogkp.errors import GeometryError

__all__ = ["about_y", "quaternion_from_rotation", "rotation_from_quaternion", "rotation_from_vector"]

# Below this squared angle a series is exact in float64.
SMALL_SQUARED_RAD = 1e-8

# The matrices that multiply by each axis so that the product stands on both.
ACROSS = (
    ((0.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0)),
    ((0.0, 0.0, 1.0), (0.0, 0.0, 0.0), (-1.0, 0.0, 0.0)),
    ((0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
)


def _check(name: str, values: Tensor, *shape: int) -> None:
    if tuple(values.shape[-len(shape) :]) != shape or not values.is_floating_point():
        raise GeometryError(
            f"{name} has the wrong shape or type",
            expected=f"(..., {', '.join(map(str, shape))}), floating",
            got=f"{tuple(values.shape)}, {values.dtype}",
        )


def _matrix(*entries: Tensor) -> Tensor:
    return torch.stack(entries, -1).reshape(*entries[0].shape, 3, 3)


def about_y(angle_rad: Tensor) -> Tensor:
    """Rotate about the y axis, z towards x.

    Args:
        angle_rad: (...) float, radians.

    Returns:
        (..., 3, 3) in the dtype of ``angle_rad``.

    Gradient: flows to ``angle_rad``.
    Source: Solà, equation 78, axis y.

    Example:
        >>> about_y(torch.tensor(0.0)).diagonal()
        tensor([1., 1., 1.])
    """
    cosine, sine = angle_rad.cos(), angle_rad.sin()
    none, one = torch.zeros_like(cosine), torch.ones_like(cosine)
    return _matrix(cosine, none, sine, none, one, none, -sine, none, cosine)


def rotation_from_quaternion(quaternion_xyzw: Tensor) -> Tensor:
    """Convert quaternions to matrices.

    Args:
        quaternion_xyzw: (..., 4) float, of any length; where its square is zero or not finite, nothing turns.

    Returns:
        (..., 3, 3) in the dtype of ``quaternion_xyzw``, orthonormal.

    Raises:
        GeometryError: another shape, or integers.

    Gradient: flows to the quaternion; zero where it is zero or not finite.
    Source: Solà, equation 115.

    Example:
        >>> rotation_from_quaternion(torch.tensor([0.0, 0.0, 2.0, 0.0])).diagonal()  # half a turn about z
        tensor([-1., -1.,  1.])
    """
    _check("quaternion_xyzw", quaternion_xyzw, 4)
    with torch.no_grad():
        square = quaternion_xyzw.square().sum(-1, keepdim=True)
        usable = torch.isfinite(square) & (square > torch.finfo(square.dtype).tiny)
    still = quaternion_xyzw.new_tensor((0.0, 0.0, 0.0, 1.0))
    x, y, z, w = (torch.where(usable, quaternion_xyzw, still)).unbind(-1)
    s = 2.0 / (x * x + y * y + z * z + w * w)
    return _matrix(
        *(1 - s * (y * y + z * z), s * (x * y - z * w), s * (x * z + y * w)),
        *(s * (x * y + z * w), 1 - s * (x * x + z * z), s * (y * z - x * w)),
        *(s * (x * z - y * w), s * (y * z + x * w), 1 - s * (x * x + y * y)),
    )


def quaternion_from_rotation(rotation: Tensor) -> Tensor:
    """Convert matrices to quaternions.

    Args:
        rotation: (..., 3, 3) float, orthonormal, right-handed.

    Returns:
        (..., 4) in the dtype of ``rotation``: x, y, z, w of unit length, w not negative.

    Raises:
        GeometryError: another shape, or integers.

    Gradient: flows to the matrix, finite everywhere.
    Source: S. Shepperd, Quaternion from rotation matrix, Journal of Guidance and Control 1 (1978).

    Example:
        >>> quaternion_from_rotation(torch.eye(3))
        tensor([0., 0., 0., 1.])
    """
    _check("rotation", rotation, 3, 3)
    (a, b, c), (d, e, f), (g, h, i) = (row.unbind(-1) for row in rotation.unbind(-2))
    # Each row is the quaternion times four times one of its parts; the row of the largest part loses no digits.
    rows = torch.stack(
        [
            torch.stack((1 + a - e - i, b + d, c + g, h - f), -1),
            torch.stack((b + d, 1 - a + e - i, f + h, c - g), -1),
            torch.stack((c + g, f + h, 1 - a - e + i, d - b), -1),
            torch.stack((h - f, c - g, d - b, 1 + a + e + i), -1),
        ],
        -2,
    )
    largest = rows.diagonal(dim1=-2, dim2=-1).argmax(-1)
    row = rows.gather(-2, largest[..., None, None].expand(*largest.shape, 1, 4)).squeeze(-2)
    row = torch.where(row[..., 3:] < 0, -row, row)
    length: Tensor = torch.linalg.vector_norm(row, dim=-1, keepdim=True)
    return row / length


def rotation_from_vector(vector_rad: Tensor) -> Tensor:
    """Convert rotation vectors to matrices.

    Args:
        vector_rad: (..., 3) float, radians.

    Returns:
        (..., 3, 3) in the dtype of ``vector_rad``.

    Raises:
        GeometryError: another shape, or integers.

    Gradient: flows to the vector, also where it is zero.
    Source: Solà, equation 78 (Rodrigues' formula).

    Example:
        >>> rotation_from_vector(torch.zeros(3)).diagonal()
        tensor([1., 1., 1.])
    """
    _check("vector_rad", vector_rad, 3)
    square = vector_rad.square().sum(-1)
    small = square < SMALL_SQUARED_RAD
    angle = torch.where(small, 1.0, square).sqrt()
    first = torch.where(small, 1 - square / 6, angle.sin() / angle)
    second = torch.where(small, 0.5 - square / 24, 2 * ((0.5 * angle).sin() / angle).square())
    upright = (1 - second * square)[..., None, None] * torch.eye(3, dtype=square.dtype, device=square.device)
    across = (vector_rad.unsqueeze(-1).unsqueeze(-1) * vector_rad.new_tensor(ACROSS)).sum(-3)
    along = vector_rad.unsqueeze(-1) * vector_rad.unsqueeze(-2)
    return upright + first[..., None, None] * across + second[..., None, None] * along
