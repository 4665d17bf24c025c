"""Carry the uncertainty of pixels to the points of space found from them, to first order.

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
from cogkp.geometry.multiview import Point, check_views, check_weights, fit_views, localise, prepare
from cogkp.geometry.projection import check_points, work_dtype
from cogkp.geometry.symmetric import Factors, factor, solve, spread

__all__ = ["covariance", "least_squares_covariance"]

MIN_RELATIVE_AREA = 1e-12


def covariance(xyz_world: Tensor, P: Tensor, uv_covariance: Tensor, weights: Tensor | None = None) -> Tensor:
    """Say how well the best point that pixels allow is known: one that weighs them by their covariances.

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
    Precision: float32 or better, also under autocast.
    Source: Hartley and Zisserman, 2nd ed., result 5.10: inverse of the sum of J^T C^-1 J over the views.

    Example:
        >>> P = torch.eye(3, 4).repeat(2, 1, 1)
        >>> P[1, 0, 3] = -1.0
        >>> pixel = (0.01 * torch.eye(2)).expand(2, 1, 2, 2)
        >>> covariance(torch.tensor([[0.5, 0.0, 2.0]]), P, pixel).diagonal(dim1=-2, dim2=-1).sqrt()
        tensor([[0.1414, 0.1414, 0.5657]])
    """
    _check(xyz_world, P, uv_covariance, weights)
    return _propagate(xyz_world, P, uv_covariance, weights)


def _propagate(xyz_world: Tensor, P: Tensor, uv_covariance: Tensor, weights: Tensor | None) -> Tensor:
    work = work_dtype(xyz_world, P, uv_covariance)
    views = prepare(torch.zeros(uv_covariance.shape[:-1], dtype=work, device=P.device), P, None)
    (c00, c01, c11), definite = _centred_covariance(uv_covariance.to(work), views.focal_px.to(work)[..., None, None])
    trust = views.weights if weights is None else _absolute(weights, views.weights)
    views = views._replace(weights=torch.where(definite, trust, 0.0))
    local, finite = localise(xyz_world, views, work)
    fit = fit_views(views, local)
    # Rows that are whitened have unit covariance, so that their outer products sum to the information.
    scale_u, lean = c00.rsqrt(), c01 / c00
    scale_v = (c11 - lean * c01).rsqrt()
    white_u = tuple(scale_u * slope for slope in fit.slope_u)
    white_v = tuple(scale_v * (v - lean * u) for u, v in zip(fit.slope_u, fit.slope_v, strict=True))
    information = spread((white_u[0], white_u[1], white_u[2]), (white_v[0], white_v[1], white_v[2]), views.weights)
    valid = finite & fit.in_front & ((views.weights > 0).sum(-2) > 1)
    factors = factor(tuple(torch.where(valid, entry, 0.0) for entry in information))
    one, none = torch.ones_like(factors.d0), torch.zeros_like(factors.d0)
    columns = [solve(factors, right) for right in ((one, none, none), (none, one, none), (none, none, one))]
    matrix = torch.stack([torch.stack(column, -1) for column in columns], -1)
    matrix = 0.5 * (matrix + matrix.mT) * views.unit.to(work).square()[..., None, None, None]
    known = valid & factors.regular
    return torch.where(known[..., None, None], matrix, 0.0).to(work_dtype(xyz_world))


def least_squares_covariance(
    xyz_world: Tensor, uv: Tensor, P: Tensor, uv_covariance: Tensor, weights: Tensor | None = None
) -> Tensor:
    """Say how well the point is known that triangulation finds, which trusts pixels by their weights alone.

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
    views = prepare(uv.to(torch.float64), P, weights)
    local, finite = localise(xyz_world, views, torch.float64)
    fit = fit_views(views, local)
    pixel, definite = _centred_covariance(uv_covariance.to(torch.float64), views.focal_px[..., None, None])
    known = (definite | (views.weights <= 0)).all(-2)
    valid = finite & fit.in_front & known & ((views.weights > 0).sum(-2) > 1)
    information = spread(fit.slope_u, fit.slope_v, views.weights)
    factors = factor(tuple(torch.where(valid, entry, 0.0) for entry in information))
    each = Factors(*(value.unsqueeze(-2) for value in factors))
    pull_u, pull_v = (_scaled(slope, views.weights) for slope in (fit.slope_u, fit.slope_v))
    entries = _spread_by(solve(each, pull_u), solve(each, pull_v), pixel)
    matrix = _symmetric(entries) * views.unit.square()[..., None, None, None]
    return torch.where((valid & factors.regular)[..., None, None], matrix, 0.0).to(work_dtype(xyz_world))


def _check(xyz_world: Tensor, P: Tensor, uv_covariance: Tensor, weights: Tensor | None) -> None:
    check_points("xyz_world", xyz_world, 3)
    if uv_covariance.dim() < 4 or tuple(uv_covariance.shape[-2:]) != (2, 2):  # noqa: PLR2004
        raise GeometryError(
            "uv_covariance has the wrong shape", expected="(..., V, N, 2, 2)", got=str(tuple(uv_covariance.shape))
        )
    check_views(uv_covariance, uv_covariance.shape[-4], P)
    check_weights(weights, uv_covariance.shape[:-2])


def _scaled(vector: Point, factor: Tensor) -> Point:
    return vector[0] * factor, vector[1] * factor, vector[2] * factor


def _spread_by(by_u: Point, by_v: Point, pixel: Point) -> tuple[Tensor, ...]:
    """Sum g C g^T over the views, where g says how the point moves with each view's u and v."""
    c00, c01, c11 = pixel
    # With C = L L^T this is a sum of squares, so that no variance is negative.
    first = c00.sqrt()
    lean = c01 / first
    second = (c11 - lean * lean).sqrt()
    one = _add(_scaled(by_u, first), _scaled(by_v, lean))
    return spread(one, _scaled(by_v, second), torch.ones_like(first))


def _add(a: Point, b: Point) -> Point:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


def _symmetric(entries: tuple[Tensor, ...]) -> Tensor:
    m00, m01, m02, m11, m12, m22 = entries
    rows = ((m00, m01, m02), (m01, m11, m12), (m02, m12, m22))
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def _absolute(weights: Tensor, seen: Tensor) -> Tensor:
    used = (seen > 0) & (weights > 0) & torch.isfinite(weights)
    return torch.where(used, weights.to(seen.dtype), 0.0)


def _centred_covariance(uv_covariance: Tensor, focal: Tensor) -> tuple[Point, Tensor]:
    scaled = uv_covariance / (focal * focal)[..., None, None]
    c00, c01, c11 = scaled[..., 0, 0], 0.5 * (scaled[..., 0, 1] + scaled[..., 1, 0]), scaled[..., 1, 1]
    product = (c00 * c11).detach()
    definite = torch.isfinite(product) & (c00 > 0) & (c11 > 0) & (product - c01.square() > MIN_RELATIVE_AREA * product)
    return (
        torch.where(definite, c00, 1.0),
        torch.where(definite, c01, 0.0),
        torch.where(definite, c11, 1.0),
    ), definite
