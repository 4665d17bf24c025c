"""Errors on the command line: one line on stderr and an exit code.

0 done, 1 the work could not be done, 2 wrong use or wrong configuration, 70 a fault of this program, 129, 130 and 143
stopped by SIGHUP, Ctrl-C and SIGTERM.
"""

import os
import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

import cogkp
from cogkp_cli.console import complain

FAILED = 1
MISUSED = 2
FAULT = 70
SIGNALLED = 128

DEBUG = "COGKP_DEBUG"


@contextmanager
def reported() -> Iterator[None]:
    """Turn what a user can cure into its lines and its exit code; let faults of the program pass."""
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except KeyboardInterrupt as stop:
        raise typer.Exit(stopped(stop)) from None
    except BrokenPipeError:
        raise typer.Exit(FAILED) from None
    except UnicodeEncodeError as error:
        complain(f"error: {error.object!r} cannot be a name in this locale ({error.encoding}). Set PYTHONUTF8=1.")
        raise typer.Exit(FAILED) from None
    except OSError as error:
        _show_traceback_on_request()
        complain(f"error: {_speaker()}{error}")
        raise typer.Exit(FAILED) from None
    except cogkp.CogkpError as error:
        _show_traceback_on_request()
        if not getattr(error, "reported", False):
            for line in str(error).splitlines():
                complain(f"error: {_speaker()}{line}")
        raise typer.Exit(error.exit_code) from None


class _StoppedError(KeyboardInterrupt):
    """A signal asked to stop, as Ctrl-C does."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextmanager
def stoppable() -> Iterator[list[KeyboardInterrupt]]:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does, so that nothing half-written stays behind.

    A training listens itself, and saves first. What was ignored before, as under nohup, stays ignored.

    Yields:
        The signals that came. An import that swallows one leaves modules half loaded: errors after it are no faults.
    """
    came: list[KeyboardInterrupt] = []

    def stop(number: int, _frame: Any) -> None:
        came.append(_StoppedError(number))
        raise came[-1]

    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    heard = [number for number in numbers if before[number] in (signal.SIG_DFL, signal.default_int_handler)]
    for number in heard:
        signal.signal(number, stop)
    try:
        yield came
    finally:
        for number in heard:
            signal.signal(number, before[number])


def stopped(stop: KeyboardInterrupt) -> int:
    """Tell of a signal that ended the work and return its exit code."""
    number = getattr(stop, "number", signal.SIGINT)
    if os.environ.get("RANK", "0") == "0":  # of several processes one speaks
        complain("interrupted" if number == signal.SIGINT else f"stopped by {signal.Signals(number).name}")
    return stop_code(number)


def stop_code(number: int) -> int:
    """Return the exit code of work that a signal ended.

    Example:
        >>> stop_code(signal.SIGINT), stop_code(signal.SIGTERM)
        (130, 143)
    """
    return SIGNALLED + number


def fault(error: Exception) -> int:
    """Tell of an error nobody foresaw and return its exit code."""
    _show_traceback_on_request()
    complain(f"error: {_speaker()}{type(error).__name__}: {error}")
    complain(f"This is a fault of the program: please report it, with what {DEBUG}=1 prints.")
    return FAULT


def _speaker() -> str:
    """Name the process, where several train together."""
    ranks = os.environ.get("WORLD_SIZE", "1")
    return "" if ranks == "1" else f"rank {os.environ.get('RANK', '?')} of {ranks}: "


def _show_traceback_on_request() -> None:
    if os.environ.get(DEBUG):
        complain(traceback.format_exc())
