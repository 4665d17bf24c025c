"""Numerical inverse of OpenCV's distortion model: its domain, a start value, and the Newton search. No gradients here.

The search starts from a table of the radial part's inverse, takes a few Newton steps in float32, which cost half, and
one or two in the precision asked for. Points for which that does not do are searched with care, one by one.

Axes: N points, M points that need a closer look, T entries of a table.
Source: J. Nocedal and S. Wright, Numerical Optimization, 2nd ed., section 11.1 (Newton's method with a line search).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from cogkp.geometry.lens import Lens, bend, in_float32, lens_of, move, stretch, through

__all__ = ["CHUNK", "POINTS_FOR_A_GRID", "find_source", "is_unfolded"]

WIDEST_DEG = 89.0
"""Rays further off the axis are left out: a plane in front of the camera hardly meets them."""
RADII = 256
DIRECTIONS = 16
TABLE = 4096
TABLE_STEPS = 8
TABLES_PER_OCTAVE = 4
ROUGH_STEPS = 2
QUICK_STEPS = 3
SAMPLES_OF_A_WAY = 48
LONGEST_STEP = 0.5
TINY = 1e-30
LEFT = {torch.float32: 1e-7, torch.float64: 4e-13}
"""How far behind the lens a point found may be from its goal."""
GRID = 224
WIDEST_GRID2 = 4.0
"""Squared radius behind the lens up to which a grid is fine enough."""
POINTS_FOR_A_GRID = 65536
GRID_STILL = 5.0
"""A grid starts a little further off; one step from there leaves some 1e-11, still 1e-8 px at 1000 px."""
"""From so many points on it pays to tabulate the whole inverse, not only its radial part."""
CHUNK = 16384
"""Points worked on at once; so few stay in the processor's cache."""


XY = tuple[Tensor, Tensor]


class _Reach(NamedTuple):
    """How far a lens can be undone whatever the direction, and the radial part's inverse up to there.

    Args:
        radius2: (..., 1) float, squared radius before the lens.
        outer2: (..., 1) float, squared radius behind the lens where the table ends.
        table: (..., T) float32, radius before over radius behind the lens, evenly spaced in the squared radius behind
            up to ``outer2``.
        rise: (..., T) float32, from each entry of the table to the next.
        still: (..., 1) float, a Newton step this long leaves no more than LEFT, as the map bends.
    """

    radius2: Tensor
    outer2: Tensor
    table: Tensor
    rise: Tensor
    still: Tensor


class _Grid(NamedTuple):
    """The whole inverse about the axis, to second order about each place of a square grid.

    Args:
        per_unit: places of the grid in one unit of the plane.
        tables: float32, x, then its derivatives by x and y, half those by xx, xy twice, and yy; then the same for y.
            All are in units of the grid, and NaN where the inverse was not found.
    """

    per_unit: float
    tables: list[Tensor]


def _unfolded(x: Tensor, y: Tensor, lens: Lens) -> Tensor:
    bent = bend(x, y, lens)
    # Both eigenvalues positive: two folds crossed at once would leave the determinant positive.
    return (bent.determinant > 0) & (bent.x_x + bent.y_y > 0) & (stretch(x * x + y * y, lens)[0] > 0)


def _safe_radius2(distortion: Tensor) -> Tensor:
    """(..., 1) squared radius up to which no direction meets a fold; a little less rather than more."""
    if distortion.dim() == 1 and distortion.device.type == "cpu":
        return _remembered_radius2(tuple(distortion.tolist()), distortion.dtype)
    return _measured_radius2(distortion)


@lru_cache(maxsize=64)
def _remembered_radius2(values: tuple[float, ...], dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):
        return _measured_radius2(torch.tensor(values, dtype=dtype))


def _measured_radius2(distortion: Tensor) -> Tensor:
    step = math.radians(WIDEST_DEG) / (RADII - 1)
    radii = (torch.arange(RADII, dtype=distortion.dtype, device=distortion.device) * step).tan()
    angle = torch.arange(DIRECTIONS, dtype=radii.dtype, device=radii.device) * (2 * math.pi / DIRECTIONS)
    x, y = (angle.cos()[:, None] * radii).flatten(), (angle.sin()[:, None] * radii).flatten()
    unfolded = _unfolded(x, y, lens_of(distortion)).expand(*distortion.shape[:-1], x.shape[-1])
    smooth = unfolded.reshape(*unfolded.shape[:-1], DIRECTIONS, RADII).all(-2)
    safe = smooth.long().cumprod(-1).sum(-1, keepdim=True)
    return radii[(safe - 2).clamp(min=0)] ** 2


