"""Solve many symmetric 3x3 systems at once, entry by entry.

Elimination without pivoting is stable for positive definite matrices (N. Higham, Accuracy and Stability of Numerical
Algorithms, 2nd ed., section 10.1), costs no more than Cramer's rule, and loses fewer digits when the matrix is nearly
singular. Entries are separate tensors, so that every operation runs along the points.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Factors", "factor", "solve", "spread"]

Vector = tuple[Tensor, Tensor, Tensor]


class Factors(NamedTuple):
    """L D L^T of a symmetric matrix: the pivots of D, the entries of L below its diagonal, whether none was lost."""

    d0: Tensor
    d1: Tensor
    d2: Tensor
    l10: Tensor
    l20: Tensor
    l21: Tensor
    regular: Tensor


def spread(rows: Vector, others: Vector, weights: Tensor) -> tuple[Tensor, ...]:
    """Sum weighted outer products of rows over the views.

    Args:
        rows: three tensors (..., V, N), the entries of one row per view.
        others: the same for a second row.
        weights: (..., V, N).

    Returns:
        Six tensors (..., N): entries 00, 01, 02, 11, 12, 22.
    """
    light, lighter = tuple(weights * entry for entry in rows), tuple(weights * entry for entry in others)
    pairs = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
    return tuple((light[i] * rows[j] + lighter[i] * others[j]).sum(-2) for i, j in pairs)


def factor(entries: tuple[Tensor, ...]) -> Factors:
    """Split positive semidefinite matrices; a pivot lost to rounding is replaced by a harmless number.

    Gradient: flows to the entries, finite everywhere; none through a replaced pivot.
    """
    h00, h01, h02, h11, h12, h22 = entries
    trace = (h00 + h11 + h22).detach()
    least = torch.finfo(h00.dtype).eps * trace
    harmless = torch.where(trace > 0, trace, 1.0)

    def pivot(value: Tensor) -> tuple[Tensor, Tensor]:
        kept = value > least
        return torch.where(kept, value, harmless), kept

    d0, kept0 = pivot(h00)
    l10, l20 = h01 / d0, h02 / d0
    d1, kept1 = pivot(h11 - l10 * h01)
    left = h12 - l10 * h02
    l21 = left / d1
    d2, kept2 = pivot(h22 - l20 * h02 - l21 * left)
    return Factors(d0, d1, d2, l10, l20, l21, kept0 & kept1 & kept2)


def solve(factors: Factors, right: Vector) -> Vector:
    """Solve with the matrices that were factored."""
    y0 = right[0]
    y1 = right[1] - factors.l10 * y0
    y2 = right[2] - factors.l20 * y0 - factors.l21 * y1
    x2 = y2 / factors.d2
    x1 = y1 / factors.d1 - factors.l21 * x2
    return y0 / factors.d0 - factors.l10 * x1 - factors.l20 * x2, x1, x2
