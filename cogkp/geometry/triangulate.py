"""Triangulate points from two or more calibrated cameras, also where some of their pixels are wrong.

OpenCV axes; pixels without lens distortion. Everything is batched, differentiable and finite: a point that cannot be
found is a row of zeros without gradient and is marked as not valid.

Two views: the smallest correction of both pixels that makes their rays meet (Lindstrom), then the meeting point. With
equal pixel noise this is the maximum-likelihood point, in closed form.
Camera algebra is done in float64 and points in centred coordinates near 1, so that float32 pixels lose nothing.
More views: linear least squares, repeated once with each row divided by its depth, which turns distances in space into
distances in pixels; in float64 whatever comes in.

Knows nothing of: lens distortion, heatmaps.

Every pair of views proposes a point; the one that the views fit best, each allowed to cost no more than an outlier,
says which views to believe; these find the point together. No random draws: the same views in any order give the same
points.

Axes: V views, N points; leading axes are batch axes and broadcast.
Source: P. Lindstrom, Triangulation Made Easy, CVPR 2010 (two views); R. Hartley and P. Sturm, Triangulation,
Computer Vision and Image Understanding 68 (1997), section 5 (linear and iterative linear).
Source: P. Torr and A. Zisserman, MLESAC, Computer Vision and Image Understanding 78 (2000), section 4 (truncated cost);
O. Chum, J. Matas and J. Kittler, Locally Optimized RANSAC, DAGM 2003 (estimating again from the inliers).
"""

import math
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor

from cogkp.errors import GeometryError
from cogkp.geometry.arrays import check_points
from cogkp.geometry.camera_frame import MIN_DEPTH
from cogkp.geometry.gauss_newton import (
    MAX_SLOPE,
    MIN_ANGLE_RAD,
    Views,
    check_input,
    in_parts,
    look,
    prepare,
    shared_frame,
    sum_views,
    weigh,
    well_conditioned,
)
from cogkp.geometry.projection import Cameras, cross, read_cameras, reproject, work_dtype
from cogkp.geometry.symmetric import factor, solve

# A first guess nearer to a camera than this part of the distance between cameras does not say how near the point is.
MIN_GUESSED_DEPTH = 1e-3

MIN_GRADIENT = 1e-12

Pixels = tuple[Tensor, Tensor]
Rays = tuple[Tensor, Tensor, Tensor]
THRESHOLD_PX = 5.0
# How often the inliers are asked again with the point they agreed on.
ROUNDS = 2

PAIR = 2


class Triangulated(NamedTuple):
    """Points of space found from pixels.

    Args:
        xyz_world: (..., N, 3) float, world unit; zero where not valid.
        valid: (..., N) bool: enough finite pixels, in front of every camera used, rays not nearly parallel.
    """

    xyz_world: Tensor
    valid: Tensor


def triangulate_pair(
    uv_left: Tensor, uv_right: Tensor, P_left: Tensor, P_right: Tensor, *, min_angle_rad: float = MIN_ANGLE_RAD
) -> Triangulated:
    """Triangulate points from two cameras, in closed form.

    Args:
        uv_left: (..., N, 2) float, pixels.
        uv_right: (..., N, 2) float, pixels.
        P_left: (..., 3, 4) float, world to left pixels, any scale and sign.
        P_right: (..., 3, 4) float, world to right pixels.
        min_angle_rad: least angle between both rays, radians.

    Returns:
        Points in the wider dtype of both pixel tensors, and validity; see :class:`Triangulated`.

    Raises:
        GeometryError: pixels or matrices have another shape.

    Gradient: flows to pixels and matrices; zero for rows that are not valid, finite everywhere.
    Precision: float32 or better, also under autocast.
    Source: P. Lindstrom, Triangulation Made Easy, CVPR 2010, listing 3.

    Example:
        >>> P_left = torch.eye(3, 4)
        >>> P_right = torch.tensor([[1.0, 0.0, 0.0, -1.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
        >>> triangulate_pair(torch.tensor([[0.5, 0.0]]), torch.tensor([[0.0, 0.0]]), P_left, P_right).xyz_world
        tensor([[1., 0., 2.]])
    """
    check_points("uv_left", uv_left, 2)
    check_points("uv_right", uv_right, 2)
    left, right = read_cameras(P_left), read_cameras(P_right)
    work = work_dtype(uv_left, uv_right, P_left, P_right)
    focal = (left.focal_px * right.focal_px).sqrt()
    ray_left, ray_right = _ray_matrix(left, focal), _ray_matrix(right, focal)
    baseline = right.center - left.center
    F = _unit_fundamental(ray_left, ray_right, baseline).to(work)
    x_left, ok_left = _centered(uv_left, left, focal, work)
    x_right, ok_right = _centered(uv_right, right, focal, work)
    x_left, x_right = _make_rays_meet(x_left, x_right, F)
    d_left, d_right = _turn(ray_left.to(work), x_left), _turn(ray_right.to(work), x_right)
    xyz, met = _meet(d_left, d_right, baseline.to(work), min_angle_rad)
    usable = (left.usable & right.usable).unsqueeze(-1)
    valid = met & ok_left & ok_right & usable
    moved = torch.stack([part + left.center[..., k, None].to(work) for k, part in enumerate(xyz)], -1)
    dtype = work_dtype(uv_left, uv_right)
    return Triangulated(torch.where(valid.unsqueeze(-1), moved, 0.0).to(dtype), valid)


