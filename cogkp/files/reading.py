"""Read files that a user named, which may be pipes, devices or folders."""

import errno
import os
import stat
from pathlib import Path

DOCUMENT_BYTES = 1 << 26
"""More than any document that people write: configurations, annotations, manifests."""


def read_whole(path: Path, most: int | None = DOCUMENT_BYTES) -> bytes:
    """Read a file or a pipe to its end; a pipe that nobody writes to is empty. ``most`` None is for large files.

    Raises:
        OSError: it cannot be read, has more bytes than ``most``, or is a device, which may have no end.
    """
    # Opening a pipe would else wait for a writer, perhaps for ever.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(handle, "rb") as stream:
        kind = os.fstat(handle).st_mode
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not (stat.S_ISREG(kind) or stat.S_ISFIFO(kind)):
            raise OSError(errno.EINVAL, "a device, and no file", str(path))
        os.set_blocking(handle, True)
        content = stream.read() if most is None else stream.read(most + 1)
    if most is not None and len(content) > most:
        raise OSError(errno.EFBIG, f"more than {most >> 20} MiB", str(path))
    return content
