"""The inverse of OpenCV's lens model: how far it exists, where to start, and the search itself. No gradients here.

Axes: N points, M points that need a closer look, T entries of a table.
Source: J. Nocedal and S. Wright, Numerical Optimization, 2nd ed., section 11.1 (Newton's method with a line search).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from cogkp.geometry.lens import Bent, Lens, bend, lens_of, stretch, through

__all__ = ["find_source", "is_unfolded"]

WIDEST_DEG = 89.0
"""Rays further off the axis are left out: a plane in front of the camera hardly meets them."""
RADII = 256
DIRECTIONS = 16
TABLE = 1024
QUICK_STEPS = 5
SAMPLES_OF_A_WAY = 48
LONGEST_STEP = 0.5
TINY = 1e-30
CHUNK = 16384
"""Points worked on at once; so few stay in the processor's cache."""


XY = tuple[Tensor, Tensor]


class _Reach(NamedTuple):
    """How far a lens can be undone whatever the direction, and the radial part's inverse up to there.

    Args:
        radius2: (..., 1) float, squared radius before the lens.
        outer: (..., 1) float, radius behind the lens where the table ends.
        table: (..., T) float, radius before over radius behind the lens, evenly spaced up to ``outer``.
    """

    radius2: Tensor
    outer: Tensor
    table: Tensor


def _unfolded(x: Tensor, y: Tensor, lens: Lens) -> Tensor:
    bent = bend(x, y, lens)
    # Both eigenvalues positive: two folds crossed at once would leave the determinant positive.
    return (bent.determinant > 0) & (bent.x_x + bent.y_y > 0) & (stretch(x * x + y * y, lens)[0] > 0)


def _safe_radius2(lens: Lens, like: Tensor) -> Tensor:
    """(..., 1) squared radius up to which no direction meets a fold; a little less rather than more."""
    radii = _ladder(like)
    angle = torch.arange(DIRECTIONS, dtype=like.dtype, device=like.device) * (2 * math.pi / DIRECTIONS)
    x, y = (angle.cos()[:, None] * radii).flatten(), (angle.sin()[:, None] * radii).flatten()
    unfolded = _unfolded(x, y, lens)
    smooth = unfolded.reshape(*unfolded.shape[:-1], DIRECTIONS, RADII).all(-2)
    safe = smooth.long().cumprod(-1).sum(-1, keepdim=True)
    return radii[(safe - 2).clamp(min=0)] ** 2


def _ladder(like: Tensor) -> Tensor:
    step = math.radians(WIDEST_DEG) / (RADII - 1)
    return (torch.arange(RADII, dtype=like.dtype, device=like.device) * step).tan()


def _inverse_table(lens: Lens, radius2: Tensor, farthest: Tensor) -> _Reach:
    """Tabulate the radial part's inverse, so that the search starts next to its goal and on the right branch."""
    radius = radius2.sqrt()
    near = torch.linspace(0, 1, RADII, dtype=radius.dtype, device=radius.device) * radius
    outward = near * stretch(near * near, lens)[0]
    outer = torch.minimum(outward[..., -1:], farthest).clamp(min=torch.finfo(radius.dtype).eps)
    goal = torch.linspace(0, 1, TABLE, dtype=radius.dtype, device=radius.device) * outer
    index = torch.searchsorted(outward.contiguous(), goal.contiguous()).clamp(1, RADII - 1)
    low, high = torch.take_along_dim(near, index - 1, -1), torch.take_along_dim(near, index, -1)
    r = high
    for _ in range(QUICK_STEPS):
        factor, rate = stretch(r * r, lens)
        slope = (factor + 2 * r * r * rate).clamp(min=torch.finfo(r.dtype).eps)
        r = torch.minimum(torch.maximum(r - (r * factor - goal) / slope, low), high)
    return _Reach(radius2, outer, torch.cat((torch.ones_like(r[..., :1]), r[..., 1:] / goal[..., 1:]), -1))


def _first_guess(x: Tensor, y: Tensor, reach: _Reach) -> XY:
    radius = (x * x + y * y).sqrt()
    place = (radius * ((TABLE - 1) / reach.outer)).clamp(max=TABLE - 1)
    low = place.long().clamp(max=TABLE - 2)
    table = reach.table.reshape((1,) * (low.dim() - reach.table.dim()) + reach.table.shape)
    below, above = torch.take_along_dim(table, low, -1), torch.take_along_dim(table, low + 1, -1)
    shrink = below + (place - low) * (above - below)
    # Beyond the table the search starts at its end, inside the branch, whatever lies further out.
    shrink = shrink * torch.where(radius > reach.outer, reach.outer / radius.clamp(min=TINY), 1.0)
    return x * shrink, y * shrink


def _newton_step(bent: Bent, x: Tensor, y: Tensor) -> XY:
    """How far to go back so that the moved point falls on (x, y), to first order."""
    determinant = bent.determinant
    over = 1 / torch.where(determinant.abs() < TINY, TINY, determinant)
    ex, ey = bent.x - x, bent.y - y
    return (bent.y_y * ex - bent.x_y * ey) * over, (bent.x_x * ey - bent.y_x * ex) * over


