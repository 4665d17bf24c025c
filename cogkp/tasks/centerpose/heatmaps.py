"""Gaussian heatmap targets, and values of maps at single cells.

Axes: B batch, O objects, N points of each object, h w grid.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["read_cells", "render_gaussians"]

# A bump reaches three standard deviations, half a cell included.
SIGMAS_ACROSS = 6.0


def render_gaussians(cell: Tensor, radius: Tensor, mask: Tensor, shape_hw: tuple[int, int]) -> Tensor:
    """Render a Gaussian at each cell; where they overlap, the higher value counts.

    Args:
        cell: (B, O, N) int64, row by row.
        radius: (B, O) int64, cells; a bump ends there, and its standard deviation is (2 radius + 1) / 6.
        mask: (B, O, N) bool, points to draw.
        shape_hw: of the grid.

    Returns:
        (B, N, h, w) float32, exactly one in the cells themselves, zero where there is no bump.

    Source: X. Zhou, D. Wang, P. Krähenbühl, Objects as Points, 2019, section 3.

    Example:
        >>> one = torch.ones(1, 1, 1, dtype=torch.int64)
        >>> render_gaussians(6 * one, one[..., 0], one > 0, (3, 5))[0, 0]
        tensor([[0.0183, 0.1353, 0.0183, 0.0000, 0.0000],
                [0.1353, 1.0000, 0.1353, 0.0000, 0.0000],
                [0.0183, 0.1353, 0.0183, 0.0000, 0.0000]])
    """
    height, width = shape_hw
    across = _profile(cell % width, radius, width)
    down = _profile(torch.div(cell, width, rounding_mode="floor"), radius, height) * mask.unsqueeze(-1)
    peaks = across.new_zeros(cell.shape[0], cell.shape[2], height, width)
    for place in range(_places(mask)):
        peaks = torch.maximum(peaks, down[:, place].unsqueeze(-1) * across[:, place].unsqueeze(-2))
    return peaks


def _places(mask: Tensor) -> int:
    """How many objects to go through; asking a GPU how many there are would keep the host waiting for it."""
    if mask.device.type != "cpu" or not mask.any():
        return mask.shape[1] if mask.device.type != "cpu" else 0
    return int(mask.any(-1).any(0).nonzero().max()) + 1


def _profile(place: Tensor, radius: Tensor, length: int) -> Tensor:
    """(B, O, N, length) the bumps along one axis."""
    reach = radius[..., None, None]
    distance = torch.arange(length, device=place.device) - place.unsqueeze(-1)
    sigma = (2 * reach + 1).float() / SIGMAS_ACROSS
    bump = torch.exp(-0.5 * (distance / sigma).square())
    return torch.where(distance.abs() <= reach, bump, 0.0)


def read_cells(maps: Tensor, cell: Tensor) -> Tensor:
    """Read the values of maps at given cells.

    Args:
        maps: (B, C, h, w).
        cell: (B, ...) int64, row by row.

    Returns:
        (B, ..., C) in the dtype of ``maps``.

    Gradient: flows to ``maps``.

    Example:
        >>> read_cells(torch.arange(8.0).reshape(1, 2, 2, 2), torch.tensor([[3, 0]]))
        tensor([[[3., 7.],
                 [0., 4.]]])
    """
    found = maps.flatten(2).gather(2, cell.flatten(1).unsqueeze(1).expand(-1, maps.shape[1], -1))
    return found.transpose(1, 2).reshape(*cell.shape, maps.shape[1])
