"""Refine triangulated points by Gauss-Newton on the reprojection error.

The normal equations are summed in a frame that is centred between the cameras and as large as they stand apart; pixels
stay as they are. What a view adds to the normal equations of a point is linear in four numbers of its pixel, w, w u, w
v and w (u^2 + v^2), with factors that only its camera decides; so the sum over the views is one product of two
matrices. It is done in float64, which pays for the squared condition number of normal equations, and which neither
autocast nor TF32 touches.

Axes: V views, N points; leading axes are batch axes and broadcast.
Source: R. Hartley and A. Zisserman, Multiple View Geometry, 2nd ed., section A6.1.
Source: R. Hartley and P. Sturm, Triangulation, Computer Vision and Image Understanding 68 (1997), section 5.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from cogkp.errors import GeometryError
from cogkp.geometry.arrays import check_points
from cogkp.geometry.camera_frame import MIN_DEPTH
from cogkp.geometry.projection import read_cameras, work_dtype
from cogkp.geometry.symmetric import factor, solve

MIN_ANGLE_RAD = math.radians(0.1)

# A pixel farther off than this many focal lengths is no measurement.
MAX_SLOPE = 1e4
MAX_PIXEL = 1e15

# Farther than this many camera distances, a point carries no information.
MAX_REACH = 1e6

MIN_SPREAD = 1e-12

# Cameras closer than this part of their distance from the world's origin stand in one place but for rounding.
MIN_RELATIVE_SPREAD = 1e-13

# Buffers of this many points stay in the cache.
POINTS_AT_ONCE = 25_000

# Entries of a symmetric 3x4 matrix: its left block 00 01 02 11 12 22, then its last column.
FIRST, SECOND = [0, 0, 0, 1, 1, 2, 0, 1, 2], [0, 1, 2, 1, 2, 2, 3, 3, 3]


class RigFrame(NamedTuple):
    """Cameras in one centred frame of unit size; all float64.

    Args:
        rows: the three rows of the projection matrices, each (..., V, 4); the third gives depths.
        limit: (..., V, 1), pixels squared: a pixel as far from (0, 0) is left out.
        seeing: (..., 2 V, 5), takes X, X^2 and 1 to how far X is behind each camera, and to its squared distances.
        spreading: (..., 10, V), takes numbers s per view to the sums of s, -s c and s c c^T over cameras at c.
        origin: (..., 3), of the frame, world unit.
        unit: (...), of the frame, world unit.
    """

    rows: tuple[Tensor, Tensor, Tensor]
    limit: Tensor
    seeing: Tensor
    spreading: Tensor
    origin: Tensor
    unit: Tensor

    def along(self, row: int, local: Tensor) -> Tensor:
        """Return (..., V, N): what a row of the matrices makes of points (..., 3, N); depths for the third row."""
        matrix = self.rows[row]
        return matrix[..., :3] @ local + matrix[..., 3:]

    def to_world(self, local: Tensor) -> Tensor:
        """Return world coordinates, (..., 3, N) like those given."""
        return local * self.unit[..., None, None] + self.origin.unsqueeze(-1)

    def to_local(self, xyz_world: Tensor) -> tuple[Tensor, Tensor]:
        """Return (..., 3, N) from (..., N, 3), zero where not finite or out of reach, and where it is neither."""
        parts = (xyz_world.to(torch.float64).mT - self.origin.unsqueeze(-1)) / self.unit[..., None, None]
        near = (parts.detach().abs() < MAX_REACH**2).all(-2)
        return torch.where(near.unsqueeze(-2), parts, 0.0), near

    def products(self, row: int, other: int) -> Tensor:
        """Return (..., V, 9): entries of the symmetric part of the outer product of two rows."""
        a, b = self.rows[row], self.rows[other]
        return 0.5 * (a[..., FIRST] * b[..., SECOND] + a[..., SECOND] * b[..., FIRST])

    def normal_factors(self) -> Tensor:
        """Return (..., 9, 4 V): makes normal equations of points from what :func:`weigh` returns.

        A view's equations are (first - u third) X = 0 and (second - v third) X = 0. The last three entries are the
        right sides of the equations.
        """
        parts = (
            self.products(0, 0) + self.products(1, 1),
            -2.0 * self.products(0, 2),
            -2.0 * self.products(1, 2),
            self.products(2, 2),
        )
        sides = self.origin.new_tensor([1.0] * 6 + [-1.0] * 3)
        return (torch.stack(parts, -3) * sides).flatten(-3, -2).mT


class Views(NamedTuple):
    """What cameras see, in their frame; all float64.

    Args:
        frame: of the cameras.
        pixels: (..., 2, V, N), finite; meaningless where left out.
        weights: (..., V, N), largest 1 per point; zero where left out.
    """

    frame: RigFrame
    pixels: Tensor
    weights: Tensor


def weigh(pixels: Tensor, weights: Tensor) -> Tensor:
    """Return (..., 4, V, N): w, w u, w v, w (u^2 + v^2) of pixels (..., 2, V, N) and weights (..., V, N)."""
    w = weights.unsqueeze(-3)
    moments, square = pixels * w, _square(pixels) * w
    return torch.cat((w.expand_as(square), moments, square), -3)


def sum_views(factors: Tensor, numbers: Tensor) -> Tensor:
    """Return (..., E, N): entries (..., E, F V) times numbers (..., F, V, N), summed over the views."""
    return factors @ numbers.flatten(-3, -2)


def shared_frame(P: Tensor) -> RigFrame:
    """Bring cameras (..., V, 3, 4) into one frame."""
    # The frame is a choice of numbers only: the result does not depend on it, so neither does the gradient.
    cameras = read_cameras(P)
    weight = cameras.usable.to(torch.float64)
    count = weight.sum(-1).clamp_min(1.0)
    center = cameras.center.detach()
    origin = (center * weight.unsqueeze(-1)).sum(-2) / count.unsqueeze(-1)
    away = center - origin.unsqueeze(-2)
    spread = (away.square().sum(-1) * weight).sum(-1) / count
    least = MIN_RELATIVE_SPREAD * center.abs().amax((-2, -1))
    unit = torch.where(spread > least.square(), spread, 1.0).sqrt()
    limit = torch.where(cameras.usable, (MAX_SLOPE * cameras.focal_px).square(), 0.0).unsqueeze(-1)
    P = cameras.P
    last = (P[..., :3] * origin[..., None, None, :]).sum(-1) + P[..., 3]
    first, second, third = torch.cat((P[..., :3], (last / unit[..., None, None]).unsqueeze(-1)), -1).unbind(-2)
    tables = _tables(away / unit[..., None, None], third.detach())
    return RigFrame((first, second, third), limit, *tables, origin, unit)


def _tables(center: Tensor, third: Tensor) -> tuple[Tensor, Tensor]:
    square = center.square().sum(-1, keepdim=True)
    none, one = torch.zeros_like(square), torch.ones_like(square)
    behind = torch.cat((-third[..., :3], none, MIN_DEPTH - third[..., 3:]), -1)
    distance = torch.cat((-2.0 * center, one, square), -1)
    pairs = center[..., FIRST[:6]] * center[..., SECOND[:6]]
    return torch.cat((behind, distance), -2), torch.cat((one, -center, pairs), -1).mT


def check_weights(weights: Tensor | None, shape: torch.Size) -> None:
    """Refuse weights that are not one number per view and point."""
    if weights is None:
        return
    if weights.dim() < 2 or weights.shape[-2:] != shape[-2:]:  # noqa: PLR2004
        raise GeometryError(
            "weights have the wrong shape", expected=f"(..., {shape[-2]}, {shape[-1]})", got=str(tuple(weights.shape))
        )


def check_views(values: Tensor, views: int, P: Tensor) -> None:
    """Refuse matrices that are not one per view."""
    if P.dim() < 3 or P.shape[-3] != views or views == 0:  # noqa: PLR2004
        raise GeometryError(
            "pixels and projection matrices must come from the same views",
            expected=f"P (..., {max(views, 1)}, 3, 4)",
            got=f"{tuple(P.shape)} beside {tuple(values.shape)}",
        )


def check_input(uv: Tensor, P: Tensor, weights: Tensor | None) -> None:
    """Refuse pixels, matrices and weights that do not go together."""
    check_points("uv", uv, 2, "V, N")
    check_views(uv, uv.shape[-3], P)
    check_weights(weights, uv.shape[:-1])


def look(frame: RigFrame, uv: Tensor, weights: Tensor | None) -> Views:
    """Bring pixels (..., V, N, 2) into the frame of their cameras; what cannot be used gets weight zero."""
    # What is left out gets weight zero; that its pixel is finite keeps its gradient zero too.
    finite = uv.to(work_dtype(uv)).nan_to_num(nan=MAX_PIXEL).clamp(-MAX_PIXEL, MAX_PIXEL)
    pixels = finite.movedim(-1, -3).to(torch.float64, memory_format=torch.contiguous_format)
    with torch.no_grad():
        observed = _square(pixels).squeeze(-3) < frame.limit
    if weights is None:
        return Views(frame, pixels, observed.to(torch.float64))
    positive = weights.nan_to_num(0.0, 0.0, 0.0).relu()
    return Views(frame, pixels, _share(torch.where(observed, positive, 0.0).to(torch.float64)))


def _square(pixels: Tensor) -> Tensor:
    u, v = pixels[..., :1, :, :], pixels[..., 1:, :, :]
    return torch.addcmul(u * u, v, v)


def _share(trust: Tensor) -> Tensor:
    return trust / trust.detach().amax(-2, keepdim=True).clamp_min(torch.finfo(trust.dtype).tiny)


def in_parts(uv: Tensor, weights: Tensor | None) -> Sequence[tuple[Tensor, Tensor | None]]:
    """Cut pixels and weights so that what is computed of one part stays in the cache."""
    # Gradients of pieces cut at once are joined; those of slices would each be a whole tensor.
    pieces: Sequence[Tensor] = torch.split(uv, POINTS_AT_ONCE, -2)
    if weights is None:
        return [(piece, None) for piece in pieces]
    return list(zip(pieces, torch.split(weights, POINTS_AT_ONCE, -1), strict=True))


def prepare(uv: Tensor, P: Tensor, weights: Tensor | None) -> Views:
    """Check pixels, matrices and weights, and bring them into one frame."""
    check_input(uv, P, weights)
    return look(shared_frame(P), uv, weights)


@torch.no_grad()
def well_conditioned(views: Views, local: Tensor, min_angle_rad: float) -> Tensor:
    """Tell which points (..., 3, N) lie in front of the cameras that count and are seen under a large enough angle.

    With unit rays r of M views, M^2 less the squared norm of the sum of r r^T is the sum of sin^2 over all ordered
    pairs of rays; two rays at the least angle a, and any more that add as much, reach M sin^2(a).
    """
    length = local.square().sum(-2, keepdim=True)
    terms = torch.cat((local, length, torch.ones_like(length)), -2)
    behind, distance = (views.frame.seeing @ terms).tensor_split(2, -2)
    counted = views.weights.sign()
    count = counted.sum(-2)
    common = _common(views.frame.spreading @ (counted / distance.clamp_min(MIN_DEPTH**2)), local)
    # One ray alone has no spread but for rounding.
    wide = common < count * (count - max(math.sin(min_angle_rad) ** 2, MIN_SPREAD))
    return wide & (length.squeeze(-2) < MAX_REACH**2) & ((counted * behind).amax(-2) <= 0)


def _common(sums: Tensor, local: Tensor) -> Tensor:
    """Return (..., N): the squared norm of the sum of s (X - c)(X - c)^T, from the sums of s, -s c and s c c^T."""
    mean = sums[..., 1:4, :]
    turned = torch.addcmul(mean, sums[..., :1, :], local)
    x, y, z, squares = local.unbind(-2), turned.unbind(-2), mean.unbind(-2), sums[..., 4:, :].unbind(-2)
    norm = torch.zeros_like(x[0])
    for square, i, j in zip(squares, FIRST, SECOND, strict=False):
        entry = torch.addcmul(torch.addcmul(square, x[i], y[j]), z[i], x[j])
        norm = torch.addcmul(norm, entry, entry, value=1.0 if i == j else 2.0)
    return norm


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