def _search(goal: XY, guess: XY, lens: Lens) -> tuple[XY, Tensor]:
    """Take plain Newton steps; also tell whose last step was so small that the next would change nothing."""
    x, y = guess
    still = torch.finfo(x.dtype).eps ** 0.5
    settled = torch.zeros_like(x, dtype=torch.bool)
    for _ in range(QUICK_STEPS):
        dx, dy = _newton_step(bend(x, y, lens), *goal)
        x, y = x - dx.clamp(-LONGEST_STEP, LONGEST_STEP), y - dy.clamp(-LONGEST_STEP, LONGEST_STEP)
        settled = dx.abs() + dy.abs() <= still
        if settled.all():
            break
    return (x, y), settled


def _search_with_care(goal: XY, guess: XY, lens: Lens, iterations: int) -> tuple[XY, Tensor]:
    """Take Newton steps of the length, out of several, that leaves the least error; columns (M, 1)."""
    x, y = guess
    still = torch.finfo(x.dtype).eps ** 0.5
    lengths = x.new_tensor([0.5**i for i in range(8)])
    settled = torch.zeros_like(x, dtype=torch.bool)
    for _ in range(iterations):
        dx, dy = _newton_step(bend(x, y, lens), *goal)
        size = (dx * dx + dy * dy).sqrt()
        settled = size <= still * (1 + x.abs() + y.abs())
        capped = lengths * torch.where(size > LONGEST_STEP, LONGEST_STEP / size, 1.0)
        try_x, try_y = x - dx * capped, y - dy * capped
        tried = bend(try_x, try_y, lens)
        error = (tried.x - goal[0]) ** 2 + (tried.y - goal[1]) ** 2
        best = torch.where(torch.isfinite(error) & (tried.determinant > 0), error, math.inf).argmin(-1, keepdim=True)
        x, y = try_x.gather(-1, best), try_y.gather(-1, best)
        if settled.all():
            break
    return (x, y), settled


def _rows(distortion: Tensor, chosen: Tensor) -> Lens:
    """The lens of each chosen point, coefficients (M, 1)."""
    lead = chosen.shape[:-1]
    each = distortion.unsqueeze(-2).expand(*lead, chosen.shape[-1], distortion.shape[-1])
    return lens_of(each[chosen])


def is_unfolded(x: Tensor, y: Tensor, distortion: Tensor) -> Tensor:
    """Tell which points lie before the first fold, seen from the axis; shapes (..., N), (..., N), (..., D)."""
    lens = lens_of(distortion)
    s = x * x + y * y
    inside = s < _safe_radius2(lens, x)
    doubtful = ~inside & torch.isfinite(s) & (s < math.tan(math.radians(WIDEST_DEG)) ** 2)
    if doubtful.any():
        inside = inside.masked_scatter(doubtful, _way_is_unfolded(x, y, doubtful, distortion))
    if lens.tilt is not None:
        bent = bend(x, y, lens)
        inside = inside & through(lens.tilt, bent.x, bent.y)[2]
    return inside


def _way_is_unfolded(x: Tensor, y: Tensor, chosen: Tensor, distortion: Tensor) -> Tensor:
    """Walk from the axis to each chosen point and look for a fold on the way; (M,)."""
    way = torch.linspace(1 / SAMPLES_OF_A_WAY, 1, SAMPLES_OF_A_WAY, dtype=x.dtype, device=x.device)
    along_x, along_y = x[chosen][:, None] * way, y[chosen][:, None] * way
    lens = _rows(distortion, chosen)
    return _unfolded(along_x, along_y, lens).all(-1)


def find_source(x: Tensor, y: Tensor, distortion: Tensor, iterations: int) -> tuple[Tensor, Tensor, Tensor]:
    """Find the points that a lens moves to given ones.

    Args:
        x: (..., N) float, finite, behind the lens and before any tilt.
        y: the same for the other axis.
        distortion: (..., D) float, its leading axes broadcast to those of the points.
        iterations: most steps of the careful search.

    Returns:
        x and y before the lens, and whether they were found on the near side of the first fold.

    Gradient: none.
    """
    lens = lens_of(distortion)
    farthest = (x * x + y * y).max().sqrt() if x.numel() else x.new_zeros(())
    reach = _inverse_table(lens, _safe_radius2(lens, x), farthest)
    parts = [
        _find_some(part_x.contiguous(), part_y.contiguous(), distortion, reach, iterations)
        for part_x, part_y in zip(torch.split(x, CHUNK, -1), torch.split(y, CHUNK, -1), strict=True)
    ]
    found_x, found_y, found = (torch.cat(values, -1) for values in zip(*parts, strict=True))
    return found_x, found_y, found


def _find_some(
    x: Tensor, y: Tensor, distortion: Tensor, reach: _Reach, iterations: int
) -> tuple[Tensor, Tensor, Tensor]:
    lens = lens_of(distortion)
    start = _first_guess(x, y, reach)
    (found_x, found_y), settled = _search((x, y), start, lens)
    found = settled & (found_x * found_x + found_y * found_y < reach.radius2)
    if found.all():
        return found_x, found_y, found
    rest = ~found
    goal, guess = ((a[rest][:, None], b[rest][:, None]) for a, b in ((x, y), start))
    (near_x, near_y), settled = _search_with_care(goal, guess, _rows(distortion, rest), iterations)
    found_x, found_y = found_x.masked_scatter(rest, near_x), found_y.masked_scatter(rest, near_y)
    found = found.masked_scatter(rest, settled)
    return found_x, found_y, found & is_unfolded(found_x, found_y, distortion)
