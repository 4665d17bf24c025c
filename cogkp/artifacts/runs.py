"""Layout of a run folder, its lock (one writer at a time), and how its checkpoints are rotated."""

from __future__ import annotations

import errno
import importlib
import importlib.util
import itertools
import json
import logging
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs

from cogkp.artifacts.names import Clock, timestamp
from cogkp.errors import OutputError
from cogkp.files import is_json_with, is_plain_name, make_folder, share_file, write_verified, writing_to

LOCK_NAME = "run.lock"
HELD_ELSEWHERE = {errno.EACCES, errno.EAGAIN}

# Windows has no such locks.
_SYSTEM: Any = importlib.import_module("fcntl") if importlib.util.find_spec("fcntl") else None

_HELD: set[Path] = set()
"""Folders this process holds: the system would give a process the same lock twice."""

log = logging.getLogger("cogkp")

CHECKPOINT_NAME = "checkpoint_latest.pth"
BEST_NAME = "checkpoint_best.pth"
CONFIG_NAME = "run_config.json"
RECORD_NAME = "run.json"
METRICS_NAME = "metrics.jsonl"
TABLE_NAME = "metrics.csv"
LATEST = "latest"
BEST = "best"
NUMBERED = re.compile(r"checkpoint_(\d{6,})_e\d+_s\d+\.pth")
LEFTOVER = re.compile(r"\.(checkpoint_\w+|run_config|run|metrics)\.\w+\.(pth|json|jsonl|csv)")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder; raises OutputError where another training holds it, or the lock cannot be written."""
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
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise OutputError("the lock is no file", where=str(path), hint="Remove it, or choose another folder.")
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
    text = os.pread(handle, 4096, 0)
    owner = _parsed(text)
    if not owner:
        if text.strip(b"\0") and not text.startswith(b"{"):
            raise OutputError(
                "a file of somebody else has the lock's name",
                where=str(path),
                hint="Move it, or choose another folder.",
            )
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
    """Say whether the process that wrote a lock file is certainly gone; of another host nothing is certain."""
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


@attrs.frozen
class RunFolder:
    """One run on disk, below the folder of all runs, which holds the mirror."""

    path: Path
    root: Path

    @property
    def checkpoint(self) -> Path:
        """The run's newest checkpoint."""
        return self.path / CHECKPOINT_NAME

    @property
    def best(self) -> Path:
        """The checkpoint of the best validation; there only where one was made."""
        return self.path / BEST_NAME

    @property
    def mirror(self) -> Path:
        """The newest checkpoint of any run."""
        return self.root / CHECKPOINT_NAME

    @property
    def metrics(self) -> Path:
        """The history of the run's figures."""
        return self.path / METRICS_NAME

    @property
    def table(self) -> Path:
        """The epochs of the history as a table."""
        return self.path / TABLE_NAME

    def saves(self) -> list[Path]:
        """List the numbered checkpoints, newest first."""
        numbered = [path for path in self.path.glob("checkpoint_*.pth") if NUMBERED.fullmatch(path.name)]
        return sorted(numbered, key=_number, reverse=True)

    def save(self, data: bytes, position: tuple[int, int], *, keep_last: int = 1, best: bool = False) -> Path:
        """Write a numbered checkpoint, read it back, and let the other names show it; only then drop older ones.

        Each name changes in one step, so that a process that dies in between leaves whole files under all names.
        Numbered by epochs completed and steps done in the one under way, ``keep_last`` files stay, this one included.

        Raises:
            OutputError: one of them cannot be written; what stood there before is still valid.
        """
        earlier = self.saves()
        epoch, step = position
        newest = self.path / f"checkpoint_{max(map(_number, earlier), default=0) + 1:06d}_e{epoch}_s{step}.pth"
        write_verified(newest, data)
        for name in (*([self.best] if best else []), self.checkpoint, *([self.mirror] if self.has_mirror else [])):
            share_file(name, newest)
        for old in earlier[max(keep_last, 1) - 1 :]:
            old.unlink(missing_ok=True)
        return self.checkpoint

    @property
    def has_mirror(self) -> bool:
        """Whether the mirror is another file than the run's own."""
        return self.mirror != self.checkpoint

    @property
    def learnt(self) -> bool:
        """Whether anything came of the run: a checkpoint, or a line of its history."""
        return any(self.path.glob("checkpoint_*.pth")) or (self.metrics.is_file() and self.metrics.stat().st_size > 0)

    def sweep(self) -> None:
        """Remove half-written files of a process that died here."""
        for path in self.path.glob(".*"):
            if LEFTOVER.fullmatch(path.name):
                path.unlink(missing_ok=True)


