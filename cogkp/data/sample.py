"""A sample (one augmented view) and the batch of samples.

Axes: B batch, N keypoints, P stereo pairs, S side of the square crop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any, Generic, NamedTuple, TypeVar

import attrs
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cogkp.geometry.warp import ImageWarp

LabelsT = TypeVar("LabelsT")
TargetsT = TypeVar("TargetsT", bound=tuple[Any, ...])


@attrs.frozen(eq=False)
class Sample(Generic[LabelsT]):
    """One view, cropped and augmented.

    Args:
        image: (C, S, S) float32, the network's input: grey in 0..1, or colours as the family's network takes them.
        source_to_crop: where each full-frame pixel went.
        source_size_wh: width and height of the full frame, pixels.
        sample_id: names root, line and camera, for people.
    """

    image: npt.NDArray[np.float32]
    labels: LabelsT
    source_to_crop: ImageWarp
    source_size_wh: tuple[int, int]
    sample_id: str


class Encoded(NamedTuple):
    """A sample beside the targets its codec made of it."""

    sample: Sample[Any]
    targets: Any


def _itself(count: Tensor) -> Tensor:
    return count


def _changed(targets: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Change every tensor of a NamedTuple, also of one within it."""
    if isinstance(targets, Tensor):
        return change(targets)
    return type(targets)(*(_changed(field, change) for field in targets))


def _stacked(rows: Sequence[Any]) -> Any:
    """Stack arrays, or NamedTuples of them field by field."""
    if not isinstance(rows[0], tuple):
        return torch.from_numpy(np.stack(rows))
    return type(rows[0])(*(_stacked(column) for column in zip(*rows, strict=True)))


@attrs.frozen(eq=False)
class Batch(Generic[TargetsT]):
    """Stacked samples.

    Args:
        image: (B, C, S, S) float32, as in :class:`Sample`.
        targets: the codec's NamedTuple, each field stacked to (B, ...); a field may be such a NamedTuple itself.
        source_to_crop: (B, 3, 3) float64.
        source_size_wh: (B, 2) int64.
        pairs: (P, 2) int64, rows (left, right) of batch positions; empty for single cameras.
        ids: B names for people.
        over_step: takes counts of this batch to those of the whole optimiser step. A mean divides by its count there;
            then the means of batches that are parts of one step add up to the mean of the step.
        repeated: whether every rank has this same batch, since it is too small to be shared.
    """

    image: Tensor
    targets: TargetsT
    source_to_crop: Tensor
    source_size_wh: Tensor
    pairs: Tensor
    ids: tuple[str, ...]
    over_step: Callable[[Tensor], Tensor] = _itself
    repeated: bool = False

    def to(self, device: torch.device | str) -> Batch[TargetsT]:
        """Move all tensors to a device, without waiting where memory is pinned."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch[TargetsT]:
        """Page-lock all tensors; called by the loader where a GPU is used."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch[TargetsT]:
        return attrs.evolve(
            self,
            image=change(self.image),
            targets=_changed(self.targets, change),
            source_to_crop=change(self.source_to_crop),
            source_size_wh=change(self.source_size_wh),
            pairs=change(self.pairs),
        )

    def items(self) -> list[int]:
        """Tell for each row which item of the batch it shows, counted from 0; the two views of a pair show one."""
        rights = set(self.pairs[:, 1].tolist())
        return [count - 1 for count in accumulate(row not in rights for row in range(len(self.ids)))]

    def parts(self, count: int) -> list[Batch[TargetsT]]:
        """Cut the batch, in order, into ``count`` parts at most, nearly equal; the views of a pair stay together."""
        if count == 1:
            return [self]
        rights = set(self.pairs[:, 1].tolist())
        starts = [row for row in range(len(self.ids)) if row not in rights]
        firsts = [int(chunk[0]) for chunk in np.array_split(starts, min(count, len(starts)))]
        return [self._rows(start, stop) for start, stop in pairwise([*firsts, len(self.ids)])]

    def _rows(self, start: int, stop: int) -> Batch[TargetsT]:
        inside = (self.pairs[:, 0] >= start) & (self.pairs[:, 0] < stop)
        return attrs.evolve(
            self,
            image=self.image[start:stop],
            targets=_changed(self.targets, lambda field: field[start:stop]),
            source_to_crop=self.source_to_crop[start:stop],
            source_size_wh=self.source_size_wh[start:stop],
            pairs=self.pairs[inside] - start,
            ids=self.ids[start:stop],
        )


def collate(items: Sequence[tuple[Encoded, ...]]) -> Batch[Any]:
    """Stack items, each one view or the (left, right) views of one stereo line, into a batch in their order."""
    views = [view for item in items for view in item]
    samples = [view.sample for view in views]
    starts = np.cumsum([0, *(len(item) for item in items)])
    pairs = [(start, start + 1) for start, item in zip(starts, items, strict=False) if len(item) == 2]  # noqa: PLR2004
    return Batch(
        image=torch.from_numpy(np.stack([sample.image for sample in samples])),
        targets=_stacked([view.targets for view in views]),
        source_to_crop=torch.stack([sample.source_to_crop.matrix for sample in samples]),
        source_size_wh=torch.tensor([sample.source_size_wh for sample in samples], dtype=torch.int64),
        pairs=torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2),
        ids=tuple(sample.sample_id for sample in samples),
    )
