"""How a model is asked about frames: as they are, in a given box, where another model looks, or where it found last."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import attrs
import numpy as np

from cogkp.data.sources import Frame
from cogkp.errors import DataError, ModelError, Problem
from cogkp.inference.model import Model
from cogkp.inference.processor import Box, Prediction, Prepared

MOST = 8
LEAST = 0.3
"""Confidence from which a point says where to look."""
LOST = 0.5
"""Mean confidence below which tracked points count as lost, relative to that where they were last located."""

Boxes = Callable[[Frame], Box]


@attrs.frozen(eq=False)
class Answer:
    """What was found in a frame, if anything could be, and what went wrong."""

    found: Prediction | None = None
    problems: tuple[Problem, ...] = ()


class Asker(Protocol):
    """One way to ask a model. :meth:`read` may be called by several threads at once, :meth:`answer` is not."""

    def read(self, frame: Frame) -> Any:
        """Read a frame and prepare what can be prepared; raises DataError or ModelError where it cannot be used."""

    def answer(self, group: Sequence[tuple[Frame, Any]]) -> list[Answer]:
        """Say what is found in frames that were read."""

    @property
    def group(self) -> int:
        """How many frames are best answered together."""


def _together(frames: Sequence[Frame]) -> dict[str, Any]:
    """Bring what is known of frames to lists with one value for each."""
    names = dict.fromkeys(name for frame in frames for name in frame.known)
    return {name: [frame.known.get(name) for frame in frames] for name in names}


@attrs.frozen(eq=False)
class Direct:
    """Ask about whole frames, or about the boxes that are given.

    Args:
        boxes: gives the box of a frame; None for a model that looks at whole frames.
        known: what is known of all frames, by the names of the model's further arguments.
        most: frames to answer together.
    """

    model: Model
    boxes: Boxes | None = None
    known: Mapping[str, Any] = attrs.field(factory=dict)
    most: int = MOST

    @property
    def group(self) -> int:
        """How many frames are best answered together."""
        return min(self.most, self.model.most_rows)

    def read(self, frame: Frame) -> tuple[Frame, Prepared]:
        """Make the network's input of a frame, and read what files beside it say of it."""
        look: dict[str, Any] = {} if self.boxes is None else {"box": self.boxes(frame)}
        beside = self.model.beside(frame.image) if isinstance(frame.image, Path) else {}
        known = attrs.evolve(frame, known={**beside, **frame.known, **self.known})
        return known, self.model.prepare(frame.image, bgr=True, **look)

    def answer(self, group: Sequence[tuple[Frame, tuple[Frame, Prepared]]]) -> list[Answer]:
        """Say what is found in frames that were read."""
        read = [each for _, each in group]
        found = self.model.answer([seen for _, seen in read], **_together([frame for frame, _ in read]))
        return [Answer(each) for each in found]


@attrs.frozen(eq=False)
class Located:
    """Ask about the place where another model, the locator, sees what is looked for.

    Args:
        locator: looks at the whole frame.
        known: what is known of all frames.
        most: frames to answer together.
    """

    model: Model
    locator: Model
    known: Mapping[str, Any] = attrs.field(factory=dict)
    most: int = MOST

    @property
    def group(self) -> int:
        """How many frames are best answered together."""
        return min(self.most, self.model.most_rows, self.locator.most_rows)

    def read(self, frame: Frame) -> tuple[Frame, Prepared]:
        """Read the pixels once, and make the locator's input of them."""
        read = _with_pixels(self.model, frame, self.known)
        return read, self.locator.prepare(read.image, bgr=True)

    def answer(self, group: Sequence[tuple[Frame, tuple[Frame, Prepared]]]) -> list[Answer]:
        """Say what is found in frames that were read; one in which the locator sees nothing is a problem."""
        read = [each for _, each in group]
        places = self.locator.answer([seen for _, seen in read])
        boxes = [place.box(self.model.names, LEAST) for place in places]
        looked = [_looked(self.model, frame, box) for (frame, _), box in zip(read, boxes, strict=True)]
        kept = [(frame, seen) for (frame, _), seen in zip(read, looked, strict=True) if seen is not None]
        known = _together([frame for frame, _ in kept])
        found = iter(self.model.answer([seen for _, seen in kept], **known) if kept else ())
        return [
            _unseen(frame) if seen is None else Answer(next(found))
            for (frame, _), seen in zip(read, looked, strict=True)
        ]


