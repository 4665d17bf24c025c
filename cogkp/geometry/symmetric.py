"""Solve many symmetric 3x3 systems at once, entry by entry.

Elimination without pivoting is stable for positive definite matrices (N. Higham, Accuracy and Stability of Numerical
Algorithms, 2nd ed., section 10.1), costs no more than Cramer's rule, and loses fewer digits when the matrix is nearly
singular. Entries are separate tensors, so that every operation runs along the points.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

TINY = 1e-100


class Factors(NamedTuple):
    """L D L^T of a symmetric matrix: the pivots of D, the entries of L below its diagonal, the least pivot kept."""

    d0: Tensor
    d1: Tensor
    d2: Tensor
    l10: Tensor
    l20: Tensor
    l21: Tensor
    least: Tensor

    @property
    def regular(self) -> Tensor:
        """Tell which matrices are positive definite beyond rounding."""
        return (self.d0 > self.least) & (self.d1 > self.least) & (self.d2 > self.least)


def factor(entries: Sequence[Tensor]) -> Factors:
    """Split symmetric matrices in float64, given as entries 00, 01, 02, 11, 12, 22.

    A pivot that is not positive, or lost to rounding, is replaced by the least one that is not: the solution is then
    very large, or zero with a zero right side, and finite.

    Gradient: flows to the entries, finite everywhere; none through a replaced pivot.
    """
    h00, h01, h02, h11, h12, h22 = entries
    least = (torch.finfo(h00.dtype).eps * (h00 + h11 + h22).detach()).clamp_min(TINY)
    d0 = torch.maximum(h00, least)
    l10, l20 = h01 / d0, h02 / d0
    d1 = torch.maximum(torch.addcmul(h11, l10, h01, value=-1.0), least)
    left = torch.addcmul(h12, l10, h02, value=-1.0)
    l21 = left / d1
    d2 = torch.maximum(torch.addcmul(torch.addcmul(h22, l20, h02, value=-1.0), l21, left, value=-1.0), least)
    return Factors(d0, d1, d2, l10, l20, l21, least)


def solve(factors: Factors, right: Sequence[Tensor]) -> Tensor:
    """Solve with the matrices that were factored; three tensors (..., N) in, one (..., 3, N) out."""
    y0, right1, right2 = right
    y1 = torch.addcmul(right1, factors.l10, y0, value=-1.0)
    y2 = torch.addcmul(torch.addcmul(right2, factors.l20, y0, value=-1.0), factors.l21, y1, value=-1.0)
    x2 = y2 / factors.d2
    x1 = torch.addcmul(y1 / factors.d1, factors.l21, x2, value=-1.0)
    x0 = torch.addcmul(torch.addcmul(y0 / factors.d0, factors.l10, x1, value=-1.0), factors.l20, x2, value=-1.0)
    return torch.stack((x0, x1, x2), -2)
