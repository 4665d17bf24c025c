"""The protocol of a data set, for training and evaluation of any family."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from cogkp.data.sample import Encoded

Split = Literal["train", "preview", "validation", "evaluation"]
"""'train' and 'preview' augment; 'validation' reads the validation data, 'evaluation' the main data, both plain."""


class ItemKey(NamedTuple):
    """The key of an item: its index, and what its augmentation depends on.

    Args:
        epoch: pass over the data.
        position: place within the epoch.
        item: its place in the data set.
        seed: of the whole run.
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
        """What the data is, root by root, to be compared with another day's; see :mod:`cogkp.data.fingerprint`."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: ItemKey | tuple[int, int, int] | int) -> tuple[Encoded, ...]:
        """Make one item; the same key gives the same item in any process."""
