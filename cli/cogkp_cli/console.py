"""Print results to stdout, and everything else to stderr; both may be closed, full, or a broken pipe."""

from __future__ import annotations

import errno
import io
import json
import logging
import math
import os
import select
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from cogkp import cli_api
from cogkp.errors import printable

STDOUT, STDERR = 1, 2
READER_GONE = {errno.EPIPE, errno.EIO}
"""Nobody is there any more who would miss something: a closed pipe, a closed terminal."""


class _Steady(io.FileIO):
    """A stream that remembers its first failure, and lets what it can no longer write pass."""

    failure: OSError | None = None
    needed = True

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


def lost_output() -> tuple[str, bool]:
    """Say why standard output was lost, and whether it is needed, since what it said is nowhere else.

    Returns:
        The reason; empty where nothing was lost, or nobody listened any more.
    """
    sys.stdout.flush()
    raw = _raw_stdout()
    failure = raw.failure if isinstance(raw, _Steady) else None
    if failure is None or failure.errno in READER_GONE:
        return "", False
    return str(failure.strerror), raw.needed


def _raw_stdout() -> Any:
    return getattr(getattr(sys.stdout, "buffer", None), "raw", None)


def _open_missing() -> None:
    """Give closed descriptors to nobody: a checkpoint that got the number 2 would be written to by every warning."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= STDERR:  # the system takes the lowest that is free
        pass
    os.close(number)


def _steady(number: int, stream: Any) -> Any:
    encoding, errors = (stream.encoding, stream.errors) if stream is not None else ("utf-8", "backslashreplace")
    raw = _Steady(number, "w", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors, line_buffering=number == STDERR or raw.isatty())


def complain(line: str) -> None:
    """Write a line for people to stderr."""
    sys.stderr.write(f"{_shown(line)}\n")
    sys.stderr.flush()


def _shown(text: str) -> str:
    """Escape what a terminal would obey; breaks between lines stay."""
    return "\n".join(map(printable, text.split("\n")))


class _StderrLines(logging.Handler):
    """Looks stderr up at each line, so that a progress bar on it can step aside."""

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        if isinstance(record.args, tuple):  # names from files; an error has its own lines
            record.args = tuple(printable(str(a)) if isinstance(a, str | Path) else a for a in record.args)
        complain(prefix + record.getMessage())


def _listen() -> None:
    logger = logging.getLogger("cogkp")
    if not any(isinstance(handler, _StderrLines) for handler in logger.handlers):
        logger.addHandler(_StderrLines())
        logger.setLevel(logging.INFO)


class Console:
    """The output of one command: lines as it runs, and facts at the end.

    With ``as_json`` stdout carries the facts as one JSON object and nothing else.
    With ``silent`` nothing is printed: another process of the same training does.
    """

    def __init__(self, as_json: bool, *, silent: bool = False) -> None:
        self.as_json = as_json
        self.silent = silent
        self.facts: dict[str, Any] = {}
        _listen()

    def say(self, *lines: str) -> None:
        """Print lines for people; a break within one, as a path may have, is shown and not obeyed."""
        if self.silent:
            return
        text = "\n".join(map(printable, lines))
        if self.as_json:
            complain(text)
        else:
            typer.echo(text)

    def tell(self, text: str) -> None:
        """Print the lines of a text whose names are escaped already."""
        self.say(*text.split("\n"))

    def add(self, **facts: Any) -> None:
        """Add a fact for programs (``--json``)."""
        self.facts.update(facts)

    def wrote(self, *paths: Path | None) -> None:
        """Print the files that were written."""
        for path in paths:
            if path is not None:
                self.say(f"wrote {path}")

    def finish(self, **facts: Any) -> None:
        """Add the last facts, and print all of them where ``--json`` is given; else the work is done without output."""
        self.add(**facts)
        if self.as_json and not self.silent:
            typer.echo(json.dumps(plain(self.facts), indent=2, allow_nan=False))
        elif not self.as_json and isinstance(raw := _raw_stdout(), _Steady):
            raw.needed = False


def plain(value: Any) -> Any:
    """Turn facts into what JSON knows: paths become strings, numbers that are none become null.

    Example:
        >>> plain({"error_px": float("nan"), "sizes": (1, 2)})
        {'error_px': None, 'sizes': [1, 2]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def open_console(as_json: bool) -> Console:
    """Open the console of a command; of several processes the first one prints."""
    return Console(as_json, silent=not cli_api.launched().first)
