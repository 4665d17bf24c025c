"""Robust triangulation: the points that most cameras agree on, when some of their pixels are wrong.

Every pair of views proposes a point; the one that the views fit best, each allowed to cost no more than an outlier,
says which views to believe; these find the point together. No random draws: the same views in any order give the same
points.

Axes: V views, N points; leading axes are batch axes and broadcast.
Source: P. Torr and A. Zisserman, MLESAC, Computer Vision and Image Understanding 78 (2000), section 4 (truncated cost);
O. Chum, J. Matas and J. Kittler, Locally Optimized RANSAC, DAGM 2003 (estimating again from the inliers).
"""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor

from cogkp.errors import GeometryError
from cogkp.geometry.normal_equations import MIN_ANGLE_RAD, prepare
from cogkp.geometry.projection import reproject
from cogkp.geometry.triangulate import triangulate_pair, triangulate_views

__all__ = ["THRESHOLD_PX", "RobustTriangulated", "triangulate_robust"]

THRESHOLD_PX = 5.0

# How often the inliers are asked again with the point they agreed on.
ROUNDS = 2

PAIR = 2


class RobustTriangulated(NamedTuple):
    """Points of space found from pixels, some of which may be wrong.

    Args:
        xyz_world: (..., N, 3) float, world unit; zero where not valid.
        valid: (..., N) bool: at least two inliers, in front of each, rays not nearly parallel.
        inliers: (..., V, N) bool, the views that the point was found from; none where not valid.
    """

    xyz_world: Tensor
    valid: Tensor
    inliers: Tensor


def triangulate_robust(
    uv: Tensor,
    P: Tensor,
    weights: Tensor | None = None,
    *,
    threshold_px: float = THRESHOLD_PX,
    min_angle_rad: float = MIN_ANGLE_RAD,
) -> RobustTriangulated:
    """Triangulate points, leaving out views that disagree with the others.

    With two views there is no majority: both count, however far apart their rays pass. With three, one that disagrees
    shows only by how far it is off the other two's epipolar lines; from four on, a majority decides. Time grows with
    the cube of the number of views, memory with the number itself.

    Args:
        uv: (..., V, N, 2) float, pixels; views are left out as in :func:`triangulate_views`.
        P: (..., V, 3, 4) float, world to pixels, any scale and sign.
        weights: (..., V, N) float, inverse variances of the pixels up to a common factor; all 1 if None. They count in
            the final estimate, not in the vote, so that a view that is sure and wrong is outvoted.
        threshold_px: reprojection error from which a view is an outlier; about three times the pixel noise, or more.
        min_angle_rad: how far the rays of the inliers must spread, radians; see :func:`triangulate_views`.

    Returns:
        Points in the dtype of ``uv``, validity and inliers; see :class:`RobustTriangulated`.

    Raises:
        GeometryError: pixels, matrices or weights have another shape, or the threshold is not positive.

    Gradient: flows to pixels, matrices and weights through the final estimate alone; the vote is taken as it fell.
        Zero for outliers and for rows that are not valid, finite everywhere.
    Precision: computed in float64.
    Source: Torr and Zisserman, 2000, section 4; Chum, Matas and Kittler, 2003.

    Example:
        >>> P = torch.eye(3, 4).repeat(4, 1, 1)
        >>> P[1, 0, 3], P[2, 1, 3], P[3, 0, 3] = -1.0, -1.0, 1.0
        >>> uv = torch.tensor([[[0.5, 0.0]], [[0.0, 0.0]], [[0.5, -0.5]], [[3.0, 2.0]]])  # the last should be (1, 0)
        >>> found = triangulate_robust(uv, P, threshold_px=0.1)
        >>> found.xyz_world.round(decimals=4).abs(), found.inliers.squeeze(-1)
        (tensor([[1., 0., 2.]]), tensor([ True,  True,  True, False]))
    """
    if not threshold_px > 0:
        raise GeometryError("threshold_px must be positive", expected="a number above 0", got=str(threshold_px))
    with torch.no_grad():
        used = prepare(uv, P, weights).weights > 0
        inliers = _vote(uv.to(torch.float64), P.to(torch.float64), used, threshold_px, min_angle_rad)
    trust = inliers.to(torch.float64) if weights is None else torch.where(inliers, weights, 0.0)
    xyz_world, valid = triangulate_views(uv, P, trust, min_angle_rad=min_angle_rad)
    return RobustTriangulated(xyz_world, valid, inliers & valid.unsqueeze(-2))


def _vote(uv: Tensor, P: Tensor, used: Tensor, threshold_px: float, min_angle_rad: float) -> Tensor:
    """Return (..., V, N): which of the used views agree."""
    views = uv.shape[-3]
    # Rays of several views may spread enough together where no two of them do.
    angle = min_angle_rad / max(views - 1, 1) ** 0.5
    lowest = torch.full(used.shape[:-2] + used.shape[-1:], torch.inf, dtype=torch.float64, device=uv.device)
    agreed = torch.zeros_like(used)
    for i, j in combinations(range(views), PAIR):
        found = triangulate_pair(
            uv[..., i, :, :], uv[..., j, :, :], P[..., i, :, :], P[..., j, :, :], min_angle_rad=angle
        )
        valid = found.valid & used[..., i, :] & used[..., j, :]
        square = _square_error(found.xyz_world, uv, P, used)
        cost = torch.where(valid, square.clamp_max(threshold_px**2).sum(-2), torch.inf)
        better = cost < lowest
        lowest = torch.where(better, cost, lowest)
        agreed = torch.where(better.unsqueeze(-2), square < threshold_px**2, agreed)
    for _ in range(ROUNDS):
        found = triangulate_views(uv, P, agreed.to(torch.float64), min_angle_rad=angle)
        again = _square_error(found.xyz_world, uv, P, used) < threshold_px**2
        agreed = torch.where(found.valid.unsqueeze(-2), again, agreed)
    determined = used.sum(-2, keepdim=True) > PAIR
    return torch.where(determined, agreed, used)


def _square_error(xyz_world: Tensor, uv: Tensor, P: Tensor, used: Tensor) -> Tensor:
    """Return (..., V, N) pixels squared; infinite where a view is not used or has the point behind it."""
    reprojected = reproject(xyz_world.unsqueeze(-3), P)
    return torch.where(used & reprojected.valid, (reprojected.uv - uv).square().sum(-1), torch.inf)
