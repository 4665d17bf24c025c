"""The formulas of OpenCV's lens model, with their derivatives; see cogkp.geometry.distortion for their use.

Source: OpenCV manual, module calib3d, section "Detailed Description" (the camera model).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Bent", "Lens", "bend", "lens_of", "stretch", "through"]

WITH_K3, WITH_QUOTIENT, WITH_PRISM, WITH_TILT = 5, 8, 12, 14


class Lens(NamedTuple):
    """Coefficients, each (..., 1) so that they broadcast with N points; None for the parts a short list lacks."""

    k: tuple[Tensor, Tensor, Tensor | None]
    p: tuple[Tensor, Tensor]
    quotient: tuple[Tensor, ...] | None
    prism: tuple[Tensor, ...] | None
    tilt: Tensor | None


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
        return self.x_x * self.y_y - self.x_y * self.y_x


def lens_of(distortion: Tensor) -> Lens:
    """Name the coefficients of a list (..., D) whose length is one of OpenCV's and not zero."""
    count = distortion.shape[-1]
    each = distortion.unsqueeze(-2).unbind(-1)
    return Lens(
        k=(each[0], each[1], each[4] if count >= WITH_K3 else None),
        p=(each[2], each[3]),
        quotient=each[5:8] if count >= WITH_QUOTIENT else None,
        prism=each[8:12] if count >= WITH_PRISM else None,
        tilt=tilt_of(distortion[..., 12], distortion[..., 13]) if count >= WITH_TILT else None,
    )


def tilt_of(tau_x: Tensor, tau_y: Tensor) -> Tensor:
    """(..., 3, 3) map from an upright image plane to the one tilted by the two angles."""
    cx, sx, cy, sy = tau_x.cos(), tau_x.sin(), tau_y.cos(), tau_y.sin()
    zero, one = torch.zeros_like(cx), torch.ones_like(cx)
    turned = (cy, sx * sy, -sy * cx, zero, cx, sx, sy, -cy * sx, cy * cx)
    onto = (cy * cx, zero, sy * cx, zero, cy * cx, -sx, zero, zero, one)
    rotation, flat = (torch.stack(entries, -1).reshape(*cx.shape, 3, 3) for entries in (turned, onto))
    return (flat.unsqueeze(-1) * rotation.unsqueeze(-3)).sum(-2)


def through(matrix: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Move points by a plane map; the third value is False where they would come from behind the plane."""
    rows = [[matrix[..., i, j].unsqueeze(-1) for j in range(3)] for i in range(3)]
    u, v, w = (a * x + b * y + c for a, b, c in rows)
    ahead = w > torch.finfo(w.dtype).eps
    w = torch.where(ahead, w, 1.0)
    return u / w, v / w, ahead


def stretch(s: Tensor, lens: Lens) -> tuple[Tensor, Tensor]:
    """Radial factor at squared radius ``s``, and its derivative by ``s``."""
    k1, k2, k3 = lens.k
    if k3 is None:
        factor, rate = 1 + s * (k1 + s * k2), k1 + 2 * s * k2
    else:
        factor, rate = 1 + s * (k1 + s * (k2 + s * k3)), k1 + s * (2 * k2 + 3 * s * k3)
    if lens.quotient is None:
        return factor, rate
    k4, k5, k6 = lens.quotient
    below = 1 + s * (k4 + s * (k5 + s * k6))
    # Past a pole the model means nothing; a negative factor says so and folds the map.
    below = torch.where(below > torch.finfo(s.dtype).eps, below, -1.0)
    factor = torch.where(below > 0, factor / below, -1.0)
    return factor, (rate - factor * (k4 + s * (2 * k5 + 3 * s * k6))) / below


def bend(x: Tensor, y: Tensor, lens: Lens) -> Bent:
    """Move points by everything but the tilt, with the Jacobian."""
    p1, p2 = lens.p
    xx, yy, xy2 = x * x, y * y, 2 * x * y
    s = xx + yy
    factor, rate = stretch(s, lens)
    mixed = xy2 * rate + 2 * (p1 * x + p2 * y)
    rate, px, py = 2 * rate, 2 * p2 * x, 2 * p1 * y
    bent = Bent(
        x=x * factor + p1 * xy2 + p2 * (s + 2 * xx),
        y=y * factor + p2 * xy2 + p1 * (s + 2 * yy),
        x_x=factor + xx * rate + py + 3 * px,
        x_y=mixed,
        y_x=mixed,
        y_y=factor + yy * rate + px + 3 * py,
    )
    return bent if lens.prism is None else _add_prism(bent, x, y, s, lens.prism)


def _add_prism(bent: Bent, x: Tensor, y: Tensor, s: Tensor, prism: tuple[Tensor, ...]) -> Bent:
    s1, s2, s3, s4 = prism
    along_x, along_y = 2 * (s1 + 2 * s2 * s), 2 * (s3 + 2 * s4 * s)
    return Bent(
        x=bent.x + s * (s1 + s * s2),
        y=bent.y + s * (s3 + s * s4),
        x_x=bent.x_x + x * along_x,
        x_y=bent.x_y + y * along_x,
        y_x=bent.y_x + x * along_y,
        y_y=bent.y_y + y * along_y,
    )
