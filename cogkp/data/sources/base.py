"""Frames, the sources they come from, and which frames of the sources are chosen."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import attrs
import numpy as np
import numpy.typing as npt

from cogkp.errors import DataError, Problem

ENDLESS = sys.maxsize
"""Frames of a source that does not know how many it has."""


@attrs.frozen(eq=False, kw_only=True)
class Frame:
    """One image of a source.

    Args:
        source: the folder, video or camera it comes from.
        where: names it for people: the file, or the video or camera and the frame.
        name: of its results: its path below the folder, or the video's name and the number of the frame.
        number: within the source, from 0; for a video the frame as it is decoded.
        time_s: seconds from the start of a video, or since a camera was opened; None where there is none.
        image: a file, or (H, W, 3) uint8 in OpenCV's order blue, green, red.
        known: what else is known of the image, by the names of a model's further arguments.
    """

    source: str
    where: str
    name: str
    number: int
    time_s: float | None
    image: Path | npt.NDArray[np.uint8]
    known: Mapping[str, Any] = attrs.field(factory=dict)


class Source(Protocol):
    """Something that gives frames, again from the start each time it is asked."""

    @property
    def name(self) -> str:
        """Name it for people."""

    @property
    def live(self) -> bool:
        """Whether frames come whether they are read or not, so that those nobody has time for are lost."""

    @property
    def fps(self) -> float:
        """Frames per second; 0 where there are none, or nobody knows."""

    def __len__(self) -> int:
        """Count its frames; :data:`ENDLESS` where nobody knows."""

    def frames(self, numbers: range) -> Iterator[Frame | Problem]:
        """Give the frames of these numbers in order; one that cannot be had is its problem."""


@attrs.frozen(kw_only=True)
class Selection:
    """Which frames of the sources are looked at.

    Args:
        every: one of so many frames.
        start: first frame of each source, from 0.
        end: frame of each source before which to stop; None for its last.
        limit: most frames of all sources together; None for all.
        shard: (k, n): of n parts of nearly equal size, which join in order, the k-th, from 1.
    """

    every: int = 1
    start: int = 0
    end: int | None = None
    limit: int | None = None
    shard: tuple[int, int] = (1, 1)

    def __attrs_post_init__(self) -> None:
        part, parts = self.shard
        rules = (
            (self.every >= 1, "every", "a whole number from 1 on", self.every),
            (self.start >= 0, "start", "a whole number from 0 on", self.start),
            (self.end is None or self.end > self.start, "end", f"a frame after start, {self.start}", self.end),
            (self.limit is None or self.limit >= 1, "limit", "a whole number from 1 on", self.limit),
            (1 <= part <= parts, "shard", "k/n with 1 <= k <= n", f"{part}/{parts}"),
        )
        for holds, name, expected, got in rules:
            if not holds:
                raise DataError("frames cannot be chosen so", where=name, expected=expected, got=str(got))


@attrs.frozen(eq=False)
class Part:
    """Frames of one source.

    Args:
        numbers: of the frames; without an end where the last frame of the source belongs to them.
        count: how many these are; None where nobody knows.
    """

    source: Source
    numbers: range
    count: int | None


def chosen(sources: Sequence[Source], selection: Selection) -> list[Part]:
    """Choose frames of sources: those of each that the selection leaves, without the sources of which it leaves none.

    Raises:
        DataError: parts are asked for of a source whose length is not known, or nothing is left.
    """
    wanted = [_numbers(source, selection) for source in sources]
    part, parts = selection.shard
    endless = [source for source, numbers in zip(sources, wanted, strict=True) if numbers.stop == ENDLESS]
    if parts > 1 and endless and selection.limit is None:
        raise DataError(
            "a source without a known end cannot be shared out",
            where=endless[0].name,
            expected="files, or frames from start to end",
            got=f"shard {part}/{parts}",
        )
    ends = [0, *itertools.accumulate(map(len, wanted))]
    total = min(ends[-1], selection.limit or ENDLESS)
    first, last = (total * edge // parts for edge in (part - 1, part))
    cut = [
        numbers[max(first - before, 0) : max(last - before, 0)] for numbers, before in zip(wanted, ends, strict=False)
    ]
    left = [
        Part(source, _open_ended(numbers, whole, selection), None if numbers.stop == ENDLESS else len(numbers))
        for source, numbers, whole in zip(sources, cut, wanted, strict=True)
        if len(numbers)
    ]
    if not left and parts == 1:
        raise DataError(
            "no frame is left",
            where=", ".join(source.name for source in sources),
            expected=f"frames from {selection.start} on",
            got=f"{max(map(len, sources))} frames at most",
        )
    return left


def _numbers(source: Source, selection: Selection) -> range:
    end = len(source) if selection.end is None else min(len(source), selection.end)
    return range(selection.start, end, selection.every)


def _open_ended(numbers: range, whole: range, selection: Selection) -> range:
    """Let the part that reaches the last frame go on as long as there are frames: the length a video states may err."""
    to_the_end = selection.end is None and selection.limit is None and numbers[-1] == whole[-1]
    return range(numbers.start, ENDLESS, numbers.step) if to_the_end else numbers
