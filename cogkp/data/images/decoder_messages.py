"""Collect the messages that image decoders write to the standard error of the process.

libjpeg, libpng and libtiff tell of faults there and nowhere else. Threads decode at the same time; what was written
then cannot be distinguished, so that a caller that sees a message decodes once more, alone.
"""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2

__all__ = ["Heard", "decoder_messages"]

STDERR = 2
LONGEST_S = 0.1
"""Lines of other threads are held back for at most about so long."""
# A decoder may write a line and its end apart, so that a line of another thread stands between the two.
OF_DECODERS = re.compile(
    r"(Corrupt JPEG data: (?:premature end of data segment|bad Huffman code|bad arithmetic code|bad ICC marker"
    r"|\d+ extraneous bytes before marker 0x[0-9a-f]{2}|found marker 0x[0-9a-f]{2} instead of RST\d)"
    r"|Premature end of JPEG file|Invalid SOS parameters for sequential JPEG|Unknown Adobe color transform code \d+"
    r"|Inconsistent progression sequence for component \d+ coefficient \d+|Application transferred too many scanlines"
    r"|Warning: unknown JFIF revision number \d+\.\d+|libpng (?:error|warning): .*|\[ ?(?:WARN|ERROR):.*)\n?"
)


SILENT, WARNINGS = 0, 3
"""Levels of OpenCV's log; at the second it passes on the warnings of libtiff."""


class Heard:
    """What one decoding made the decoders say.

    Args:
        lines: of the decoders; empty until they have ended, and where others decoded at the same time.
        quiet: whether nothing at all was written meanwhile.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.quiet = True


class _Redirection:
    """Standard error leads into a scratch file as long as anybody decodes."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.users = 0
        self.alone = False
        self.since = 0.0
        self.before = -1
        self.level = 0
        self.file: Any = None

    def enter(self, alone: bool, warnings: bool) -> int:
        """Begin to decode, once that is possible; returns how much was written before."""
        with self.changed:
            self.changed.wait_for(lambda: not self.users or not (alone or self.alone or self._is_long()))
            if not self.users:
                self._begin(WARNINGS if warnings else SILENT)
            self.users += 1
            self.alone = alone
            return self.written()

    def leave(self) -> list[str]:
        """End; the last one to leave gets what the decoders wrote."""
        with self.changed:
            self.users -= 1
            said = [] if self.users else self._end()
            self.changed.notify_all()
        return said

    def written(self) -> int:
        return os.fstat(self.file.fileno()).st_size

    def _is_long(self) -> bool:
        return time.monotonic() - self.since > LONGEST_S

    def _begin(self, level: int) -> None:
        memory = getattr(os, "memfd_create", None)
        if memory:
            handle = memory("decoders")
            fcntl.fcntl(handle, fcntl.F_SETFL, os.O_APPEND)  # else two threads may write to one place
            self.file = os.fdopen(handle, "rb")
        else:
            self.file = tempfile.TemporaryFile("a+b")  # noqa: SIM115
        try:
            self.before = os.dup(STDERR)
        except OSError:  # closed
            self.before = -1
        os.dup2(self.file.fileno(), STDERR)
        self.level = _set_log_level(level)
        self.since = time.monotonic()

    def restore(self) -> None:
        """Let standard error lead where it led before."""
        _set_log_level(self.level)
        if self.before < 0:
            os.close(STDERR)
        else:
            os.dup2(self.before, STDERR)
            os.close(self.before)

    def _end(self) -> list[str]:
        self.restore()
        with self.file as file:  # read in place: somebody may still be writing at its end
            text = os.pread(file.fileno(), self.written(), 0).decode("utf-8", "surrogateescape")
        said = [found[1] for found in OF_DECODERS.finditer(text)]
        others = re.sub("\n+", "\n", OF_DECODERS.sub("", text)).lstrip("\n") if said else text
        if others and self.before >= 0:
            os.write(STDERR, others.encode("utf-8", "surrogateescape"))
        return said


def _set_log_level(level: int) -> int:
    """Set what OpenCV writes to the console; returns the level before. OpenCV 5 has moved the function."""
    change = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    return int(change(level))


_redirection = _Redirection()


def _renew() -> None:
    """Start afresh in a forked process, where the threads that were decoding do not live on."""
    global _redirection
    if _redirection.users:
        _redirection.restore()
    _redirection = _Redirection()


os.register_at_fork(after_in_child=_renew)


@contextmanager
def decoder_messages(*, alone: bool = False, warnings: bool = False) -> Iterator[Heard]:
    """Collect what decoders write while the block runs; lines of others are passed on after it.

    Args:
        alone: wait until nobody else decodes, and let nobody begin.
        warnings: whether OpenCV writes, too; it needs ``alone``.
    """
    heard = Heard()
    start = _redirection.enter(alone, warnings)
    try:
        yield heard
    finally:
        heard.quiet = _redirection.written() == start
        said = _redirection.leave()
        heard.lines = said if alone else []
