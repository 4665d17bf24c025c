"""Move points of space until their pixels fit.

Several cameras share one centred frame of unit size, in which float32 is enough.
Source: R. Hartley and A. Zisserman, Multiple View Geometry, 2nd ed., section A6.1.

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

__all__ = [
    "Fit",
    "Point",
    "Views",
    "check_views",
    "check_weights",
    "correct",
    "fit_views",
    "localise",
    "prepare",
    "refine",
]

Point = tuple[Tensor, Tensor, Tensor]
Row = tuple[Tensor, ...]

# Pixels this many focal lengths off the principal point are no measurement.
MAX_SLOPE = 1e4
MAX_COORDINATE = 1e9


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


def check_weights(weights: Tensor | None, shape: torch.Size) -> None:
    """Refuse weights that are not one number per view and point."""
    if weights is None:
        return
    if weights.dim() < 2 or weights.shape[-2:] != shape[-2:]:  # noqa: PLR2004
        raise GeometryError(
            "weights have the wrong shape", expected=f"(..., {shape[-2]}, {shape[-1]})", got=str(tuple(weights.shape))
        )


def check_views(values: Tensor, views: int, P: Tensor) -> None:
    """Refuse matrices of another number of views."""
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
    check_views(uv, uv.shape[-3], P)
    check_weights(weights, uv.shape[:-1])
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


class Fit(NamedTuple):
    """Residuals in pixels over focal length, their derivatives, and the cost; weights are zero behind a camera."""

    residual: tuple[Tensor, Tensor]
    slope_u: Point
    slope_v: Point
    cost: Tensor
    in_front: Tensor


def fit_views(views: Views, local: Point) -> Fit:
    """Compare what the views see with points given as three tensors (..., N) in their frame."""
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
    return Fit(residual, (slope_u[0], slope_u[1], slope_u[2]), (slope_v[0], slope_v[1], slope_v[2]), cost, in_front)


def _step(views: Views, fit: Fit) -> Point:
    weights = views.weights
    factors = factor(spread(fit.slope_u, fit.slope_v, weights))
    pull_u, pull_v = weights * fit.residual[0], weights * fit.residual[1]
    pulls = [(fit.slope_u[k] * pull_u + fit.slope_v[k] * pull_v).sum(-2) for k in range(3)]
    return solve(factors, (pulls[0], pulls[1], pulls[2]))


def localise(xyz_world: Tensor, frame: _Frame | Views, work: torch.dtype) -> tuple[Point, Tensor]:
    """Bring points into the shared frame; those that are not finite, or too far away, become zero."""
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
    start, finite = localise(xyz_world, views, work)
    local, fit = start, fit_views(views, start)
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
        trial = fit_views(views, candidate)
        better = small & trial.in_front & (trial.cost <= fit.cost)
        local = (
            torch.where(better, candidate[0], local[0]),
            torch.where(better, candidate[1], local[1]),
            torch.where(better, candidate[2], local[2]),
        )
        fit, moved = fit_views(views, local), moved | better
    kept = torch.where(torch.isfinite(xyz_world).all(-1, keepdim=True), xyz_world, 0.0).to(work)
    return torch.where(moved.unsqueeze(-1), views.to_world(local, moved), kept).to(work_dtype(xyz_world))
