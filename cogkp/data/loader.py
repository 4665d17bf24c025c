"""Load batches; their order and augmentation depend on the seed alone, never on the number of processes."""

import multiprocessing
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import attrs
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from cogkp.config.torchrun import ALONE, Launch
from cogkp.data.dataset import ImageDataset, ItemKey
from cogkp.data.sample import Batch, Encoded, collate
from cogkp.data.workers import DEATH_WATCH, reasonable_workers, require_open_files, start_worker, workers_failed
from cogkp.errors import CogkpError, DataError

T = TypeVar("T")

# Keeps the order of items apart from the draws of item 0, which start from the same seed and epoch.
ORDER_STREAM = 0x0DE7


@attrs.frozen(eq=False)
class EpochSampler:
    """The order of items in each epoch.

    Args:
        shuffle: False takes the items in their order.
        weights: (size,) probabilities; given, items are drawn with replacement.
        num_samples: items per epoch, where they are drawn with replacement.
        first: the item that counts as the first one, where they are taken in their order.
    """

    size: int
    seed: int = 0
    shuffle: bool = True
    weights: npt.NDArray[np.float64] | None = None
    num_samples: int | None = None
    first: int = 0

    def __len__(self) -> int:
        return self.size if self.weights is None or self.num_samples is None else self.num_samples

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """Return the indices of one epoch; the same for the same seed."""
        generator = np.random.default_rng([self.seed, epoch, ORDER_STREAM])
        if not self.shuffle:
            return np.arange(self.first, self.first + self.size)
        if self.weights is not None:
            return generator.choice(self.size, len(self), p=self.weights)
        return generator.permutation(self.size)


