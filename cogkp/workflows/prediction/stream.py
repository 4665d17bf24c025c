"""Ask a model about the frames of sources: reading, preparing and the network overlap, the order stays."""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs

from cogkp.data.sources import Frame, Part
from cogkp.errors import DataError, ModelError, Problem
from cogkp.inference.processor import Prediction
from cogkp.workflows.prediction.asking import Asker, unreadable

log = logging.getLogger("cogkp")

AHEAD = 4
"""Groups that are read ahead, and most threads that read."""
MOST_TOLD = 20
"""So many frames that cannot be used are told one by one."""
PATIENCE_S = 0.2
LONGEST_WAIT_S = 2.0
"""How long the end waits for a camera that sends nothing."""


@attrs.frozen(eq=False)
class FramePrediction:
    """What was found in one frame.

    Args:
        frame: where it comes from.
        found: the prediction; ``found.points``, ``found.confidence`` and the rest as :func:`cogkp.load`'s model gives.
    """

    frame: Frame
    found: Prediction


@attrs.frozen
class _End:
    error: BaseException | None = None


class Predictions(Iterator[FramePrediction]):
    """What a model finds in frames, one after the other in their order; made by :func:`cogkp.predict`.

    Frames that cannot be used are left out, told as warnings and listed in :attr:`problems`. Closing it, or leaving
    its ``with`` block, ends the threads that read ahead.

    Args:
        parts: the frames of sources.
        asker: asks the model about them.
        workers: threads that read and prepare; None takes one for each processor, at most four.
        closing: is called at the end.
        facts: what the model file says of itself.
        places: files and folders that are looked at.
        part: (k, n), of n parts the k-th.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        asker: Asker,
        workers: int | None = None,
        closing: Callable[[], None] | None = None,
        facts: Mapping[str, Any] | None = None,
        places: Sequence[Path] = (),
        part: tuple[int, int] = (1, 1),
    ) -> None:
        self.places, self.part = places, part
        self.facts = facts or {}
        self._rates = {part.source.name: part.source.fps / part.numbers.step for part in parts}
        self._closing = closing
        counts = [part.count for part in parts]
        self.total = None if None in counts else sum(each or 0 for each in counts)
        self.problems: list[Problem] = []
        self.dropped = 0
        self._live = any(part.source.live for part in parts)
        self._parts, self._asker = parts, asker
        self._size = 1 if self._live else asker.group
        self._pool = ThreadPoolExecutor(workers or min(os.cpu_count() or 1, AHEAD), "cogkp-read")
        self._queue: queue.Queue[Any] = queue.Queue(1 if self._live else AHEAD * self._size)
        self._stop = threading.Event()
        self._ready: list[FramePrediction] = []
        self._begun = self._ended = False
        self._error: BaseException | None = None
        # A camera that hangs must not keep the program from ending.
        self._reader = threading.Thread(target=self._read, name="cogkp-source", daemon=True)

    def __next__(self) -> FramePrediction:
        if not self._begun:
            self._begun = True
            self._reader.start()
        while not self._ready:
            if self._ended:
                self.close()
                if self._error is not None:
                    error, self._error = self._error, None
                    raise error
                raise StopIteration
            self._ready = self._answered(self._group())[::-1]
        return self._ready.pop()

    def rate(self, source: str) -> float:
        """Frames per second of what is looked at of a source, by its name; 0 where nobody knows."""
        return self._rates.get(source, 0.0)

    def close(self) -> None:
        """End reading; what was read ahead is dropped."""
        self._ended, self._ready = True, []
        self._stop.set()
        if self._begun:
            self._reader.join(LONGEST_WAIT_S if self._live else None)
        self._pool.shutdown(cancel_futures=True)
        if self._closing is not None:
            self._closing()
            self._closing = None

    def __enter__(self) -> Predictions:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _group(self) -> list[tuple[Frame, Any]]:
        """Collect frames that pass through the network together."""
        group: list[tuple[Frame, Any]] = []
        while len(group) < self._size:
            item = self._queue.get()
            if isinstance(item, _End):
                self._ended = True
                self._error = item.error
                break
            if isinstance(item, Problem):
                self._tell(item)
                continue
            frame, future = item
            try:
                group.append((frame, future.result()))
            except (DataError, ModelError) as error:
                self._tell(unreadable(frame, error))
        return group

    def _answered(self, group: list[tuple[Frame, Any]]) -> list[FramePrediction]:
        answers = self._asker.answer(group) if group else []
        for answer in answers:
            for problem in answer.problems:
                self._tell(problem)
        pairs = zip(group, answers, strict=True)
        return [FramePrediction(frame, answer.found) for (frame, _), answer in pairs if answer.found is not None]

    def _tell(self, problem: Problem) -> None:
        self.problems.append(problem)
        if len(self.problems) <= MOST_TOLD:
            more = " (further ones are counted only)" if len(self.problems) == MOST_TOLD else ""
            log.warning("%s%s", problem, more)

    def _read(self) -> None:
        """Read frames into the queue, in a thread of its own."""
        end, put = _End(), self._put_live if self._live else self._put
        try:
            for part in self._parts:
                for item in part.source.frames(part.numbers):
                    if self._stop.is_set():
                        return
                    put(item if isinstance(item, Problem) else (item, self._pool.submit(self._asker.read, item)))
        except BaseException as error:
            end = _End(error)
        self._put(end)

    def _put(self, item: Any) -> None:
        """Wait for room."""
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=PATIENCE_S)
            except queue.Full:
                continue
            return

    def _put_live(self, item: Any) -> None:
        """Make room by dropping the oldest frame."""
        while True:
            try:
                self._queue.put_nowait(item)
            except queue.Full:  # noqa: PERF203
                with suppress(queue.Empty):
                    self._queue.get_nowait()
                    self.dropped += 1
            else:
                return
