"""Layout of a run folder, and how its checkpoints are rotated.

``checkpoints/<timestamp>/`` belongs to one run:

- ``checkpoint_latest.pth``: the newest save; ``checkpoints/checkpoint_latest.pth`` mirrors that of any run.
- ``checkpoint_best.pth``: the best validation so far, where there is validation.
- ``checkpoint_000007_e12_s3.pth``: save number 7, after 12 epochs and 3 steps; the last few stay.
- ``run.json``, ``run_config.json``, ``metrics.jsonl``, ``metrics.csv``: what the run is, and how it went.
- ``report.html``, ``evaluation.json`` and drawings: how good it became, where there is validation data.
- ``run.lock``: there while a training writes here.
"""

import itertools
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import attrs

from cogkp.artifacts.lock import locked
from cogkp.artifacts.names import Clock, timestamp
from cogkp.errors import OutputError
from cogkp.files import is_json_with, is_plain_name, make_folder, share_file, write_verified

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

        Args:
            data: the file.
            position: epochs completed, and steps done in the one under way.
            keep_last: how many numbered files stay, this one included.
            best: whether it becomes the run's best, too.

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
    """Lock a run's folder, and remove it again where nothing came of the run.

    Raises:
        OutputError: another training holds it.
    """
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

    Args:
        restored: the checkpoint that was read.
        run_name: the name of the folder it was saved in, which finds the run of a mirrored checkpoint.
        root: the folder of all runs.
        clock: tells the time for a new folder.
        branch: whether a new one is wanted, since the run itself went further than the checkpoint.
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
