"""Covariances of triangulated points, Mahalanobis distances, and confidence regions of a stated share.

A covariance of zero, which no measurement has, says that nothing is known; such rows are marked and not counted.

Of a triangulated point there are two, propagated from the covariances of its pixels to first order: :func:`covariance`
is that of the best point the pixels allow, which needs an estimator that knows their covariances;
:func:`least_squares_covariance` is that of the point which triangulation returns, which trusts pixels by their weights
alone. Both agree where every pixel's covariance is a multiple of the identity, one over its weight.

Axes: V views; N points or any others; D dimensions of a space, 2 for pixels and 3 for points; leading axes are batch
axes and broadcast.
Source: R. Hartley and A. Zisserman, Multiple View Geometry, 2nd ed., section 5.2 and appendix A2.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from cogkp.errors import GeometryError
from cogkp.geometry.arrays import check_points
from cogkp.geometry.covariance import check_square, with_noise
from cogkp.geometry.gauss_newton import Fit, Views, check_views, check_weights, fit_views, prepare, sum_views, weigh
from cogkp.geometry.projection import work_dtype
from cogkp.geometry.symmetric import Factors, factor, solve

# A pivot that lost this many digits more than rounding takes is noise.
LOST_DIGITS = 8.0
BISECTIONS = 200
# How exactly a missing noise is found: far finer than any number of labels can tell.
NOISE_TOLERANCE = 1e-4

MIN_RELATIVE_AREA = 1e-12


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


def covariance(xyz_world: Tensor, P: Tensor, uv_covariance: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the covariance of the maximum-likelihood point, which weighs pixels by their covariances.

    Args:
        xyz_world: (..., N, 3) float, world unit.
        P: (..., V, 3, 4) float, world to pixels, any scale and sign.
        uv_covariance: (..., V, N, 2, 2) float, pixels squared. A view is left out where it is not positive definite.
        weights: (..., V, N) float, factors on each view's information; all 1 if None, zero leaves the view out.

    Returns:
        (..., N, 3, 3) in the dtype of ``xyz_world``, world unit squared; zero, which no true covariance is, where the
        point is not finite, lies behind a camera that counts, or is not determined by the views.

    Raises:
        GeometryError: points, matrices, covariances or weights have another shape.

    Gradient: flows to all tensors; zero where the result is zero, finite everywhere.
    Precision: float64, whatever comes in.
    Source: Hartley and Zisserman, 2nd ed., result 5.10: inverse of the sum of J^T C^-1 J over the views.

    Example:
        >>> P = torch.eye(3, 4).repeat(2, 1, 1)
        >>> P[1, 0, 3] = -1.0
        >>> pixel = (0.01 * torch.eye(2)).expand(2, 1, 2, 2)
        >>> covariance(torch.tensor([[0.5, 0.0, 2.0]]), P, pixel).diagonal(dim1=-2, dim2=-1).sqrt()
        tensor([[0.1414, 0.1414, 0.5657]])
    """
    _check(xyz_world, P, uv_covariance, weights)
    views = prepare(torch.zeros(uv_covariance.shape[:-1], dtype=torch.float64, device=P.device), P, None)
    (c00, c01, c11), definite = _entries(uv_covariance)
    trust = views.weights if weights is None else _absolute(weights, views.weights)
    views = views._replace(weights=torch.where(definite, trust, 0.0))
    local, near = views.frame.to_local(xyz_world)
    fit = fit_views(views, local)
    valid = near & fit.in_front & ((views.weights > 0).sum(-2) > 1)
    share = views.weights / (c00 * c11 - c01.square())
    factors = _factor(_spread(views, fit, (share * c11, -share * c01, share * c00)), valid)
    one, none = torch.ones_like(factors.d0), torch.zeros_like(factors.d0)
    columns = [solve(factors, right) for right in ((one, none, none), (none, one, none), (none, none, one))]
    matrix = torch.stack([column.mT for column in columns], -1)
    return _known(0.5 * (matrix + matrix.mT), views, valid & factors.regular).to(work_dtype(xyz_world))


