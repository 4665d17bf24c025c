"""Training targets of one image: centres, corners and sizes of its objects on the network's grid.

Heatmaps are drawn last: which of an object's symmetric views counts is known only beside a prediction.

Axes: S symmetric views of an object, the first as it was labelled; M objects of an image; O objects that are learned; B
batch, N points of each object, h w grid.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import attrs
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cogkp.data.boxes.labels import ObjectLabels
from cogkp.geometry.cuboid import CORNERS
from cogkp.geometry.heatmap import gaussian_radius
from cogkp.geometry.warp import ImageWarp

# A bump reaches three standard deviations, half a cell included.
SIGMAS_ACROSS = 6.0

FloatArray = npt.NDArray[np.floating[Any]]
BoolArray = npt.NDArray[np.bool_]
# An object whose middle lies outside the image is learned if more than half of its corners lie inside.
FEW_CORNERS = CORNERS // 2

# No camera sees that far; larger labels would overflow float32.
FARTHEST_PX = 1e6

HALF_PX = 0.5


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
    """Read the values of maps (B, C, h, w) at given cells (B, ...) int64, row by row: (B, ..., C).

    Gradient: flows to ``maps``.

    Example:
        >>> read_cells(torch.arange(8.0).reshape(1, 2, 2, 2), torch.tensor([[3, 0]]))
        tensor([[[3., 7.],
                 [0., 4.]]])
    """
    found = maps.flatten(2).gather(2, cell.flatten(1).unsqueeze(1).expand(-1, maps.shape[1], -1))
    return found.transpose(1, 2).reshape(*cell.shape, maps.shape[1])


@attrs.frozen
class TargetRules:
    """How labels become targets.

    Args:
        side: width and height of the network's input, pixels.
        stride: pixels of the input per cell of the grid.
        max_objs: O; further objects of an image are not learned.
        center_3d: learn the projected middle of the box instead of the middle of the rectangle round its corners.
        absolute_scale: learn sizes in the unit of the labels instead of in units of the height.
        whole_pixels: cut coordinates of labels to whole pixels first, as the published training does.
        outside_corners: learn the places of corners also where they lie outside the image.
    """

    side: int = 512
    stride: int = 4
    max_objs: int = 10
    center_3d: bool = False
    absolute_scale: bool = False
    whole_pixels: bool = False
    outside_corners: bool = False

    @property
    def cells(self) -> int:
        """Width and height of the grid."""
        return self.side // self.stride


class ObjectTargets(NamedTuple):
    """The targets; arrays for an image, tensors with a leading B for a batch. Lengths in cells of the grid.

    Args:
        ind: (S, O) int64, the cell that holds the centre, row by row.
        reg: (S, O, 2) float32, from the cell to the centre.
        wh: (S, O, 2) float32, width and height of the rectangle round the corners, cut to the grid.
        radius: (S, O) int64, of the bumps on the heatmaps.
        hps: (S, O, 8, 2) float32, from the cell to the corners.
        hps_mask: (S, O, 8) bool, corners whose place is learned.
        hp_ind: (S, O, 8) int64, cells that hold the corners.
        hp_offset: (S, O, 8, 2) float32, from those cells to the corners.
        hp_mask: (S, O, 8) bool, corners that lie on the grid.
        taught: (S, O) bool, views that exist; all else is zero where they do not.
        scale: (S, O, 3) float32, side lengths, in units of the height unless absolute.
        scale_mask: (S, O) bool, views of objects whose side lengths are known.
    """

    ind: Any
    reg: Any
    wh: Any
    radius: Any
    hps: Any
    hps_mask: Any
    hp_ind: Any
    hp_offset: Any
    hp_mask: Any
    taught: Any
    scale: Any
    scale_mask: Any

    def pick(self, view: Tensor) -> ObjectTargets:
        """Keep one view (B, O) int64 of each object of a batch: the targets without the axis S."""
        return ObjectTargets(*(_picked(field, view) for field in self))


def _picked(field: Tensor, view: Tensor) -> Tensor:
    index = view.reshape(view.shape[0], 1, view.shape[1], *(1,) * (field.dim() - 3))
    return field.gather(1, index.expand(-1, -1, -1, *field.shape[3:])).squeeze(1)


def object_targets(
    labels: ObjectLabels, source_to_crop: ImageWarp, size_wh: tuple[int, int], rules: TargetRules
) -> ObjectTargets:
    """Make the targets of one image; objects with no view that can be learned take no place.

    In a mirrored sample the labels have the numbers of points that a mirrored object has.
    """
    known: BoolArray = np.asarray(labels.hypotheses & np.isfinite(labels.uv_source).all((-1, -2)))
    uv = np.where(known[..., None, None], labels.uv_source, 0.0).clip(-FARTHEST_PX, FARTHEST_PX)
    uv = np.trunc(uv) if rules.whole_pixels else uv
    inside: BoolArray = np.asarray(((uv >= -HALF_PX) & (uv < np.asarray(size_wh) - HALF_PX)).all(-1))
    uv_grid = _to_grid(uv, source_to_crop, rules)
    box = uv_grid[..., 1:, :].clip(0, rules.cells - 1)
    low, high = box.min(-2), box.max(-2)
    wh = high - low
    center = uv_grid[..., 0, :] if rules.center_3d else 0.5 * (low + high)
    kept: BoolArray = known & (inside[..., 0] | (inside[..., 1:].sum(-1) > FEW_CORNERS)) & (wh > 0).all(-1)
    kept &= ((center >= 0) & (center < rules.cells)).all(-1)
    chosen = np.flatnonzero(kept.any(0))[: rules.max_objs]
    taught = kept[:, chosen]
    parts = (
        *_parts(uv_grid[:, chosen], inside[:, chosen, 1:], center[:, chosen], wh[:, chosen], rules),
        taught,
        *_scale(labels, chosen, taught.shape, rules),
    )
    return ObjectTargets(*(_padded(_where(taught, part), rules.max_objs) for part in parts))


def _to_grid(uv: FloatArray, source_to_crop: ImageWarp, rules: TargetRules) -> FloatArray:
    matrix = source_to_crop.matrix.numpy()
    moved = uv @ matrix[:, :2].T + matrix[:, 2]
    return np.asarray(moved[..., :2] / moved[..., 2:] / rules.stride)


def _parts(
    uv_grid: FloatArray, inside: BoolArray, center: FloatArray, wh: FloatArray, rules: TargetRules
) -> tuple[npt.NDArray[Any], ...]:
    """The fields of :class:`ObjectTargets` up to ``taught``, of the objects that are learned."""
    corners = uv_grid[..., 1:, :]
    cell, corner_cell = np.floor(center), np.floor(corners)
    on_grid = inside & ((corners >= 0) & (corners < rules.cells)).all(-1)
    learned = np.ones_like(on_grid) if rules.outside_corners else on_grid
    radius = gaussian_radius(torch.from_numpy(np.ceil(wh))).numpy()
    return (
        _flat(cell, rules.cells),
        (center - cell).astype(np.float32),
        wh.astype(np.float32),
        np.maximum(radius, 0).astype(np.int64),
        np.where(learned[..., None], corners - cell[..., None, :], 0).astype(np.float32),
        learned,
        np.where(on_grid, _flat(corner_cell, rules.cells), 0),
        np.where(on_grid[..., None], corners - corner_cell, 0).astype(np.float32),
        on_grid,
    )


def _flat(cell: FloatArray, cells: int) -> npt.NDArray[np.int64]:
    return np.asarray(cell[..., 1] * cells + cell[..., 0]).astype(np.int64)


def _scale(
    labels: ObjectLabels, chosen: npt.NDArray[np.integer[Any]], shape: tuple[int, ...], rules: TargetRules
) -> tuple[npt.NDArray[np.float32], BoolArray]:
    size, known = np.abs(labels.size_xyz[chosen]), labels.sized[chosen]
    size = np.where(known[:, None], size, 1.0)
    scale = (size if rules.absolute_scale else size / size[:, 1:2]).astype(np.float32)
    return np.broadcast_to(scale, (*shape, 3)), np.broadcast_to(known, shape)


def _where(mask: BoolArray, part: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.where(mask.reshape(*mask.shape, *(1,) * (part.ndim - mask.ndim)), part, part.dtype.type(0))


def _padded(part: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    """Pad the second axis with zeros."""
    result = np.zeros((len(part), count, *part.shape[2:]), part.dtype)
    result[:, : part.shape[1]] = part
    return result
