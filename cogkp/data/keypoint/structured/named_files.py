"""Check the files that a StructuredDataset names: inside its folder, existing, and not empty."""

import os
import re
import stat
from array import array
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path, PurePath

import numpy as np

from cogkp.data.keypoint.records import FileNames
from cogkp.errors import DataError
from cogkp.files import leads_out

NamedFile = tuple[bytes, int]
"""A file's name within the folder, and its size in bytes."""

NO_FILE: NamedFile = (b"", 0)
ODD = re.compile(r"[\\:\0]|\.\.")
"""What the last part of a name may hold only after a closer look."""


class NameList:
    """Gathers files; see :class:`FileNames`."""

    def __init__(self) -> None:
        self._text, self._ends, self._sizes = bytearray(), array("q"), array("q")

    def extend(self, files: Sequence[NamedFile | None]) -> None:
        """Add files, in order; None stands for no file."""
        for each in files:
            name, size = each or NO_FILE
            self._text += name
            self._ends.append(len(self._text))
            self._sizes.append(size)

    def packed(self) -> FileNames:
        """Hand over what was gathered."""
        return FileNames(bytes(self._text), np.array(self._ends, np.int64), np.array(self._sizes, np.int64))


class Folder:
    """Checks files of one folder; each folder below it is resolved once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._start = os.path.join(root, "")  # noqa: PTH118 - strings, since a Path takes ten times as long
        # Free of links, and with a separator at its end.
        self._real_root = os.path.realpath(root).rstrip(os.sep) + os.sep
        self._within = lru_cache(maxsize=4096)(self._lies_within)

    def checked(self, name: str) -> NamedFile:
        """Return a name, as short as can be, and its file's size.

        DataError if it leaves the folder or has no content.
        """
        path, last = self._start + name, name.rpartition("/")[2]
        try:
            short = self._within(name[: len(name) - len(last)])
            if short is None or (ODD.search(last) and leads_out(name)):
                raise _leaves(name)
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode):
                if not os.path.realpath(path).startswith(self._real_root):
                    raise _leaves(name)
                status = os.stat(path)  # noqa: PTH116
            encoded = short + last.encode("utf-8", "surrogateescape")
        except FileNotFoundError as error:
            raise DataError("the file does not exist", got=str(self._root / name)) from error
        except OSError as error:
            raise DataError("the file cannot be read", got=f"{self._root / name}: {error.strerror}") from error
        except UnicodeEncodeError as error:
            raise DataError("the file name cannot be read", expected="text", got=ascii(name)) from error
        if not stat.S_ISREG(status.st_mode) or not status.st_size:
            raise DataError("the file is empty", expected="an image", got=str(self._root / name))
        return encoded, status.st_size

    def _lies_within(self, folder: str) -> bytes | None:
        """Return the shortest name of a folder below the root, ready to be continued; None where it lies elsewhere."""
        real = os.path.realpath(self._start + folder) + os.sep
        if leads_out(folder + "x") or not real.startswith(self._real_root):
            return None
        return os.fsencode("" if PurePath(folder) == PurePath() else PurePath(folder).as_posix() + "/")


def _leaves(name: str) -> DataError:
    return DataError("the path leaves the data set", expected="a file inside its folder", got=repr(name))
