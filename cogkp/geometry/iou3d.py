"""Exact 3-D IoU (intersection over union) of two rotated boxes.

Everything is computed in float64 in units of the larger box, whatever comes in; see cogkp.geometry.box_overlap.

Axes: S rotations, n pairs at a time; leading axes are batch axes and broadcast.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from cogkp.errors import GeometryError
from cogkp.geometry.arrays import Array, common_shape
from cogkp.geometry.box_overlap import shared_volume
from cogkp.geometry.cuboid import Cuboids
from cogkp.geometry.projection import cross

__all__ = ["BestTurn", "best_turn_iou3d", "iou3d"]

# Pairs at a time, so that intermediate results stay in a processor's second cache.
CHUNK = 1024

# Of a rotation's two columns, the second must stand off the first by at least this.
MIN_COLUMN = 1e-6


class BestTurn(NamedTuple):
    """The largest IoU, and the rotation that gives it.

    Args:
        iou: (...) float, 0 to 1.
        angle_index: (...) int64, which of the angles; the first of equals.
    """

    iou: Tensor
    angle_index: Tensor


def iou3d(first: Cuboids, second: Cuboids) -> Tensor:
    """Compute the 3-D IoU of boxes: volume of the intersection over volume of the union.

    Args:
        first: boxes; leading axes broadcast with those of ``second``.
        second: boxes in the same frame.

    Returns:
        (...) in the wider dtype of both, float32 at least, 0 to 1. Zero where a box is not finite, has no volume or
        no rotation.

    Raises:
        GeometryError: leading axes do not broadcast.

    Gradient: flows to poses and sizes, finite everywhere; a one-sided one where faces lie in one plane.
    Precision: 1e-12; 1e-8 where nearly parallel faces nearly lie in one plane, and 1e-5 should their distance be just
        that of :mod:`cogkp.geometry.box_overlap`, some 1e-9 of the larger box. Computed in float64, also under
        autocast, from rotations made orthonormal first.
    Source: the divergence theorem; see :mod:`cogkp.geometry.box_overlap`.

    Example:
        >>> pose = torch.eye(4).repeat(2, 1, 1)
        >>> pose[1, 0, 3] = 0.5
        >>> boxes = Cuboids(pose, torch.ones(2, 3))
        >>> iou3d(boxes[0], boxes)
        tensor([1.0000, 0.3333])
    """
    shape = common_shape("the boxes of a pair", first.shape, second.shape)
    one, other = _rows(first), _rows(second)
    which_one, which_other = _which(first, shape), _which(second, shape)
    if which_one.numel() == 0:
        return torch.zeros(shape, dtype=_dtype(first, second), device=first.size_xyz.device)
    parts = [_iou(one.pick(a), other.pick(b)) for a, b in zip(_chunks(which_one), _chunks(which_other), strict=True)]
    return torch.cat(parts).reshape(shape).to(_dtype(first, second))


def best_turn_iou3d(first: Cuboids, second: Cuboids, angles_rad: Array) -> BestTurn:
    """Rotate the first boxes about their own vertical axes and keep the largest 3-D IoU with the second.

    Args:
        first: boxes; leading axes broadcast with those of ``second``.
        second: boxes in the same frame.
        angles_rad: (S,) float array or tensor, radians; see :func:`cogkp.geometry.cuboid.symmetry_angles`.

    Returns:
        The largest share and its angle; see :class:`BestTurn`.

    Raises:
        GeometryError: no angles, or leading axes that do not broadcast.

    Gradient: flows to the turn that is kept.
    Precision: as :func:`iou3d`. One turn is computed at a time: memory holds S results, not S sets of boxes.

    Example:
        >>> from cogkp.geometry.cuboid import symmetry_angles
        >>> bottle = Cuboids(torch.eye(4), torch.tensor([1.0, 3.0, 1.0]))
        >>> seen = bottle.turned(torch.tensor(0.5))
        >>> iou3d(bottle, seen), best_turn_iou3d(bottle, seen, symmetry_angles(100)).iou
        (tensor(0.7369), tensor(0.9974))
    """
    if angles_rad.ndim != 1 or not len(angles_rad):
        raise GeometryError("angles have the wrong shape", expected="(S,)", got=str(tuple(angles_rad.shape)))
    best = torch.stack([iou3d(first.turned(angle), second) for angle in angles_rad]).max(0)
    return BestTurn(best.values, best.indices)


def _chunks(rows: Tensor) -> list[Tensor]:
    return [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]


def _dtype(first: Cuboids, second: Cuboids) -> torch.dtype:
    return torch.promote_types(torch.promote_types(first.dtype, second.dtype), torch.float32)


class _Boxes(NamedTuple):
    """Boxes with the axis n last: (3, 3, n) with their axes as columns, (3, n), (3, n), and whether they are boxes."""

    axes: Tensor
    center: Tensor
    half: Tensor
    solid: Tensor

    def pick(self, which: Tensor) -> _Boxes:
        return _Boxes(*(part.index_select(-1, which) for part in self))


def _which(boxes: Cuboids, shape: tuple[int, ...]) -> Tensor:
    """Rows of the boxes that take part in each pair."""
    count = math.prod(boxes.shape)
    return torch.arange(count, device=boxes.size_xyz.device).reshape(boxes.shape).expand(shape).reshape(-1)


def _rows(boxes: Cuboids) -> _Boxes:
    pose = boxes.cuboid_to_camera.expand(*boxes.shape, 4, 4).reshape(-1, 4, 4)[:, :3].to(torch.float64)
    half = 0.5 * boxes.size_xyz.expand(*boxes.shape, 3).reshape(-1, 3).to(torch.float64)
    solid = torch.isfinite(pose).all(-1).all(-1) & torch.isfinite(half).all(-1) & (half > 0).all(-1)
    harmless = torch.eye(3, 4, dtype=torch.float64, device=pose.device)
    axes, straight = _orthonormal(torch.where(solid[:, None, None], pose, harmless)[..., :3])
    solid = solid & straight
    center, half = torch.where(solid[:, None], pose[..., 3], 0.0), torch.where(solid[:, None], half, 1.0)
    return _Boxes(axes.permute(1, 2, 0).contiguous(), center.mT.contiguous(), half.mT.contiguous(), solid)


def _orthonormal(axes: Tensor) -> tuple[Tensor, Tensor]:
    """Straighten columns (n, 3, 3): the geometry of faces and edges must agree to the last digit."""
    one, two = axes[..., 0], axes[..., 1]
    length = torch.linalg.vector_norm(one, dim=-1, keepdim=True)
    known = length > MIN_COLUMN
    one = one / torch.where(known, length, 1.0)
    two = two - one * (one * two).sum(-1, keepdim=True)
    length = torch.linalg.vector_norm(two, dim=-1, keepdim=True)
    known = known & (length > MIN_COLUMN)
    two = two / torch.where(known, length, 1.0)
    straight = torch.stack((one, two, cross(one, two)), -1)
    return straight, known.squeeze(-1)


def _iou(one: _Boxes, other: _Boxes) -> Tensor:
    with torch.no_grad():
        unit = torch.maximum(one.half.amax(0), other.half.amax(0))
    half, other_half = one.half / unit, other.half / unit
    between = (other.center - one.center) / unit
    near = one.solid & other.solid & (between.square().sum(0).sqrt() <= _radius(half) + _radius(other_half))
    between = torch.where(near, between, 0.0)
    shift = (one.axes * between.unsqueeze(1)).sum(0)
    turn = (one.axes.unsqueeze(2) * other.axes.unsqueeze(1)).sum(0)
    volume, other_volume = 8 * half.prod(0), 8 * other_half.prod(0)
    shared = shared_volume(turn, shift, half, other_half)
    shared = torch.minimum(shared, torch.minimum(volume, other_volume)).clamp_min(0.0)
    return torch.where(near, shared / (volume + other_volume - shared), 0.0)


def _radius(half: Tensor) -> Tensor:
    return half.square().sum(0).sqrt()
