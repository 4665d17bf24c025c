"""Let trainings of several programs share one core, a slice of time each, under clocks of their own. Linux only.

Each training is a process group that is stopped and continued by signals, so that one runs at a time and a busy moment
of the machine hits all of them alike. A clock starts where the training's first step would, and shows the processor
time used since: with one thread that is what a clock on the wall shows on a free core. The wall's time is kept as well.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.peers import ROOT
from benchmarks.peers.holding import JOURNAL

__all__ = ["Mark", "Runner", "order_words", "race"]

LOOK_S = 0.2
STILL_LOOKS = 1500  # five minutes and more; counted in looks, so that a pause of the whole race is none
TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


class Mark(NamedTuple):
    """Where a training stood when its clock showed a certain time.

    Args:
        clock_s: that time.
        trained_s: the same, or where the training had come to its end before, the time of that.
        wall_s: time that had passed in its slices, which is more where others had the core.
        images: it had learnt from.
        checkpoint: its newest weights, set aside.
        age_s: how old they were on its clock.
        finished: whether the training had come to its planned end.
    """

    clock_s: float
    trained_s: float
    wall_s: float
    images: int
    checkpoint: Path | None
    age_s: float
    finished: bool


def order_words(verb: str, **words: Any) -> str:
    """Write an order for :func:`benchmarks.peers.holding.order`."""
    nothing: dict[str, Any] = {"home": "", "epochs": 0, "settings": {}, "checkpoint": "", "output": ""}
    return json.dumps({**nothing, "verb": verb, **words}, default=str)


class Runner:
    """One training.

    Args:
        name: of the contestant.
        command: starts it; it stops itself at its start line, see :class:`benchmarks.peers.holding.Journal`.
        home: its folder, made anew.
        newest: finds its newest complete weights.
        environment: of the process.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        home: Path,
        newest: Callable[[], Path | None],
        environment: Mapping[str, str],
    ) -> None:
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        self.name, self.home, self.newest = name, home, newest
        self.clock_s, self.trained_s, self.wall_s, self.saved = 0.0, 0.0, 0.0, (0.0, 0.0)
        self.log = home / "output.log"
        with self.log.open("wb") as stream:
            self.process = subprocess.Popen(
                [*command],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=home,
                env={**environment, "PYTHONPATH": str(ROOT)},
            )
        self.cpu_before = 0.0

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self._signal(signal.SIGKILL)
        self.process.wait()

    def wait_for_start(self) -> None:
        """Come back when it has stopped itself at its start line."""
        while self._state() != "T":
            if self.process.poll() is not None:
                raise ChildProcessError(
                    f"{self.name} ended before its start, code {self.process.returncode}: {self.log}"
                )
            time.sleep(LOOK_S)
        self.cpu_before = self._cpu_s()

    @property
    def finished(self) -> bool:
        """Whether it ended; raises where it failed."""
        code = self.process.poll()
        if code:
            raise ChildProcessError(f"{self.name} ended with code {code}: {self.log}")
        return code is not None

    def run(self, until_s: float) -> None:
        """Let it have the core until its clock shows a time; it stands still afterwards."""
        started, still = time.monotonic(), 0
        self._signal(signal.SIGCONT)
        while not self.finished and self.clock_s < until_s:
            time.sleep(min(LOOK_S, max(until_s - self.clock_s, 0.01)))
            before, self.clock_s = self.clock_s, max(self.clock_s, self._cpu_s() - self.cpu_before)
            self.trained_s = self.clock_s
            still = 0 if self.clock_s > before else still + 1
            if still > STILL_LOOKS:
                raise ChildProcessError(f"{self.name} does nothing: {self.log}")
            self._look()
        self._signal(signal.SIGSTOP)
        self.wall_s += time.monotonic() - started
        if self.finished:
            self._look()
            self.clock_s = until_s

    def _look(self) -> None:
        """Remember when weights were first seen, to tell their age."""
        newest = self.newest()
        if newest is not None and (written := newest.stat().st_mtime) != self.saved[0]:
            self.saved = written, self.clock_s

    def mark(self, folder: Path) -> Mark:
        """Set the newest weights aside and say where it stands."""
        folder.mkdir(parents=True, exist_ok=True)
        newest, kept = self.newest(), None
        if newest is not None:
            kept = folder / f"{self.name}{newest.suffix}"
            shutil.copyfile(newest, kept)
        return Mark(
            self.clock_s, self.trained_s, self.wall_s, self.images(), kept, self.clock_s - self.saved[1], self.finished
        )

    def images(self) -> int:
        """Return how many images it has said to have learnt from."""
        lines = (self.home / JOURNAL).read_text(encoding="utf-8").splitlines()
        return int(json.loads(lines[-1])["images"])

    def _signal(self, number: signal.Signals) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def _stat(self) -> list[str]:
        # The name, in brackets, may hold blanks; what follows it does not.
        return Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()

    def _state(self) -> str:
        return self._stat()[0]

    def _cpu_s(self) -> float:
        try:
            user, system = self._stat()[11:13]
        except (OSError, ValueError):  # it has ended
            return 0.0
        return (int(user) + int(system)) / TICKS


def race(
    starts: Sequence[Callable[[], Runner]], marks_s: Sequence[float], slice_s: float, marks: Path
) -> dict[str, list[Mark]]:
    """Run all trainings in turn until every clock shows the last mark; return where each stood at each mark.

    They are set up one after another, so that nobody's setting up takes time from a training.
    """
    with ExitStack() as stack:
        runners = []
        for start in starts:
            runner = stack.enter_context(start())
            runner.wait_for_start()
            print(f"{runner.name} is at its start", flush=True)
            runners.append(runner)
        found: dict[str, list[Mark]] = {runner.name: [] for runner in runners}
        for mark_s in marks_s:
            _to_mark(runners, mark_s, slice_s)
            for runner in runners:
                mark = runner.mark(marks / f"{mark_s:.0f}s")
                found[runner.name].append(mark)
                print(f"{runner.name} at {mark_s:.0f} s: {mark}", flush=True)
        return found


def _to_mark(runners: Sequence[Runner], mark_s: float, slice_s: float) -> None:
    while behind := [runner for runner in runners if runner.clock_s < mark_s]:
        for runner in behind:
            runner.run(min(runner.clock_s + slice_s, mark_s))
