"""Decide when the next checkpoint is due, by steps or by seconds."""

import time
from collections.abc import Callable

from cogkp.config.train import SaveInterval


class SaveClock:
    """Due after so many steps, or so many seconds since the last save.

    Steps count from the beginning of the run, so that saves lie at the same ones however often it is restored.

    Args:
        interval: how far apart two saves may be.
        clock: seconds.
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
