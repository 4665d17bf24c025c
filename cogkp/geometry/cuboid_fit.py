"""Fit boxes to their nine points, and find their metric size from a known height or ground plane.

Scales are found of NumPy arrays or torch tensors alike; boxes are fitted to NumPy arrays.
Axes: leading axes are batch axes and broadcast.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cogkp.errors import GeometryError
from cogkp.geometry.arrays import Array, check_points, namespace
from cogkp.geometry.cuboid import EDGES, POINTS, UNIT_POINTS, Cuboids, posed

__all__ = [
    "FittedCuboids",
    "Plane",
    "Scale",
    "fit_cuboids",
    "scale_from_height",
    "scale_from_plane",
]

# Nine points fix a rotation if their second extent is more than this share of the first.
MIN_RELATIVE_EXTENT = 1e-9

# As many corners stand on the ground.
STANDING = 4


class FittedCuboids(NamedTuple):
    """Boxes found from their points.

    Args:
        cuboids: the boxes; without size, at the origin, where not valid.
        residual: (...) float, root mean square distance of the points from the box's, length unit.
        valid: (...) bool, the points are finite and do not lie on a line.
    """

    cuboids: Cuboids
    residual: Array
    valid: Array


class Plane(NamedTuple):
    """A plane in space.

    Args:
        center: (..., 3) float, one of its points.
        normal: (..., 3) float, of any length, away from the ground.
    """

    center: Array
    normal: Array


class Scale(NamedTuple):
    """Factors that bring boxes known up to scale to their true size.

    Args:
        factor: (...) float, for :meth:`cogkp.geometry.cuboid.Cuboids.scaled`; one where not valid.
        valid: (...) bool, the factor is known, finite and positive.
    """

    factor: Array
    valid: Array

    def where(self, wanted: Array) -> Scale:
        """Keep the factors wanted, (...) bool; the others become one, and are not valid."""
        return Scale(namespace(self.factor).where(wanted, self.factor, 1.0), self.valid & wanted)


def fit_cuboids(points: Array) -> FittedCuboids:
    """Fit boxes to nine points each, by least squares.

    Args:
        points: (..., 9, 3) float array, frame of the camera, in the order of :mod:`cogkp.geometry.cuboid`.

    Returns:
        Boxes in float64; see :class:`FittedCuboids`. Each side is the mean of four parallel edges,
        the pose the rigid motion with the least squared distances.

    Raises:
        GeometryError: the points have another shape.

    Gradient: none; boxes are fitted to labels and to reports.
    Precision: float64 inside.
    Source: S. Umeyama, Least-squares estimation of transformation parameters between two point patterns, IEEE
        Transactions on Pattern Analysis and Machine Intelligence 13 (1991).

    Example:
        >>> box = Cuboids(np.eye(4), np.array([1.0, 2.0, 3.0]))
        >>> fit_cuboids(box.points()).cuboids.size_xyz
        array([1., 2., 3.])
    """
    _check_nine(points)
    points = np.asarray(points, np.float64)
    finite = np.isfinite(points).all((-1, -2))
    wide = np.where(finite[..., None, None], points, 0.0)
    first, second = np.array(EDGES).T
    edges = wide[..., second, :] - wide[..., first, :]
    size = np.linalg.norm(edges, axis=-1).reshape(*edges.shape[:-2], 3, 4).mean(-1)
    local = size[..., None, :] * np.array(UNIT_POINTS)
    middle = wide.mean(-2)
    left, extent, right = np.linalg.svd((wide - middle[..., None, :]).swapaxes(-1, -2) @ local)
    mirrored = np.linalg.det(left) * np.linalg.det(right) < 0
    last = np.where(mirrored, -1.0, 1.0)[..., None, None]
    rotation = np.concatenate((left[..., :2], left[..., 2:] * last), -1) @ right
    valid = np.asarray(finite & (extent[..., 1] > MIN_RELATIVE_EXTENT * extent[..., 0]))
    rotation = np.where(valid[..., None, None], rotation, np.eye(3))
    middle, size = np.where(valid[..., None], middle, 0.0), np.where(valid[..., None], size, 0.0)
    boxes = Cuboids(posed(rotation, middle), size)
    apart = np.square(boxes.points() - wide).sum(-1)
    return FittedCuboids(boxes, np.where(valid, np.sqrt(apart.mean(-1)), 0.0), valid)


def _check_nine(points: Array) -> None:
    check_points("points", points, 3)
    if points.shape[-2] != POINTS:
        raise GeometryError("a box has nine points", expected="(..., 9, 3)", got=str(tuple(points.shape)))


@np.errstate(all="ignore")
def scale_from_height(size_xyz: Array, height: Array) -> Scale:
    """Compare the height of boxes known up to scale with their true height.

    Args:
        size_xyz: (..., 3) float, side lengths in any unit; the height is the second.
        height: (...) float, the true height, world unit.

    Returns:
        The factor; see :class:`Scale`.

    Raises:
        GeometryError: the sizes have another shape.

    Gradient: flows to sizes and heights where valid.

    Example:
        >>> float(scale_from_height(np.array([0.5, 1.0, 2.0]), np.array(0.2)).factor)
        0.2
    """
    check_points("size_xyz", size_xyz[..., None, :], 3)
    return _ratio(height, size_xyz[..., 1])


@np.errstate(all="ignore")
def scale_from_plane(points: Array, plane: Plane) -> Scale:
    """Compare how far down boxes known up to scale reach with the ground they stand on.

    The ray to each of the four corners farthest against the normal meets the plane at some multiple of the corner;
    the factor is the mean of these multiples.

    Args:
        points: (..., 9, 3) float, of boxes known up to scale, frame of the camera.
        plane: the ground, in the same frame, world unit.

    Returns:
        The factor; see :class:`Scale`. Not valid where the camera lies in the plane, or where one of the four corners
        is seen away from it.

    Raises:
        GeometryError: the points have another shape.

    Gradient: flows to points and plane where valid.
    Source: the meeting point of a ray and a plane.

    Example:
        >>> box = Cuboids(np.eye(4), np.ones(3)).points() + np.array([0.0, 0.0, 5.0])
        >>> ground = Plane(np.array([0.0, -0.2, 0.0]), np.array([0.0, 1.0, 0.0]))
        >>> float(scale_from_plane(box, ground).factor)
        0.4
    """
    _check_nine(points)
    xp = namespace(points)
    along = (points[..., 1:, :] * plane.normal[..., None, :]).sum(-1)
    rising = np.sort(along, -1) if xp is np else along.sort(-1).values
    parts = _ratio((plane.center * plane.normal).sum(-1)[..., None], rising[..., :STANDING])
    valid = parts.valid.all(-1)
    return Scale(xp.where(valid, parts.factor.mean(-1), 1.0), valid)


def _ratio(true: Array, found: Array) -> Scale:
    xp = namespace(found)
    usable = xp.isfinite(true) & xp.isfinite(found) & (found != 0)
    factor = xp.where(usable, true, 1.0) / xp.where(usable, found, 1.0)
    valid = usable & xp.isfinite(factor) & (factor > 0)
    return Scale(xp.where(valid, factor, 1.0), valid)
