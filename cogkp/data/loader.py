"""Items become batches, in an order and with draws that depend on the seed alone, never on the number of processes."""

from __future__ import annotations

import multiprocessing
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import attrs
import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from cogkp.data.datasets import Draw
from cogkp.data.sample import Batch, Encoded, collate
from cogkp.errors import CogkpError, DataError

__all__ = ["BatchLoader", "EpochSampler", "build_loader"]

# Keeps the order of items apart from the draws of item 0, which start from the same seed and epoch.
ORDER_STREAM = 0x0DE7


@attrs.frozen(eq=False)
class EpochSampler:
    """The order of items in each epoch.

    Args:
        size: how many items there are.
        seed: of the whole run.
        shuffle: False takes the items in their order.
        weights: (size,) probabilities; given, items are drawn with replacement.
        draws: items per epoch, where they are drawn with replacement.
    """

    size: int
    seed: int = 0
    shuffle: bool = True
    weights: npt.NDArray[np.float64] | None = None
    draws: int | None = None

    def __len__(self) -> int:
        return self.size if self.weights is None or self.draws is None else self.draws

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """Return the indices of one epoch; the same for the same seed."""
        generator = np.random.default_rng([self.seed, epoch, ORDER_STREAM])
        if not self.shuffle:
            return np.arange(self.size)
        if self.weights is not None:
            return generator.choice(self.size, len(self), p=self.weights)
        return generator.permutation(self.size)


class _EpochBatches(Sampler[list[Draw]]):
    """Deals one epoch out in batches; the loader keeps it and tells it the epoch before each pass."""

    def __init__(self, sampler: EpochSampler, items_per_batch: int, epoch: int) -> None:
        self.sampler = sampler
        self.items_per_batch = items_per_batch
        self.epoch = epoch
        self.start_batch = 0

    def __len__(self) -> int:
        return -(-len(self.sampler) // self.items_per_batch)

    def __iter__(self) -> Iterator[list[Draw]]:
        order = self.sampler.order(self.epoch)
        for start in range(self.start_batch * self.items_per_batch, len(order), self.items_per_batch):
            indices = order[start : start + self.items_per_batch]
            yield [Draw(self.epoch, start + i, int(index), self.sampler.seed) for i, index in enumerate(indices)]


class _Guarded(Dataset[Any]):
    """Hands errors on as values: a loader process would otherwise bury their line in a traceback."""

    def __init__(self, dataset: Dataset[tuple[Encoded, ...]]) -> None:
        self.dataset = dataset

    def __getitem__(self, key: Draw) -> tuple[Encoded, ...] | CogkpError:
        try:
            return self.dataset[key]
        except CogkpError as error:
            return error


def _collate(items: Sequence[tuple[Encoded, ...] | CogkpError]) -> Batch[Any] | CogkpError:
    errors = [item for item in items if isinstance(item, CogkpError)]
    return errors[0] if errors else collate([item for item in items if not isinstance(item, CogkpError)])


def _start_worker(_number: int) -> None:
    # One process, one thread: threads of several processes on the same cores slow each other down many times over.
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


class BatchLoader:
    """The batches of one epoch after another.

    Iterating gives the batches of the epoch last set, from its start batch on; ``len`` counts those of a whole epoch.
    """

    def __init__(self, loader: DataLoader[Any], batches: _EpochBatches) -> None:
        self._loader = loader
        self._batches = batches

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Choose what the next pass gives: an epoch, and how many of its batches are already done."""
        self._batches.epoch = epoch
        self._batches.start_batch = start_batch

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch[Any]]:
        with _quiet_about_cores():
            batches = iter(self._loader)
        for batch in batches:
            if isinstance(batch, CogkpError):
                raise batch
            yield batch


@contextmanager
def _quiet_about_cores() -> Iterator[None]:
    """Keep torch from saying in each run that the documented four processes are more than a small machine has cores."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create")
        yield


def build_loader(
    dataset: Dataset[tuple[Encoded, ...]],
    *,
    batch_size: int,
    epoch: int = 0,
    shuffle: bool = False,
    num_workers: int = 0,
    prefetch_factor: int = 4,
    seed: int = 0,
    pin: bool = False,
) -> BatchLoader:
    """Load a data set in batches.

    Args:
        dataset: gives an item for a :class:`Draw`. Its ``views_per_item``, ``item_weights`` and ``items_per_epoch``
            are respected where it has them.
        batch_size: images per batch; a stereo line has two. The last batch of an epoch may be smaller.
        epoch: the first one; see :meth:`BatchLoader.set_epoch`.
        shuffle: whether each epoch has its own random order.
        num_workers: processes; 0 loads in this one. They live as long as the loader.
        prefetch_factor: batches each process prepares ahead.
        seed: of order and augmentation.
        pin: whether to page-lock batches, for a GPU.

    Raises:
        DataError: the batch size does not hold whole items.
    """
    views = getattr(dataset, "views_per_item", 1)
    if batch_size < views or batch_size % views:
        raise DataError(
            "the batch size does not hold whole stereo pairs", expected="an even number", got=f"{batch_size}"
        )
    batches = _EpochBatches(_sampler(dataset, seed, shuffle), batch_size // views, epoch)
    workers = _worker_options(prefetch_factor) if num_workers else {}
    with _quiet_about_cores():
        loader: DataLoader[Any] = DataLoader(
            _Guarded(dataset),
            batch_sampler=batches,
            num_workers=num_workers,
            collate_fn=_collate,
            pin_memory=pin,
            # Without its own generator the loader would draw from, and so disturb, the stream that the model uses.
            generator=torch.Generator().manual_seed(seed),
            **workers,
        )
    return BatchLoader(loader, batches)


def _sampler(dataset: Dataset[tuple[Encoded, ...]], seed: int, shuffle: bool) -> EpochSampler:
    size = len(dataset)  # type: ignore[arg-type]
    weights = getattr(dataset, "item_weights", None) if shuffle else None
    return EpochSampler(size, seed, shuffle, weights, getattr(dataset, "items_per_epoch", size))


def _worker_options(prefetch_factor: int) -> dict[str, Any]:
    # Forked processes share the index instead of copying it, and start at once.
    context = multiprocessing.get_context("fork") if sys.platform == "linux" else None
    return {
        "worker_init_fn": _start_worker,
        "prefetch_factor": prefetch_factor,
        "persistent_workers": True,
        "multiprocessing_context": context,
    }