def least_squares_covariance(
    xyz_world: Tensor, uv: Tensor, P: Tensor, uv_covariance: Tensor, weights: Tensor | None = None
) -> Tensor:
    """Return the covariance of the point that triangulation finds, which weighs pixels by their weights alone.

    Args:
        xyz_world: (..., N, 3) float, world unit, as triangulated.
        uv: (..., V, N, 2) float, pixels; views are left out as in :func:`triangulate_views`.
        P: (..., V, 3, 4) float, world to pixels, any scale and sign.
        uv_covariance: (..., V, N, 2, 2) float, pixels squared.
        weights: (..., V, N) float, those the point was triangulated with; all 1 if None.

    Returns:
        (..., N, 3, 3) in the dtype of ``xyz_world``, world unit squared; zero, which no true covariance is, where the
        point is not finite, lies behind a camera that counts, or is not determined by the views, and where the
        covariance of a pixel that counts is not positive definite. A point that triangulation could not find has no
        meaning here: mask it by its own validity.

    Raises:
        GeometryError: points, pixels, matrices, covariances or weights have another shape.

    Gradient: flows to all tensors but ``uv``, of which it only asks what is seen; finite everywhere.
    Precision: float64, whatever comes in.
    Source: Hartley and Zisserman, 2nd ed., result 5.6 (propagation through a linear map), with the map of weighted
        least squares: (sum of w J^T J)^-1 w J^T.

    Example:
        >>> P = torch.eye(3, 4).repeat(2, 1, 1)
        >>> P[1, 0, 3] = -1.0
        >>> uv, pixel = torch.tensor([[[0.25, 0.0]], [[-0.25, 0.0]]]), torch.diag(torch.tensor([0.01, 0.04]))
        >>> found = least_squares_covariance(torch.tensor([[0.5, 0.0, 2.0]]), uv, P, pixel.expand(2, 1, 2, 2))
        >>> found.diagonal(dim1=-2, dim2=-1).sqrt()
        tensor([[0.1414, 0.2828, 0.5657]])
    """
    check_points("uv", uv, 2, "V, N")
    _check(xyz_world, P, uv_covariance, weights)
    views = prepare(uv, P, weights)
    local, near = views.frame.to_local(xyz_world)
    fit = fit_views(views, local)
    pixel, definite = _entries(uv_covariance)
    known = (definite | (views.weights <= 0)).all(-2)
    valid = near & fit.in_front & known & ((views.weights > 0).sum(-2) > 1)
    share = views.weights * fit.inverse_depth.square()
    information = sum_views(views.frame.normal_factors()[..., :6, :], weigh(fit.pixels, share))
    factors = _factor(information, valid)
    square = views.weights.square()
    noise = _factor(_spread(views, fit, (square * pixel[0], square * pixel[1], square * pixel[2])), valid)
    moved = torch.stack([solve(factors, right).mT for right in _root(noise)], -1)
    return _known(moved @ moved.mT, views, valid & factors.regular).to(work_dtype(xyz_world))


def _check(xyz_world: Tensor, P: Tensor, uv_covariance: Tensor, weights: Tensor | None) -> None:
    check_points("xyz_world", xyz_world, 3)
    if uv_covariance.dim() < 4 or tuple(uv_covariance.shape[-2:]) != (2, 2):  # noqa: PLR2004
        raise GeometryError(
            "uv_covariance has the wrong shape", expected="(..., V, N, 2, 2)", got=str(tuple(uv_covariance.shape))
        )
    check_views(uv_covariance, uv_covariance.shape[-4], P)
    check_weights(weights, uv_covariance.shape[:-2])


def _spread(views: Views, fit: Fit, entries: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Return (..., 6, N): the sum of J^T M J over views; the rows of J are (first - u third) / depth and so for v."""
    square = fit.inverse_depth.square()
    a, b, c = (square * entry for entry in entries)
    u, v = fit.pixels.unbind(-3)
    by_u, by_v = a * u + b * v, b * u + c * v
    numbers = torch.stack((a, 2.0 * b, c, -2.0 * by_u, -2.0 * by_v, u * by_u + v * by_v), -3)
    products = [views.frame.products(*rows) for rows in ((0, 0), (0, 1), (1, 1), (0, 2), (1, 2), (2, 2))]
    return sum_views(torch.stack(products, -3).flatten(-3, -2).mT[..., :6, :], numbers)


def _factor(entries: Tensor, valid: Tensor) -> Factors:
    return factor(torch.where(valid.unsqueeze(-2), entries, 0.0).unbind(-2))


def _root(matrix: Factors) -> tuple[tuple[Tensor, Tensor, Tensor], ...]:
    """Return the columns of L D^(1/2): sums of products of what becomes of them have no negative variance."""
    root0, root1, root2 = matrix.d0.sqrt(), matrix.d1.sqrt(), matrix.d2.sqrt()
    none = torch.zeros_like(root0)
    return (root0, matrix.l10 * root0, matrix.l20 * root0), (none, root1, matrix.l21 * root1), (none, none, root2)


def _known(matrix: Tensor, views: Views, known: Tensor) -> Tensor:
    """Return (..., N, 3, 3) in world units, zero where not known."""
    return torch.where(known[..., None, None], matrix * views.frame.unit.square()[..., None, None, None], 0.0)


def _absolute(weights: Tensor, observed: Tensor) -> Tensor:
    used = (observed > 0) & (weights > 0) & torch.isfinite(weights)
    return torch.where(used, weights.to(observed.dtype), 0.0)


def _entries(uv_covariance: Tensor) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    """Return entries 00, 01, 11, those of the identity where a matrix is not positive definite, and where it is."""
    wide = uv_covariance.to(torch.float64)
    c00, c01, c11 = wide[..., 0, 0], 0.5 * (wide[..., 0, 1] + wide[..., 1, 0]), wide[..., 1, 1]
    product = (c00 * c11).detach()
    definite = torch.isfinite(product) & (c00 > 0) & (c11 > 0) & (product - c01.square() > MIN_RELATIVE_AREA * product)
    safe = torch.where(definite, c00, 1.0), torch.where(definite, c01, 0.0), torch.where(definite, c11, 1.0)
    return safe, definite
