"""Refine triangulated points by Gauss-Newton on the reprojection error.

Axes: V views, N points; leading axes are batch axes and broadcast.
Source: R. Hartley and A. Zisserman, Multiple View Geometry, 2nd ed., section A6.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from cogkp.geometry.arrays import check_points
from cogkp.geometry.camera import MIN_DEPTH
from cogkp.geometry.normal_equations import (
    POINTS_AT_ONCE,
    Views,
    check_input,
    in_parts,
    look,
    shared_frame,
    sum_views,
    weigh,
)
from cogkp.geometry.projection import work_dtype
from cogkp.geometry.symmetric import factor, solve

__all__ = ["Fit", "fit_views", "refine"]


class Fit(NamedTuple):
    """Where points fall, pixels, their inverse depth, and whether all views see their front."""

    pixels: Tensor
    inverse_depth: Tensor
    in_front: Tensor


def fit_views(views: Views, local: Tensor) -> Fit:
    """Find where the views see points (..., 3, N) of their frame."""
    depth = views.frame.along(2, local)
    ahead = depth > MIN_DEPTH
    inverse = torch.where(ahead, depth, 1.0).reciprocal()
    plane = torch.stack((views.frame.along(0, local), views.frame.along(1, local)), -3)
    return Fit(plane * inverse.unsqueeze(-3), inverse, (ahead | (views.weights <= 0)).all(-2))


@torch.no_grad()
def _cost(views: Views, fit: Fit) -> Tensor:
    return (views.weights * (views.pixels - fit.pixels).square().sum(-3)).sum(-2)


def _step(views: Views, fit: Fit, factors: Tensor) -> Tensor:
    # The derivatives of u are (first - u third) / depth, so the products of these rows serve here too.
    scaled = views.weights * fit.inverse_depth
    entries = sum_views(factors, weigh(fit.pixels, scaled * fit.inverse_depth))
    off = views.pixels - fit.pixels
    pulls = torch.cat((off, -(fit.pixels * off).sum(-3, keepdim=True)), -3)
    rows = torch.stack([row[..., :3] for row in views.frame.rows], -3).flatten(-3, -2).mT
    return solve(factor(entries.unbind(-2)), sum_views(rows, pulls * scaled.unsqueeze(-3)).unbind(-2))


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
    Precision: computed in float64.
    Source: Hartley and Zisserman, 2nd ed., section A6.1.

    Example:
        >>> P = torch.eye(3, 4).repeat(2, 1, 1)
        >>> P[1, 0, 3] = -1.0
        >>> start, uv = torch.tensor([[0.9, 0.1, 2.1]]), torch.tensor([[[0.5, 0.0]], [[0.0, 0.0]]])
        >>> refine(start, uv, P, steps=3).round(decimals=3).abs()
        tensor([[1., 0., 2.]])
    """
    check_points("xyz_world", xyz_world, 3)
    check_input(uv, P, weights)
    frame = shared_frame(P)
    factors = frame.normal_factors()[..., :6, :]
    starts: Sequence[Tensor] = torch.split(xyz_world, POINTS_AT_ONCE, -2)
    chunks = zip(starts, in_parts(uv, weights), strict=True)
    return torch.cat([_descend(start, look(frame, *part), factors, steps) for start, part in chunks], -2)


def _descend(xyz_world: Tensor, views: Views, factors: Tensor, steps: int) -> Tensor:
    local, near = views.frame.to_local(xyz_world)
    movable = near & ((views.weights > 0).sum(-2) > 1)
    moved = torch.zeros_like(movable)
    for _ in range(steps):
        fit = fit_views(views, local)
        candidate = local + _step(views, fit, factors)
        with torch.no_grad():
            trial = fit_views(views, candidate)
            better = movable & fit.in_front & trial.in_front & (_cost(views, trial) <= _cost(views, fit))
        local, moved = torch.where(better.unsqueeze(-2), candidate, local), moved | better
    kept = torch.where(torch.isfinite(xyz_world).all(-1, keepdim=True), xyz_world, 0.0)
    found = torch.where(moved.unsqueeze(-1), views.frame.to_world(local).mT, kept)
    return found.to(work_dtype(xyz_world)).contiguous()
