"""When a training saves or ends: the save interval, early stopping, and signals of a user or a scheduler."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

import attrs

from cogkp.config.train import SaveInterval

# Windows has no SIGHUP.
STOPPING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@attrs.frozen
class Patience:
    """Stop after so many validations without a better one.

    There is one validation per epoch, so the position and the best validation, which are both part of a checkpoint, say
    all: a restored training stops where the undisturbed one would have.

    Args:
        limit: validations; 0 waits for ever.
        first_epoch: epochs completed before the present course of the learning rate; a new course starts the wait anew.
    """

    limit: int
    first_epoch: int

    def reason(self, epoch: int, best: Mapping[str, Any] | None) -> str:
        """Say why the training ends after ``epoch`` epochs; empty while it goes on.

        ``best`` has 'error' and 'epoch' of the best validation; None where none can be compared.
        """
        if not self.limit or best is None or epoch - max(best["epoch"], self.first_epoch) < self.limit:
            return ""
        return (
            f"stopped early after epoch {epoch}: no validation was better than the error {best['error']:.4g} "
            f"of epoch {best['epoch']}, patience {self.limit}"
        )


class SaveClock:
    """Due after so many steps, or so many seconds since the last save.

    Steps count from the beginning of the run, so that saves lie at the same ones however often it is restored.
    """

    def __init__(self, interval: SaveInterval, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = interval
        self._clock = clock
        self._saved = clock()

    def due(self, step: int) -> bool:
        """Say whether a save is due after ``step`` steps of the run."""
        if self._interval.steps is not None:
            return step % self._interval.steps == 0
        return self._interval.seconds is not None and self._clock() - self._saved >= self._interval.seconds

    def saved(self) -> None:
        """Begin to count seconds anew."""
        self._saved = self._clock()


class Interrupt:
    """Whether somebody asked to stop, and by which signal; 0 where nobody did."""

    def __init__(self) -> None:
        self.signal = 0

    @property
    def requested(self) -> bool:
        """Whether somebody asked."""
        return self.signal != 0

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        """Take one signal."""
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = self.signal or number


@contextmanager
def listening() -> Iterator[Interrupt]:
    """Listen for signals that ask to stop, and hand them back to whoever listened before.

    Outside the main thread nothing can listen: then nobody ever asks. A SIGTERM or SIGHUP that was ignored before, as
    under nohup, stays ignored.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = {number: signal.getsignal(number) for number in STOPPING}
    heard = [number for number in STOPPING if number == signal.SIGINT or before[number] != signal.SIG_IGN]
    for number in heard:
        signal.signal(number, interrupt)
    try:
        yield interrupt
    finally:
        for number in heard:
            signal.signal(number, before[number])