def _reach(distortion: Tensor, farthest2: float) -> _Reach:
    """How far the lens can be undone, with a table for points up to a squared radius behind it."""
    if distortion.dim() != 1 or distortion.device.type != "cpu":
        return _measured_reach(distortion, _measured_radius2(distortion), farthest2)
    # Tables end at a few radii only, so that one of them serves for most sets of points.
    octave = math.log2(farthest2) if TINY < farthest2 < math.inf else math.copysign(100.0, farthest2 - 1)
    level = math.ceil(TABLES_PER_OCTAVE * octave)
    return _remembered_reach(tuple(distortion.tolist()), distortion.dtype, level)


@lru_cache(maxsize=64)
def _remembered_reach(values: tuple[float, ...], dtype: torch.dtype, level: int) -> _Reach:
    with torch.inference_mode(False):
        return _measured_reach(
            torch.tensor(values, dtype=dtype), _remembered_radius2(values, dtype), 2.0 ** (level / TABLES_PER_OCTAVE)
        )


def _measured_reach(distortion: Tensor, radius2: Tensor, farthest2: float) -> _Reach:
    lens, radius = lens_of(distortion), radius2.sqrt()
    near = torch.linspace(0, 1, RADII, dtype=radius.dtype, device=radius.device) * radius
    outward = near * stretch(near * near, lens)[0]
    outer2 = (outward[..., -1:] ** 2).clamp(min=torch.finfo(radius.dtype).eps, max=max(farthest2, 1e-12))
    goal = (torch.linspace(0, 1, TABLE + 1, dtype=radius.dtype, device=radius.device) * outer2).sqrt()
    index = torch.searchsorted(outward.contiguous(), goal.contiguous()).clamp(1, RADII - 1)
    low, high = torch.take_along_dim(near, index - 1, -1), torch.take_along_dim(near, index, -1)
    r = high
    for _ in range(TABLE_STEPS):
        factor, rate = stretch(r * r, lens)
        slope = (factor + r * r * rate).clamp(min=torch.finfo(r.dtype).eps)
        r = torch.minimum(torch.maximum(r - (r * factor - goal) / slope, low), high)
    ratio = torch.cat((torch.ones_like(r[..., :1]), r[..., 1:] / goal[..., 1:]), -1).float()
    factor, rate = stretch(r * r, lens)
    curvature = ((factor + r * r * rate).diff(dim=-1) / r.diff(dim=-1).clamp(min=TINY)).abs().amax(-1, keepdim=True)
    still = (2 * LEFT[r.dtype] / curvature.clamp(min=1.0)).sqrt()
    return _Reach(radius2, outer2, ratio[..., :-1].contiguous(), ratio.diff(dim=-1), still)


def _first_guess(x: Tensor, y: Tensor, reach: _Reach) -> XY:
    """Look up where the radial part alone would have come from; float32."""
    x, y = x.float(), y.float()
    radius2, outer2 = torch.addcmul(x * x, y, y), reach.outer2.float()
    place = (radius2 * (TABLE / outer2)).clamp_(max=TABLE - 1e-3)
    low = place.int()
    place = place.frac_()
    if reach.table.dim() > 1:
        rows = torch.arange(reach.table[..., 0].numel(), dtype=low.dtype, device=low.device)
        low = low + rows.reshape(reach.outer2.shape) * TABLE
    below, rise = (
        torch.index_select(t.flatten(), 0, low.flatten()).reshape(low.shape) for t in (reach.table, reach.rise)
    )
    shrink = torch.addcmul(below, place, rise)
    if (radius2.amax(-1, keepdim=True) > outer2).any():
        # Beyond the table the search starts at its end, inside the branch, whatever lies further out.
        shrink = shrink * (outer2 / radius2).sqrt().clamp(max=1.0)
    return x * shrink, y * shrink


def _grid(distortion: Tensor, count: int, farthest2: float) -> _Grid | None:
    """A table of the whole inverse, if it is worth its while."""
    if count < POINTS_FOR_A_GRID or distortion.dim() != 1 or distortion.device.type != "cpu":
        return None
    if not TINY < farthest2 <= WIDEST_GRID2 or not (distortion[2:4].any() or distortion[8:12].any()):
        return None
    level = math.ceil(TABLES_PER_OCTAVE * math.log2(farthest2))
    return _remembered_grid(tuple(distortion.tolist()), distortion.dtype, level)


