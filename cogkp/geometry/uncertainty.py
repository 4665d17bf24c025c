"""Mahalanobis distances, and confidence regions of a stated share.

A covariance of zero, which no measurement has, says that nothing is known; such rows are marked and not counted.

Axes: N points or any others; D dimensions of a space, 2 for pixels and 3 for points.
Knows nothing of: where a covariance comes from (see :mod:`cogkp.geometry.heatmap_moments` and
:mod:`cogkp.geometry.point_covariance`).
Source: R. Hartley and A. Zisserman, Multiple View Geometry, 2nd ed., section 5.2 and appendix A2.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from cogkp.errors import GeometryError
from cogkp.geometry.covariance import check_square, with_noise

__all__ = [
    "Distance",
    "Region",
    "inside_region",
    "mahalanobis2",
    "missing_noise",
    "region_radius2",
]

# A pivot that lost this many digits more than rounding takes is noise.
LOST_DIGITS = 8.0
BISECTIONS = 200
# How exactly a missing noise is found: far finer than any number of labels can tell.
NOISE_TOLERANCE = 1e-4


class Distance(NamedTuple):
    """Mahalanobis distances of offsets.

    Args:
        squared: (...) float, no unit; zero where not valid.
        valid: (...) bool, offset and covariance are finite, the covariance positive definite.
    """

    squared: Tensor
    valid: Tensor


class Region(NamedTuple):
    """Whether offsets lie inside a region of a stated share.

    Args:
        inside: (...) bool; False where not valid.
        valid: (...) bool, offset and covariance are finite, the covariance positive definite.
    """

    inside: Tensor
    valid: Tensor


def mahalanobis2(offset: Tensor, covariance: Tensor) -> Distance:
    """Return the squared Mahalanobis distance of offsets: d^T C^-1 d.

    Args:
        offset: (..., D) float, unit of the space.
        covariance: (..., D, D) float, symmetric, unit squared; leading axes broadcast with those of ``offset``.

    Returns:
        Distances in the wider of both dtypes, float32 at least, and validity; see :class:`Distance`.

    Raises:
        GeometryError: the shapes do not fit.

    Gradient: flows to both; zero for rows that are not valid, finite everywhere.
    Precision: float64, whatever comes in. What counts as definite does not depend on the units of the axes.
    Source: P. C. Mahalanobis, On the generalised distance in statistics, 1936; N. Higham, Accuracy and Stability of
        Numerical Algorithms, 2nd ed., section 10.1 (elimination without pivoting).

    Example:
        >>> covariances = torch.stack((torch.diag(torch.tensor([4.0, 1.0])), torch.zeros(2, 2)))
        >>> mahalanobis2(torch.tensor([2.0, 1.0]), covariances)
        Distance(squared=tensor([2., 0.]), valid=tensor([ True, False]))
    """
    check_square(covariance)
    if offset.dim() < 1 or offset.shape[-1] != covariance.shape[-1]:
        raise GeometryError(
            "an offset does not fit its covariance",
            expected=f"(..., {covariance.shape[-1]})",
            got=str(tuple(offset.shape)),
        )
    dtype = torch.promote_types(torch.promote_types(offset.dtype, covariance.dtype), torch.float32)
    least = LOST_DIGITS * torch.finfo(torch.promote_types(covariance.dtype, torch.float32)).eps
    C, d = covariance.to(torch.float64), offset.to(torch.float64)
    variance = C.diagonal(dim1=-2, dim2=-1)
    valid = C.isfinite().all(-1).all(-1) & (variance > 0).all(-1) & d.isfinite().all(-1)
    scale = torch.where(valid.unsqueeze(-1), variance, 1.0).rsqrt()
    # Unit variances make the test for definiteness independent of the unit.
    R = torch.where(valid[..., None, None], 0.5 * (C + C.mT), torch.eye(C.shape[-1], dtype=C.dtype, device=C.device))
    R = R * scale.unsqueeze(-1) * scale.unsqueeze(-2)
    squared, definite = _eliminate(R, torch.where(valid.unsqueeze(-1), d, 0.0) * scale, least)
    valid = valid & definite
    return Distance(torch.where(valid, squared, 0.0).to(dtype), valid)


def _eliminate(R: Tensor, right: Tensor, least: float) -> tuple[Tensor, Tensor]:
    """Return d^T R^-1 d by L D L^T, and whether every pivot is above the least."""
    size = R.shape[-1]
    left, todo = [list(row.unbind(-1)) for row in R.unbind(-2)], list(right.unbind(-1))
    squared, definite = torch.zeros_like(right[..., 0]), torch.ones_like(R[..., 0, 0], dtype=torch.bool)
    for k in range(size):
        kept = left[k][k] > least
        definite = definite & kept
        pivot = torch.where(kept, left[k][k], 1.0)
        squared = squared + todo[k] * todo[k] / pivot
        for i in range(k + 1, size):
            factor = left[i][k] / pivot
            todo[i] = todo[i] - factor * todo[k]
            for j in range(k + 1, size):
                left[i][j] = left[i][j] - factor * left[k][j]
    return squared, definite


def region_radius2(share: float, dimensions: int) -> float:
    """Return the squared radius, in standard deviations, of the ball that holds a share of a Gaussian.

    Args:
        share: between 0 and 1, both left out.
        dimensions: of the space, 1 or more.

    Returns:
        The chi-square quantile with as many degrees of freedom.

    Raises:
        GeometryError: the share or the number of dimensions is out of range.

    Gradient: none.
    Precision: float64.
    Source: M. Abramowitz and I. Stegun, Handbook of Mathematical Functions, equation 26.4.19: the chi-square
        distribution is the regularised incomplete gamma function of half its arguments.

    Example:
        >>> round(region_radius2(0.9, 2), 4), round(region_radius2(0.9, 3), 4)
        (4.6052, 6.2514)
    """
    if not 0.0 < share < 1.0 or dimensions < 1:
        raise GeometryError(
            "there is no such region",
            expected="0 < share < 1 and dimensions >= 1",
            got=f"share {share}, dimensions {dimensions}",
        )
    low, high = 0.0, 1.0
    while _held(high, dimensions) < share:
        low, high = high, 2.0 * high
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        if middle in {low, high}:
            break
        low, high = (middle, high) if _held(middle, dimensions) < share else (low, middle)
    return high


def _held(radius2: float, dimensions: int) -> float:
    half = torch.tensor([0.5 * dimensions, 0.5 * radius2], dtype=torch.float64)
    return float(torch.special.gammainc(half[0], half[1]))


def inside_region(offset: Tensor, covariance: Tensor, share: float) -> Region:
    """Tell which offsets lie inside the confidence region of a stated share.

    Args:
        offset: (..., D) float, from the estimate to the truth or back, unit of the space.
        covariance: (..., D, D) float, symmetric, unit squared.
        share: of a Gaussian inside the region, between 0 and 1.

    Returns:
        Membership and validity; see :class:`Region`. Over many valid rows of honest covariances, the mean of
        ``inside`` comes close to the share.

    Raises:
        GeometryError: the shapes do not fit, or the share is out of range.

    Gradient: none.
    Precision: as :func:`mahalanobis2`.
    Source: as :func:`region_radius2`.

    Example:
        >>> inside_region(torch.tensor([[2.0, 0.0], [2.5, 0.0]]), torch.eye(2), share=0.9).inside
        tensor([ True, False])
    """
    distance = mahalanobis2(offset.detach(), covariance.detach())
    radius2 = region_radius2(share, offset.shape[-1])
    return Region(distance.valid & (distance.squared <= radius2), distance.valid)


def missing_noise(offset: Tensor, covariance: Tensor, share: float) -> float:
    """Find the isotropic noise to add so that confidence regions hold the stated share of the offsets.

    More noise never leaves an offset out that was inside, so the number inside only grows with it and is bisected.

    Args:
        offset: (N, D) float, finite, from the estimate to the truth or back, unit of the space; at least one.
        covariance: (N, D, D) float, finite, symmetric, positive semidefinite, unit squared.
        share: of the offsets inside the regions of the same share, between 0 and 1.

    Returns:
        The least standard deviation, unit of the space, for which the regions of :func:`with_noise` hold the share
        or more; 0 where they do without.

    Raises:
        GeometryError: the shapes do not fit, there is no offset, or the share is out of range.

    Gradient: none.
    Precision: one part in ten thousand.
    Source: the region of a point is the ellipsoid d^T (C + noise^2 I)^-1 d <= r^2, whose left side falls with the
        noise; at noise = max |d| / r it holds every point, whatever C.

    Example:
        >>> offset = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0], [0.0, 4.0]])
        >>> round(missing_noise(offset, torch.zeros(4, 2, 2), share=0.5), 3)  # reaches 2 of 4
        1.699
    """
    check_square(covariance)
    if offset.shape != covariance.shape[:-1] or offset.dim() != 2 or not len(offset):  # noqa: PLR2004
        raise GeometryError(
            "offsets do not fit their covariances",
            expected=f"(N, {covariance.shape[-1]}), N >= 1",
            got=f"{tuple(offset.shape)} beside {tuple(covariance.shape)}",
        )
    d, C = offset.detach().to(torch.float64), covariance.detach().to(torch.float64)
    farthest, radius2 = float(d.norm(dim=-1).max()), region_radius2(share, C.shape[-1])
    exact = ~d.any(-1)  # inside any region, however small; no noise at all would not even make one

    def held(noise: float) -> bool:
        return float((inside_region(d, with_noise(C, noise), share).inside | exact).double().mean()) >= share

    if held(0.0):
        return 0.0
    low, high = 0.0, farthest / math.sqrt(radius2)
    while high - low > NOISE_TOLERANCE * high:
        middle = 0.5 * (low + high)
        low, high = (low, middle) if held(middle) else (middle, high)
    return high