def _ray_matrix(cameras: Cameras, focal: Tensor) -> Tensor:
    """Return (..., 3, 3): takes centred pixels to rays of unit depth."""
    first, second, third = cameras.inverse.unbind(-1)
    u, v = cameras.principal_uv[..., :1], cameras.principal_uv[..., 1:]
    right, down = focal.unsqueeze(-1) * first, focal.unsqueeze(-1) * second
    return torch.stack((right, down, (u * first + v * second + third).expand_as(right)), -1)


def _unit_fundamental(ray_left: Tensor, ray_right: Tensor, baseline: Tensor) -> Tensor:
    # Any factor of F cancels in the correction, so its size is chosen for float32 and carries no gradient.
    length = torch.linalg.vector_norm(baseline.detach(), dim=-1, keepdim=True)
    unit = (baseline / torch.where(length > 0, length, 1.0)).unsqueeze(-2)
    planes = cross(unit, ray_left.mT)
    return (ray_right.mT.unsqueeze(-2) * planes.unsqueeze(-3)).sum(-1)


def _centered(uv: Tensor, cameras: Cameras, focal: Tensor, work: torch.dtype) -> tuple[Pixels, Tensor]:
    shift, scale = cameras.principal_uv.to(work), (1.0 / focal).to(work).unsqueeze(-1)
    u = (uv[..., 0].to(work) - shift[..., :1]) * scale
    v = (uv[..., 1].to(work) - shift[..., 1:]) * scale
    ok = torch.maximum(u.detach().abs(), v.detach().abs()) < MAX_SLOPE
    return (torch.where(ok, u, 0.0), torch.where(ok, v, 0.0)), ok


def _turn(matrix: Tensor, x: Pixels) -> Rays:
    # A matmul would be lowered to bf16 under autocast and to TF32 on a GPU; a sum of products is not.
    m = matrix.unsqueeze(-1)
    first, second, third = (
        torch.addcmul(m[..., i, 0, :] * x[0] + m[..., i, 2, :], m[..., i, 1, :], x[1]) for i in range(3)
    )
    return first, second, third


def _make_rays_meet(left: Pixels, right: Pixels, F: Tensor) -> tuple[Pixels, Pixels]:
    m = F.unsqueeze(-1)
    f00, f01, f10, f11 = m[..., 0, 0, :], m[..., 0, 1, :], m[..., 1, 0, :], m[..., 1, 1, :]
    r0, r1, r2 = _turn(F, left)
    l0 = torch.addcmul(f00 * right[0] + m[..., 2, 0, :], f10, right[1])
    l1 = torch.addcmul(f01 * right[0] + m[..., 2, 1, :], f11, right[1])
    along0, along1 = f00 * l0 + f01 * l1, f10 * l0 + f11 * l1
    a = r0 * along0 + r1 * along1
    b = 0.5 * (l0 * l0 + l1 * l1 + r0 * r0 + r1 * r1)
    c = right[0] * r0 + right[1] * r1 + r2
    steep = b > MIN_GRADIENT
    b = torch.where(steep, b, 1.0)
    squared = b * b
    inner = squared - a * c
    d = torch.where(inner > 0, inner, squared).sqrt()
    first = torch.where(steep, c / (b + d), 0.0)
    n_r0, n_r1 = r0 - first * along0, r1 - first * along1
    n_l0 = l0 - first * (f00 * r0 + f10 * r1)
    n_l1 = l1 - first * (f01 * r0 + f11 * r1)
    size = n_l0 * n_l0 + n_l1 * n_l1 + n_r0 * n_r0 + n_r1 * n_r1
    step = 2.0 * first * d / torch.where(size > MIN_GRADIENT, size, 1.0)
    return (left[0] - step * n_l0, left[1] - step * n_l1), (right[0] - step * n_r0, right[1] - step * n_r1)


