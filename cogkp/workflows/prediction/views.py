"""Frames that several cameras took at one moment: how they are paired, and how a model is asked about them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import PurePath
from typing import Any, Literal

import attrs

from cogkp.data.sources import ENDLESS, Frame, ImageFilesSource, Source, VideoSource
from cogkp.errors import DataError, ModelError, Problem, printable
from cogkp.inference.lift import LEAST_VIEWS
from cogkp.inference.processor import Prediction
from cogkp.inference.views import LiftRules, ViewRig, lifted
from cogkp.workflows.prediction.asking import Answer, Asker, unreadable

Pairing = Literal["number", "name", "time"]

SAME_RATE = 1e-3
"""Relative difference of frame rates from which numbers do not belong together."""
DEFAULT_STEP_S = 1 / 25

log = logging.getLogger("cogkp")


@attrs.frozen(eq=False, kw_only=True)
class Moment:
    """Frames that several cameras took together; it is told by the first of them.

    Args:
        frames: by the name of the camera; one that is damaged or missing is not there.
    """

    source: str
    name: str
    number: int
    time_s: float | None
    frames: Mapping[str, Frame]


@attrs.frozen(eq=False)
class PairedSource:
    """Sources of several cameras, paired frame by frame.

    Args:
        cameras: a source for each, by name.
        pairing: by the number of the frame, the name of the file, or time.
    """

    cameras: Mapping[str, Source]
    pairing: Pairing

    @property
    def name(self) -> str:
        """All of them."""
        return ", ".join(f"{name}={source.name}" for name, source in self.cameras.items())

    @property
    def live(self) -> bool:
        """Whether any of them is."""
        return any(source.live for source in self.cameras.values())

    @property
    def fps(self) -> float:
        """Frames per second of the first camera."""
        return next(iter(self.cameras.values())).fps

    def __len__(self) -> int:
        return min(map(len, self.cameras.values()))

    def frames(self, numbers: range) -> Iterator[Any]:
        """Give the moments of these numbers; a frame that cannot be had is a problem, and its moment goes without it.

        Raises:
            DataError: the cameras are of unequal length.
        """
        with ExitStack() as stack:
            if self.pairing == "time":
                ways = {name: source.frames(range(ENDLESS)) for name, source in self.cameras.items()}
            else:
                ways = {name: source.frames(numbers) for name, source in self.cameras.items()}
            for way in ways.values():
                stack.enter_context(closing(way))  # type: ignore[type-var]
            yield from self._by_time(ways, numbers) if self.pairing == "time" else self._by_number(ways)

    def _by_number(self, ways: Mapping[str, Iterator[Frame | Problem]]) -> Iterator[Moment | Problem]:
        """Step through all cameras at once; a problem stands for a frame."""
        while True:
            items = {name: next(way, None) for name, way in ways.items()}
            ended = [name for name, item in items.items() if item is None]
            if ended:
                yield from (item for item in items.values() if isinstance(item, Problem))
                going = [item for item in items.values() if isinstance(item, Frame)]
                if going:
                    raise self._unequal(ended[0], going[0])
                return
            yield from (item for item in items.values() if isinstance(item, Problem))
            frames = {name: item for name, item in items.items() if isinstance(item, Frame)}
            if len(frames) >= LEAST_VIEWS:
                yield _moment(frames)

    def _unequal(self, ended: str, going: Frame) -> DataError:
        return DataError(
            "the cameras are of unequal length",
            where=f"{ended}={self.cameras[ended].name} frame {going.number}",
            expected=f"a frame, as {going.source} has",
            got="the end",
            hint="What was found up to there is kept; --end takes what they share.",
        )

    def _by_time(self, ways: Mapping[str, Iterator[Frame | Problem]], numbers: range) -> Iterator[Moment | Problem]:
        """Pair each frame of the first camera with the nearest in time of the others, at most half a step away."""
        (first, leader), *others = ways.items()
        reach = 0.5 * max(map(_step_s, self.cameras.values()))
        followers = {name: _Nearest(way) for name, way in others}
        for item in leader:
            if isinstance(item, Problem):
                yield item
                continue
            if item.number >= numbers.stop:
                return
            if item.number not in numbers:
                continue
            if item.time_s is None:
                raise DataError("a frame has no time", where=f"{first}={item.source} frame {item.number}")
            frames = {first: item}
            for name, follower in followers.items():
                near = follower.at(item.time_s, reach)
                yield from follower.problems()
                if near is not None:
                    frames[name] = near
            if len(frames) >= LEAST_VIEWS:
                yield _moment(frames)
            else:
                where = f"{first}={item.source} frame {item.number}"
                yield Problem("no other camera has a frame at this time", where, got=f"{item.time_s:.3f} s")


class _Nearest:
    """Goes through a camera's frames once, and gives the one nearest to a time."""

    def __init__(self, way: Iterator[Frame | Problem]) -> None:
        self._way = way
        self._problems: list[Problem] = []
        self._here, self._next = self._step(), self._step()

    def _step(self) -> Frame | None:
        for item in self._way:
            if isinstance(item, Frame):
                return item
            self._problems.append(item)
        return None

    def problems(self) -> list[Problem]:
        """Return what went wrong since it was last asked."""
        told, self._problems = self._problems, []
        return told

    def at(self, time_s: float, reach_s: float) -> Frame | None:
        """Return the frame nearest to a time that is not before that of the last call; None where none is near."""
        while self._next is not None and self._apart(self._next, time_s) <= self._apart(self._here, time_s):
            self._here, self._next = self._next, self._step()
        near = self._here is not None and self._apart(self._here, time_s) <= reach_s
        return self._here if near else None

    @staticmethod
    def _apart(frame: Frame | None, time_s: float) -> float:
        return float("inf") if frame is None or frame.time_s is None else abs(frame.time_s - time_s)


