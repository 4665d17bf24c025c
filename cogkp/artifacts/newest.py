"""Find the newest checkpoint of all runs, by what the files say; file times are the last resort.

The mirror is written by every save, so its run was saved last, however files were copied and clocks were set. One run
may be newer: the one that died within a save, before the mirror followed. When its session began, it noted the
checksums of the mirror and of its own newest checkpoint in ``run.json``; now it finds the mirror unchanged, and its own
checkpoint changed. Runs of earlier releases noted nothing: there the times of files decide, unless they lie in the
future.
"""

import json
import logging
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs

from cogkp.artifacts.checksum import checksum_of_file
from cogkp.artifacts.runs import CHECKPOINT_NAME, LATEST, METRICS_NAME, RECORD_NAME, RunFolder
from cogkp.errors import CheckpointError
from cogkp.files import read_whole, text_lines

TAIL_BYTES = 1 << 16
MIRROR, OWN = "mirror_sha256", "checkpoint_sha256"
FUTURE_S = 300.0
"""Clocks of several machines differ; what lies further ahead was written by a clock that was wrong."""

log = logging.getLogger("cogkp")


def resolve_restore(restore: str, root: Path) -> Path:
    """Find the checkpoint that ``latest``, or a path to it or its run, names; raises CheckpointError without one."""
    if restore == LATEST:
        return newest_of(root)
    path = Path(restore)
    file = path / CHECKPOINT_NAME if path.is_dir() else path
    if not file.is_file():
        raise CheckpointError(
            "there is no such checkpoint", where=str(file), hint="Give a file, a run folder, 'latest' or 'best'."
        )
    return file


def newest_of(root: Path) -> Path:
    """Find the newest checkpoint of all runs; raises CheckpointError where there is none.

    That is the mirror, unless a run died after it saved and before the mirror followed, or the mirror is gone.
    """
    mirror = root / CHECKPOINT_NAME
    runs = runs_newest_first(root)
    _warn_of_future([*([mirror] if mirror.is_file() else []), *(run.newest for run in runs)])
    if mirror.is_file():
        here = checksum_of_file(mirror)
        return next((run.newest for run in runs if run.is_ahead_of(mirror, here)), mirror)
    if not runs:
        raise CheckpointError("there is no checkpoint yet", where=str(mirror), hint="Train first, or give a path.")
    return runs[0].newest


def notes_for(folder: Path, root: Path) -> dict[str, str]:
    """Say what a session notes when it begins, so that its checkpoints can be distinguished from those before it."""
    newest = _newest_in(RunFolder(folder, root))
    files = {MIRROR: root / CHECKPOINT_NAME, OWN: newest}
    return {name: checksum_of_file(path) if path is not None and path.is_file() else "" for name, path in files.items()}


@attrs.frozen
class _SavedRun:
    """A run and its newest checkpoint, with the checksum that it bears; empty where it bears none."""

    newest: Path
    checksum: str
    record: Mapping[str, Any]

    def is_ahead_of(self, mirror: Path, here: str) -> bool:
        """Say whether it was saved after the mirror, whose checksum is ``here``."""
        if self.newest.samefile(mirror) or (here and self.checksum == here):
            return False
        if MIRROR in self.record:
            # Without a checksum the mirror is damaged: that there was none when a run began says nothing of it.
            return bool(here) and self.record[MIRROR] == here and self.record.get(OWN) != self.checksum
        # A copied run has lost its links, and its time is that of the copy.
        linked = self.newest.stat().st_nlink > 1 or self.newest.name != CHECKPOINT_NAME
        return linked and not _is_future(self.newest) and _saved_at(self.newest) > _saved_at(mirror)

    @property
    def moment(self) -> float:
        """When it was last at work, seconds since 1970: as its history says, else its file; in the future, never."""
        last_time = _last_time(self.newest.parent / METRICS_NAME)
        moment = _saved_at(self.newest) if last_time is None else last_time
        return 0.0 if moment > time.time() + FUTURE_S else moment


def runs_newest_first(root: Path) -> list[_SavedRun]:
    """Order the runs that have a checkpoint: by what they noted of each other, else by time."""
    folders = [RunFolder(path, root) for path in root.glob("*")]
    saved = [(newest, folder) for folder in folders if (newest := _newest_in(folder)) is not None]
    left = sorted(
        (_SavedRun(newest, checksum_of_file(newest), _last_session(folder.path)) for newest, folder in saved),
        key=lambda run: -run.moment,
    )
    ordered: list[_SavedRun] = []
    while left:
        began_after = {run.record.get(MIRROR) for run in left}
        latest = next((run for run in left if not run.checksum or run.checksum not in began_after), left[0])
        left.remove(latest)
        ordered.append(latest)
    return ordered


def _newest_in(run: RunFolder) -> Path | None:
    return run.checkpoint if run.checkpoint.is_file() else next(iter(run.saves()), None)


def _last_session(folder: Path) -> Mapping[str, Any]:
    try:
        session = json.loads(read_whole(folder / RECORD_NAME))["sessions"][-1]
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError):
        return {}
    noted = session if isinstance(session, dict) else {}
    return {name: value for name, value in noted.items() if isinstance(value, str)}


def _last_time(history: Path) -> float | None:
    """Return the time of a history's last whole line, seconds since 1970; None where it has none."""
    times = map(_time_of, reversed(text_lines(history, last_bytes=TAIL_BYTES)))
    return next((each for each in times if each is not None), None)


def _time_of(line: str) -> float | None:
    try:
        return datetime.fromisoformat(json.loads(line)["time"]).timestamp()
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return None


def _saved_at(path: Path) -> float:
    return path.stat().st_mtime


def _is_future(path: Path) -> bool:
    return _saved_at(path) > time.time() + FUTURE_S


def _warn_of_future(paths: Iterable[Path]) -> None:
    odd = next((path for path in paths if _is_future(path)), None)
    if odd is not None:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(_saved_at(odd)))
        log.warning("%s bears a time in the future, %s: times of files decide nothing where one is wrong", odd, when)
