"""Write files atomically: a reader finds the old content or the new one, never half of it."""

import errno
import json
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from cogkp.errors import OBEYED, OutputError
from cogkp.files.origin import IN_THE_WAY, Ours, destination_of, has_mark, in_own_folder
from cogkp.files.partial import held, partial_name, sweep

FREE_SPACE = "Free some space or choose another folder."
WRITABLE = "Choose a folder that may be written to."

REASONS = {
    errno.ENOSPC: ("the disk is full", FREE_SPACE),
    errno.EDQUOT: ("the disk quota is used up", FREE_SPACE),
    errno.EFBIG: ("the file is larger than this system allows", "Raise the limit (ulimit -f)."),
    errno.EACCES: ("no permission to write here", WRITABLE),
    errno.EPERM: ("no permission to write here", WRITABLE),
    errno.EROFS: ("the file system is read-only", WRITABLE),
    errno.EEXIST: ("a file of that name", IN_THE_WAY),
    errno.ELOOP: ("links that lead round in a circle", IN_THE_WAY),
    errno.ENXIO: ("a pipe or device that nobody reads", "Start its reader first."),
    errno.EPIPE: ("a pipe whose reader has gone", "Start its reader again."),
    errno.ENOTDIR: ("a file where a folder should be", IN_THE_WAY),
    errno.EISDIR: ("a folder of that name", IN_THE_WAY),
}

LINKLESS = {errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}

READER_WAIT_S = 5.0


@contextmanager
def atomic_path(path: Path, ours: Ours = has_mark) -> Iterator[Path]:
    """Lend a temporary file beside ``path`` that takes its place once the block has ended well.

    Args:
        path: where the content shall be found; missing folders are made. A link is followed; what is written goes
            through a device or a pipe.
        ours: whether a file that lies there may be replaced; see :func:`overwriting`.

    Yields:
        An existing empty file with the same suffix. After an error inside the block it is gone and ``path`` is
        untouched.

    Raises:
        OutputError: the place cannot be written to, or holds a file that this program did not write; an ``OSError``
            of the block itself counts as that only where it concerns the temporary file or the space on the disk.
    """
    path = Path(path)
    with writing_to(path):
        target = destination_of(path, ours)
        temporary, handle = _temporary_beside(path if target is None else target, elsewhere=target is None)
    try:
        yield temporary
        if target is None:
            with temporary.open("rb") as source, _stream_to(path) as stream:
                shutil.copyfileobj(source, stream)
        else:
            _settle(temporary, target)
    except OSError as error:
        if not (target is None or _concerns(error, temporary)):
            raise
        raise _output_error(path, error) from error
    finally:
        os.close(handle)
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Turn an operating system's refusal inside the block into an OutputError of one line that names the place."""
    try:
        yield
    except OSError as error:
        raise _output_error(path, error) from error


