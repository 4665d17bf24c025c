"""A lock on a run folder: one writer at a time.

The lock is the operating system's own, on a file that says who holds it. The system takes it back from a process that
dies, however it dies, so that a lock left behind is never an obstacle: only its text remains, and is logged.
"""

import errno
import importlib
import importlib.util
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cogkp.artifacts.names import timestamp
from cogkp.errors import OutputError
from cogkp.files import writing_to

LOCK_NAME = "run.lock"
HELD_ELSEWHERE = {errno.EACCES, errno.EAGAIN}

# Windows has no such locks.
_SYSTEM: Any = importlib.import_module("fcntl") if importlib.util.find_spec("fcntl") else None

_HELD: set[Path] = set()
"""Folders this process holds: the system would give a process the same lock twice."""

log = logging.getLogger("cogkp")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder.

    Raises:
        OutputError: another training holds it, or the lock cannot be written.
    """
    home = folder.resolve()
    path = folder / LOCK_NAME
    if home in _HELD:
        raise _in_use(path, _ourselves())
    handle = _acquire(path)
    _HELD.add(home)
    try:
        yield
    finally:
        _HELD.discard(home)
        with suppress(OSError):
            path.unlink()
        os.close(handle)


def _acquire(path: Path) -> int:
    """Open the lock file, lock it, and write down who holds it."""
    while True:
        with writing_to(path):
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _claim(handle, path)
            if _is_at(handle, path):  # else its holder took the file away between our opening it and locking it
                _write_owner(handle, path)
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _claim(handle: int, path: Path) -> None:
    proven = _lock(handle, path)
    owner = _parsed(os.pread(handle, 4096, 0))
    if not owner:
        return
    if not (proven or abandoned(owner)):
        raise _in_use(path, owner)
    log.info("%s was left by a training that did not end well: %s", path, _named(owner))


def _lock(handle: int, path: Path) -> bool:
    """Take the system's lock; return whether there are such locks here, so that having it proves anything."""
    if _SYSTEM is None:
        return False
    try:
        # These locks, unlike those of flock, are not shared with forked loader processes that outlive us for a while.
        _SYSTEM.lockf(handle, _SYSTEM.LOCK_EX | _SYSTEM.LOCK_NB)
    except OSError as error:
        if error.errno in HELD_ELSEWHERE:
            raise _in_use(path, _parsed(os.pread(handle, 4096, 0))) from None
        return False
    return True


def abandoned(owner: dict[str, Any]) -> bool:
    """Say whether the process that wrote a lock file is certainly gone.

    Args:
        owner: 'host' and 'pid'. Of another host nothing is certain.
    """
    if _SYSTEM is None or owner.get("host") != socket.gethostname() or not isinstance(owner.get("pid"), int):
        return False
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _ourselves() -> dict[str, Any]:
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": timestamp()}


def _write_owner(handle: int, path: Path) -> None:
    owner = _ourselves()
    with writing_to(path):
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(owner).encode("utf-8"), 0)
        os.fsync(handle)


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        owner = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _named(owner: dict[str, Any]) -> str:
    return f"process {owner.get('pid', '?')} on {owner.get('host', '?')}, since {owner.get('since', '?')}"


def _in_use(path: Path, owner: dict[str, Any]) -> OutputError:
    return OutputError(
        "another training writes into this run folder",
        where=str(path),
        got=_named(owner),
        hint="Wait for it or stop it; where it is certainly gone, delete this file.",
    )
