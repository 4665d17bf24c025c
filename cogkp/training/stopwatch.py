"""Measure where a training spends its wall time: waiting for data, computing, validating and saving."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping

__all__ = ["DATA", "FORWARD_BACKWARD", "UPDATE", "VALIDATE_SAVE", "DataAdvice", "Stopwatch", "share_text"]

DATA, FORWARD_BACKWARD, UPDATE, VALIDATE_SAVE = "data", "forward_backward", "update", "validate_save"
PHASE_NAMES = {
    DATA: "waiting for data",
    FORWARD_BACKWARD: "forward and backward",
    UPDATE: "update",
    VALIDATE_SAVE: "validation and saving",
}
MIN_SHARE = 0.005
MIN_REST = 0.05
ADVISED_SHARE = 0.5
ADVISED_AFTER_S = 20.0  # the first batches wait for loader processes to start

log = logging.getLogger("cogkp")


class Stopwatch:
    """Adds up wall time by what it was spent on; what nobody claims is the rest.

    It asks no GPU to finish: what runs there is counted where this process waits for it. That is in forward and
    backward, which end with fetching the loss; they include the update of the step before.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._started = self._last = self._split = clock()
        self._spent: dict[str, float] = dict.fromkeys(PHASE_NAMES, 0.0)
        self._before = dict(self._spent)

    def lap(self, what: str = "") -> None:
        """Count the time since the last lap for something; for the rest where it has no name."""
        now = self._clock()
        if what:
            self._spent[what] += now - self._last
        self._last = now

    @property
    def seconds(self) -> float:
        """How long it has run."""
        return self._clock() - self._started

    def shares(self) -> dict[str, float]:
        """Return the share of each, 0 to 1; the rest of the time belongs to none of them."""
        return _shares(self._spent, self.seconds)

    def split(self) -> dict[str, float]:
        """Return the shares of the time since the split before."""
        now = self._clock()
        spent = {name: seconds - self._before[name] for name, seconds in self._spent.items()}
        shares = _shares(spent, now - self._split)
        self._split, self._before = now, dict(self._spent)
        return shares


def _shares(spent: Mapping[str, float], whole: float) -> dict[str, float]:
    return {name: seconds / whole if whole > 0 else 0.0 for name, seconds in spent.items()}


class DataAdvice:
    """Says once, when a training has waited for data most of the time, what can be done about it.

    Args:
        num_workers: loader processes it has.
        cores: of this machine.
    """

    def __init__(self, num_workers: int, cores: int | None = None) -> None:
        self._workers = num_workers
        self._cores = cores or os.cpu_count() or 1
        self._silent = False

    def consider(self, seconds: float, shares: Mapping[str, float]) -> None:
        """Look at the whole training so far."""
        if self._silent or seconds < ADVISED_AFTER_S or shares[DATA] < ADVISED_SHARE:
            return
        self._silent = True
        log.warning("waited %.0f %% of the time for data: %s", 100 * shares[DATA], self._advice())

    def _advice(self) -> str:
        if self._workers < self._cores:
            return f"raise --num-workers, which is {self._workers} ({self._cores} cores here)"
        busy = f"its {self._workers} loader processes keep all {self._cores} cores busy"
        return f"{busy}; smaller images on disk or fewer augmentations would make it faster"


def share_text(shares: Mapping[str, float]) -> str:
    """Put shares into words, those of a percent and more, and the rest where it exceeds five."""
    parts = [f"{100 * share:.0f} % {PHASE_NAMES[name]}" for name, share in shares.items() if share >= MIN_SHARE]
    rest = 1.0 - sum(shares.values())
    parts += [f"{100 * rest:.0f} % other"] if rest > MIN_REST else []
    return ", ".join(parts)
