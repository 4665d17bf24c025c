"""Where the checkpoints of a training lie.

``checkpoints/<timestamp>/checkpoint_latest.pth`` belongs to one run; ``checkpoints/checkpoint_latest.pth`` mirrors the
newest save of any run.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import attrs

from cogkp.artifacts.names import Clock, timestamp
from cogkp.errors import CheckpointError, OutputError
from cogkp.files import make_folder, share_file, write_bytes

__all__ = ["CHECKPOINT_NAME", "LATEST", "RunFolder", "continue_run", "create_run", "in_use", "resolve_restore"]

CHECKPOINT_NAME = "checkpoint_latest.pth"
LATEST = "latest"


@attrs.frozen
class RunFolder:
    """One run on disk.

    Args:
        path: the run's own folder.
        root: the folder of all runs, which holds the mirror.
    """

    path: Path
    root: Path

    @property
    def checkpoint(self) -> Path:
        """The run's own checkpoint."""
        return self.path / CHECKPOINT_NAME

    @property
    def mirror(self) -> Path:
        """The newest checkpoint of any run."""
        return self.root / CHECKPOINT_NAME

    def save(self, data: bytes) -> Path:
        """Replace the run's checkpoint, then the mirror, each atomically.

        Raises:
            OutputError: one of them cannot be written; what stood there before is still valid.
        """
        write_bytes(self.checkpoint, data)
        if self.mirror != self.checkpoint:
            share_file(self.mirror, self.checkpoint)
        return self.checkpoint


def create_run(root: Path, clock: Clock = datetime.now) -> RunFolder:
    """Create a new, empty run folder; runs of the same second get ``-2``, ``-3``, ...

    Raises:
        OutputError: it cannot be created.
    """
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
    """Take the run's folder away again where nothing was saved in it."""
    try:
        yield folder
    finally:
        with suppress(OSError):  # not empty
            folder.path.rmdir()


def resolve_restore(restore: str, root: Path) -> Path:
    """Find the checkpoint that ``latest`` or a path names; a run folder stands for its checkpoint.

    Raises:
        CheckpointError: there is none.
    """
    if restore == LATEST:
        return _latest(root)
    path = Path(restore)
    file = path / CHECKPOINT_NAME if path.is_dir() else path
    if not file.is_file():
        raise CheckpointError("there is no such checkpoint", where=str(file), hint="Give a file, or 'latest'.")
    return file


def _latest(root: Path) -> Path:
    mirror = root / CHECKPOINT_NAME
    if mirror.is_file():
        return mirror
    runs = sorted(root.glob(f"*/{CHECKPOINT_NAME}"), key=lambda path: path.stat().st_mtime_ns)
    if not runs:
        raise CheckpointError("there is no checkpoint yet", where=str(mirror), hint="Train first, or give a path.")
    return runs[-1]


def continue_run(restored: Path, run_name: str, root: Path, clock: Clock = datetime.now) -> RunFolder:
    """Choose where a restored run goes on: its own folder when that can be written, else a new one.

    Args:
        restored: the checkpoint that was read.
        run_name: the name of the folder it was saved in, which finds the run of a mirrored checkpoint.
        root: the folder of all runs.
        clock: tells the time for a new folder.
    """
    is_mirror = restored.resolve().parent == root.resolve()
    home = root / run_name if is_mirror else restored.parent
    usable = bool(run_name or not is_mirror) and home.is_dir() and os.access(home, os.W_OK | os.X_OK)
    return RunFolder(home, root) if usable and make_folder(root) else create_run(root, clock)
