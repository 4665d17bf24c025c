"""Covariance of triangulated points, propagated from the covariances of pixels to first order.

Two questions, two answers: :func:`covariance` is that of the best point the pixels allow, which needs an estimator that
knows their covariances; :func:`least_squares_covariance` is that of the point which triangulation returns, which trusts
pixels by their weights alone. Both agree where every pixel's covariance is a multiple of the identity, one over its
weight.

Axes: V views, N points; leading axes are batch axes and broadcast.
Source: R. Hartley and A. Zisserman, Multiple View Geometry, 2nd ed., section 5.2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cogkp.errors import GeometryError
from cogkp.geometry.arrays import check_points
from cogkp.geometry.gauss_newton import Fit, fit_views
from cogkp.geometry.normal_equations import Views, check_views, check_weights, prepare, sum_views, weigh
from cogkp.geometry.projection import work_dtype
from cogkp.geometry.symmetric import Factors, factor, solve

__all__ = ["covariance", "least_squares_covariance"]

MIN_RELATIVE_AREA = 1e-12


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