def _looked(model: Model, frame: Frame, box: Box | None) -> Prepared | None:
    """Make the network's input of a place; None where there is none, or it lies outside of the frame."""
    try:
        return None if box is None else model.prepare(frame.image, bgr=True, box=box)
    except ModelError:
        return None


def _unseen(frame: Frame) -> Answer:
    return Answer(problems=(Problem("what is looked for is not seen", frame.where),))


@attrs.define(eq=False)
class Tracked:
    """Ask about the place where it was found in the frame before; frames pass one by one, in order.

    Args:
        locate: says where to look at the start, and again when points are lost.
        known: what is known of all frames.
    """

    model: Model
    locate: Callable[[Frame], Box | None]
    known: Mapping[str, Any] = attrs.field(factory=dict)
    _box: Box | None = None
    _source: str = ""
    _usual: float = 0.0

    @property
    def group(self) -> int:
        """One by one: where to look is known when the frame before is answered."""
        return 1

    def read(self, frame: Frame) -> Frame:
        """Read the pixels."""
        return _with_pixels(self.model, frame, self.known)

    def answer(self, group: Sequence[tuple[Frame, Frame]]) -> list[Answer]:
        """Say what is found in frames that were read."""
        return [self._one(frame) for _, frame in group]

    def _one(self, frame: Frame) -> Answer:
        if frame.source != self._source:
            self._source, self._box = frame.source, None
        found = self._ask(frame, self._box)
        if found is None or float(found.confidence.mean()) < LOST * self._usual:
            found = self._ask(frame, self.locate(frame))
            if found is None:
                self._box = None
                return _unseen(frame)
            self._usual = float(found.confidence.mean())
        self._box = found.box(self.model.names, LEAST)
        return Answer(found)

    def _ask(self, frame: Frame, box: Box | None) -> Prediction | None:
        seen = _looked(self.model, frame, box)
        return None if seen is None else self.model.answer([seen], **_together([frame]))[0]


def whole_frame(model: Model) -> Callable[[Frame], Box | None]:
    """Locate with the model itself: first in the whole frame, where it sees coarsely, then round what it found."""

    def locate(frame: Frame) -> Box | None:
        height, width = np.asarray(frame.image).shape[:2]
        found = model.answer([model.prepare(frame.image, bgr=True, box=(0.0, 0.0, width - 1.0, height - 1.0))])[0]
        return found.box(model.names, 0.0)

    return locate


def by_locator(model: Model, locator: Model) -> Callable[[Frame], Box | None]:
    """Locate with another model."""
    return lambda frame: locator(frame.image, bgr=True).box(model.names, LEAST)


def _with_pixels(model: Model, frame: Frame, known: Mapping[str, Any]) -> Frame:
    """Read a file's pixels as a model does, in the order of colours that frames have."""
    pixels: Any = frame.image
    if not isinstance(pixels, np.ndarray):
        pixels = model.pixels(pixels)
        pixels = pixels[..., ::-1] if pixels.ndim == 3 else pixels  # noqa: PLR2004
    return attrs.evolve(frame, image=pixels, known={**frame.known, **known})


def unreadable(frame: Frame, error: DataError | ModelError) -> Problem:
    """Make the problem of a frame that cannot be used, which names it."""
    problem = error.problem
    return (
        problem
        if isinstance(error, DataError) and problem.where != "image"
        else attrs.evolve(problem, where=frame.where)
    )
