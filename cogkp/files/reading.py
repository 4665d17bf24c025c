"""Read files that a user named, which may be pipes, devices or folders."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

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
