"""Start loader processes as this machine can bear them, and say what to do where one dies."""

import importlib
import importlib.util
import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import cv2
import torch

from cogkp.errors import DataError, counted

# Windows has no such limits.
resource: Any = importlib.import_module("resource") if importlib.util.find_spec("resource") else None

log = logging.getLogger("cogkp")

LEAST_BOUND, WORKERS_PER_CORE = 16, 4
FILES_OF_A_PROCESS, FILES_PER_WORKER = 64, 32
"""Open files: logs, checkpoints and libraries; of each loader process its pipes, and its batches in shared memory."""

GRACE_S = 20
"""How long a loader process that was told to end may still serve the step under way."""

WORKER = "DataLoader worker"
DEATHS = ("is killed by signal", "exited unexpectedly", "Cannot allocate memory", "out of memory", "can't allocate")
SHORTAGES = ("Too many open files", "received 0 items of ancdata", "shared memory", "Pin memory thread exited")
"""What torch says where a loader process is gone, or starves."""

RAISED_IN_WORKER = "Caught "
"""How torch begins an error that a loader process met and lived on."""


def start_worker(_number: int) -> None:
    """Prepare a loader process, which begins as a copy of the training."""
    # The training decides when to stop: a terminal or scheduler that signals all processes must not tear a batch.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE_S))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # One process, one thread: threads of several processes on the same cores slow each other down many times over.
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def reasonable_workers(num_workers: int, batches: int) -> int:
    """Choose how many processes are started: not more than have something to do, or than help on this machine."""
    most = max(LEAST_BOUND, WORKERS_PER_CORE * (os.cpu_count() or 1))
    if num_workers > most:
        log.warning("%d loader processes are more than this machine has use for: %d are started", num_workers, most)
    return min(num_workers, most, batches)


def require_open_files(workers: int) -> None:
    """Allow this process as many open files as the system lets it; torch hangs where they run out half-way.

    Raises:
        DataError: there are too few for the loader processes.
    """
    if resource is None or not workers:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    needed = FILES_OF_A_PROCESS + FILES_PER_WORKER * workers
    if soft != resource.RLIM_INFINITY and soft < needed:
        raise DataError(
            f"too few open files are allowed for {counted(workers, 'loader process', 'es')}",
            expected=f"at least {needed}",
            got=f"{soft}",
            hint="Raise the limit (ulimit -n), or take fewer (--num-workers, dataset.workers).",
        )


def workers_failed(what: str, got: str) -> DataError:
    """Make the error of loader processes that died or could not start, with what helps."""
    return DataError(
        what,
        got=got,
        hint="Mostly memory is short: fewer loader processes (--num-workers, dataset.workers; 0 loads in the training "
        "process) and smaller batches need less. In a container give more shared memory (docker run --shm-size=8g); "
        "raise the limit of open files (ulimit -n) where these ran out.",
    )


class _DeathWatch:
    """Reports the death of a loader process where a batch is asked for, and nowhere else.

    Torch notices it in a signal handler and raises wherever the program happens to be: in an optimiser step, in the
    middle of a save, in the report of the very error that the death led to, in code that swallows it with a traceback.
    What it raises is kept here for the next batch; whoever waits for one sees within five seconds that a process died.
    """

    def __init__(self) -> None:
        self._kept: RuntimeError | None = None

    @contextmanager
    def starting(self, workers: int) -> Iterator[None]:
        """Watch the loader processes that are started in this block; raises DataError where they cannot be."""
        self._kept = None
        try:
            with self.awaiting(workers, f"{counted(workers, 'loader process', 'es')} cannot be started"):
                yield
        finally:
            self._take_over()

    @contextmanager
    def awaiting(self, workers: int, otherwise: str = "a loader process failed") -> Iterator[None]:
        """Wait for what the loader processes do in this block; without any, errors pass as they are.

        Raises:
            DataError: one of them died, or starves, in place of torch's or the system's own words.
        """
        if not workers:
            yield
            return
        try:
            self._tell()
            yield
        except (RuntimeError, OSError, EOFError) as error:
            if not _of_death(error):
                raise
            raise workers_failed(otherwise, _last_line(error)) from error

    def _tell(self) -> None:
        kept, self._kept = self._kept, None
        try:
            if kept is not None:
                raise kept
        finally:
            # An error that is held holds the frames it passed, and with them the loader, which ends its processes
            # only when it is let go.
            del kept

    def _take_over(self) -> None:
        """Stand between torch's handler and the program; torch sets it with its first loader processes."""
        if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
            return
        handler = signal.getsignal(signal.SIGCHLD)
        if not callable(handler) or not getattr(handler, "__module__", "").startswith("torch."):
            return

        def told(number: int, frame: Any) -> None:
            try:
                handler(number, frame)
            except RuntimeError as error:
                self._kept = error

        signal.signal(signal.SIGCHLD, told)


DEATH_WATCH = _DeathWatch()
"""The one of this process, which has one handler of each signal."""


def _of_death(error: Exception) -> bool:
    said = str(error)
    if isinstance(error, RuntimeError):
        return any(sign in said for sign in SHORTAGES) or (WORKER in said and any(sign in said for sign in DEATHS))
    # A process that dies while it hands over a batch is seen as a broken connection first.
    return not said.startswith(RAISED_IN_WORKER)


def _last_line(error: Exception) -> str:
    said = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    return str(said).splitlines()[-1].rstrip(". ")
