"""The protocol of a data set, for training and evaluation of any family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from cogkp.data.sample import Encoded

NOUNS = {
    "lines": "lines",
    "images": "images",
    "files_sha256": "file names or sizes",
    "labels_sha256": "labels",
    "calibration_sha256": "calibration",
}

Split = Literal["train", "preview", "validation", "evaluation"]
"""'train' and 'preview' augment; 'validation' reads the validation data, 'evaluation' the main data, both plain."""


def changes(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say what changed between two fingerprints by split, one line per change; nothing of what was never recorded.

    Example:
        >>> day = {"root": "a", "lines": 8, "images": 8, "files_sha256": "x", "labels_sha256": "y"}
        >>> changes({"train": [day]}, {"train": [day | {"lines": 9, "labels_sha256": "z"}]})
        ["train data 'a': lines 8 -> 9, other labels"]
    """
    return [line for split in now if split in saved for line in _changes(split, saved[split], now[split])]


def _is_record(found: Any) -> bool:
    """Tell a fingerprint from what a damaged file may hold in its place."""
    return isinstance(found, list | tuple) and all(isinstance(each, Mapping) and "root" in each for each in found)


def _changes(split: str, saved: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not _is_record(saved) or not _is_record(now):
        yield f"{split} data: a record that cannot be read"
        return
    if len(saved) != len(now):
        yield f"{split} data: {len(saved)} -> {len(now)} roots"
        return
    for before, after in zip(saved, now, strict=True):
        recorded = {key: noun for key, noun in NOUNS.items() if key in before and key in after}
        differences = [_change(key, noun, before[key], after[key]) for key, noun in recorded.items()]
        if different := ", ".join(filter(None, differences)):
            yield f"{split} data {after['root']!r}: {different}"


def _change(key: str, noun: str, before: Any, after: Any) -> str:
    if before == after:
        return ""
    return f"other {noun}" if key.endswith("sha256") else f"{noun} {before} -> {after}"


class ItemKey(NamedTuple):
    """The key of an item: its index, and what its augmentation depends on.

    ``position`` is the place within the epoch, ``item`` the place in the data set, ``seed`` that of the whole run.
    """

    epoch: int
    position: int
    item: int
    seed: int = 0


class SizeReport(Protocol):
    """How much a data set holds; ``str`` of it is one line for people."""

    @property
    def labelled(self) -> Mapping[str, int]:
        """How often each point or box is labelled, by name; a training needs one that is not 0."""


class SingleViewDataset(Dataset[tuple[Encoded, ...]], ABC):
    """Base of a data set whose items are single images, each taken once an epoch."""

    views_per_item = 1
    item_weights: npt.NDArray[np.float64] | None = None

    @property
    def items_per_epoch(self) -> int:
        """How many items an epoch draws."""
        return len(self)

    @abstractmethod
    def __len__(self) -> int:
        """Count the images."""


class ImageDataset(Protocol):
    """Images with labels, accessed by index; each item is one view, or the views of one moment."""

    @property
    def views_per_item(self) -> int:
        """Images of one item: two for a stereo pair, else one."""

    @property
    def items_per_epoch(self) -> int:
        """How many items an epoch draws."""

    @property
    def item_weights(self) -> npt.NDArray[np.float64] | None:
        """How often each item is drawn, adding up to one; None where each is taken once."""

    @property
    def size_report(self) -> SizeReport:
        """How much there is."""

    @property
    def some_images(self) -> Sequence[Path]:
        """Files of images, spread over each root; about as many as ``SOME_IMAGES`` of each."""

    @property
    def fingerprint(self) -> Sequence[Mapping[str, Any]]:
        """What the data is, root by root, to be compared with another day's; see :mod:`cogkp.data.dataset`."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: ItemKey | tuple[int, int, int] | int) -> tuple[Encoded, ...]:
        """Make one item; the same key gives the same item in any process."""