def _number(path: Path) -> int:
    return int(path.name.split("_")[1])


def create_run(root: Path, clock: Clock = datetime.now) -> RunFolder:
    """Create a new, empty run folder (or OutputError); runs of the same second get ``-2``, ``-3``, ..."""
    make_folder(root)
    name = timestamp(clock)
    for number in itertools.count(1):
        path = root / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise OutputError(
                "the run folder cannot be created", where=str(path), got=error.strerror or str(error)
            ) from error
        return RunFolder(path, root)
    raise AssertionError("unreachable")


@contextmanager
def in_use(folder: RunFolder) -> Iterator[RunFolder]:
    """Lock a run's folder, or raise OutputError, and remove it again where nothing came of the run."""
    try:
        with locked(folder.path), _forgotten_unless_learnt(folder):
            folder.sweep()
            yield folder
    finally:
        with suppress(OSError):  # not empty
            folder.path.rmdir()


@contextmanager
def _forgotten_unless_learnt(folder: RunFolder) -> Iterator[None]:
    expected = [folder.path / name for name in (CONFIG_NAME, RECORD_NAME, METRICS_NAME)]
    new = [path for path in expected if not path.exists()]
    try:
        yield
    finally:
        if not folder.learnt:
            for path in new:
                path.unlink(missing_ok=True)


def continue_run(
    restored: Path, run_name: str, root: Path, clock: Clock = datetime.now, *, branch: bool = False
) -> RunFolder:
    """Choose where a restored run goes on: its own folder when that can be written, else a new one.

    ``run_name`` finds the run of a mirrored checkpoint. A new one is also made where a ``branch`` is wanted, since the
    run itself went further than the checkpoint.
    """
    home = run_of(restored, run_name, root)
    usable = not branch and home is not None and home.path.is_dir() and os.access(home.path, os.W_OK | os.X_OK)
    usable = usable and home is not None and not _holds_others(home)
    return home if home is not None and usable and make_folder(root) else create_run(root, clock)


def _holds_others(home: RunFolder) -> bool:
    """Say whether a folder that a checkpoint was put into has other files of our names, which a run would replace."""
    record = home.path / RECORD_NAME
    if record.is_file() and is_json_with(record, "format_version", "sessions"):
        return False
    return any((home.path / name).exists() for name in (CONFIG_NAME, RECORD_NAME, METRICS_NAME, TABLE_NAME))


def run_of(restored: Path, run_name: str, root: Path) -> RunFolder | None:
    """Find the run a checkpoint belongs to, also through the mirror; None where nobody knows, or it is gone."""
    home = home_of(restored, run_name)
    return None if home.resolve() == root.resolve() else RunFolder(home, root)


def home_of(checkpoint: Path, run_name: str) -> Path:
    """Find the folder of the run a checkpoint belongs to, also through a mirror; else the folder the file lies in."""
    if not is_plain_name(run_name):
        return checkpoint.parent
    home = (checkpoint.resolve() if checkpoint.is_symlink() else checkpoint).parent / run_name
    return home if home.is_dir() else checkpoint.parent


def own_name(checkpoint: Path, home: Path) -> Path:
    """Prefer the name of a checkpoint in the folder of its run to that of a mirror, which is another run's tomorrow."""
    own = home / checkpoint.name
    return own if own.is_file() and own.samefile(checkpoint) else checkpoint
