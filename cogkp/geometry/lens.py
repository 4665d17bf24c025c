"""OpenCV's lens model: formulas with their derivatives, and the numerical inverse; see cogkp.geometry.distortion.

With z the point, s its squared length and p = (p2, p1) the manual's formulas are, put together,

    moved = z (g(s) + 2 p.z) + s b(s)

where g is the radial factor and b the constant p plus the thin prism. Few operations are left that way, and the
Jacobian shares most of them.

The search starts from a table of the radial part's inverse, takes a few Newton steps in float32, which cost half, and
one or two in the precision asked for. Points for which that does not do are searched with care, one by one.

Axes: N points, M points that need a closer look, T entries of a table.
Source: OpenCV manual, module calib3d, section "Detailed Description" (the camera model).
Source: J. Nocedal and S. Wright, Numerical Optimization, 2nd ed., section 11.1 (Newton's method with a line search).
"""

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

K, P, QUOTIENT, PRISM, TILT = (0, 1, 4), (2, 3), (5, 6, 7), (8, 9, 10, 11), (12, 13)
"""Places of the coefficients in OpenCV's order."""

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

CHUNK = 16384
"""Points worked on at once; so few stay in the processor's cache."""

XY = tuple[Tensor, Tensor]


class Series(NamedTuple):
    """A polynomial of the squared radius s and twice its derivative, lowest power first, each (..., 1)."""

    terms: tuple[Tensor, ...]
    rates: tuple[Tensor, ...]


class Lens(NamedTuple):
    """Coefficients, each (..., 1) so that they broadcast with N points; None for what the lens does not do.

    Args:
        radial: radial factor, or its numerator.
        below: the factor's denominator.
        lean: 2 p2 and 2 p1.
        shift: what is added to x and to y, over s; ``rates`` are those of the whole addend.
        tilt: (..., 3, 3) map to the tilted image plane.
    """

    radial: Series
    below: Series | None
    lean: tuple[Tensor, Tensor] | None
    shift: tuple[Series, Series] | None
    tilt: Tensor | None

    @property
    def is_symmetric(self) -> bool:
        """Whether the Jacobian is: without a thin prism it is the same across its diagonal."""
        return self.shift is None or len(self.shift[0].terms) == 1


class Bent(NamedTuple):
    """Moved points and the Jacobian's four entries; ``x_y`` is how x changes with y."""

    x: Tensor
    y: Tensor
    x_x: Tensor
    x_y: Tensor
    y_x: Tensor
    y_y: Tensor

    @property
    def determinant(self) -> Tensor:
        """How much areas grow; not positive past a fold."""
        return torch.addcmul(self.x_x * self.y_y, self.x_y, self.y_x, value=-1)


def lens_of(distortion: Tensor) -> Lens:
    """Name the coefficients of a list (..., D) whose length is one of OpenCV's.

    Parts that are zero are left out, unless a gradient is to reach them.
    """
    each = distortion.unsqueeze(-2).unbind(-1)
    wanted = _wanted(distortion)
    one = distortion.new_ones((*distortion.shape[:-1], 1))
    k, quotient = (_until_last([(each[i], wanted[i]) for i in some if i < len(each)]) for some in (K, QUOTIENT))
    prism = any(wanted[i] for i in PRISM if i < len(each))
    lean, shift = None, None
    if prism or any(wanted[i] for i in P if i < len(each)):
        p1, p2 = each[2], each[3]
        lean = 2 * p2, 2 * p1
        s1, s2, s3, s4 = (each[i] for i in PRISM) if prism else (None,) * 4
        shift = _shift(p2, s1, s2), _shift(p1, s3, s4)
    return Lens(
        radial=_series((one, *k)),
        below=_series((one, *quotient)) if quotient else None,
        lean=lean,
        shift=shift,
        tilt=tilt_of(distortion[..., 12], distortion[..., 13])
        if any(wanted[i] for i in TILT if i < len(each))
        else None,
    )


def in_float32(lens: Lens) -> Lens:
    """The same lens in float32, but for the tilt."""

    def lower(series: Series) -> Series:
        return Series(tuple(t.float() for t in series.terms), tuple(t.float() for t in series.rates))

    return Lens(
        radial=lower(lens.radial),
        below=lower(lens.below) if lens.below else None,
        lean=(lens.lean[0].float(), lens.lean[1].float()) if lens.lean else None,
        shift=(lower(lens.shift[0]), lower(lens.shift[1])) if lens.shift else None,
        tilt=lens.tilt,
    )


def _wanted(distortion: Tensor) -> list[bool]:
    if torch.is_grad_enabled() and distortion.requires_grad:
        return [True] * distortion.shape[-1]
    wanted: list[bool] = (distortion.detach() != 0).reshape(-1, distortion.shape[-1]).any(0).tolist()
    return wanted


def _until_last(values: list[tuple[Tensor, bool]]) -> tuple[Tensor, ...]:
    last = max((i for i, (_, wanted) in enumerate(values, 1) if wanted), default=0)
    return tuple(value for value, _ in values[:last])


def _series(terms: tuple[Tensor, ...]) -> Series:
    rates = tuple(2 * power * term for power, term in enumerate(terms[1:], 1))
    return Series(terms, rates or (torch.zeros_like(terms[0]),))


def _shift(p: Tensor, first: Tensor | None, second: Tensor | None) -> Series:
    if first is None or second is None:
        return Series((p,), (2 * p,))
    return Series((p + first, second), (2 * (p + first), 4 * second))


