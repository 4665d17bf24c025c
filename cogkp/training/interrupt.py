"""Handle Ctrl-C: the first asks the training to stop after the current step, the second stops it at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Interrupt", "listening"]


class Interrupt:
    """Whether somebody asked to stop."""

    def __init__(self) -> None:
        self.requested = False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        """Take one signal."""
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


@contextmanager
def listening() -> Iterator[Interrupt]:
    """Listen for Ctrl-C, and restore the handler before.

    Outside the main thread nothing can listen: then nobody ever asks. Loader processes are forked with this handler,
    so that a Ctrl-C in the terminal, which reaches them too, does not tear the batch under way.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)
