"""Fit boxes to their nine points, and find their metric size from a known height or ground plane.

Axes: leading axes are batch axes and broadcast.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cogkp.errors import GeometryError
from cogkp.geometry.cuboid import EDGES, POINTS, UNIT_POINTS, Cuboids, posed
from cogkp.geometry.projection import check_points, common_shape

__all__ = [
    "FittedCuboids",
    "Plane",
    "Scale",
    "fit_cuboids",
    "scale_from_height",
    "scale_from_plane",
    "supporting_plane",
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
    residual: Tensor
    valid: Tensor


class Plane(NamedTuple):
    """A plane in space.

    Args:
        center: (..., 3) float, one of its points.
        normal: (..., 3) float, of any length, away from the ground.
    """

    center: Tensor
    normal: Tensor


class Scale(NamedTuple):
    """Factors that bring boxes known up to scale to their true size.

    Args:
        factor: (...) float, for :meth:`cogkp.geometry.cuboid.Cuboids.scaled`; one where not valid.
        valid: (...) bool, the factor is known, finite and positive.
    """

    factor: Tensor
    valid: Tensor


def fit_cuboids(points: Tensor) -> FittedCuboids:
    """Fit boxes to nine points each, by least squares.

    Args:
        points: (..., 9, 3) float, frame of the camera, in the order of :mod:`cogkp.geometry.cuboid`.

    Returns:
        Boxes in the dtype of ``points``; see :class:`FittedCuboids`. Each side is the mean of four parallel edges,
        the pose the rigid motion with the least squared distances.

    Raises:
        GeometryError: the points have another shape.

    Gradient: none; boxes are fitted to labels and to reports.
    Precision: float64 inside.
    Source: S. Umeyama, Least-squares estimation of transformation parameters between two point patterns, IEEE
        Transactions on Pattern Analysis and Machine Intelligence 13 (1991).

    Example:
        >>> box = Cuboids(torch.eye(4), torch.tensor([1.0, 2.0, 3.0]))
        >>> fit_cuboids(box.points()).cuboids.size_xyz
        tensor([1., 2., 3.])
    """
    _check_nine(points)
    with torch.no_grad():
        return _fit(points)


def _check_nine(points: Tensor) -> None:
    check_points("points", points, 3)
    if points.shape[-2] != POINTS:
        raise GeometryError("a box has nine points", expected="(..., 9, 3)", got=str(tuple(points.shape)))


def _fit(points: Tensor) -> FittedCuboids:
    finite = torch.isfinite(points).all(-1).all(-1)
    wide = torch.where(finite[..., None, None], points, 0.0).to(torch.float64)
    first, second = torch.tensor(EDGES, device=points.device).unbind(-1)
    edges = wide[..., second, :] - wide[..., first, :]
    size = torch.linalg.vector_norm(edges, dim=-1).unflatten(-1, (3, 4)).mean(-1)
    local = size.unsqueeze(-2) * wide.new_tensor(UNIT_POINTS)
    middle = wide.mean(-2)
    left, extent, right = torch.linalg.svd((wide - middle.unsqueeze(-2)).mT @ local)
    mirrored = torch.linalg.det(left) * torch.linalg.det(right) < 0
    last = torch.where(mirrored, -1.0, 1.0).to(wide)[..., None, None]
    rotation = torch.cat((left[..., :2], left[..., 2:] * last), -1) @ right
    valid = finite & (extent[..., 1] > MIN_RELATIVE_EXTENT * extent[..., 0])
    rotation = torch.where(valid[..., None, None], rotation, torch.eye(3).to(wide))
    middle, size = torch.where(valid[..., None], middle, 0.0), torch.where(valid[..., None], size, 0.0)
    boxes = Cuboids(posed(rotation, middle), size)
    residual = torch.where(valid, (boxes.points() - wide).square().sum(-1).mean(-1).sqrt(), 0.0)
    dtype = points.dtype
    return FittedCuboids(Cuboids(boxes.cuboid_to_camera.to(dtype), size.to(dtype)), residual.to(dtype), valid)


def scale_from_height(size_xyz: Tensor, height: Tensor) -> Scale:
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
        >>> scale_from_height(torch.tensor([0.5, 1.0, 2.0]), torch.tensor(0.2)).factor
        tensor(0.2000)
    """
    check_points("size_xyz", size_xyz.unsqueeze(-2), 3)
    return _ratio(height, size_xyz[..., 1])


def scale_from_plane(points: Tensor, plane: Plane) -> Scale:
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
        >>> box = Cuboids(torch.eye(4), torch.ones(3)).points() + torch.tensor([0.0, 0.0, 5.0])
        >>> ground = Plane(torch.tensor([0.0, -0.2, 0.0]), torch.tensor([0.0, 1.0, 0.0]))
        >>> scale_from_plane(box, ground).factor
        tensor(0.4000)
    """
    _check_nine(points)
    along = (points[..., 1:, :] * plane.normal.unsqueeze(-2)).sum(-1)
    lowest = along.topk(STANDING, dim=-1, largest=False).values
    parts = _ratio((plane.center * plane.normal).sum(-1).unsqueeze(-1), lowest)
    valid = parts.valid.all(-1)
    return Scale(torch.where(valid, parts.factor.mean(-1), 1.0), valid)


def _ratio(true: Tensor, found: Tensor) -> Scale:
    usable = torch.isfinite(true) & torch.isfinite(found) & (found != 0)
    factor = torch.where(usable, true, 1.0) / torch.where(usable, found, 1.0)
    valid = usable & torch.isfinite(factor) & (factor > 0)
    return Scale(torch.where(valid, factor, 1.0), valid)


def supporting_plane(cuboids: Cuboids, down: Tensor) -> Plane:
    """Find the face a box stands on: of the axis most parallel to gravity, the face farthest down.

    Args:
        cuboids: boxes (...).
        down: (..., 3) float, direction of gravity in the frame of the camera, of any length.

    Returns:
        The face's middle and its unit normal, which points up into the box.

    Raises:
        GeometryError: ``down`` has another shape.

    Gradient: flows to poses and sizes.

    Example:
        >>> plane = supporting_plane(Cuboids(torch.eye(4), torch.ones(3)), torch.tensor([0.1, -1.0, 0.0]))
        >>> plane.center, plane.normal
        (tensor([ 0.0000, -0.5000,  0.0000]), tensor([0., 1., 0.]))
    """
    check_points("down", down.unsqueeze(-2), 3)
    pose = cuboids.cuboid_to_camera
    axes = pose[..., :3, :3].mT
    lean = (axes * down.unsqueeze(-2)).sum(-1)
    lean = lean.expand(*common_shape("boxes and directions", lean.shape[:-1], cuboids.shape), 3)
    chosen = lean.abs().argmax(-1, keepdim=True)
    axis = axes.expand(*lean.shape, 3).gather(-2, chosen.unsqueeze(-1).expand(*chosen.shape, 3)).squeeze(-2)
    up = torch.where(lean.gather(-1, chosen) > 0, -axis, axis)
    length = cuboids.size_xyz.expand(lean.shape).gather(-1, chosen)
    return Plane(pose[..., :3, 3] - 0.5 * length * up, up)
