"""Write files so that a reader sees the old content or the new one, never a part, whatever happens in between.

The bytes go to a temporary file in the same folder, are forced to the disk, and take the name in one step.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cogkp.errors import OutputError

__all__ = ["make_folder", "replace_file", "write_bytes", "write_json", "write_text"]

REASONS = {
    errno.ENOSPC: ("the disk is full", "Free some space or choose another folder."),
    errno.EDQUOT: ("the disk quota is used up", "Free some space or choose another folder."),
    errno.EFBIG: ("the file is larger than this system allows", "Raise the file size limit (ulimit -f)."),
    errno.EACCES: ("no permission to write here", "Choose a folder that may be written to."),
    errno.EPERM: ("no permission to write here", "Choose a folder that may be written to."),
    errno.EROFS: ("the file system is read-only", "Choose a folder that may be written to."),
    errno.ENOENT: ("the folder does not exist", "Create it first or choose another."),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "Choose another path."),
    errno.EEXIST: ("a file stands where the folder should be", "Choose another path."),
    errno.EISDIR: ("a folder stands where the file should be", "Choose another path."),
}


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn an operating-system error into one line that names the path and the cure."""
    try:
        yield
    except OSError as error:
        what, hint = REASONS.get(error.errno or 0, (f"cannot be written ({error.strerror or error})", ""))
        raise OutputError(what, where=str(path), hint=hint) from error


def make_folder(path: Path) -> Path:
    """Create a folder and its parents, if they are not there.

    Raises:
        OutputError: it cannot be created.
    """
    with _explained(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def write_bytes(path: Path, data: bytes) -> Path:
    """Write a file atomically.

    Args:
        path: the file; its folder must exist. An older file of that name stays valid until the last moment.
        data: all of its content.

    Returns:
        ``path``.

    Raises:
        OutputError: it cannot be written; nothing has changed.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with _explained(path):
        try:
            with temporary.open("xb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            _take_name(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    return path


def replace_file(path: Path, source: Path) -> Path:
    """Let a second name show the content of a file that was written atomically, without copying where possible.

    Raises:
        OutputError: it cannot be written; nothing has changed.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        os.link(source, temporary)
    except OSError:  # another file system, or one without hard links
        return write_bytes(path, source.read_bytes())
    with _explained(path):
        try:
            _take_name(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)  # renaming onto another link of the same file leaves both names
    return path


def write_text(path: Path, text: str) -> Path:
    """Write a UTF-8 file atomically; see :func:`write_bytes`."""
    return write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, content: Any) -> Path:
    """Write a JSON file atomically; see :func:`write_bytes`.

    Numbers that are not finite are refused with a ValueError, since other readers of JSON would refuse them later.
    """
    return write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _take_name(temporary: Path, path: Path) -> None:
    temporary.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Force the new name to the disk; systems that cannot open a folder do this on their own."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
