"""Profile a few training steps, operator by operator."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile, schedule

from cogkp.files import writing_to
from cogkp.training.sinks import EpochEvent, StepEvent

__all__ = ["TRACE_NAME", "ProfileSink", "top_operators"]

TRACE_NAME = "trace.json"
WARMUP_STEPS = 5
PROFILED_STEPS = 10
ROWS = 10
NAME_WIDTH = 40
FRAMES = ("ProfilerStep", "enumerate(DataLoader)")  # they surround operators, and are none

log = logging.getLogger("cogkp")


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
