"""Read files that a user named, which may be pipes, devices or folders."""

import codecs
import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

WINDOWS = "cp1252"
# The marks of UTF-32 begin like those of UTF-16, so they come first.
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
DOCUMENT_BYTES = 1 << 26
"""More than any document that people write: configurations, annotations, manifests."""


def open_file(path: Path) -> BinaryIO:
    """Open a file or a pipe to read its bytes; a pipe that nobody writes to is empty.

    Raises:
        OSError: it cannot be read, or is a device, which may have no end.
    """
    # Opening a pipe would else wait for a writer, perhaps for ever.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    kind = os.fstat(handle).st_mode
    if not (stat.S_ISREG(kind) or stat.S_ISFIFO(kind)):
        os.close(handle)
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise OSError(errno.EINVAL, "a device, and no file", str(path))
    os.set_blocking(handle, True)
    return os.fdopen(handle, "rb")


def read_whole(path: Path, most: int | None = DOCUMENT_BYTES) -> bytes:
    """Read a file or a pipe to its end; a pipe that nobody writes to is empty. ``most`` None is for large files.

    Raises:
        OSError: it cannot be read, has more bytes than ``most``, or is a device, which may have no end.
    """
    with open_file(path) as stream:
        content = stream.read() if most is None else stream.read(most + 1)
    if most is not None and len(content) > most:
        raise OSError(errno.EFBIG, f"more than {most >> 20} MiB", str(path))
    return content


def text_lines(path: Path, *, last_bytes: int | None = None) -> list[str]:
    """Read the lines of a text file; none where it cannot be read.

    Args:
        path: the file, UTF-8; what is none is replaced.
        last_bytes: reads no more than these at its end, where the first line may lack its beginning; None reads all.
    """
    try:
        with open_file(path) as stream:
            if last_bytes is not None:
                stream.seek(max(0, stream.seek(0, os.SEEK_END) - last_bytes))
            return stream.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []


def decoded_text(raw: bytes) -> tuple[str, str]:
    """Decode by the mark at the start, else as UTF-16 where every other byte is zero, else as UTF-8, else as Windows.

    Returns:
        The text, without the mark, and the encoding; ``WINDOWS`` where only that was left.

    Raises:
        UnicodeDecodeError: it is none of these.

    Example:
        >>> decoded_text("tip".encode("utf-16")), decoded_text(bytes([0xB0]))[1]
        (('tip', 'utf-16'), 'cp1252')
    """
    start = raw[:64]
    encoding = next((name for mark, name in MARKS if raw.startswith(mark)), "utf-8")
    if encoding == "utf-8" and start.count(0) * 3 >= len(start) > 0:
        encoding = "utf-16-be" if start[0] == 0 else "utf-16-le"
    try:
        return raw.decode(encoding), encoding
    except UnicodeDecodeError:
        if encoding != "utf-8":
            raise
        return raw.decode(WINDOWS), WINDOWS
