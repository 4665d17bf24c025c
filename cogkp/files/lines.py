"""Files that grow by whole lines: what is in them is complete at any moment, also after a crash or on a full disk."""

from __future__ import annotations

import os
from pathlib import Path

from cogkp.files.origin import Ours, destination_of
from cogkp.files.writing import make_folder, writing_to


def append_whole(handle: int, data: bytes, end: int | None) -> None:
    """Append all of ``data`` to an open file of ``end`` bytes, or, where that fails, leave it as it was.

    ``end`` is None for a device or a pipe, of which nothing can be taken back.
    """
    left = memoryview(data)
    try:
        while left:
            left = left[os.write(handle, left) :]
    except BaseException:
        if end is not None:
            os.ftruncate(handle, end)
        raise


class LineFile:
    """A file that is written line by line; an older one of ours is replaced when it is opened.

    Args:
        path: the file, a device or a pipe.
        ours: says of an existing file whether it may be replaced.

    Raises:
        OutputError: it cannot be written, or is a file that this program did not write.
    """

    def __init__(self, path: Path, ours: Ours) -> None:
        make_folder(path.parent)
        self._path = path
        with writing_to(path):
            target = destination_of(path, ours)
            flags = os.O_WRONLY | (0 if target is None else os.O_CREAT | os.O_TRUNC) | getattr(os, "O_BINARY", 0)
            self._handle = os.open(target or path, flags, 0o666)
            self._whole = None if target is None else 0

    def write(self, text: str) -> None:
        """Append lines, each with its break.

        Raises:
            OutputError: they cannot be written; the file then ends with the last whole line from before.
        """
        data = text.encode("utf-8")
        with writing_to(self._path):
            append_whole(self._handle, data, self._whole)
        if self._whole is not None:
            self._whole += len(data)

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)
