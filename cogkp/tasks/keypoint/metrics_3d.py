"""Errors of triangulated points in space, and the calibration of their stated uncertainty.

The truth of a point is its exact place where the recording holds it, else what the labels of both views triangulate to.
It counts when both crops show it: a label says so where there is one, else the exact place seen through the camera.
Axes: B batch, P stereo pairs, N keypoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import attrs
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cogkp.data.keypoint.targets import KeypointTargets
from cogkp.data.sample import Batch
from cogkp.geometry.uncertainty import inside_region
from cogkp.geometry.warp import ImageWarp
from cogkp.tasks.keypoint.codec import KeypointCodec
from cogkp.tasks.keypoint.coverage import COVERED_SHARES
from cogkp.tasks.keypoint.report_3d import LengthUnit, SegmentRow, SpaceReport, SpaceRow
from cogkp.tasks.keypoint.stereo import Reconstruction, StereoGeometry

ALL_POINTS = "all"


class Segment(NamedTuple):
    """A known length, world units, between two points by their indices."""

    start: int
    end: int
    length: float


@attrs.frozen(eq=False)
class Truth:
    """True points of space.

    Args:
        xyz_world: (P, N, 3) float64, world units; arbitrary where not known.
        known: (P, N) bool, the place is known and both crops show it.
        refused: (P, N) bool, labelled in both views, and yet no point in space.
    """

    xyz_world: Tensor
    known: Tensor
    refused: Tensor


@attrs.frozen(eq=False)
class PairErrors:
    """True and predicted points of a batch's pairs.

    Args:
        truth: where points are.
        found: where the prediction puts those that are known.
        covariance: (P, N, 3, 3) float64, of the points found, world units squared; zero where unknown.
    """

    truth: Truth
    found: Reconstruction
    covariance: Tensor

    @property
    def offset(self) -> Tensor:
        """(P, N, 3) float64, from truth to prediction, world units; zero where the point was not found."""
        return torch.where(self.found.valid.unsqueeze(-1), self.found.xyz_world - self.truth.xyz_world, 0.0)


def true_points(geometry: StereoGeometry, batch: Batch[KeypointTargets]) -> Truth:
    """Find the true points of each pair."""
    targets, pairs = batch.targets, batch.pairs
    labelled, shown = targets.labelled[pairs], targets.valid[pairs]
    located = targets.located[pairs].all(1)
    exact = targets.xyz_world[pairs[:, 0]]
    traced = geometry.reconstruct(targets.uv_source.double(), batch, shown.all(1) & ~located)
    shown = torch.where(labelled, shown, _in_crops(geometry, exact, batch)).all(1)
    known = torch.where(located, shown, traced.valid)
    return Truth(torch.where(located.unsqueeze(-1), exact, traced.xyz_world), known, traced.allowed & ~traced.valid)


def _in_crops(geometry: StereoGeometry, xyz_world: Tensor, batch: Batch[KeypointTargets]) -> Tensor:
    """Tell (P, 2, N) which points of space fall into each image, and there into the crop."""
    seen = geometry.project(xyz_world)
    uv = geometry.frame_pixels(seen.uv, batch)
    uv_crop = ImageWarp(batch.source_to_crop[batch.pairs]).apply(uv)
    size_wh = batch.source_size_wh[batch.pairs].unsqueeze(-2).to(uv.dtype)
    return _within(uv, size_wh) & _within(uv_crop, batch.image.shape[-1]) & seen.valid


def _within(uv: Tensor, size: Tensor | int) -> Tensor:
    half = 0.5  # of a pixel
    return ((uv >= -half) & (uv <= size - half)).all(-1)


def pair_errors(
    geometry: StereoGeometry, codec: KeypointCodec, outputs: Any, batch: Batch[KeypointTargets]
) -> PairErrors:
    """Triangulate predictions and compare them with the truth."""
    truth = true_points(geometry, batch)
    uv_source = codec.decode(outputs, batch.source_to_crop).uv_source.double()
    found = geometry.reconstruct(uv_source, batch, truth.known)
    uv_covariance = codec.covariance_source(outputs, batch.source_to_crop).double()
    return PairErrors(truth, found, geometry.covariance(found, uv_covariance, batch))


class _PairBlock(NamedTuple):
    """What is kept of a batch: (P, N, ...) arrays, lengths in world units."""

    true: npt.NDArray[np.float64]
    known: npt.NDArray[np.bool_]
    refused: npt.NDArray[np.bool_]
    found: npt.NDArray[np.float64]
    valid: npt.NDArray[np.bool_]
    residual_px: npt.NDArray[np.float64]
    inside: npt.NDArray[np.float64]

    @classmethod
    def of(cls, errors: PairErrors) -> _PairBlock:
        truth, found = errors.truth, errors.found
        regions = [inside_region(errors.offset, errors.covariance, share) for share in COVERED_SHARES]
        inside = torch.stack([torch.where(each.valid, each.inside.double(), torch.nan) for each in regions], -1)
        kept = (truth.xyz_world, truth.known, truth.refused, found.xyz_world, found.valid)
        return cls(*(tensor.cpu().numpy() for tensor in (*kept, found.residual_px.norm(dim=-1).mT, inside)))


class SpaceMetrics:
    """Accumulate errors in space over batches of stereo pairs.

    Args:
        codec: takes predictions, and how sure they are, back to the full frame.
        segments: known lengths; those of other points than there are do not count.
    """

    def __init__(
        self, geometry: StereoGeometry, codec: KeypointCodec, segments: Sequence[Segment], unit: LengthUnit
    ) -> None:
        self.geometry = geometry
        self.unit = unit
        self.segments = tuple(each for each in segments if max(each.start, each.end) < len(codec.point_names))
        self._codec = codec
        self._blocks: list[_PairBlock] = []

    def in_unit(self, unit: LengthUnit) -> SpaceMetrics:
        """Return an empty accumulator that reports lengths in another unit."""
        return SpaceMetrics(self.geometry, self._codec, self.segments, unit)

    def update(self, outputs: Any, batch: Batch[KeypointTargets]) -> None:
        """Add one batch; the prediction is finite."""
        self._blocks.append(_PairBlock.of(pair_errors(self.geometry, self._codec, outputs, batch)))

    def merge(self, other: SpaceMetrics) -> None:
        """Add what another accumulator saw after this one."""
        self._blocks += other._blocks

    def ranked_pairs(self) -> list[int]:
        """Order the pairs by the error of their worst point, worst first; a lost point is worse than any."""
        if not self._blocks:
            return []
        block = self._all()
        errors = np.where(block.valid, self._errors(block), np.where(block.known, np.inf, -np.inf)).max(-1)
        order = np.argsort(-errors, kind="stable")
        return [int(pair) for pair in order if block.known[pair].any()]

    def errors(self) -> npt.NDArray[np.float64]:
        """Return (P, N) the errors of the pairs seen so far, unit of the report; NaN where there is none."""
        if not self._blocks:
            return np.zeros((0, len(self._codec.point_names)))
        block = self._all()
        return np.where(block.valid, self._errors(block), np.nan)

    def compute(self) -> SpaceReport:
        """Compute the report; values are None where nothing was measured."""
        names = self._codec.point_names
        if not self._blocks:
            points, segments = tuple(SpaceRow(name, 0, 0) for name in names), ()
            return SpaceReport(self.unit.name, points, SpaceRow(ALL_POINTS, 0, 0), segments, 0)
        block = self._all()
        each = [(name, np.arange(len(names)) == n) for n, name in enumerate(names)]
        rows = [self._row(name, block, chosen) for name, chosen in (*each, (ALL_POINTS, np.ones(len(names), bool)))]
        lengths = tuple(self._length(block, segment) for segment in self.segments)
        return SpaceReport(self.unit.name, tuple(rows[:-1]), rows[-1], lengths, int(block.refused.sum()))

    def _all(self) -> _PairBlock:
        return _PairBlock(*(np.concatenate(column) for column in zip(*self._blocks, strict=True)))

    def _errors(self, block: _PairBlock) -> npt.NDArray[np.float64]:
        return np.asarray(np.linalg.norm(block.found - block.true, axis=-1) * self.unit.per_world_unit)

    def _row(self, name: str, block: _PairBlock, chosen: npt.NDArray[np.bool_]) -> SpaceRow:
        valid, lost = block.valid & chosen, int((block.known & ~block.valid & chosen).sum())
        return SpaceRow.of(name, lost, self._errors(block)[valid], block.residual_px[valid], block.inside[valid])

    def _length(self, block: _PairBlock, segment: Segment) -> SegmentRow:
        ends = [segment.start, segment.end]
        both = block.valid[:, ends].all(-1)
        true, found = (
            np.linalg.norm(xyz[both][:, ends[1]] - xyz[both][:, ends[0]], axis=-1) * self.unit.per_world_unit
            for xyz in (block.true, block.found)
        )
        name = "-".join(self._codec.point_names[end] for end in ends)
        return SegmentRow.of(name, segment.length * self.unit.per_world_unit, true, found)
