"""Exact 3-D IoU (intersection over union) of two rotated boxes.

Everything is computed in float64 in units of the larger box, whatever comes in.

The volume of a convex body is a third of the sum of its faces' areas, each times the face's distance from a point; an
area is half the sum of its sides' lengths, each times the side's distance from a point of the face. The sides of the
common part of two boxes lie on three kinds of lines: 12 edges of the first box, 12 of the second, and 36 lines in which
a face of one meets a face of the other. Each line is cut to the part inside both boxes by intersecting intervals. No
corner is ever found, nothing is sorted, no shape depends on the values. Along all these lines the coordinates change at
rates that are entries of the relative rotation, so that nine reciprocals serve all divisions.

Faces in one plane would be counted twice or not at all, as rounding has it. So the second box is made a little larger
than it is, which takes such faces apart, and the volume so gained is taken off again, which is exact to second order.

Source: the divergence theorem, twice.

Axes: S rotations; leading axes are batch axes and broadcast. Inside, n pairs, last, so that every operation runs along
them.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from cogkp.errors import GeometryError
from cogkp.geometry.arrays import Array, common_shape
from cogkp.geometry.cuboid import Cuboids
from cogkp.geometry.projection import cross

# Pairs at a time, so that intermediate results stay in a processor's second cache.
CHUNK = 1024

# Of a rotation's two columns, the second must stand off the first by at least this.
MIN_COLUMN = 1e-6

# How much larger the second box is made, in units of the larger box: far above rounding, far below what is measured,
# and no round number, since boxes that are smaller by just this much would bring the faces together again.
MARGIN = 1.2345678e-9

# Faces whose angle has a smaller sine than this, squared, are parallel.
MIN_SQUARED_SINE = 1e-30

# Stands for a rate of zero: what it divides lies far outside every box, and its square is still a number.
STILL = 1e-60

# After an axis come two others; in this order they make a right-handed frame.
SECOND, THIRD = [1, 2, 0], [2, 0, 1]


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
        ``MARGIN``, some 1e-9 of the larger box. Computed in float64, also under
        autocast, from rotations made orthonormal first.
    Source: the divergence theorem; see the module.

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
    shared = _shared_volume(turn, shift, half, other_half)
    shared = torch.minimum(shared, torch.minimum(volume, other_volume)).clamp_min(0.0)
    return torch.where(near, shared / (volume + other_volume - shared), 0.0)


def _radius(half: Tensor) -> Tensor:
    return half.square().sum(0).sqrt()


class _Interval(NamedTuple):
    low: Tensor
    high: Tensor

    def cut(self, middle: Tensor, reach: Tensor) -> _Interval:
        """Keep what lies within ``reach`` of ``middle``."""
        return _Interval(torch.maximum(self.low, middle - reach), torch.minimum(self.high, middle + reach))

    def length(self) -> Tensor:
        return (self.high - self.low).clamp_min(0.0)


def _shared_volume(turn: Tensor, shift: Tensor, half: Tensor, other_half: Tensor) -> Tensor:
    """Measure what two boxes share.

    Args:
        turn: (3, 3, n) float64, columns are the second box's axes in the first's frame; orthonormal, right-handed.
        shift: (3, n) float64, the second box's centre in the first's frame.
        half: (3, n) float64, the first box's half sizes; the largest of all is about 1.
        other_half: (3, n) float64, the second box's half sizes.

    Returns:
        (n) float64, within rounding of the truth; it may be less than zero or more than a box by as much.

    Gradient: flows to all four, finite everywhere.
    Source: the divergence theorem; see the module.
    """
    rates = torch.where(turn.abs() < STILL, STILL, turn).reciprocal()
    back = (turn * shift.unsqueeze(1)).sum(0)
    wider = other_half + MARGIN
    along_first = _edges(turn, rates, -back, half, wider)
    along_other = _edges(turn.transpose(0, 1), rates.transpose(0, 1), shift, wider, half)
    low, high = other_half - 2 * MARGIN - back, other_half - 2 * MARGIN + back
    distance = torch.stack((low, high), 1)
    return (
        _own_faces(along_first, half)
        + _other_faces(along_other, distance, wider)
        + _crossings(turn, rates, shift, back, half, wider, distance)
    ) / 6


def _edges(turn: Tensor, rates: Tensor, center: Tensor, half: Tensor, limit: Tensor) -> Tensor:
    """Lengths (3, 2, 2, n) of a box's edges inside another: by axis, then the signs of the next two axes.

    ``turn`` (3, 3, n) holds the box's axes as rows in the other's frame and ``center`` (3, n) the box's centre there.
    """
    to_face = turn * half.unsqueeze(1)
    second, third = to_face[SECOND], to_face[THIRD]
    both, differ = second + third, second - third
    # By the signs -- -+ +- ++ of the two axes that the edge does not follow: (3 edges, 4 signs, 3 limits, n).
    middle = torch.stack((-both, -differ, differ, both), 1) + center
    middle = middle * -rates.unsqueeze(1)
    reach = (rates.abs() * limit).unsqueeze(1)
    kept = _Interval(-half.unsqueeze(1), half.unsqueeze(1))
    for k in range(3):
        kept = kept.cut(middle[:, :, k], reach[:, :, k])
    return kept.length().reshape(3, 2, 2, -1)


def _own_faces(lengths: Tensor, half: Tensor) -> Tensor:
    return 2 * (lengths.sum((1, 2)) * half[SECOND] * half[THIRD]).sum(0)


def _other_faces(lengths: Tensor, distance: Tensor, half: Tensor) -> Tensor:
    one = (lengths.sum(2) * distance[SECOND] * half[THIRD].unsqueeze(1)).sum((0, 1))
    other = (lengths.sum(1) * distance[THIRD] * half[SECOND].unsqueeze(1)).sum((0, 1))
    return one + other


def _crossings(
    turn: Tensor, rates: Tensor, shift: Tensor, back: Tensor, half: Tensor, other_half: Tensor, distance: Tensor
) -> Tensor:
    """Sum over the lines in which faces meet: axis and sign of the first's face, then of the second's, n."""
    sign = half.new_tensor((-1.0, 1.0))
    signed, other_signed = half.unsqueeze(1) * sign[:, None], other_half.unsqueeze(1) * sign[:, None]
    leaning = _first(signed) * _both(turn)
    # How far the second's face lies from the middle of the first's, along its normal, and the other way round.
    ahead = (back.unsqueeze(1) + other_signed) - leaning
    behind = _first(signed - shift.unsqueeze(1)) - other_signed * _both(turn)
    squared_sine = turn[SECOND].square() + turn[THIRD].square()
    apart = squared_sine > MIN_SQUARED_SINE
    foot = ahead * _both(torch.where(apart, squared_sine, 1.0).reciprocal())
    length = torch.where(_both(apart), _inside(turn, rates, signed, foot, back, half, other_half), 0.0)
    lever = ahead * (half.unsqueeze(1).unsqueeze(1) * sign[:, None]).unsqueeze(1)
    lever = lever + distance * behind * sign[:, None, None, None]
    return (lever * length).sum((0, 1, 2, 3))


def _first(values: Tensor) -> Tensor:
    """Line up (3, 2, n) of the first box's faces."""
    return values[:, :, None, None]


def _both(values: Tensor) -> Tensor:
    """Line up (3, 3, n), a value for each pair of axes."""
    return values[:, None, :, None]


def _inside(
    turn: Tensor, rates: Tensor, signed: Tensor, foot: Tensor, back: Tensor, half: Tensor, other_half: Tensor
) -> Tensor:
    """Lengths of the lines' parts inside both boxes, each in units of the sine between its faces."""
    by_second, by_third = rates[SECOND], rates[THIRD]
    middle = foot * _both(turn[SECOND] * by_third)
    reach = _both(by_third.abs() * half[SECOND].unsqueeze(1))
    kept = _Interval(middle - reach, middle + reach)
    kept = kept.cut(foot * _both(-turn[THIRD] * by_second), _both(by_second.abs() * half[THIRD].unsqueeze(1)))
    along = _first(signed) - foot * _both(turn)
    for axis, rate in ((SECOND, -rates[:, THIRD]), (THIRD, rates[:, SECOND])):
        middle = (along * _both(turn[:, axis]) - back[axis].unsqueeze(1)) * _both(rate)
        kept = kept.cut(middle, _both(other_half[axis] * rate.abs()))
    return kept.length()
