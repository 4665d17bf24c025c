"""Temporary files and folders: unique names, locked while in use, removed after a crash."""

import importlib
import importlib.util
import os
import re
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

PARTIAL = re.compile(r"\..*\.cogkp_[0-9a-f]{8}(\.[^.]*)?")
"""Names of files and folders that are being written."""

# Windows has no such locks.
_SYSTEM: Any = importlib.import_module("fcntl") if importlib.util.find_spec("fcntl") else None
_SWEPT: set[Path] = set()


def partial_name(stem: str, suffix: str) -> str:
    """Make up a hidden name, by which the file is known to be unfinished."""
    return f".{stem}.cogkp_{secrets.token_hex(4)}{suffix}"


def held(path: Path) -> int:
    """Open a file or folder and lock it, so that others see that somebody works on it."""
    handle = os.open(path, os.O_RDONLY)
    hold_alone(handle)
    return handle


def hold_alone(handle: int) -> bool:
    """Lock an open file or folder until it is closed, and say whether nobody else holds it, as far as can be told."""
    if _SYSTEM is not None:
        try:
            _SYSTEM.flock(handle, _SYSTEM.LOCK_EX | _SYSTEM.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # no locks on this disk: then nothing on it is ever swept, see below
            pass
    return True


def sweep(folder: Path) -> None:
    """Remove, once per process, what others left in a folder that died while they wrote there."""
    if _SYSTEM is None or folder in _SWEPT:
        return
    _SWEPT.add(folder)
    for path in [path for path in folder.glob(".*.cogkp_*") if PARTIAL.fullmatch(path.name)]:
        with suppress(OSError):
            handle = os.open(path, os.O_RDONLY)
            try:
                _SYSTEM.flock(handle, _SYSTEM.LOCK_EX | _SYSTEM.LOCK_NB)
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            finally:
                os.close(handle)
