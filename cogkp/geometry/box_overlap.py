"""Volume of the intersection of an axis-aligned box at the origin with a rotated box; used by cogkp.geometry.iou3d.

The volume of a convex body is a third of the sum of its faces' areas, each times the face's distance from a point; an
area is half the sum of its sides' lengths, each times the side's distance from a point of the face. The sides of the
common part of two boxes lie on three kinds of lines: 12 edges of the first box, 12 of the second, and 36 lines in which
a face of one meets a face of the other. Each line is cut to the part inside both boxes by intersecting intervals. No
corner is ever found, nothing is sorted, no shape depends on the values. Along all these lines the coordinates change at
rates that are entries of the relative rotation, so that nine reciprocals serve all divisions.

Faces in one plane would be counted twice or not at all, as rounding has it. So the second box is made a little larger
than it is, which takes such faces apart, and the volume so gained is taken off again, which is exact to second order.

Source: the divergence theorem, twice.

Axes: n pairs, last, so that every operation runs along them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["shared_volume"]

# How much larger the second box is made, in units of the larger box: far above rounding, far below what is measured,
# and no round number, since boxes that are smaller by just this much would bring the faces together again.
MARGIN = 1.2345678e-9

# Faces whose angle has a smaller sine than this, squared, are parallel.
MIN_SQUARED_SINE = 1e-30

# Stands for a rate of zero: what it divides lies far outside every box, and its square is still a number.
STILL = 1e-60

# After an axis come two others; in this order they make a right-handed frame.
SECOND, THIRD = [1, 2, 0], [2, 0, 1]


class _Interval(NamedTuple):
    low: Tensor
    high: Tensor

    def cut(self, middle: Tensor, reach: Tensor) -> _Interval:
        """Keep what lies within ``reach`` of ``middle``."""
        return _Interval(torch.maximum(self.low, middle - reach), torch.minimum(self.high, middle + reach))

    def length(self) -> Tensor:
        return (self.high - self.low).clamp_min(0.0)


def shared_volume(turn: Tensor, shift: Tensor, half: Tensor, other_half: Tensor) -> Tensor:
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