@lru_cache(maxsize=8)
def _remembered_grid(values: tuple[float, ...], dtype: torch.dtype, level: int) -> _Grid:
    with torch.inference_mode(False), torch.no_grad():
        distortion = torch.tensor(values, dtype=torch.float64)
        reach = _remembered_reach(values, torch.float64, level + TABLES_PER_OCTAVE)
        edge, lens = 2.0 ** (level / TABLES_PER_OCTAVE / 2), lens_of(distortion)
        steps = torch.linspace(-edge, edge, GRID + 1, dtype=torch.float64)
        goal = steps.repeat(GRID + 1), steps.repeat_interleave(GRID + 1)
        x, y, found = _search_quickly(goal, _first_guess(*goal, reach), lens, in_float32(lens), reach)
        bent, spacing = bend(x, y, lens), 2 * edge / GRID
        over = spacing / bent.determinant
        tables = []
        for value, by_x, by_y in ((x, bent.y_y, -bent.x_y), (y, -bent.y_x, bent.x_x)):
            slopes = [(by * over).reshape(GRID + 1, GRID + 1) for by in (by_x, by_y)]
            (xy, xx), (yy, yx) = (torch.gradient(slope, dim=(0, 1)) for slope in slopes)
            # Of the third order keep what a straight line can give of it, half a place to either side.
            (xxy, xxx), (yyy, yyx) = (torch.gradient(second, dim=(0, 1)) for second in (xx, yy))
            slopes = [slopes[0] + xxx / 32 + yyx / 16, slopes[1] + yyy / 32 + xxy / 16]
            tables += [value, *slopes, xx / 2, (xy + yx) / 2, yy / 2]
        return _Grid(1 / spacing, [torch.where(found, t.flatten(), math.nan).float() for t in tables])


def _first_guess_of_grid(x: Tensor, y: Tensor, grid: _Grid) -> XY:
    """Look up the nearest place of the grid and go on from there to second order; float32."""
    x, y = x.float() * grid.per_unit + GRID / 2, y.float() * grid.per_unit + GRID / 2
    column, row = x.round(), y.round()
    place = torch.add(column, row, alpha=GRID + 1).int()
    x, y = x.sub_(column), y.sub_(row)
    a, ax, ay, axx, axy, ayy, b, bx, by, bxx, bxy, byy = (torch.index_select(t, 0, place) for t in grid.tables)
    for value, by_x, by_y, by_xx, by_xy, by_yy in ((a, ax, ay, axx, axy, ayy), (b, bx, by, bxx, bxy, byy)):
        by_x.addcmul_(by_xx, x).addcmul_(by_xy, y)
        value.addcmul_(by_x, x).addcmul_(by_y.addcmul_(by_yy, y), y)
    return a, b


def _newton_step(x: Tensor, y: Tensor, lens: Lens, goal: XY) -> XY:
    """How far to go back so that the moved point falls on its goal, to first order."""
    bent = bend(x, y, lens)
    over = bent.determinant.reciprocal()
    ex, ey = bent.x - goal[0], bent.y - goal[1]
    back_x = torch.addcmul(bent.y_y * ex, bent.x_y, ey, value=-1)
    back_y = torch.addcmul(bent.x_x * ey, bent.y_x, ex, value=-1)
    return back_x * over, back_y * over


def _search_quickly(
    goal: XY, guess: XY, lens: Lens, rough: Lens | None, reach: _Reach
) -> tuple[Tensor, Tensor, Tensor]:
    """Take plain Newton steps; also tell who has arrived, on the near side of the first fold."""
    x, y = guess
    if rough is not None and rough.lean is not None:
        lowered = goal[0].to(x.dtype), goal[1].to(x.dtype)
        for _ in range(ROUGH_STEPS):
            dx, dy = _newton_step(x, y, rough, lowered)
            x, y = x - dx, y - dy
    x, y = x.to(goal[0].dtype), y.to(goal[0].dtype)
    settled = torch.zeros_like(reach.still, dtype=torch.bool)
    for _ in range(QUICK_STEPS):
        dx, dy = _newton_step(x, y, lens, goal)
        x, y = x - dx, y - dy
        dx, dy = dx.abs_(), dy.abs_()
        settled = torch.maximum(dx.amax(-1, keepdim=True), dy.amax(-1, keepdim=True)) <= reach.still
        if settled.all():
            break
    else:
        settled = (dx <= reach.still) & (dy <= reach.still)
    return x, y, settled & (torch.addcmul(x * x, y, y) < reach.radius2)


def _search_with_care(goal: XY, guess: XY, lens: Lens, iterations: int) -> tuple[XY, Tensor]:
    """Take Newton steps of the length, out of several, that leaves the least error; columns (M, 1)."""
    x, y = guess
    still = torch.finfo(x.dtype).eps ** 0.5
    lengths = x.new_tensor([0.5**i for i in range(8)])
    settled = torch.zeros_like(x, dtype=torch.bool)
    for _ in range(iterations):
        dx, dy = _newton_step(x, y, lens, goal)
        size = (dx * dx + dy * dy).sqrt()
        settled, done = size <= still * (1 + x.abs() + y.abs()), bool(settled.all())
        capped = lengths * torch.where(size > LONGEST_STEP, LONGEST_STEP / size, 1.0)
        try_x, try_y = x - dx * capped, y - dy * capped
        tried = bend(try_x, try_y, lens)
        error = (tried.x - goal[0]) ** 2 + (tried.y - goal[1]) ** 2
        best = torch.where(torch.isfinite(error) & (tried.determinant > 0), error, math.inf).argmin(-1, keepdim=True)
        x, y = try_x.gather(-1, best), try_y.gather(-1, best)
        if done:  # One step more than need be: where the map is steep the last one still counts.
            break
    return (x, y), settled


