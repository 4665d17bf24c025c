"""Errors on the command line: one line on stderr and an exit code.

0 done, 1 the work could not be done, 2 wrong use or wrong configuration, 70 a fault of this program, 130 interrupted.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import typer

import cogkp
from cogkp_cli.console import complain

__all__ = ["FAILED", "FAULT", "INTERRUPTED", "MISUSED", "fault", "reported"]

FAILED = 1
MISUSED = 2
FAULT = 70
INTERRUPTED = 130

DEBUG = "COGKP_DEBUG"


@contextmanager
def reported() -> Iterator[None]:
    """Turn what a user can cure into its lines and its exit code; let faults of the program pass."""
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except KeyboardInterrupt:
        complain("interrupted")
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
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
