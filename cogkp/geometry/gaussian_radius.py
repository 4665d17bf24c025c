"""CenterNet's Gaussian radius: how wide the target around a box's centre is on a heatmap."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["gaussian_radius"]

# What a box found from a corner off by the radius must share with the true box.
MIN_OVERLAP = 0.7


def gaussian_radius(size_wh: Tensor, min_overlap: float = MIN_OVERLAP) -> Tensor:
    """Return the radius within which a wrong centre still gives a box of the required IoU.

    The bound is the one that published networks were trained with: the least of three roots, none of which is divided
    by its leading coefficient.

    Args:
        size_wh: (..., 2) float, width and height of the box, cells; their order does not matter.
        min_overlap: share of the boxes' union that both must hold.

    Returns:
        (...) in the dtype of ``size_wh``, cells.

    Gradient: flows to ``size_wh``, finite for sizes above zero.
    Source: H. Law and J. Deng, CornerNet, ECCV 2018, section 3.2.

    Example:
        >>> gaussian_radius(torch.tensor([[10.0, 10.0], [40.0, 20.0]]))
        tensor([2.7332, 7.3559])
    """
    total, area = size_wh.sum(-1), size_wh.prod(-1)
    shifted = total + (total.square() - 4 * area * (1 - min_overlap) / (1 + min_overlap)).clamp_min(0).sqrt()
    inside = 2 * total + (4 * total.square() - 16 * area * (1 - min_overlap)).clamp_min(0).sqrt()
    b, c = -2 * min_overlap * total, (min_overlap - 1) * area
    around = b + (b.square() - 16 * min_overlap * c).clamp_min(0).sqrt()
    return 0.5 * torch.minimum(torch.minimum(shifted, inside), around)
