"""Move points of space until their pixels fit, and say how well they are known.

Several cameras share one centred frame of unit size, in which float32 is enough.
Source: R. Hartley and A. Zisserman, Multiple View Geometry, 2nd ed., sections 5.2 and A6.1.

Axes: V views, N points; leading axes are batch axes and broadcast.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cogkp.errors import GeometryError
from cogkp.geometry.camera import MIN_DEPTH
from cogkp.geometry.projection import Cameras, check_points, read_cameras, work_dtype
from cogkp.geometry.symmetric import factor, solve, spread

__all__ = ["Views", "correct", "covariance", "prepare", "refine"]

Point = tuple[Tensor, Tensor, Tensor]
Row = tuple[Tensor, ...]

# Pixels this many focal lengths off the principal point are no measurement.
MAX_SLOPE = 1e4
MAX_COORDINATE = 1e9
MIN_RELATIVE_AREA = 1e-12


class Views(NamedTuple):
    """Cameras and what they see, in one centred frame of unit size.

    Args:
        rows: the rows of the projection matrices, each four tensors (..., V, 1).
        pixels: two tensors (..., V, N), centred, in units of ``focal_px``; zero where left out.
        weights: (..., V, N), largest 1 per point; zero where left out.
        center: (..., V, 3) float64, where the cameras stand.
        origin: (..., 3) float64, of the frame, world unit.
        unit: (...) float64, of the frame, world unit.
        focal_px: (...) float64.
        usable: (..., V) bool.
    """

    rows: tuple[Row, Row, Row]
    pixels: tuple[Tensor, Tensor]
    weights: Tensor
    center: Tensor
    origin: Tensor
    unit: Tensor
    focal_px: Tensor
    usable: Tensor

    def depth(self, local: Point) -> Tensor:
        """Return (..., V, N) depths of points given as three tensors (..., 1, N)."""
        return _along(self.rows[2], local)

    def to_world(self, local: Point, valid: Tensor) -> Tensor:
        """Return (..., N, 3), zero where not valid."""
        unit = self.unit.to(local[0].dtype).unsqueeze(-1)
        parts = [part * unit + self.origin[..., k, None].to(part.dtype) for k, part in enumerate(local)]
        return torch.where(valid.unsqueeze(-1), torch.stack(parts, -1), 0.0)


def _along(row: Row, local: Point) -> Tensor:
    return row[0] * local[0] + row[1] * local[1] + row[2] * local[2] + row[3]


def correct(local: Point, delta: Point) -> Point:
    """Add a step."""
    return local[0] + delta[0], local[1] + delta[1], local[2] + delta[2]


class _Frame(NamedTuple):
    cameras: Cameras
    origin: Tensor
    unit: Tensor
    focal_px: Tensor


def _frame(P: Tensor) -> _Frame:
    # The frame is a choice of numbers only: the result does not depend on it, so neither does the gradient.
    cameras = read_cameras(P)
    weight = cameras.usable.to(torch.float64)
    count = weight.sum(-1).clamp_min(1.0)
    center = cameras.center.detach()
    origin = (center * weight.unsqueeze(-1)).sum(-2) / count.unsqueeze(-1)
    spread_out = ((center - origin.unsqueeze(-2)).square().sum(-1) * weight).sum(-1) / count
    unit = torch.where(spread_out > 0, spread_out, 1.0).sqrt()
    focal = ((cameras.focal_px.log() * weight).sum(-1) / count).exp()
    return _Frame(cameras, origin, unit, focal)


def _rows(frame: _Frame, work: torch.dtype) -> tuple[Row, Row, Row]:
    P, unit = frame.cameras.P, frame.unit[..., None, None]
    last = (P[..., :3] * frame.origin[..., None, None, :]).sum(-1) + P[..., 3]
    moved = torch.cat((P[..., :3], last.unsqueeze(-1) / unit), -1)
    third = moved[..., 2, :]
    pixels = (moved[..., :2, :] - frame.cameras.principal_uv.unsqueeze(-1) * third.unsqueeze(-2)) / (
        frame.focal_px[..., None, None, None]
    )
    first, second = pixels.unbind(-2)
    return _entries(first, work), _entries(second, work), _entries(third, work)


def _entries(row: Tensor, work: torch.dtype) -> Row:
    return tuple(entry.unsqueeze(-1) for entry in row.to(work).unbind(-1))


def _check_weights(weights: Tensor | None, shape: torch.Size) -> None:
    if weights is None:
        return
    if weights.dim() < 2 or weights.shape[-2:] != shape[-2:]:  # noqa: PLR2004
        raise GeometryError(
            "weights have the wrong shape", expected=f"(..., {shape[-2]}, {shape[-1]})", got=str(tuple(weights.shape))
        )


def _check_views(values: Tensor, views: int, P: Tensor) -> None:
    if P.dim() < 3 or P.shape[-3] != views:  # noqa: PLR2004
        raise GeometryError(
            "pixels and projection matrices must come from the same views",
            expected=f"P (..., {views}, 3, 4)",
            got=f"{tuple(P.shape)} beside {tuple(values.shape)}",
        )


def prepare(uv: Tensor, P: Tensor, weights: Tensor | None, max_slope: float = MAX_SLOPE) -> Views:
    """Bring cameras and pixels into the shared frame; what cannot be used gets weight zero."""
    check_points("uv", uv, 2, "V, N")
    frame = _frame(P)
    _check_views(uv, uv.shape[-3], P)
    _check_weights(weights, uv.shape[:-1])
    work = work_dtype(uv, P)
    shift, scale = frame.cameras.principal_uv.to(work), (1.0 / frame.focal_px).to(work)[..., None, None]
    u = (uv[..., 0].to(work) - shift[..., :1]) * scale
    v = (uv[..., 1].to(work) - shift[..., 1:]) * scale
    seen = (u.detach().abs() < max_slope) & (v.detach().abs() < max_slope) & frame.cameras.usable.unsqueeze(-1)
    trust = _trust(weights, seen, work)
    used = trust > 0
    pixels = torch.where(used, u, 0.0), torch.where(used, v, 0.0)
    return Views(
        _rows(frame, work),
        pixels,
        trust,
        (frame.cameras.center.detach() - frame.origin.unsqueeze(-2)) / frame.unit[..., None, None],
        frame.origin,
        frame.unit,
        frame.focal_px,
        frame.cameras.usable,
    )


def _trust(weights: Tensor | None, seen: Tensor, work: torch.dtype) -> Tensor:
    if weights is None:
        return seen.to(work)
    used = seen & (weights > 0) & torch.isfinite(weights)
    trust = torch.where(used, weights.to(work), 0.0)
    largest = trust.detach().amax(-2, keepdim=True)
    return trust / torch.where(largest > 0, largest, 1.0)


class _Fit(NamedTuple):
    """Residuals in pixels over focal length, their derivatives, and the cost; weights are zero behind a camera."""

    residual: tuple[Tensor, Tensor]
    slope_u: Point
    slope_v: Point
    cost: Tensor
    in_front: Tensor


def _fit(views: Views, local: Point) -> _Fit:
    lifted = local[0].unsqueeze(-2), local[1].unsqueeze(-2), local[2].unsqueeze(-2)
    depth = views.depth(lifted)
    ahead = depth > MIN_DEPTH
    inverse = torch.where(ahead, depth, 1.0).reciprocal()
    first, second, third = views.rows
    u, v = _along(first, lifted) * inverse, _along(second, lifted) * inverse
    residual = views.pixels[0] - u, views.pixels[1] - v
    slope_u = tuple((first[k] - u * third[k]) * inverse for k in range(3))
    slope_v = tuple((second[k] - v * third[k]) * inverse for k in range(3))
    cost = (views.weights * (residual[0].square() + residual[1].square())).sum(-2)
    in_front = (ahead | (views.weights <= 0)).all(-2)
    return _Fit(residual, (slope_u[0], slope_u[1], slope_u[2]), (slope_v[0], slope_v[1], slope_v[2]), cost, in_front)


def _step(views: Views, fit: _Fit) -> Point:
    weights = views.weights
    factors = factor(spread(fit.slope_u, fit.slope_v, weights))
    pull_u, pull_v = weights * fit.residual[0], weights * fit.residual[1]
    pulls = [(fit.slope_u[k] * pull_u + fit.slope_v[k] * pull_v).sum(-2) for k in range(3)]
    return solve(factors, (pulls[0], pulls[1], pulls[2]))


def _localise(xyz_world: Tensor, frame: _Frame | Views, work: torch.dtype) -> tuple[Point, Tensor]:
    unit = frame.unit.to(work).unsqueeze(-1)
    parts = [(xyz_world[..., k].to(work) - frame.origin[..., k, None].to(work)) / unit for k in range(3)]
    finite = torch.stack([part.detach().abs() < MAX_COORDINATE for part in parts]).all(0)
    safe = [torch.where(finite, part, 0.0) for part in parts]
    return (safe[0], safe[1], safe[2]), finite


def refine(xyz_world: Tensor, uv: Tensor, P: Tensor, weights: Tensor | None = None, steps: int = 2) -> Tensor:
    """Move points so that their reprojections come closer to the pixels (Gauss-Newton).

    Args:
        xyz_world: (..., N, 3) float, world unit, where to start.
        uv: (..., V, N, 2) float, pixels; views are left out as in :func:`triangulate_views`.
        P: (..., V, 3, 4) float, world to pixels, any scale and sign.
        weights: (..., V, N) float, inverse variances of the pixels up to a common factor; all 1 if None.
        steps: how often to move.

    Returns:
        (..., N, 3) in the dtype of ``xyz_world``. A step that does not lower the weighted squared reprojection error,
        or leaves the front of a camera, is not taken. A start that is not finite becomes zero.

    Raises:
        GeometryError: points, pixels, matrices or weights have another shape.

    Gradient: flows to all tensors through the steps taken, otherwise to ``xyz_world`` alone; finite everywhere.
    Precision: float32 or better, also under autocast.
    Source: Hartley and Zisserman, 2nd ed., section A6.1.

    Example:
        >>> P = torch.eye(3, 4).repeat(2, 1, 1)
        >>> P[1, 0, 3] = -1.0
        >>> start, uv = torch.tensor([[0.9, 0.1, 2.1]]), torch.tensor([[[0.5, 0.0]], [[0.0, 0.0]]])
        >>> refine(start, uv, P, steps=3).round(decimals=3).abs()
        tensor([[1., 0., 2.]])
    """
    check_points("xyz_world", xyz_world, 3)
    views = prepare(uv, P, weights)
    work = work_dtype(xyz_world, views.weights)
    start, finite = _localise(xyz_world, views, work)
    local, fit = start, _fit(views, start)
    movable = finite & fit.in_front & ((views.weights > 0).sum(-2) > 1)
    moved = torch.zeros_like(movable)
    for _ in range(steps):
        delta = _step(views, fit)
        small = movable & (sum(part.detach().abs() for part in delta) < MAX_COORDINATE)
        delta = (
            torch.where(small, delta[0], 0.0),
            torch.where(small, delta[1], 0.0),
            torch.where(small, delta[2], 0.0),
        )
        candidate = correct(local, delta)
        trial = _fit(views, candidate)
        better = small & trial.in_front & (trial.cost <= fit.cost)
        local = (
            torch.where(better, candidate[0], local[0]),
            torch.where(better, candidate[1], local[1]),
            torch.where(better, candidate[2], local[2]),
        )
        fit, moved = _fit(views, local), moved | better
    kept = torch.where(torch.isfinite(xyz_world).all(-1, keepdim=True), xyz_world, 0.0).to(work)
    return torch.where(moved.unsqueeze(-1), views.to_world(local, moved), kept).to(work_dtype(xyz_world))


def covariance(xyz_world: Tensor, P: Tensor, uv_covariance: Tensor, weights: Tensor | None = None) -> Tensor:
    """Carry the uncertainty of pixels to that of the points they were triangulated to, to first order.

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
    check_points("xyz_world", xyz_world, 3)
    if uv_covariance.dim() < 4 or tuple(uv_covariance.shape[-2:]) != (2, 2):  # noqa: PLR2004
        raise GeometryError(
            "uv_covariance has the wrong shape", expected="(..., V, N, 2, 2)", got=str(tuple(uv_covariance.shape))
        )
    _check_views(uv_covariance, uv_covariance.shape[-4], P)
    _check_weights(weights, uv_covariance.shape[:-2])
    return _propagate(xyz_world, P, uv_covariance, weights)


def _propagate(xyz_world: Tensor, P: Tensor, uv_covariance: Tensor, weights: Tensor | None) -> Tensor:
    work = work_dtype(xyz_world, P, uv_covariance)
    views = prepare(torch.zeros(uv_covariance.shape[:-1], dtype=work, device=P.device), P, None)
    (c00, c01, c11), definite = _centred_covariance(uv_covariance.to(work), views.focal_px.to(work)[..., None, None])
    trust = views.weights if weights is None else _absolute(weights, views.weights)
    views = views._replace(weights=torch.where(definite, trust, 0.0))
    local, finite = _localise(xyz_world, views, work)
    fit = _fit(views, local)
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
