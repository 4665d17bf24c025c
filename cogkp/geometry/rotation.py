"""Rotations as matrices, quaternions and rotation vectors.

A matrix acts on columns. A quaternion is (x, y, z, w), as in annotation files; it and its negative are one rotation.
All functions take NumPy arrays or torch tensors, and return the same kind.
Source: J. Solà, Quaternion kinematics for the error-state Kalman filter, 2017, sections 1 and 2.
"""

import numpy as np

from cogkp.errors import GeometryError
from cogkp.geometry.arrays import Array, is_floating, like, namespace

# Below this squared angle a series is exact in float64.
SMALL_SQUARED_RAD = 1e-8

# The matrices that multiply by each axis so that the product stands on both.
ACROSS = (
    ((0.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0)),
    ((0.0, 0.0, 1.0), (0.0, 0.0, 0.0), (-1.0, 0.0, 0.0)),
    ((0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
)


def _check(name: str, values: Array, *shape: int) -> None:
    if tuple(values.shape[-len(shape) :]) != shape or not is_floating(values):
        raise GeometryError(
            f"{name} has the wrong shape or type",
            expected=f"(..., {', '.join(map(str, shape))}), floating",
            got=f"{tuple(values.shape)}, {values.dtype}",
        )


def _matrix(*entries: Array) -> Array:
    return namespace(entries[0]).stack(entries, -1).reshape(*entries[0].shape, 3, 3)


def about_y(angle_rad: Array) -> Array:
    """Rotate about the y axis, z towards x.

    Args:
        angle_rad: (...) float, radians.

    Returns:
        (..., 3, 3) in the dtype of ``angle_rad``.

    Gradient: flows to ``angle_rad``.
    Source: Solà, equation 78, axis y.

    Example:
        >>> about_y(np.array(0.0)).diagonal()
        array([1., 1., 1.])
    """
    xp = namespace(angle_rad)
    cosine, sine = xp.cos(angle_rad), xp.sin(angle_rad)
    none, one = xp.zeros_like(cosine), xp.ones_like(cosine)
    return _matrix(cosine, none, sine, none, one, none, -sine, none, cosine)


def rotation_from_quaternion(quaternion_xyzw: Array) -> Array:
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
        >>> rotation_from_quaternion(np.array([0.0, 0.0, 2.0, 0.0])).diagonal()  # half a turn about z
        array([-1., -1.,  1.])
    """
    _check("quaternion_xyzw", quaternion_xyzw, 4)
    xp = namespace(quaternion_xyzw)
    square = (quaternion_xyzw * quaternion_xyzw).sum(-1)[..., None]
    usable = xp.isfinite(square) & (square > xp.finfo(square.dtype).tiny)
    turned = xp.where(usable, quaternion_xyzw, like((0.0, 0.0, 0.0, 1.0), quaternion_xyzw))
    x, y, z, w = (turned[..., axis] for axis in range(4))
    s = 2.0 / (x * x + y * y + z * z + w * w)
    return _matrix(
        *(1 - s * (y * y + z * z), s * (x * y - z * w), s * (x * z + y * w)),
        *(s * (x * y + z * w), 1 - s * (x * x + z * z), s * (y * z - x * w)),
        *(s * (x * z - y * w), s * (y * z + x * w), 1 - s * (x * x + y * y)),
    )


def quaternion_from_rotation(rotation: Array) -> Array:
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
        >>> quaternion_from_rotation(np.eye(3))
        array([0., 0., 0., 1.])
    """
    _check("rotation", rotation, 3, 3)
    xp = namespace(rotation)
    a, b, c, d, e, f, g, h, i = (rotation[..., row, column] for row in range(3) for column in range(3))
    # Each row is the quaternion times four times one of its parts; the row of the largest part loses no digits.
    parts = (1 + a - e - i, 1 - a + e - i, 1 - a - e + i, 1 + a + e + i)
    rows = (
        xp.stack((parts[0], b + d, c + g, h - f), -1),
        xp.stack((b + d, parts[1], f + h, c - g), -1),
        xp.stack((c + g, f + h, parts[2], d - b), -1),
        xp.stack((h - f, c - g, d - b, parts[3]), -1),
    )
    largest = xp.stack(parts, -1).argmax(-1)[..., None]
    row = rows[0]
    for index in range(1, 4):
        row = xp.where(largest == index, rows[index], row)
    row = xp.where(row[..., 3:] < 0, -row, row)
    return row / xp.sqrt((row * row).sum(-1))[..., None]


def rotation_from_vector(vector_rad: Array) -> Array:
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
        >>> rotation_from_vector(np.zeros(3)).diagonal()
        array([1., 1., 1.])
    """
    _check("vector_rad", vector_rad, 3)
    xp = namespace(vector_rad)
    square = (vector_rad * vector_rad).sum(-1)
    small = square < SMALL_SQUARED_RAD
    angle = xp.sqrt(xp.where(small, 1.0, square))
    half = xp.sin(0.5 * angle) / angle
    first = xp.where(small, 1 - square / 6, xp.sin(angle) / angle)
    second = xp.where(small, 0.5 - square / 24, 2 * half * half)
    upright = (1 - second * square)[..., None, None] * like(np.eye(3), square)
    across = (vector_rad[..., None, None] * like(ACROSS, square)).sum(-3)
    along = vector_rad[..., None] * vector_rad[..., None, :]
    return upright + first[..., None, None] * across + second[..., None, None] * along
