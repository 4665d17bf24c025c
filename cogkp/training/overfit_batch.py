"""Overfit one batch: train on the first batch again and again; a loss that does not fall shows a fault."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from cogkp.data.sample import Batch
from cogkp.training.evaluator import Batches

__all__ = ["EpochLoader", "OneBatch"]


class EpochLoader(Batches, Protocol):
    """A loader whose order and augmentation are functions of its seed and the epoch, and of nothing global."""

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Choose the epoch of the next pass, and the batch it starts with."""


class OneBatch:
    """Give the first batch of the first epoch in place of every batch; it is read and augmented once.

    Epochs stay as long as they were, so that the learning rate's course and the positions of checkpoints do, too.

    Args:
        loader: is read once.
    """

    def __init__(self, loader: EpochLoader) -> None:
        self._loader = loader
        self._batch: Batch[Any] | None = None
        self._first = 0

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Choose how many steps of the next pass are already done; all epochs are the same."""
        self._first = start_batch

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Batch[Any]]:
        if self._batch is None:
            self._loader.set_epoch(0)
            self._batch = next(iter(self._loader))
        for _ in range(self._first, len(self)):
            yield self._batch
