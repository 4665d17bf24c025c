"""The formulas of OpenCV's lens model, with their derivatives; see cogkp.geometry.distortion for their use.

With z the point, s its squared length and p = (p2, p1) the manual's formulas are, put together,

    moved = z (g(s) + 2 p.z) + s b(s)

where g is the radial factor and b the constant p plus the thin prism. Few operations are left that way, and the
Jacobian shares most of them.

Source: OpenCV manual, module calib3d, section "Detailed Description" (the camera model).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    "Bent",
    "Lens",
    "Series",
    "all_finite",
    "bend",
    "columns",
    "in_float32",
    "lens_of",
    "move",
    "only",
    "stretch",
    "through",
]

K, P, QUOTIENT, PRISM, TILT = (0, 1, 4), (2, 3), (5, 6, 7), (8, 9, 10, 11), (12, 13)
"""Places of the coefficients in OpenCV's order."""


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
