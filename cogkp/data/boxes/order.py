"""Check the order of a box's corners, and find the order that would fit.

A cube looks the same after 48 changes of its axes: six orders of x, y, z, each with either sign. Half of them are
turns, the other half turns seen in a mirror.
"""

from __future__ import annotations

from itertools import permutations, product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cogkp.geometry.cuboid import UNIT_POINTS
from cogkp.geometry.cuboid_fit import fit_cuboids
from cogkp.geometry.pnp import solve_cuboids

__all__ = ["ORDERS", "Order", "best_order_of_pixels", "best_order_of_points"]

FloatArray = npt.NDArray[np.float64]


ALIKE_PX = 1e-3
ALIKE_SHARE = 1e-6

MIDDLE_LAST = (8, 0, 1, 2, 3, 4, 5, 6, 7)
"""Where the middle and the corners stand in files that name the middle last."""


class Order(NamedTuple):
    """A way to number the nine points.

    Args:
        points: (9,) which of the file's points stands at each place.
        mirrored: whether it turns a right hand into a left one.
    """

    points: tuple[int, ...]
    mirrored: bool

    def __str__(self) -> str:
        if self.points == MIDDLE_LAST:
            return "The middle stands last; it comes first, before the eight corners."
        kind = "numbered as in a mirror" if self.mirrored else "numbered with other axes"
        middle = "" if self.points[0] == 0 else "the middle stands last, "
        return f"The corners are {kind}; {middle}in the order {list(self.points)[middle == '' :]} they fit."


def _orders() -> tuple[Order, ...]:
    signs = np.sign(np.array(UNIT_POINTS))
    places = {tuple(row): index for index, row in enumerate(signs.tolist())}
    found = []
    for axes in permutations(range(3)):
        for sides in product((1.0, -1.0), repeat=3):
            change = np.zeros((3, 3))
            change[range(3), axes] = sides
            moved = (signs @ change.T).tolist()
            found.append(Order(tuple(places[tuple(row)] for row in moved), bool(np.linalg.det(change) < 0)))
    return tuple(found)


ORDERS = _orders()
"""All 48, the field's own first."""

TRIED = (*ORDERS, *(Order(tuple(MIDDLE_LAST[place] for place in order.points), order.mirrored) for order in ORDERS))
"""The same again with the middle behind the corners, as other programs write it."""


def _first_of_the_best(left: FloatArray, alike: float) -> int:
    """Choose the first of the orders that fit alike: turns of the object by half a circle often do."""
    return int(np.argmax(left <= left.min() + alike))


def best_order_of_pixels(uv: FloatArray, size_xyz: FloatArray, K: FloatArray) -> tuple[Order, float]:
    """Find the numbering under which pixels are those of a box with given sides.

    Args:
        uv: (9, 2) pixels.
        size_xyz: (3,) full side lengths, true or in any unit.
        K: (3, 3) intrinsics, pixels.

    Returns:
        The order and the root mean square distance that is left, pixels; infinite where none gives a pose.
    """
    tried = np.stack([uv[list(order.points)][1:] for order in TRIED])
    found = solve_cuboids(tried, np.broadcast_to(size_xyz, (len(TRIED), 3)), K)
    residual = np.where(found.valid, found.residual_px, np.inf)
    best = _first_of_the_best(residual, ALIKE_PX)
    return TRIED[best], float(residual[best])


def best_order_of_points(xyz: FloatArray) -> tuple[Order, float]:
    """Find the numbering under which nine points of space are middle and corners of a box.

    Args:
        xyz: (9, 3) in any unit.

    Returns:
        The order and the root mean square distance that is left, shares of the box's diagonal.
    """
    fit = fit_cuboids(np.stack([xyz[list(order.points)] for order in TRIED]))
    diagonal = np.linalg.norm(fit.cuboids.size_xyz, axis=-1)
    share = np.where(fit.valid, fit.residual / np.maximum(diagonal, 1e-300), np.inf)
    best = _first_of_the_best(share, ALIKE_SHARE)
    return TRIED[best], float(share[best])