def _dot(a: Rays, b: Rays) -> Tensor:
    return torch.addcmul(torch.addcmul(a[0] * b[0], a[1], b[1]), a[2], b[2])


def _cross(a: Rays, b: Rays) -> Rays:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def _meet(left: Rays, right: Rays, baseline: Tensor, min_angle_rad: float) -> tuple[Rays, Tensor]:
    """Intersect rays that meet; the result is relative to the left camera's centre."""
    between = baseline[..., 0, None], baseline[..., 1, None], baseline[..., 2, None]
    normal = _cross(left, right)
    square = _dot(normal, normal)
    with torch.no_grad():
        apart = square > math.sin(min_angle_rad) ** 2 * _dot(left, left) * _dot(right, right)
        apart = apart & (square > 0)
    inverse = torch.where(apart, square, 1.0).reciprocal()
    depth_left = _dot(_cross(between, right), normal) * inverse
    with torch.no_grad():
        depth_right = _dot(_cross(between, left), normal) * inverse
        met = apart & (depth_left > MIN_DEPTH) & (depth_right > MIN_DEPTH)
    return (depth_left * left[0], depth_left * left[1], depth_left * left[2]), met


def triangulate_views(
    uv: Tensor, P: Tensor, weights: Tensor | None = None, *, min_angle_rad: float = MIN_ANGLE_RAD
) -> Triangulated:
    """Triangulate points from any number of cameras, with a weight for each pixel.

    Args:
        uv: (..., V, N, 2) float, pixels. A view without weight, or whose pixel or camera is not finite, is left out.
        P: (..., V, 3, 4) float, world to pixels, any scale and sign.
        weights: (..., V, N) float, inverse variances of the pixels up to a common factor; all 1 if None. A weight
            that is not positive leaves the view out.
        min_angle_rad: how far the rays must spread, radians: as far as two rays at this angle, summed over the views.

    Returns:
        Points in the dtype of ``uv``, and validity; see :class:`Triangulated`. At least two views must count.

    Raises:
        GeometryError: pixels, matrices or weights have another shape.

    Gradient: flows to pixels, matrices and weights; zero for rows that are not valid, finite everywhere.
    Precision: computed in float64.
    Source: Hartley and Sturm, Triangulation, 1997, section 5, inhomogeneous.

    Example:
        >>> P = torch.eye(3, 4).repeat(3, 1, 1)
        >>> P[1, 0, 3], P[2, 1, 3] = -1.0, -1.0  # one camera to the right of the first, one below
        >>> uv = torch.tensor([[[0.5, 0.0]], [[0.0, 0.0]], [[0.5, -0.5]]])
        >>> triangulate_views(uv, P).xyz_world.round(decimals=4).abs()
        tensor([[1., 0., 2.]])
    """
    check_input(uv, P, weights)
    frame = shared_frame(P)
    factors = frame.normal_factors()
    dtype = work_dtype(uv)
    views = (look(frame, *part) for part in in_parts(uv, weights))
    xyz, valid = zip(*(_linear(part, factors, min_angle_rad, dtype) for part in views), strict=True)
    return Triangulated(torch.cat(xyz, -1).mT.contiguous(), torch.cat(valid, -1))


def _linear(views: Views, factors: Tensor, min_angle_rad: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    numbers = weigh(views.pixels, views.weights)
    guess, _ = _least_squares(sum_views(factors, numbers))
    depth = views.frame.along(2, guess).clamp_min(MIN_GUESSED_DEPTH)
    local, determined = _least_squares(sum_views(factors, numbers * depth.square().reciprocal().unsqueeze(-3)))
    valid = determined & well_conditioned(views, local, min_angle_rad)
    return torch.where(valid.unsqueeze(-2), views.frame.to_world(local), 0.0).to(dtype), valid


def _least_squares(entries: Tensor) -> tuple[Tensor, Tensor]:
    entry = entries.unbind(-2)
    factors = factor(entry[:6])
    return solve(factors, entry[6:]), factors.regular


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