def _rows(distortion: Tensor, chosen: Tensor) -> Lens:
    """The lens of each chosen point, coefficients (M, 1)."""
    if distortion.dim() == 1:
        return lens_of(distortion)
    lead = chosen.shape[:-1]
    each = distortion.unsqueeze(-2).expand(*lead, chosen.shape[-1], distortion.shape[-1])
    return lens_of(each[chosen])


def is_unfolded(x: Tensor, y: Tensor, distortion: Tensor) -> Tensor:
    """Tell which points lie before the first fold, seen from the axis; shapes (..., N), (..., N), (..., D)."""
    s = torch.addcmul(x * x, y, y)
    inside = s < _safe_radius2(distortion)
    if not inside.all():
        doubtful = ~inside & (s < math.tan(math.radians(WIDEST_DEG)) ** 2)
        if doubtful.any():
            inside = inside.masked_scatter(doubtful, _way_is_unfolded(x, y, doubtful, distortion))
    lens = lens_of(distortion)
    if lens.tilt is not None:
        inside = inside & through(lens.tilt, *move(x, y, lens))[3]
    return inside


def _way_is_unfolded(x: Tensor, y: Tensor, chosen: Tensor, distortion: Tensor) -> Tensor:
    """Walk from the axis to each chosen point and look for a fold on the way; (M,)."""
    way = torch.linspace(1 / SAMPLES_OF_A_WAY, 1, SAMPLES_OF_A_WAY, dtype=x.dtype, device=x.device)
    along_x, along_y = x[chosen][:, None] * way, y[chosen][:, None] * way
    lens = _rows(distortion, chosen)
    return _unfolded(along_x, along_y, lens).all(-1)


def find_source(
    x: Tensor, y: Tensor, distortion: Tensor, iterations: int, *, fixed: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Find the points that a lens moves to given ones.

    Args:
        x: (..., N) float, finite, behind the lens and before any tilt.
        y: the same for the other axis.
        distortion: (..., D) float, its leading axes broadcast to those of the points.
        iterations: most steps of the careful search.
        fixed: whether the lens may be asked again; one that is being learnt is not, and a grid would be in vain.

    Returns:
        x and y before the lens, and whether they were found on the near side of the first fold.

    Gradient: none.
    """
    if x.numel() == 0:
        return x, y, torch.ones_like(x, dtype=torch.bool)
    lens = lens_of(distortion)
    farthest2 = float(torch.addcmul(x * x, y, y).amax())
    reach, grid = _reach(distortion, farthest2), _grid(distortion, x.numel() if fixed else 0, farthest2)
    if grid is not None:
        reach = reach._replace(still=GRID_STILL * reach.still)
    found_x, found_y, found = torch.empty_like(x), torch.empty_like(y), torch.empty_like(x, dtype=torch.bool)
    rough = in_float32(lens) if grid is None and x.dtype != torch.float32 else None
    for part in zip(*(torch.split(value, CHUNK, -1) for value in (x, y, found_x, found_y, found)), strict=True):
        guess = _first_guess(part[0], part[1], reach) if grid is None else _first_guess_of_grid(part[0], part[1], grid)
        near = _search_quickly((part[0], part[1]), guess, lens, rough, reach)
        for value, into in zip(near, part[2:], strict=True):
            into.copy_(value)
    if found.all():
        return found_x, found_y, found
    return _find_rest((x, y), (found_x, found_y), found, distortion, reach, iterations)


def _find_rest(
    goal: XY, near: XY, found: Tensor, distortion: Tensor, reach: _Reach, iterations: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Search with care for what the quick search has not found."""
    rest = ~found
    guess = (value.to(goal[0].dtype)[rest][:, None] for value in _first_guess(*goal, reach))
    (x, y), settled = _search_with_care(
        (goal[0][rest][:, None], goal[1][rest][:, None]),
        (next(guess), next(guess)),
        _rows(distortion, rest),
        iterations,
    )
    x, y = near[0].masked_scatter(rest, x), near[1].masked_scatter(rest, y)
    found = found.masked_scatter(rest, settled)
    return x, y, found & is_unfolded(x, y, distortion)
