"""Compare ways of doing the same thing on one machine, fairly, and say where the figures come from.

The ways take turns, so that a busy moment of the machine hits all of them alike; medians are compared, not means.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

__all__ = ["Timing", "command", "compare", "provenance", "show", "summary", "table"]

PACKAGES = ("cogkp", "torch", "numpy", "opencv-python-headless", "onnx", "onnxruntime", "typer")
MILLI = 1e3


class Timing(NamedTuple):
    """What one way took.

    Args:
        name: of the way.
        median_s: over all rounds.
        spread_s: distance between the quartiles.
        ratio: median over the median of the first way.
    """

    name: str
    median_s: float
    spread_s: float
    ratio: float


def compare(
    ways: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 15,
    warmup: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Timing]:
    """Time each way in turn, round after round; the first is the measure of the others."""
    for _ in range(warmup):
        for run in ways.values():
            run()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, run in ways.items():
            start = clock()
            run()
            seconds[name].append(clock() - start)
    return summary(seconds)


def summary(seconds: Mapping[str, Sequence[float]]) -> list[Timing]:
    """Sum up rounds that were timed elsewhere, in turns; the first way is the measure of the others."""
    reference = statistics.median(next(iter(seconds.values())))
    return [_timing(name, values, reference) for name, values in seconds.items()]


def _timing(name: str, values: Sequence[float], reference: float) -> Timing:
    median = statistics.median(values)
    low, _, high = statistics.quantiles(values, n=4) if len(values) > 1 else (median, median, median)
    return Timing(name, median, high - low, median / reference)


def command(*words: str) -> Callable[[], object]:
    """Make a way of a command line; its output is thrown away, its failure is not."""
    return lambda: subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def provenance() -> dict[str, str]:
    """Say on what machine, with which versions and when the figures were taken."""
    facts = {
        "date": date.today().isoformat(),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.platform(terse=True)}",
        "python": platform.python_version(),
        "commit": _commit(),
    }
    return facts | {name: metadata.version(name) for name in PACKAGES if _installed(name)}


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _commit() -> str:
    asked = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def table(title: str, timings: Sequence[Timing]) -> None:
    """Print a table."""
    print(f"{title}\n")
    print(f"{'way':<34} {'median':>10} {'quartiles':>10} {'ratio':>7}")
    for timing in timings:
        figures = f"{timing.median_s * MILLI:>7.1f} ms {timing.spread_s * MILLI:>7.1f} ms {timing.ratio:>7.2f}"
        print(f"{timing.name:<34} {figures}")
    print(flush=True)


def show(title: str, timings: Sequence[Timing]) -> None:
    """Print a table, and below it where its figures come from."""
    table(title, timings)
    for name, value in provenance().items():
        print(f"{name}: {value}")
    sys.stdout.flush()
