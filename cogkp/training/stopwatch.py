"""Measure where a training spends its time: wall time of its parts, and operators of a few steps."""

import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile, schedule

from cogkp.files import writing_to
from cogkp.training.sinks import EpochEvent, StepEvent

TRACE_NAME = "trace.json"
WARMUP_STEPS = 5
PROFILED_STEPS = 10
ROWS = 10
NAME_WIDTH = 40
FRAMES = ("ProfilerStep", "enumerate(DataLoader)")  # they surround operators, and are none

log = logging.getLogger("cogkp")

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


class ProfileSink:
    """Profile a few steps after the first ones, write a trace, and log the operators that took longest.

    The training computes the same; only the profiled steps are slower.

    Args:
        path: the trace, which chrome://tracing and ui.perfetto.dev show.
        warmup: steps before the profile begins.
        steps: steps in the profile.
    """

    def __init__(self, path: Path, *, warmup: int = WARMUP_STEPS, steps: int = PROFILED_STEPS) -> None:
        self.path = path
        self.warmup = warmup
        self.steps = steps
        self.seen = 0
        self.written = False
        cuda = [ProfilerActivity.CUDA] if torch.cuda.is_available() else []
        self.profile = profile(
            activities=[ProfilerActivity.CPU, *cuda],
            schedule=schedule(wait=0, warmup=warmup, active=steps, repeat=1),
            on_trace_ready=self._write,
        )

    def start(self, model: nn.Module, example: Tensor) -> None:
        """Begin to warm up."""
        self.profile.start()

    def step(self, event: StepEvent) -> None:
        """Count a step; the last one of the profile writes it."""
        self.seen += 1
        if not self.written:
            self.profile.step()

    def epoch(self, event: EpochEvent) -> None:
        """Ignore epochs."""

    def flush(self) -> None:
        """Nothing is buffered."""

    def close(self) -> None:
        """Write the profile of a training that ended within it, and say where it ended before."""
        if self.written:
            return
        self.profile.stop()
        if self.seen <= self.warmup:
            wanted = self.warmup + self.steps
            log.warning("nothing was profiled: the training had %d steps, a profile needs %d", self.seen, wanted)

    def _write(self, found: profile) -> None:
        self.written = True
        if self.seen <= self.warmup:
            return
        with writing_to(self.path):
            self.path.touch()  # the exporter itself only grumbles where it cannot write
            found.export_chrome_trace(str(self.path))
        steps = min(self.steps, self.seen - self.warmup)
        log.info("profile of %d steps: %s (open it in chrome://tracing or ui.perfetto.dev)", steps, self.path)
        for line in top_operators(found, steps):
            log.info("%s", line)


def top_operators(found: profile, steps: int) -> list[str]:
    """Tabulate the operators that took longest by themselves: milliseconds per step, share, calls per step."""
    operators: Any = [operator for operator in found.key_averages() if not operator.key.startswith(FRAMES)]
    device = any(operator.self_device_time_total for operator in operators)
    spent = {
        operator.key: operator.self_device_time_total if device else operator.self_cpu_time_total
        for operator in operators
    }
    calls, total = {operator.key: operator.count for operator in operators}, sum(spent.values()) or 1.0
    head = f"{'operator':<{NAME_WIDTH}} {'ms/step':>8} {'share':>6} {'calls/step':>10}"
    return [head] + [
        f"{key[:NAME_WIDTH]:<{NAME_WIDTH}} {spent[key] / steps / 1e3:>8.2f} {spent[key] / total:>6.1%} "
        f"{calls[key] / steps:>10.1f}"
        for key in sorted(spent, key=lambda key: -spent[key])[:ROWS]
    ]


class Stopwatch:
    """Adds up wall time by what it was spent on; what nobody claims is the rest.

    It asks no GPU to finish: what runs there is counted where this process waits for it. That is in forward and
    backward, which end with fetching the loss; they include the update of the step before.
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
    """Says once, when a training has waited for data most of the time, what can be done about it on this machine."""

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
