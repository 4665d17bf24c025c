"""Standard streams that may be closed, full, or a broken pipe, without ending the work."""

import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

STDOUT, STDERR = 1, 2
READER_GONE = {errno.EPIPE, errno.EIO}
"""Nobody is there any more who would miss something: a closed pipe, a closed terminal."""


class _Steady(io.FileIO):
    """A stream that remembers its first failure, and lets what it can no longer write pass."""

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        """Write, or do as if."""
        try:
            while (written := super().write(data)) is None:  # somebody else has made it non-blocking
                select.select([], [self], [])
        except OSError as error:
            self.failure = self.failure or error
            return memoryview(data).nbytes
        return written


@contextmanager
def steady_streams() -> Iterator[None]:
    """Let output fail without consequences inside the block; where somebody replaced the streams, they are his."""
    _open_missing()
    before = sys.stdout, sys.stderr
    if sys.stdout is sys.__stdout__:
        sys.stdout = _steady(STDOUT, sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _steady(STDERR, sys.stderr)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before


def lost_output() -> str:
    """Say why results did not reach standard output; empty where they did, or where nobody listened any more."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    failure = getattr(raw, "failure", None)
    return "" if failure is None or failure.errno in READER_GONE else str(failure.strerror)


def _open_missing() -> None:
    """Give closed descriptors to nobody: a checkpoint that got the number 2 would be written to by every warning."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= STDERR:  # the system takes the lowest that is free
        pass
    os.close(number)


def _steady(number: int, stream: Any) -> Any:
    encoding, errors = (stream.encoding, stream.errors) if stream is not None else ("utf-8", "backslashreplace")
    raw = _Steady(number, "w", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors, line_buffering=number == STDERR or raw.isatty())