def tilt_of(tau_x: Tensor, tau_y: Tensor) -> Tensor:
    """(..., 3, 3) map from an upright image plane to the one tilted by the two angles."""
    cx, sx, cy, sy = tau_x.cos(), tau_x.sin(), tau_y.cos(), tau_y.sin()
    zero, one = torch.zeros_like(cx), torch.ones_like(cx)
    turned = (cy, sx * sy, -sy * cx, zero, cx, sx, sy, -cy * sx, cy * cx)
    onto = (cy * cx, zero, sy * cx, zero, cy * cx, -sx, zero, zero, one)
    rotation, flat = (torch.stack(entries, -1).reshape(*cx.shape, 3, 3) for entries in (turned, onto))
    return (flat.unsqueeze(-1) * rotation.unsqueeze(-3)).sum(-2)


def through(matrix: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Move points by a plane map; also the divisor, and False where they would come from behind (the divisor is 1)."""
    rows = [[matrix[..., i, j].unsqueeze(-1) for j in range(3)] for i in range(3)]
    u, v, w = (torch.addcmul(torch.addcmul(c, a, x), b, y) for a, b, c in rows)
    if _all_above_zero(w):
        over = w.reciprocal()
        return u * over, v * over, w, torch.ones_like(w, dtype=torch.bool)
    ahead = w > torch.finfo(w.dtype).eps
    w = torch.where(ahead, w, 1.0)
    return u / w, v / w, w, ahead


def polynomial(s: Tensor, terms: tuple[Tensor, ...]) -> Tensor:
    """Value at ``s``; terms (..., 1), lowest power first."""
    value = terms[-1]
    for term in terms[-2::-1]:
        value = torch.addcmul(term, s, value)
    return value


def stretch(s: Tensor, lens: Lens) -> tuple[Tensor, Tensor]:
    """Radial factor at squared radius ``s``, and twice its derivative by ``s``."""
    factor, rate = polynomial(s, lens.radial.terms), polynomial(s, lens.radial.rates)
    if lens.below is None:
        return factor, rate
    below = polynomial(s, lens.below.terms)
    past = None
    if not _all_above_zero(below):
        past = below <= torch.finfo(s.dtype).eps
        below = below.masked_fill(past, 1.0)
    over = below.reciprocal()
    factor = factor * over
    rate = torch.addcmul(rate, factor, polynomial(s, lens.below.rates), value=-1) * over
    if past is not None:
        # Past a pole the model means nothing; a negative factor says so and folds the map.
        factor, rate = factor.masked_fill(past, -1.0), rate.masked_fill(past, 0.0)
    return factor, rate


def _all_above_zero(values: Tensor) -> bool:
    # One pass and no mask: several times faster than comparing each.
    return values.numel() == 0 or bool(values.detach().amin() > torch.finfo(values.dtype).eps)


def _square(x: Tensor, y: Tensor) -> Tensor:
    return torch.addcmul(x * x, y, y)


def move(x: Tensor, y: Tensor, lens: Lens) -> tuple[Tensor, Tensor]:
    """Move points by everything but the tilt."""
    s = _square(x, y)
    factor, _ = stretch(s, lens)
    if lens.lean is None or lens.shift is None:
        return x * factor, y * factor
    factor = torch.addcmul(torch.addcmul(factor, lens.lean[0], x), lens.lean[1], y)
    shift_x, shift_y = (polynomial(s, series.terms) for series in lens.shift)
    return torch.addcmul(x * factor, shift_x, s), torch.addcmul(y * factor, shift_y, s)


def bend(x: Tensor, y: Tensor, lens: Lens) -> Bent:
    """Move points by everything but the tilt, with the Jacobian."""
    s = _square(x, y)
    factor, rate = stretch(s, lens)
    if lens.lean is None or lens.shift is None:
        rate_x, rate_y = rate * x, rate * y
        mixed = rate_x * y
        return Bent(
            x * factor,
            y * factor,
            torch.addcmul(factor, rate_x, x),
            mixed,
            mixed,
            torch.addcmul(factor, rate_y, y),
        )
    factor = torch.addcmul(torch.addcmul(factor, lens.lean[0], x), lens.lean[1], y)
    (shift_x, slope_x), (shift_y, slope_y) = (
        (polynomial(s, series.terms), polynomial(s, series.rates)) for series in lens.shift
    )
    rate_x, rate_y = torch.addcmul(lens.lean[0], rate, x), torch.addcmul(lens.lean[1], rate, y)
    x_y = torch.addcmul(x * rate_y, slope_x, y)
    return Bent(
        x=torch.addcmul(x * factor, shift_x, s),
        y=torch.addcmul(y * factor, shift_y, s),
        x_x=torch.addcmul(factor, x, rate_x + slope_x),
        x_y=x_y,
        y_x=x_y if lens.is_symmetric else torch.addcmul(y * rate_x, slope_y, x),
        y_y=torch.addcmul(factor, y, rate_y + slope_y),
    )


def columns(*values: Tensor) -> Tensor:
    """Put values beside each other along a new last axis."""
    if torch.is_grad_enabled() and any(value.requires_grad for value in values):
        return torch.stack(values, -1)
    # Three times faster than a stack, which copies a number at a time.
    beside = values[0].new_empty((*values[0].shape, len(values)))
    for i, value in enumerate(values):
        beside[..., i] = value
    return beside


def all_finite(*values: Tensor) -> bool:
    """Tell quickly that nothing is NaN or infinite; False may also mean that a sum is too large."""
    return all(bool(torch.isfinite(value.detach().sum())) for value in values)


def only(valid: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Set to zero what is not valid."""
    return (x, y) if valid.all() else (torch.where(valid, x, 0.0), torch.where(valid, y, 0.0))


"""From so many points on it pays to tabulate the whole inverse, not only its radial part."""


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
