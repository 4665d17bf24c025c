"""Decode the network's heatmaps to a fixed number of objects, in torch and inside the exported graph.

Names and order of the outputs are those that consumers of exported models bind to. Lengths are cells of the grid.
Peaks are chosen by logits: comparing them is exact, so that equal maps give equal objects in every runtime.

Axes: B batch, K objects found, J corners, h w grid.
Source: X. Zhou, D. Wang, P. Krähenbühl, Objects as Points, 2019, sections 3 and 4; Y. Lin et al., arXiv 2109.06161.
"""

import math
from typing import Any, NamedTuple

import attrs
import torch
from torch import Tensor, nn

from cogkp.errors import ModelError
from cogkp.geometry.cuboid import CORNERS
from cogkp.models.centerpose import CenterPoseOutputs
from cogkp.models.tracing import is_traced
from cogkp.tasks.base import TwoSteps
from cogkp.tasks.centerpose.detections import MISSING, DecodedObjects
from cogkp.tasks.centerpose.targets import read_cells

# A peak less likely than a tenth is none; the logit of that.
MIN_PEAK = -math.log(9.0)
# How far cells beside peaks are put behind all peaks.
BEHIND = 64.0
# How far a peak may lie from where the centre's cell sees the corner, in units of the longer side of the box.
NEAR_FOR_BEST, NEAR_FOR_POSE = 0.3, 0.5
# How far the box is widened before peaks for the pose are looked for in it; factors of its sides' coordinates.
SHRINK, GROW = 0.8, 1.2


@attrs.frozen
class DecodeRules:
    """Thresholds and counts of the decoding.

    Args:
        num_select: K, objects, and peaks of each corner.
        displacement_only: report no peaks in ``kps_heatmap_mean``, as the published networks do.
    """

    num_select: int = 100
    displacement_only: bool = False


class Peaks(NamedTuple):
    """The highest peaks of maps: (B, C, K) logit, cell and its column and row."""

    logit: Tensor
    cell: Tensor
    place: Tensor


class NearestPeaks(NamedTuple):
    """The nearest peak of each corner of each object: (B, K, J, 2) place, (B, K, J) whether it is one, and distance."""

    place: Tensor
    likely: Tensor
    distance: Tensor


def decode_maps(maps: Any, rules: DecodeRules, *, by_place: bool = False) -> DecodedObjects:
    """Decode K objects of each image, also unlikely ones, from the network's maps.

    Args:
        maps: ``hm`` (B, 1, h, w) and ``hm_hp`` (B, 8, h, w) logits, ``wh``, ``hps``, ``reg``, ``hp_offset``, ``scale``
            as in :class:`cogkp.models.centerpose.CenterPoseOutputs`.
        rules: how.
        by_place: whether equal peaks follow each other by their place, row by row, as ONNX has it; else torch leaves
            their order open, which is quicker.

    Raises:
        ModelError: the grid has fewer than K cells. Not checked while tracing for export.

    Gradient: flows to the maps, but not through the choice of peaks.
    """
    if not is_traced():
        _check_grid(maps.hm, rules)
    maps = type(maps)(*(field.float() for field in maps))
    center = _peaks(maps.hm, rules.num_select, by_place)
    cell, logit, place = center.cell[:, 0], center.logit[:, 0], center.place[:, 0]
    middle, half = place + read_cells(maps.reg, cell), 0.5 * read_cells(maps.wh, cell)
    box = torch.cat((middle - half, middle + half), -1)
    predicted = _pairs(read_cells(maps.hps, cell)) + place.unsqueeze(-2)
    found = _nearest(predicted, _corner_peaks(maps, rules.num_select, by_place))
    longer = (2 * half).amax(-1)[..., None]
    best = torch.where(_for_best(found, box, longer).unsqueeze(-1), found.place, predicted)
    for_pose = _for_pose(found, box, longer) & (logit > MIN_PEAK).unsqueeze(-1)
    score = torch.where(logit > -0.5 * BEHIND, torch.sigmoid(logit), 0.0)
    peak = torch.full_like(predicted, MISSING) if rules.displacement_only else found.place
    return DecodedObjects(
        bboxes=box,
        scores=score.unsqueeze(-1),
        kps=best.flatten(-2),
        clses=torch.zeros_like(score).unsqueeze(-1),
        obj_scale=read_cells(maps.scale, cell),
        kps_displacement_mean=predicted.flatten(-2),
        kps_heatmap_mean=torch.where(for_pose.unsqueeze(-1), peak, MISSING).flatten(-2),
    )


def _pairs(values: Tensor) -> Tensor:
    return values.reshape(*values.shape[:-1], CORNERS, 2)


def _check_grid(hm: Tensor, rules: DecodeRules) -> None:
    cells = hm.shape[-2] * hm.shape[-1]
    if cells < rules.num_select:
        raise ModelError(
            "there are fewer cells than objects to select",
            where="num_select",
            expected=f"at most {cells}",
            got=str(rules.num_select),
            hint="Use a larger input, or select fewer objects.",
        )