class _EpochBatches(Sampler[list[ItemKey]]):
    """Yields the batches of one epoch; the loader sets the epoch before each pass.

    A draw is made of its place in the batch of all ranks, so that what is read does not depend on their number.
    """

    def __init__(self, sampler: EpochSampler, items_per_batch: int, epoch: int, launch: Launch, parts: int = 1) -> None:
        self.sampler = sampler
        self.items_per_batch = items_per_batch
        self.epoch = epoch
        self.start_batch = 0
        self.launch = launch
        self.parts = parts

    def __len__(self) -> int:
        return -(-len(self.sampler) // self.items_per_batch)

    def __iter__(self) -> Iterator[list[ItemKey]]:
        order = self.sampler.order(self.epoch)
        for start in range(self.start_batch * self.items_per_batch, len(order), self.items_per_batch):
            indices = order[start : start + self.items_per_batch]
            keys = [ItemKey(self.epoch, start + i, int(index), self.sampler.seed) for i, index in enumerate(indices)]
            yield keys if self.is_repeated(len(keys)) else _shared(keys, self.launch, self.parts)

    def is_repeated(self, items: int) -> bool:
        """Say whether a batch has too few items for all ranks to have one: then each of them has all."""
        return items < self.launch.ranks

    def items_of(self, batch: int) -> int:
        """Return how many items the batch of all ranks has."""
        return min(self.items_per_batch, len(self.sampler) - batch * self.items_per_batch)


def _shared(items: Sequence[T], launch: Launch, parts: int) -> list[T]:
    """Take this rank's share of each part, so that the first parts of all ranks are the first part of the batch."""
    most = min(parts, len(items) // launch.ranks)
    return [item for number in range(most) for item in share_of(share_of(items, Launch(number, most)), launch)]


def share_of(items: Sequence[T], launch: Launch) -> list[T]:
    """Take one rank's part: neighbours, as many as on any other rank, or one more on the first ones."""
    least, more = divmod(len(items), launch.ranks)
    start = launch.rank * least + min(launch.rank, more)
    return list(items[start : start + least + (launch.rank < more)])


class _Guarded(Dataset[Any]):
    """Returns errors as values: a loader process would otherwise bury their line in a traceback."""

    def __init__(self, dataset: ImageDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, key: ItemKey) -> tuple[Encoded, ...] | CogkpError:
        try:
            return self.dataset[key]
        except CogkpError as error:
            return error
        except MemoryError:
            return workers_failed("an image does not fit into memory", "no more memory")


def _collate(items: Sequence[tuple[Encoded, ...] | CogkpError]) -> Batch[Any] | CogkpError:
    errors = [item for item in items if isinstance(item, CogkpError)]
    return errors[0] if errors else collate([item for item in items if not isinstance(item, CogkpError)])


class BatchLoader:
    """The batches of one epoch after another.

    Iterating gives the batches of the epoch last set, from its start batch on; ``len`` counts those of a whole epoch.
    """

    def __init__(self, loader: DataLoader[Any], batches: _EpochBatches) -> None:
        self._loader = loader
        self._batches = batches
        self._started = False

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Choose what the next pass gives: an epoch, and how many of its batches are already done."""
        self._batches.epoch = epoch
        self._batches.start_batch = start_batch

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch[Any]]:
        for number, batch in enumerate(self._loaded(), self._batches.start_batch):
            if isinstance(batch, CogkpError):
                raise batch
            repeated = self._batches.is_repeated(self._batches.items_of(number))
            yield attrs.evolve(batch, repeated=True) if repeated else batch

    def _loaded(self) -> Iterator[Batch[Any] | CogkpError]:
        workers = self._loader.num_workers
        require_open_files(workers)
        watched = DEATH_WATCH.awaiting if self._started else DEATH_WATCH.starting
        with _quiet_about_cores(), watched(workers):
            batches = iter(self._loader)
        self._started = True
        while True:
            with DEATH_WATCH.awaiting(workers):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch


@contextmanager
def _quiet_about_cores() -> Iterator[None]:
    """Silence torch's warning that there are more loader processes than cores."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create")
        yield


def build_loader(
    dataset: ImageDataset,
    *,
    batch_size: int,
    epoch: int = 0,
    shuffle: bool = False,
    num_workers: int = 0,
    prefetch_factor: int = 4,
    seed: int = 0,
    pin: bool = False,
    launch: Launch = ALONE,
    parts: int = 1,
) -> BatchLoader:
    """Load a data set in batches.

    Where several ranks train together, each loads its part: of every batch where ``shuffle`` is set, as a training
    needs it, and else of the one pass over all items: whole batches of ``batch_size`` over the number of ranks.

    Args:
        dataset: gives an item for an :class:`ItemKey`.
        batch_size: images per batch, over all ranks; a stereo line has two. The last one of an epoch may be smaller.
        epoch: the first one; see :meth:`BatchLoader.set_epoch`.
        shuffle: whether each epoch has its own random order.
        num_workers: processes; 0 loads in this one. They live as long as the loader.
        prefetch_factor: batches each process prepares ahead.
        seed: of order and augmentation.
        pin: whether to page-lock batches, for a GPU.
        launch: which rank loads.
        parts: in which a rank passes its share of a batch; see :meth:`Batch.parts`.

    Raises:
        DataError: the batch size does not hold whole items, or not as many for each rank.
    """
    views = dataset.views_per_item
    _check_batch_size(batch_size, views, launch)
    batches = _dealt(_sampler(dataset, seed, shuffle), batch_size // views, epoch, launch, parts)
    num_workers = reasonable_workers(num_workers, len(batches))
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


def _check_batch_size(batch_size: int, views: int, launch: Launch) -> None:
    if batch_size < views or batch_size % views:
        raise DataError(
            "the batch size does not hold whole stereo pairs", expected="an even number", got=f"{batch_size}"
        )
    if batch_size % (views * launch.ranks):
        pairs = " with whole stereo pairs" if views > 1 else ""
        raise DataError(
            f"the batch size cannot be shared equally by {launch.ranks} ranks{pairs}",
            expected=f"a multiple of {views * launch.ranks}",
            got=f"{batch_size}",
            hint="It counts the images of a step over all ranks.",
        )


def _dealt(sampler: EpochSampler, items_per_batch: int, epoch: int, launch: Launch, parts: int) -> _EpochBatches:
    if sampler.shuffle:
        return _EpochBatches(sampler, items_per_batch, epoch, launch, parts)
    # Whole batches: each is one that a single process would have, so that the ranks find its figures, bit by bit.
    items = items_per_batch // launch.ranks
    mine = share_of(range(0, sampler.size, items), launch)
    first, end = (mine[0], min(mine[-1] + items, sampler.size)) if mine else (0, 0)
    return _EpochBatches(attrs.evolve(sampler, size=end - first, first=first), items, epoch, ALONE)


def _sampler(dataset: ImageDataset, seed: int, shuffle: bool) -> EpochSampler:
    weights = dataset.item_weights if shuffle else None
    return EpochSampler(len(dataset), seed, shuffle, weights, dataset.items_per_epoch)


def _worker_options(prefetch_factor: int) -> dict[str, Any]:
    # Forked processes share the index instead of copying it, and start at once.
    context = multiprocessing.get_context("fork") if sys.platform == "linux" else None
    return {
        "worker_init_fn": start_worker,
        "prefetch_factor": prefetch_factor,
        "persistent_workers": True,
        "multiprocessing_context": context,
    }
