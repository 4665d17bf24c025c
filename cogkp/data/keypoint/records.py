"""Records of labelled recordings; no pixels are read here.

A data set is held in arrays, so that a million lines take tens of megabytes; a :class:`Record` is made when it is asked
for. Points are ``uv_source``: full-frame pixels, the centre of the top-left pixel is (0, 0).
Axes: R lines, V views, N keypoints.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar, overload

import attrs
import numpy as np
import numpy.typing as npt

from cogkp.errors import printable

ItemT = TypeVar("ItemT")


@attrs.frozen(eq=False)
class View:
    """One labelled image.

    Args:
        camera: its datakey without the last part, for people; 'LL' for 'LL.image'.
        uv_source: (N, 2) float64, pixels of the full frame; zero where not labelled.
        labelled: (N,) bool.
        mask: the mask file, or None where nobody made one.
    """

    camera: str
    image: Path
    uv_source: npt.NDArray[np.float64]
    labelled: npt.NDArray[np.bool_]
    mask: Path | None


@attrs.frozen(eq=False)
class Record:
    """One recorded line.

    Args:
        line: counted from 1, as editors do.
        views: in the order of ``data_mappings.x``.
        xyz_world: (N, 3) float64, exact places of the points, world units; zero where not known.
        located: (N,) bool, where they are known.
    """

    root: Path
    line: int
    views: tuple[View, ...]
    xyz_world: npt.NDArray[np.float64]
    located: npt.NDArray[np.bool_]


@attrs.frozen(eq=False)
class FileNames:
    """Many file names in two arrays, a few bytes each.

    Args:
        text: all names, one after the other, as the file system has them; an empty one stands for no file.
        ends: (K,) int64, where each name ends.
    """

    text: bytes
    ends: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]

    def encoded(self, place: int) -> bytes:
        """Return one name as bytes."""
        return self.text[self.ends[place - 1] if place else 0 : self.ends[place]]

    def path(self, root: Path, place: int) -> Path | None:
        """Return one file of a folder; None for no file."""
        name = self.encoded(place)
        return root / name.decode("utf-8", "surrogateescape") if name else None


@attrs.frozen(eq=False)
class Index:
    """The records of one data set.

    Args:
        lines: (R,) int64, number of each usable line, counted from 1.
        images: R * V files, line by line.
        masks: the same; None where no masks are mapped.
        uv_source: (R, V, N, 2) float64, pixels of the full frame; zero where not labelled.
        labelled: (R, V, N) bool.
        xyz_world: (R, N, 3) float64, exact places of the points, world units; zero where not known.
        located: (R, N) bool, where they are known.
        dropped: how many lines or labels were left out, by reason.
        read: how many lines there are, usable or not.
        occurrences: in how many of these each mapped datakey stands, also with the value null.
    """

    root: Path
    cameras: tuple[str, ...]
    lines: npt.NDArray[np.int64]
    images: FileNames
    masks: FileNames | None
    uv_source: npt.NDArray[np.float64]
    labelled: npt.NDArray[np.bool_]
    xyz_world: npt.NDArray[np.float64]
    located: npt.NDArray[np.bool_]
    dropped: Mapping[str, int]
    read: int
    occurrences: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def records(self) -> Records:
        """The usable lines, in file order."""
        return Records((self,))

    def record(self, row: int) -> Record:
        """Return one usable line, counted from 0."""
        views = tuple(self._view(row, number) for number in range(len(self.cameras)))
        return Record(self.root, int(self.lines[row]), views, self.xyz_world[row], self.located[row])

    @property
    def image_paths(self) -> Sequence[Path]:
        """R * V image files, line by line, each path made when it is asked for."""
        return _Paths(self.root, self.images)

    def _view(self, row: int, view: int) -> View:
        mask = None if self.masks is None else self.masks.path(self.root, row * len(self.cameras) + view)
        uv, labelled = self.uv_source[row, view], self.labelled[row, view]
        return View(self.cameras[view], self.image_paths[row * len(self.cameras) + view], uv, labelled, mask)


class _Lazy(Sequence[ItemT]):
    """A sequence whose items are made when they are asked for."""

    @abstractmethod
    def make(self, place: int) -> ItemT:
        """Return the item at a place from 0 on."""

    @overload
    def __getitem__(self, place: int) -> ItemT: ...

    @overload
    def __getitem__(self, place: slice) -> list[ItemT]: ...

    def __getitem__(self, place: int | slice) -> ItemT | list[ItemT]:
        places = range(len(self))[place]
        return self.make(places) if isinstance(places, int) else [self.make(each) for each in places]


class _Paths(_Lazy[Path]):
    def __init__(self, root: Path, names: FileNames) -> None:
        self._root, self._names = root, names

    def __len__(self) -> int:
        return len(self._names.ends)

    def make(self, place: int) -> Path:
        return self._names.path(self._root, place) or self._root


class Records(_Lazy[Record]):
    """The usable lines of several data sets one after the other, each made when it is asked for."""

    def __init__(self, indices: Sequence[Index]) -> None:
        self._indices = tuple(indices)
        self._starts = np.cumsum([0, *map(len, self._indices)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def make(self, place: int) -> Record:
        """Return the line at a place from 0 on."""
        number = int(np.searchsorted(self._starts, place, side="right")) - 1
        return self._indices[number].record(place - int(self._starts[number]))


@attrs.frozen
class RecordingSize:
    """How much data there is; left out by reason, and the number of views that carry each point by its name."""

    records: int
    views: int
    dropped: Mapping[str, int]
    labelled: Mapping[str, int]

    @classmethod
    def of(cls, indices: Sequence[Index], point_names: Sequence[str]) -> RecordingSize:
        """Count what several data sets offer together."""
        dropped: Counter[str] = Counter()
        for index in indices:
            dropped.update(index.dropped)
        counts = sum((index.labelled.sum((0, 1)) for index in indices), np.zeros(len(point_names), np.int64))
        labelled = dict(zip(point_names, counts.tolist(), strict=True))
        views = sum(index.labelled[..., 0].size for index in indices)
        return cls(sum(map(len, indices)), views, dict(dropped), labelled)

    def __str__(self) -> str:
        points = ", ".join(f"{name} {count}" for name, count in self.labelled.items())
        left_out = "".join(f"; {count} left out: {reason}" for reason, count in self.dropped.items())
        return printable(f"{self.records} lines, {self.views} images; labelled: {points}{left_out}")
