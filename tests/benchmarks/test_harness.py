"""The harness: turns are fair, medians are medians, failures are loud. Told by a clock of our own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from benchmarks.harness import Timing, command, compare, provenance, show


class Clock:
    """Time passes only where a way takes some."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_ways_take_turns() -> None:
    order: list[str] = []
    compare({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=3, warmup=1)
    assert "".join(order) == "abababab"


def test_median_forgets_one_bad_round() -> None:
    clock = Clock()
    slow: Iterator[float] = iter([9.0, 2.0, 2.0, 50.0, 2.0, 2.0])

    def one() -> None:
        clock.now += 1.0

    def two() -> None:
        clock.now += next(slow)

    first, second = compare({"one": one, "two": two}, rounds=5, warmup=1, clock=clock)
    assert (first.median_s, first.ratio) == (1.0, 1.0)
    assert (second.median_s, second.ratio) == (2.0, 2.0)


def test_command_that_fails_is_loud() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        command(sys.executable, "-c", "raise SystemExit(3)")()


def test_table_tells_where_figures_come_from(capsys: pytest.CaptureFixture[str]) -> None:
    show("a title", [Timing("one", 0.0015, 0.0001, 1.0)])
    out = capsys.readouterr().out
    assert "1.5 ms" in out
    for name, value in provenance().items():
        assert f"{name}: {value}" in out
