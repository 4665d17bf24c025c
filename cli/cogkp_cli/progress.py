"""Show progress on stderr: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cogkp.errors import printable
from cogkp_cli.console import complain

if TYPE_CHECKING:
    from rich.progress import Progress as RichBar
    from rich.progress import TaskID

    from cogkp import Progress
    from cogkp.progress import Step

SECONDS_BETWEEN_LINES = 10.0
SECONDS_OF_SPEED = 300.0
"""A training's speed is averaged over this much of its past, so that a validation in between does not disturb it."""
BAR_COLUMNS = 6
FACTS_TO_BAR = 4
SMALL = 1e-3
MINUTE = 60
HOUR = 3600


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """Choose what suits stderr, and clean up after it."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    with _bar() as bar:
        yield Bars(bar)


class Lines:
    """Plain lines, without control characters: one now and then, and one at the end of each piece of work."""

    def __init__(
        self,
        write: Callable[[str], None] = complain,
        clock: Callable[[], float] = time.monotonic,
        every_s: float = SECONDS_BETWEEN_LINES,
    ) -> None:
        self.write, self.now, self.every_s = write, clock, every_s

    @contextmanager
    def work(self, label: str, total: int | None) -> Iterator[Step]:
        """Begin a piece of work of ``total`` units; None where nobody knows how many."""
        step = _LineStep(label, total, self)
        yield step
        step.close()


class _LineStep:
    def __init__(self, label: str, total: int | None, lines: Lines) -> None:
        self._label, self._total, self._lines = printable(label), total, lines
        self._done = 0
        self._facts: dict[str, float | str] = {}
        self._started = self._last_line = lines.now()

    def advance(self, amount: int = 1, **facts: float | str) -> None:
        self._done += amount
        self._facts.update(facts)
        if self._lines.now() - self._last_line >= self._lines.every_s:
            self._last_line = self._lines.now()
            self._lines.write(
                self._line("" if self._total is None else f"about {duration(self._left_s(self._total))} left")
            )

    def close(self) -> None:
        self._lines.write(self._line(f"took {duration(self._lines.now() - self._started)}"))

    def _left_s(self, total: int) -> float:
        return (self._last_line - self._started) * (total - self._done) / max(self._done, 1)

    def _line(self, ending: str) -> str:
        count = f"{self._done}" if self._total is None else f"{self._done}/{self._total}"
        return ", ".join(part for part in (f"{self._label}: {count}", facts_text(self._facts), ending) if part)


class Bars:
    """Bars of rich; pieces of work may run inside one another."""

    def __init__(self, bar: RichBar) -> None:
        self._bar = bar

    @contextmanager
    def work(self, label: str, total: int | None) -> Iterator[Step]:
        """Begin a piece of work of ``total`` units; None where nobody knows how many."""
        task = self._bar.add_task(printable(label), total=total, facts="")
        yield _BarStep(self._bar, task)
        self._bar.stop_task(task)


class _BarStep:
    def __init__(self, bar: RichBar, task: TaskID) -> None:
        self._bar, self._task = bar, task
        self._facts: dict[str, float | str] = {}

    def advance(self, amount: int = 1, **facts: float | str) -> None:
        if facts:
            self._facts.update(facts)
            self._bar.update(self._task, advance=amount, facts=facts_text(self._facts))
        else:
            self._bar.advance(self._task, amount)


def _bar() -> RichBar:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=BAR_COLUMNS)),
        MofNCompleteColumn(),
        TextColumn("{task.fields[facts]}", markup=False, table_column=Column(ratio=FACTS_TO_BAR, no_wrap=True)),
        TimeElapsedColumn(),
        TextColumn("<"),
        TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
        speed_estimate_period=SECONDS_OF_SPEED,
        expand=True,
    )


def facts_text(facts: Mapping[str, float | str]) -> str:
    """Write facts as people read them.

    Example:
        >>> facts_text({"loss": 0.123456, "lr": 0.00033, "stage": "render"})
        'loss 0.1235, lr 3.3e-04, stage render'
    """
    words = (f"{name} {value if isinstance(value, str) else _number(value)}" for name, value in facts.items())
    return printable(", ".join(words))


def _number(value: float) -> str:
    return f"{value:.1e}" if 0 < abs(value) < SMALL else f"{value:.4g}"


def duration(seconds: float) -> str:
    """Write a time span as people say it.

    Example:
        >>> duration(7.4), duration(125.0), duration(7260.0)
        ('7 s', '2 min 05 s', '2 h 01 min')
    """
    whole = round(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min {whole % MINUTE:02d} s"
    return f"{whole // HOUR} h {whole % HOUR // MINUTE:02d} min"
