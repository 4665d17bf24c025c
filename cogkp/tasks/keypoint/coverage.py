"""Calibration of the stated uncertainty: how many labels lie inside the stated regions, and which noise would fit.

Everything is measured in pixels of the crop, where the noise is added; a crop is an affine map of its frame, which
moves points and regions alike. A label counts when it lies inside its crop.
Axes: K labels, N keypoints.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cogkp.data.keypoint.targets import KeypointTargets
from cogkp.geometry.covariance import with_noise
from cogkp.geometry.uncertainty import inside_region, missing_noise
from cogkp.measures.evidence import Curve, Line
from cogkp.tasks.keypoint.codec import KeypointCodec

COVERED_SHARES = (0.5, 0.9)
"""Shares of a Gaussian for whose regions the coverage is reported."""

COVERED_HEAD = ("in 50 %", "in 90 %")
CURVE_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
ALL_POINTS = "all"

# Of fewer labels, a share of 90 % hangs on one or two.
LEAST_LABELS = 20
# Regions that are off by no more than this are as good as their word.
TOLERATED = 0.05


class Coverage(NamedTuple):
    """Shares of the labels inside the regions that should hold half and nine tenths of them; None without labels."""

    half: float | None
    most: float | None


NOTHING_COVERED = Coverage(None, None)


class _OffsetBlock(NamedTuple):
    """What is kept of a batch, on the processor.

    Args:
        point: (K,) int64, which point the label is of.
        offset: (K, 2) float32, from the label to the prediction, crop pixels.
        spread: (K, 2, 2) float32, see :meth:`KeypointCodec.spread_crop`.
    """

    point: Tensor
    offset: Tensor
    spread: Tensor


class CoverageMetrics:
    """Accumulate offsets and stated spreads over batches; the codec reads spreads, and says how much noise is added."""

    def __init__(self, codec: KeypointCodec) -> None:
        self._codec = codec
        nothing = _OffsetBlock(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 2), torch.zeros(0, 2, 2))
        self._blocks = [nothing]

    def update(self, outputs: Any, targets: KeypointTargets) -> None:
        """Add one batch; the prediction is finite."""
        valid = targets.valid
        offset = outputs.keypoints.float() - targets.uv_crop
        point = torch.arange(valid.shape[-1], device=valid.device).expand_as(valid)
        kept = (point, offset, self._codec.spread_crop(outputs).float())
        self._blocks.append(_OffsetBlock(*(field.detach()[valid].cpu() for field in kept)))

    def merge(self, other: CoverageMetrics) -> None:
        """Add what another accumulator saw after this one."""
        self._blocks += other._blocks

    def points(self) -> list[Coverage]:
        """Return the coverage of each point, in the order of the model."""
        block = self._all()
        chosen = (block.point == n for n in range(len(self._codec.point_names)))
        return [self._covered(_OffsetBlock(*(field[rows] for field in block))) for rows in chosen]

    def overall(self) -> Coverage:
        """Return the coverage of all points together."""
        return self._covered(self._all())

    def noise_px_for_90(self) -> float | None:
        """Return the noise, crop pixels, with which 90 % regions would have held 90 % of the labels.

        It is 0 where they hold as much without any, None with fewer than 20 labels.
        """
        block = self._all()
        return (
            missing_noise(block.offset, block.spread, COVERED_SHARES[-1]) if len(block.point) >= LEAST_LABELS else None
        )

    def curve(self) -> Curve | None:
        """Return the share of labels inside the stated regions over the share stated; None with too few labels."""
        block = self._all()
        if len(block.point) < LEAST_LABELS:
            return None
        covariance = with_noise(block.spread.double(), self._codec.noise_px)
        inside = [inside_region(block.offset.double(), covariance, share).inside for share in CURVE_SHARES]
        found = np.array([0.0, *(float(each.double().mean()) for each in inside)])
        return Curve(
            title="Stated uncertainty against the labels",
            x_label="share that the region is said to hold",
            y_label="share of labels inside",
            lines=[Line(ALL_POINTS, np.array([0.0, *CURVE_SHARES]), found)],
            note="Below the diagonal the network is surer than it should be.",
            diagonal=True,
            percent_y=True,
        )

    def _all(self) -> _OffsetBlock:
        return _OffsetBlock(*(torch.cat(column) for column in zip(*self._blocks, strict=True)))

    def _covered(self, block: _OffsetBlock) -> Coverage:
        if not len(block.point):
            return NOTHING_COVERED
        covariance = with_noise(block.spread.double(), self._codec.noise_px)
        inside = (inside_region(block.offset.double(), covariance, share).inside for share in COVERED_SHARES)
        return Coverage(*(float(each.double().mean()) for each in inside))


def advice(coverage_90: float | None, noise_px: float | None) -> list[str]:
    """Return at most one line: how wrong the stated regions are, and which noise (crop pixels) would correct them.

    Example:
        >>> advice(0.22, 0.934)
        ['stated 90 % regions hold 22 % of the labels; uncertainty.noise_px 0.934 would hold 90 %']
        >>> advice(0.88, 0.11)
        []
    """
    stated = COVERED_SHARES[-1]
    if coverage_90 is None or noise_px is None or abs(coverage_90 - stated) <= TOLERATED:
        return []
    shares = f"stated 90 % regions hold {100 * coverage_90:.0f} % of the labels"
    if not noise_px:
        return [f"{shares}; heatmaps are wider than their errors even without uncertainty.noise_px"]
    return [f"{shares}; uncertainty.noise_px {noise_px:.3g} would hold 90 %"]
