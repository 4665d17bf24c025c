"""When the next checkpoint is due."""

from __future__ import annotations

import time
from collections.abc import Callable

from cogkp.config.train import Interval

__all__ = ["SaveClock"]


class SaveClock:
    """Counts steps, or seconds, since the last save.

    Args:
        interval: how far apart two saves may be.
        clock: seconds.
    """

    def __init__(self, interval: Interval, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = interval
        self._clock = clock
        self._steps = 0
        self._saved = clock()

    def step(self) -> bool:
        """Count a step, and say whether a save is due after it."""
        self._steps += 1
        if self._interval.steps is not None:
            return self._steps >= self._interval.steps
        return self._interval.seconds is not None and self._clock() - self._saved >= self._interval.seconds

    def saved(self) -> None:
        """Start anew."""
        self._steps = 0
        self._saved = self._clock()
