"""Recognise files that this program wrote, and so may replace."""

import errno
import json
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from cogkp.errors import OutputError

IN_THE_WAY = "Move it away, or choose another place."

MARK = "written by cogkp"
"""What files that can carry a remark say of their origin, within their first bytes."""
MARKED_BYTES = 1024
PNG, PNG_HEADER_BYTES = b"\x89PNG\r\n\x1a\n", 33
JPEG, JPEG_FIRST_SEGMENT = b"\xff\xd8", 4

Ours = Callable[[Path], bool]
"""Says of an existing regular file whether this program wrote it, so that it may be replaced."""

_OVERWRITE: ContextVar[bool] = ContextVar("overwrite", default=False)


def has_mark(path: Path, like: bytes = b"") -> bool:
    """Say whether a file bears the mark of this program, and begins as another does.

    The first byte distinguishes PNG, JPEG, HTML, YAML and JSON: an image replaces no text.
    """
    with path.open("rb") as stream:
        start = stream.read(MARKED_BYTES)
    return MARK.encode() in start and start.startswith(like[:1])


def in_own_folder(path: Path) -> bool:
    """Say yes: for fixed names within a folder that was checked when it was taken into use."""
    return True


def is_json_with(path: Path, *keys: str) -> bool:
    """Say whether a file is a JSON object with these keys: for documents whose form has no room for a mark."""
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return False
    return isinstance(content, dict) and set(keys) <= content.keys()


def marked(image: bytes) -> bytes:
    """Add the mark to an encoded PNG or JPEG file; its pixels stay as they are."""
    word = MARK.encode()
    if image.startswith(PNG):
        text = b"tEXtSoftware\0" + word
        chunk = (len(text) - 4).to_bytes(4, "big") + text + zlib.crc32(text).to_bytes(4, "big")
        return image[:PNG_HEADER_BYTES] + chunk + image[PNG_HEADER_BYTES:]
    if image.startswith(JPEG):
        at = JPEG_FIRST_SEGMENT + int.from_bytes(image[JPEG_FIRST_SEGMENT : JPEG_FIRST_SEGMENT + 2], "big")
        return image[:at] + b"\xff\xfe" + (len(word) + 2).to_bytes(2, "big") + word + image[at:]
    return image


@contextmanager
def overwriting(wanted: bool = True) -> Iterator[None]:
    """Let files be replaced inside the block, whoever wrote them."""
    token = _OVERWRITE.set(wanted or _OVERWRITE.get())
    try:
        yield
    finally:
        _OVERWRITE.reset(token)


def destination_of(path: Path, ours: Ours) -> Path | None:
    """Find the file that a name stands for; None for a device or a pipe, which is written through.

    Raises:
        OSError: the name cannot be looked at, or is that of a folder.
        OutputError: there is a file that may not be replaced, or something that is none.
    """
    try:
        kind = path.stat().st_mode
    except FileNotFoundError:  # also a link to a file that is not there yet
        return Path(os.path.realpath(path)) if path.is_symlink() else path
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(errno.EISDIR, "is a folder", str(path))
    if stat.S_ISCHR(kind) or stat.S_ISFIFO(kind):
        return None
    if not stat.S_ISREG(kind):
        raise OutputError("neither a file nor a pipe", where=str(path), expected="a name for a file", hint=IN_THE_WAY)
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    if not (_OVERWRITE.get() or ours(target)):
        raise OutputError(
            "will not replace a file that this program did not write",
            where=str(path),
            hint="Choose another name, or allow it: --overwrite, in Python cogkp.files.overwriting().",
        )
    return target