def _peaks(logits: Tensor, count: int, by_place: bool) -> Peaks:
    """Find the local maxima of each map."""
    # Cells beside peaks follow behind all peaks, in an order that does not depend on who sorts them.
    ranked = torch.where(logits == _highest_around(logits), logits, logits - BEHIND).flatten(2)
    cell = (_by_place(ranked) if by_place and not is_traced() else ranked).topk(count, dim=-1).indices
    row = torch.div(cell, logits.shape[-1], rounding_mode="floor")
    column = cell - row * logits.shape[-1]
    return Peaks(ranked.gather(-1, cell), cell, torch.stack((column, row), -1).to(logits.dtype))


def _by_place(values: Tensor) -> Tensor:
    """Rank (..., N) float32 as whole numbers of which no two are equal: by value, and equal values first come first."""
    bits = (values + 0.0).view(torch.int32)  # both zeros become the same
    # Negative floats count backwards when their bits are read as a whole number.
    rising = torch.where(bits < 0, bits ^ torch.iinfo(torch.int32).max, bits).long()
    return (rising << 32) - torch.arange(values.shape[-1], device=values.device)


def _highest_around(values: Tensor) -> Tensor:
    """(B, C, h, w) the largest of each cell and its eight neighbours; torch's pooling takes ten times as long."""
    lowest = torch.finfo(values.dtype).min
    none = torch.full_like(values[..., :1], lowest)
    beside = torch.maximum(torch.cat((none, values[..., :-1]), -1), torch.cat((values[..., 1:], none), -1))
    across = torch.maximum(values, beside)
    none = torch.full_like(values[..., :1, :], lowest)
    above = torch.maximum(torch.cat((none, across[..., :-1, :]), -2), torch.cat((across[..., 1:, :], none), -2))
    return torch.maximum(across, above)


def _corner_peaks(maps: Any, count: int, by_place: bool) -> Peaks:
    peaks = _peaks(maps.hm_hp, count, by_place)
    place = peaks.place + read_cells(maps.hp_offset, peaks.cell)
    return peaks._replace(place=torch.where((peaks.logit > MIN_PEAK).unsqueeze(-1), place, MISSING))


def _nearest(predicted: Tensor, peaks: Peaks) -> NearestPeaks:
    """Find the peak nearest to each corner (B, K, J, 2)."""
    corner, peak = predicted.transpose(1, 2).unsqueeze(-2), peaks.place.unsqueeze(2)
    # Axis by axis: torch takes three times as long to sum over an axis of two.
    across, down = (a - b for a, b in zip(corner.unbind(-1), peak.unbind(-1), strict=True))
    which = (across * across + down * down).argmin(-1)
    place = peaks.place.gather(2, which.unsqueeze(-1).expand(-1, -1, -1, 2))
    distance = (place - predicted.transpose(1, 2)).square().sum(-1).sqrt()
    likely = peaks.logit.gather(2, which) > MIN_PEAK
    return NearestPeaks(place.transpose(1, 2), likely.transpose(1, 2), distance.transpose(1, 2))


def _for_best(found: NearestPeaks, box: Tensor, longer: Tensor) -> Tensor:
    low, high = box[..., None, :2], box[..., None, 2:]
    inside = _both((found.place >= low) & (found.place <= high))
    return inside & found.likely & (found.distance <= NEAR_FOR_BEST * longer)


def _for_pose(found: NearestPeaks, box: Tensor, longer: Tensor) -> Tensor:
    low, high = SHRINK * box[..., None, :2], GROW * box[..., None, 2:]
    inside = _both((found.place > low) & (found.place < high))
    return inside & found.likely & (found.distance < NEAR_FOR_POSE * longer)


def _both(pairs: Tensor) -> Tensor:
    return pairs[..., 0] & pairs[..., 1]


class Decoder(nn.Module):
    """The decoding as a module, for the exported graph; it takes the fields of the network's NamedTuple one by one."""

    def __init__(self, maps: type[Any], rules: DecodeRules) -> None:
        super().__init__()
        self.maps = maps
        self.rules = rules

    def forward(self, *maps: Tensor) -> DecodedObjects:
        """Read objects; see :func:`decode_maps`."""
        return decode_maps(self.maps(*maps), self.rules, by_place=True)


class DecodingNetwork(TwoSteps):
    """The exported network: it returns objects instead of ``maps``, the NamedTuple that ``network`` puts out.

    Its input is (B, 3, H, W) float32, blue green red, normalised; it finds K objects in each image.
    """

    def __init__(self, network: nn.Module, rules: DecodeRules, maps: type[Any] = CenterPoseOutputs) -> None:
        super().__init__(network, Decoder(maps, rules))
