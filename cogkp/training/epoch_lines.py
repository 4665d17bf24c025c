"""Log one short line per epoch; fewer where epochs are short."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

__all__ = ["EpochLines"]

SECONDS_BETWEEN_LINES = 5.0
MIN_SHARE = 0.01

log = logging.getLogger("cogkp")


class EpochLines:
    """Log epochs; the first, the last, and of the others those that come a while after the line before.

    Every epoch is in the sinks, so a line left out is nothing lost.

    Args:
        last_epoch: the epoch count at which the training is finished.
        clock: seconds.
    """

    def __init__(self, last_epoch: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._last_epoch = last_epoch
        self._clock = clock
        self._last_line: float | None = None

    def log_epoch(self, epoch: int, loss: float, headline: str, seconds: float, waited: float = 0.0) -> None:
        """Log an epoch that was just completed, where a line is due.

        Args:
            epoch: epochs completed before it.
            loss: its mean.
            headline: what else is worth a glance; may be empty.
            seconds: it took.
            waited: share of the time that it waited for data; reported from a percent on.
        """
        now = self._clock()
        due = self._last_line is None or now - self._last_line >= SECONDS_BETWEEN_LINES
        if not due and epoch + 1 != self._last_epoch:
            return
        self._last_line = now
        data = f"{100 * waited:.0f} % waiting for data" if waited >= MIN_SHARE else ""
        parts = (f"loss {loss:.3g}", headline, f"{seconds:.1f} s", data)
        log.info("epoch %d/%d: %s", epoch + 1, self._last_epoch, ", ".join(filter(None, parts)))
