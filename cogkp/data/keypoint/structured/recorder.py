"""Record a StructuredDataset while it happens: one line a moment, images as they come.

Images are written before the line that names them, and a line is handed over in one piece, so that a process that dies
leaves whole lines whose images are all there. What the system was doing with the very last line may be cut off, which
the reader and the next recorder see by the end of line that it lacks.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

from cogkp.data.keypoint.structured.line_writer import LineWriter
from cogkp.data.keypoint.structured.reader import LINES_FILE, RecordedLine, is_torn, parsed_line
from cogkp.errors import DataError, OutputError
from cogkp.files import append_whole, hold_alone, make_folder, writing_to

log = logging.getLogger("cogkp")


def record(root: Path | str, *, append: bool = False, suffix: str = ".png") -> Recorder:
    """Begin a recording; use it in a ``with`` block, or call its ``close``.

    Args:
        root: its folder; made if it does not exist. Files in it, such as a calibration, are left alone.
        append: go on behind the last line of the recording that is there, if there is one. What a process that died
            left of its last line is cut off; images of no line stay, and nothing is overwritten.
        suffix: file format of colour images of 8 bits. Others are always PNG.

    Raises:
        OutputError: the folder holds a data set and ``append`` is off, or folders that are of no data set; another
            recorder writes there; or it cannot be written.
        DataError: ``append``, and the last line that is there is not JSON.

    Example:
        >>> import tempfile, numpy as np
        >>> with tempfile.TemporaryDirectory() as folder, record(folder) as recorder:
        ...     recorder.add({"B": {"image": np.zeros((4, 6), np.uint8)}}, export={"tip": [1.5, 2.0]}, time_s=0.0)
        1
    """
    return Recorder(root, append=append, suffix=suffix)


class Recorder:
    """Adds lines to a recording; see :func:`record`. Several threads may add lines at the same time."""

    def __init__(self, root: Path | str, *, append: bool = False, suffix: str = ".png") -> None:
        self.root = Path(root)
        self._suffix = suffix
        self._lock = threading.Lock()
        self._made = not self.root.exists()
        self._lines_path = make_folder(self.root) / LINES_FILE
        self._new = _is_new(self._lines_path, append)
        self._file = _opened(self._lines_path)
        try:
            self._whole = _end_of_lines(self._file, self._lines_path)
            self._numbers = count(max(self._whole[1], _first_free_number(self.root)))
        except BaseException:
            self._file.close()
            raise

    def add(
        self,
        frames: Mapping[str, Any],
        *,
        export: Mapping[str, Any] | None = None,
        debug: Mapping[str, Any] | None = None,
        time_s: float | None = None,
    ) -> int:
        """Record one moment.

        Args:
            frames: what was seen and known, by camera: ``{"LL": {"image": left}, "LR": {"image": right}}``. In all
                three dictionaries arrays, uint8 or uint16, (H, W) or (H, W, 3) RGB, become image files; masks are
                uint8 (H, W), class ids; paths name image files, which are copied; all else becomes JSON, where NaN
                and infinity turn into null, not labelled. Arrays may be changed once this returns.
            export: results that somebody acts on; kept under this name.
            debug: what is for training and inspection alone; kept under this name.
            time_s: when it was, seconds of any clock; left out where it is None.

        Returns:
            The number of the line, counted from 1.

        Raises:
            DataError: a value cannot be stored.
            OutputError: the disk is full, or cannot be written; the recorder is closed. The lines before stay, nothing
                of this one is left, and later ones may be added.
        """
        for name, given in (("frames", frames), ("export", export), ("debug", debug)):
            if not isinstance(given, Mapping) and (given is not None or name == "frames"):
                raise DataError("not a dictionary", where=name, expected="names and values", got=type(given).__name__)
        own = {"time_s": time_s, "export": export, "debug": debug}
        if taken := [name for name in own if name in frames]:
            raise DataError(
                "the name belongs to an argument", got=repr(taken[0]), hint=f"Give it as add(..., {taken[0]}=...)."
            )
        told = {name: value for name, value in own.items() if value is not None}
        return self.add_line({name: told[name] for name in told if name == "time_s"} | {**frames} | told)

    def add_line(self, line: Mapping[str, Any]) -> int:
        """Record one moment as one dictionary, whose names are those of the line; else as :meth:`add`."""
        writer = LineWriter(self.root, next(self._numbers), self._suffix)
        try:
            return self._append(writer.text(line))
        except Exception:
            for path in writer.files:
                with suppress(OSError):
                    path.unlink()
            raise

    def close(self) -> None:
        """End the recording; one without any line leaves nothing. A second call does nothing."""
        with self._lock, writing_to(self._lines_path):
            if self._file.closed:
                return
            with self._file as file:
                os.fsync(file.fileno())
        if self._new and not self._whole[1]:
            self._remove()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _append(self, text: bytes) -> int:
        with self._lock, writing_to(self._lines_path):
            if self._file.closed:
                raise OutputError("the recorder is closed", where=str(self.root))
            end, lines = self._whole
            append_whole(self._file.fileno(), text, end)
            self._whole = end + len(text), lines + 1
            return lines + 1

    def _remove(self) -> None:
        """Take away what was made for lines that never came; folders that hold anything stay."""
        with suppress(OSError):
            self._lines_path.unlink()
            for folder in [*filter(Path.is_dir, self.root.iterdir()), *[self.root] * self._made]:
                with suppress(OSError):
                    folder.rmdir()


def _is_new(path: Path, append: bool) -> bool:
    """Say whether a recording begins here; OutputError where it must not."""
    if path.exists() or path.is_symlink():
        if not path.is_file():
            raise OutputError("there is something that is no file", where=str(path), hint="Choose another folder.")
        if not append:
            hint = "Choose another folder, or go on in this one: append=True."
            raise OutputError("there is a data set already", where=str(path.parent), hint=hint)
        return False
    with writing_to(path.parent):
        foreign = [entry for entry in path.parent.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    if foreign:
        raise OutputError("there is a folder of no data set", where=str(foreign[0]), hint="Choose another folder.")
    return True


def _opened(path: Path) -> BinaryIO:
    with writing_to(path):
        file = path.open("ab", buffering=0)
    if not hold_alone(file.fileno()):
        file.close()
        raise OutputError("another recorder writes here", where=str(path.parent), hint="Choose another folder.")
    return file


def _end_of_lines(file: BinaryIO, path: Path) -> tuple[int, int]:
    """Find where the whole lines end, in bytes, and how many there are; what is left of a torn one is cut off."""
    number, last = 0, b""
    with writing_to(path), path.open("rb") as stream:
        for number, last in enumerate(stream, start=1):  # noqa: B007 - the last one counts
            pass
        end = stream.tell()
        if last.endswith(b"\n") or not last:
            return end, number
        found = parsed_line(last, number, str(path))
        if isinstance(found, RecordedLine) or not last.strip():
            return end + file.write(b"\n"), number
        if not is_torn(last):
            raise DataError.listing([found])
        log.warning("%s:%d: the last line was cut off while it was written, and is removed", path, number)
        os.ftruncate(file.fileno(), end - len(last))
        return end - len(last), number - 1


def _first_free_number(root: Path) -> int:
    """Number on behind every image, also those whose line never came."""
    return 1 + max((int(path.stem) for path in root.glob("*/*") if path.stem.isdecimal()), default=-1)
