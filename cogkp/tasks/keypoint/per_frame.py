"""Errors of an evaluation, kept image by image and pair by pair.

Axes: R rows, P pairs, N keypoints, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from cogkp.data.keypoint.targets import KeypointTargets
from cogkp.data.sample import Batch
from cogkp.measures.evidence import Evidence, Measure, Ratio
from cogkp.tasks.keypoint.codec import Keypoints2D
from cogkp.tasks.keypoint.sanity import Places, complaints, missing_classes

FloatArray = npt.NDArray[np.float64]


class Rows(NamedTuple):
    """What is kept of images and pairs.

    Args:
        frame: (R,) int64, which frame each image is of.
        pair_frame: (P,) int64, which frame each pair is of.
        errors_px: (R, N) pixels of the full frame, NaN where no label counts.
        outside: (R, N) bool, labels that do not count since they lie outside the crop.
        true: (R, N, 2) crop pixels.
        found: (R, N, 2) crop pixels.
        frame_px: (R,) pixels of the full frame per crop pixel.
        confusion: (R, C, C) pixels by true class, then predicted class.
    """

    frame: npt.NDArray[np.int64]
    pair_frame: npt.NDArray[np.int64]
    errors_px: FloatArray
    outside: npt.NDArray[np.bool_]
    true: FloatArray
    found: FloatArray
    frame_px: FloatArray
    confusion: npt.NDArray[np.int64]


class FrameRows:
    """Accumulate the errors of each frame, of N points by name and of C mask classes, 0 without segmentation."""

    def __init__(self, point_names: Sequence[str], num_classes: int) -> None:
        self._names = tuple(point_names)
        count, none = len(self._names), np.zeros(0, np.int64)
        self._frames: list[str] = []
        points = np.zeros((0, count, 2))
        confusion = np.zeros((0, num_classes, num_classes), np.int64)
        errors, outside = np.zeros((0, count)), np.zeros((0, count), bool)
        self._blocks = [Rows(none, none, errors, outside, points, points, np.zeros(0), confusion)]

    def update(
        self,
        batch: Batch[KeypointTargets],
        found: Keypoints2D,
        errors_px: FloatArray,
        confusion: npt.NDArray[np.int64] | None,
    ) -> None:
        """Add one batch with its labels and the predictions for it.

        ``errors_px`` (R, N) are distances, pixels of the full frame; those of labels that do not count are ignored.
        ``confusion`` (R, C, C) holds pixels by true and predicted class, or is None.
        """
        items = np.array(batch.items(), np.int64)
        frame = items + len(self._frames)
        self._frames += [batch.ids[row] for row in np.unique(items, return_index=True)[1].tolist()]
        valid = batch.targets.valid.cpu().numpy()
        self._blocks.append(
            Rows(
                frame=frame,
                pair_frame=frame[batch.pairs[:, 0].cpu().numpy()],
                errors_px=np.where(valid, errors_px, np.nan),
                outside=batch.targets.labelled.cpu().numpy() & ~valid,
                true=_plain(batch.targets.uv_crop),
                found=_plain(found.uv_crop),
                frame_px=_plain(torch.linalg.det(batch.source_to_crop[:, :2, :2]).abs().rsqrt()),
                confusion=np.zeros((len(items), *self._blocks[0].confusion.shape[1:]), np.int64)
                if confusion is None
                else confusion,
            )
        )

    def merge(self, other: FrameRows) -> None:
        """Add what another one saw after this one."""
        shift = len(self._frames)
        self._frames += other._frames
        self._blocks += [
            block._replace(frame=block.frame + shift, pair_frame=block.pair_frame + shift) for block in other._blocks
        ]

    def evidence(
        self, thresholds_px: tuple[float, ...], space_errors: FloatArray | None = None, space_unit: str = ""
    ) -> Evidence:
        """Return everything measured, frame by frame.

        ``space_errors`` (P, N) are those of the pairs in space, NaN where there is none; None without such pairs.
        """
        block = self.rows()
        pixels = Measure(
            key="pixels",
            title="Distance in the image",
            unit="px",
            columns=self._names,
            frame=block.frame,
            values=block.errors_px,
            thresholds=thresholds_px,
        )
        measures = [pixels]
        if space_errors is not None and len(space_errors):
            measures.append(
                Measure(
                    key="space",
                    title="Distance in space",
                    unit=space_unit,
                    columns=self._names,
                    frame=block.pair_frame,
                    values=space_errors,
                )
            )
        return Evidence(tuple(self._frames), tuple(measures), self._overlap(block))

    def notes(self) -> list[str]:
        """Return warnings about the predictions."""
        block = self.rows()
        places = Places(block.true, block.found, np.isfinite(block.errors_px), block.frame_px)
        return [*complaints(self._names, places), *missing_classes(block.confusion.sum(0))]

    def _overlap(self, block: Rows) -> tuple[Ratio, ...]:
        if not block.confusion.any():
            return ()
        hits = np.einsum("rcc->rc", block.confusion).astype(np.float64)
        union = block.confusion.sum(1) + block.confusion.sum(2) - hits
        names = tuple(f"class {number}" for number in range(hits.shape[-1]))
        return (Ratio(key="mask_iou", title="Mask IoU", columns=names, frame=block.frame, part=hits, whole=union),)

    def rows(self) -> Rows:
        """Return all of them, in the order they were seen."""
        return Rows(*(np.concatenate(column) for column in zip(*self._blocks, strict=True)))


def _plain(tensor: Any) -> FloatArray:
    values: FloatArray = tensor.detach().double().cpu().numpy()
    return values