def _step_s(source: Source) -> float:
    return 1 / source.fps if source.fps > 0 else DEFAULT_STEP_S


def _moment(frames: Mapping[str, Frame]) -> Moment:
    first = next(iter(frames.values()))
    return Moment(source=first.source, name=first.name, number=first.number, time_s=first.time_s, frames=frames)


def paired(cameras: Mapping[str, Source], wanted: Pairing | None) -> PairedSource:
    """Decide how frames of cameras are paired, and say it.

    Image files are paired by name where their names agree, else by their order where none agrees and there are as many
    of each; all else by the number of the frame.

    Raises:
        DataError: names, numbers or frame rates do not fit.
    """
    pairing = wanted or ("name" if _share_names(cameras) else "number")
    if pairing == "name":
        _require_names(cameras)
    if pairing == "number":
        _require_rates(cameras)
        _require_counts(cameras)
    how = {"number": "by the number of the frame", "name": "by the name of the file", "time": "by time"}[pairing]
    log.info("frames of %s are paired %s", ", ".join(map(printable, cameras)), how)
    return PairedSource(cameras, pairing)


def _stems(source: Source) -> tuple[str, ...] | None:
    if not isinstance(source, ImageFilesSource):
        return None
    return tuple(PurePath(name).with_suffix("").as_posix() for name in source.names)


def _share_names(cameras: Mapping[str, Source]) -> bool:
    """Say whether all are image files, some of which are called the same."""
    stems = [_stems(source) for source in cameras.values()]
    return all(each is not None for each in stems) and bool(set.intersection(*(set(each or ()) for each in stems)))


def _require_names(cameras: Mapping[str, Source]) -> None:
    (first, source), *others = cameras.items()
    names = _stems(source)
    for name, other in others:
        theirs = _stems(other)
        if names is None or theirs is None:
            raise DataError("only image files can be paired by name", where=f"{name}={other.name}")
        for one, another in zip([*names, *[""] * len(theirs)], [*theirs, *[""] * len(names)], strict=False):
            if one != another:
                raise DataError(
                    "the cameras' images are not called the same",
                    where=f"{name}={other.name}",
                    expected=f"{one}, as in {first}={source.name}" if one else "no more images",
                    got=another or "no more images",
                    hint="--pair number pairs them in their order.",
                )


def _require_rates(cameras: Mapping[str, Source]) -> None:
    rates = {name: each.fps for name, each in cameras.items() if isinstance(each, VideoSource) and each.fps > 0}
    if rates and max(rates.values()) - min(rates.values()) > SAME_RATE * max(rates.values()):
        raise DataError(
            "the cameras have different frame rates, so that their numbers do not belong together",
            got=", ".join(f"{name} {fps:.4g} per second" for name, fps in rates.items()),
            hint="--pair time pairs frames by their times.",
        )


def _require_counts(cameras: Mapping[str, Source]) -> None:
    counts = {name: len(each) for name, each in cameras.items() if isinstance(each, ImageFilesSource)}
    if counts and len(set(counts.values())) > 1:
        raise DataError(
            "the cameras have different numbers of images",
            got=", ".join(f"{name} {count}" for name, count in counts.items()),
            hint="--pair name tells which is missing.",
        )


@attrs.frozen(eq=False)
class AskViews:
    """Ask about all frames of a moment, and find the points of space.

    Args:
        askers: ask about the frames of one camera each, by its name.
        rig: the calibration.
        rules: which pixels count in space, and the unit.
    """

    askers: Mapping[str, Asker]
    rig: ViewRig
    rules: LiftRules

    @property
    def group(self) -> int:
        """How many moments are answered together: as many as fill one pass."""
        return max(1, min(asker.group for asker in self.askers.values()) // len(self.askers))

    def read(self, frame: Any) -> dict[str, Any]:
        """Read the frames of a moment; one that cannot be used is its problem."""
        read: dict[str, Any] = {}
        for name, each in frame.frames.items():
            try:
                read[name] = self.askers[name].read(each)
            except (DataError, ModelError) as error:  # noqa: PERF203
                read[name] = unreadable(each, error)
        return read

    def answer(self, group: Sequence[tuple[Any, dict[str, Any]]]) -> list[Answer]:
        """Say what is found in moments that were read."""
        views: list[dict[str, Prediction]] = [{} for _ in group]
        problems: list[list[Problem]] = [[] for _ in group]
        for name, asker in self.askers.items():
            rows = [(row, moment.frames[name], read[name]) for row, (moment, read) in enumerate(group) if name in read]
            good = [(frame, seen) for _, frame, seen in rows if not isinstance(seen, Problem)]
            answers = iter(asker.answer(good) if good else ())
            for row, _, seen in rows:
                answer = Answer(problems=(seen,)) if isinstance(seen, Problem) else next(answers)
                problems[row] += answer.problems
                if answer.found is not None:
                    views[row][name] = answer.found
        return [
            Answer(lifted(each, self.rig, self.rules) if each else None, tuple(told))
            for each, told in zip(views, problems, strict=True)
        ]
