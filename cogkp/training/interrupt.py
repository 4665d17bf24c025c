"""Being stopped without loss: Ctrl-C, a scheduler's SIGTERM, and SIGHUP of a terminal that closes.

The first signal asks to stop after the step under way. A second Ctrl-C stops at once. A scheduler's second signal does
not: schedulers and shells often send theirs twice.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Windows has no SIGHUP.
STOPPING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Interrupt:
    """Whether somebody asked to stop, and by which signal; 0 where nobody did."""

    def __init__(self) -> None:
        self.signal = 0

    @property
    def requested(self) -> bool:
        """Whether somebody asked."""
        return self.signal != 0

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        """Take one signal."""
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = self.signal or number


@contextmanager
def listening() -> Iterator[Interrupt]:
    """Listen for signals that ask to stop, and hand them back to whoever listened before.

    Outside the main thread nothing can listen: then nobody ever asks. A SIGTERM or SIGHUP that was ignored before, as
    under nohup, stays ignored.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = {number: signal.getsignal(number) for number in STOPPING}
    heard = [number for number in STOPPING if number == signal.SIGINT or before[number] != signal.SIG_IGN]
    for number in heard:
        signal.signal(number, interrupt)
    try:
        yield interrupt
    finally:
        for number in heard:
            signal.signal(number, before[number])
