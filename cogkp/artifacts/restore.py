"""Find and open the checkpoint to restore, with a fallback where the newest one is damaged.

``latest`` asks for the newest state there is: where that file is damaged, the one saved before it is taken, with a
warning that names both. ``best`` asks for the best validation of the run that wrote that state. A path asks for one
file. Where the best or the named file is damaged, it is refused, and its good neighbours named.
"""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs

from cogkp.artifacts.checkpoint import Checkpoint, load_checkpoint
from cogkp.artifacts.newest import resolve_restore, runs_newest_first
from cogkp.artifacts.runs import BEST, LATEST, RunFolder, home_of, run_of
from cogkp.errors import CheckpointError

log = logging.getLogger("cogkp")


@attrs.frozen(eq=False)
class Restored:
    """A checkpoint and the file it was read from."""

    path: Path
    checkpoint: Checkpoint

    @property
    def home(self) -> Path:
        """The folder of its run, also through a mirror; else the folder it lies in."""
        return home_of(self.path, self.checkpoint.provenance.run)

    def run(self, root: Path) -> RunFolder | None:
        """Find the run it belongs to, also through the mirror; None where nobody knows, or it is gone."""
        return run_of(self.path, self.checkpoint.provenance.run, root)


def open_checkpoint(restore: str, root: Path) -> Restored:
    """Read the checkpoint that ``latest``, ``best`` or a path names; a run folder stands for its newest one.

    Raises:
        CheckpointError: there is none, or it cannot be used; good files beside a damaged one are named.
    """
    path = _best_of_newest(root) if restore == BEST else resolve_restore(restore, root)
    try:
        found = Restored(path, load_checkpoint(path))
    except CheckpointError as error:
        if restore == LATEST:
            return _saved_before(path, error, root)
        raise _naming(good_neighbours(path), error) from error
    return _ahead_of_mirror(found, root) if restore == LATEST else found


def _best_of_newest(root: Path) -> Path:
    newest = open_checkpoint(LATEST, root)
    run = newest.run(root)
    if run is None or not run.best.is_file():
        raise CheckpointError(
            "the newest run has kept no best checkpoint",
            where=str(newest.path if run is None else run.best),
            hint="One is kept where validation.base_dir is set; 'latest' is there in any case.",
        )
    return run.best


def good_neighbours(path: Path) -> list[Path]:
    """List the checkpoints beside a file that can be read, newest first."""
    beside = (other for other in path.parent.glob("checkpoint_*.pth") if other.name != path.name)
    newest_first = sorted(beside, key=lambda other: -other.stat().st_mtime_ns)
    return [found.path for found in _readable(newest_first, path)]


def older_saves(path: Path) -> list[Path]:
    """List the older checkpoints beside a file, newest first, each under one of its names; nothing is read."""
    try:
        asked, beside = path.stat(), [(other.stat(), other) for other in sorted(path.parent.glob("*.pth"))]
    except OSError:  # a message that names them is not worth another error
        return []
    older = {stat.st_ino: (stat.st_mtime_ns, other) for stat, other in reversed(beside) if stat.st_ino != asked.st_ino}
    found = [(saved, other) for saved, other in older.values() if saved <= asked.st_mtime_ns]
    return [other for _, other in sorted(found, key=lambda each: each[0], reverse=True)]


def was_left_behind(restored: Restored, root: Path) -> bool:
    """Say whether the checkpoint's own run went on after it, so that going on from it there would undo that."""
    run = restored.run(root)
    if run is None or not run.checkpoint.is_file() or run.checkpoint.samefile(restored.path):
        return False
    newest = next(_readable([run.checkpoint], restored.path), None)
    return newest is not None and newest.checkpoint.state.position > restored.checkpoint.state.position


def _ahead_of_mirror(found: Restored, root: Path) -> Restored:
    """Prefer the run's own file where its process died before the mirror followed."""
    run = found.run(root)
    return Restored(run.checkpoint, load_checkpoint(run.checkpoint)) if run and was_left_behind(found, root) else found


def _saved_before(damaged: Path, error: CheckpointError, root: Path) -> Restored:
    """Take the newest good file of the run whose newest file is damaged."""
    run = _run_behind(damaged, root)
    candidates = [] if run is None else [run.checkpoint, *run.saves(), run.best]
    for found in _readable(candidates, damaged):
        epoch, step = found.checkpoint.state.position
        log.warning("%s; restoring %s instead, saved after %d epochs and %d steps", error, found.path, epoch, step)
        return found
    raise error


def _run_behind(damaged: Path, root: Path) -> RunFolder | None:
    """Find the run of a file that cannot say so any more: the mirror is its run's file, or that of the newest run."""
    if damaged.parent.resolve() != root.resolve():
        return RunFolder(damaged.parent, root)
    runs = [run.newest for run in runs_newest_first(root)]
    newest = next((path for path in runs if path.samefile(damaged)), next(iter(runs), None))
    return None if newest is None else RunFolder(newest.parent, root)


def _readable(paths: Iterable[Path], damaged: Path) -> Iterator[Restored]:
    """Read those of several files that can be read and are not the damaged one under another name."""
    for path in paths:
        if not path.is_file() or path.samefile(damaged):
            continue
        try:
            yield Restored(path, load_checkpoint(path))
        except CheckpointError:
            continue


def _naming(good: list[Path], error: CheckpointError) -> CheckpointError:
    return error.changed(hint=f"Good ones beside it: {', '.join(map(str, good))}." if good else error.problem.hint)