def make_folder(path: Path) -> Path:
    """Make a folder and its parents where they are missing, or raise OutputError, and return it."""
    with writing_to(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def require_replaceable(paths: Iterable[Path], ours: Ours = has_mark) -> None:
    """Refuse before the work what would be refused after it.

    Raises:
        OutputError: one of the files is there, and this program did not write it; or it is no file.
    """
    for path in paths:
        with writing_to(path):
            destination_of(path, ours)


def share_file(path: Path, source: Path) -> None:
    """Let ``path`` show the content of ``source`` too, in one step and without a second copy where links exist.

    Later replacements of ``source`` leave ``path`` as it is. Both are names in folders of ours: a link at ``path`` is
    replaced, since what it leads to may be another run's.
    """
    # Made beside the source, so that a process that dies here leaves its trace there and nowhere else.
    make_folder(path.parent)
    if path.exists() and not path.is_file():
        raise OutputError("there is something that is no file", where=str(path), hint=IN_THE_WAY)
    temporary = source.with_name(f".{source.stem}.{secrets.token_hex(4)}{source.suffix}")
    try:
        with writing_to(path):
            os.link(source, temporary)
            temporary.replace(path)
            sync_folder(path.parent)
    except OutputError as error:
        if not _has_no_links(error):
            raise
        write_verified(path, source.read_bytes())
    finally:
        temporary.unlink(missing_ok=True)  # renaming onto another name of the same file leaves both


def write_bytes(path: Path, content: bytes, ours: Ours = has_mark) -> None:
    """Replace ``path`` by ``content`` in one step; raises OutputError as :func:`atomic_path` does.

    A mark counts only in a file of the same format: a drawing does not replace an experiment.
    """
    with atomic_path(path, partial(has_mark, like=content) if ours is has_mark else ours) as temporary:
        temporary.write_bytes(content)


def write_verified(path: Path, content: bytes) -> None:
    """Replace ``path``, a name in a folder of ours, in one step, after reading back from the disk what was written.

    Raises:
        OutputError: it cannot be written, or reads back as something else; the old content is still in place.
    """
    with atomic_path(path, in_own_folder) as temporary:
        temporary.write_bytes(content)
        _from_disk(temporary)
        check_written(temporary, content, path)


def check_written(file: Path, content: bytes, path: Path) -> None:
    """Refuse (OutputError) a file that does not hold what was written to it; ``path`` is its name in the message."""
    if file.read_bytes() != content:
        raise OutputError(
            "the file reads back differently from what was written",
            where=str(path),
            hint="This disk corrupts data: choose another one.",
        )


def write_text(path: Path, content: str, ours: Ours = has_mark) -> None:
    """Replace ``path`` by ``content`` as UTF-8 with plain line ends."""
    write_bytes(path, content.encode("utf-8"), ours)


def write_json(path: Path, value: Any, ours: Ours = has_mark) -> None:
    """Replace ``path`` by ``value`` as indented JSON; NaN and infinity are refused, since they are not JSON."""
    write_text(path, json_text(value, indent=2) + "\n", ours)


def json_text(value: Any, **form: Any) -> str:
    """Write JSON that people can read (``form`` as for json.dumps), control characters escaped; no NaN (ValueError)."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, **form)
    return OBEYED.sub(lambda found: found[0] if found[0] == "\n" else json.dumps(found[0])[1:-1], text)


@contextmanager
def _stream_to(path: Path) -> Iterator[Any]:
    """Open a device or a pipe, which waits only a while for somebody who reads it."""
    until = time.monotonic() + READER_WAIT_S
    while True:
        try:
            handle = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
            break
        except OSError as error:
            if error.errno != errno.ENXIO or time.monotonic() > until:
                raise
        time.sleep(0.05)
    os.set_blocking(handle, True)
    with os.fdopen(handle, "wb") as stream:
        yield stream


def _temporary_beside(path: Path, *, elsewhere: bool = False) -> tuple[Path, int]:
    """Make an empty file that is ours alone; also its handle, which holds it until it is closed."""
    folder = Path(tempfile.gettempdir()) if elsewhere else path.parent
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    while True:
        # The suffix is kept because some writers choose a format by it.
        temporary = folder / partial_name(path.stem, path.suffix)
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with suppress(FileNotFoundError):  # swept before it was held
            return temporary, held(temporary)


def _from_disk(file: Path) -> None:
    """Send a file to the disk and forget the copy in memory, so that the next look at it is one at the disk."""
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _has_no_links(error: OutputError) -> bool:
    """Say whether a link failed since there are none here, or none to there, rather than for want of a place."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in LINKLESS


def _settle(temporary: Path, path: Path) -> None:
    temporary.chmod(stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o666 & ~_umask())
    with temporary.open("rb") as stream:
        os.fsync(stream.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sync_folder(folder: Path) -> None:
    """Send the names in a folder to the disk."""
    if os.name == "nt":
        return  # a folder cannot be opened there
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _concerns(error: OSError, temporary: Path) -> bool:
    return error.filename in (None, str(temporary)) or error.filename2 is not None


def _output_error(path: Path, error: OSError) -> OutputError:
    above = error.errno == errno.EEXIST and error.filename not in (None, str(path))
    number = errno.ENOTDIR if above else error.errno
    reason, hint = REASONS.get(number or 0, ((error.strerror or str(error)).lower(), ""))
    return OutputError("cannot write", where=str(path), expected="a writable place", got=reason, hint=hint)
