"""Read StructuredDatasets: a folder with ``data.jsonl``, one line per multi-camera frame.

Everything a line names lies inside the folder, since data sets are copied and uploaded as folders. All faulty lines of
a folder are reported in one error, before any pixel is read.
"""

from __future__ import annotations

import json
import logging
import os
import stat
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import numpy as np
import numpy.typing as npt

from cogkp.config.keypoint.spec import DataMappings
from cogkp.data.keypoint.records import Index, Record, View
from cogkp.errors import DataError, Problem
from cogkp.files import leads_out

__all__ = ["LINES_FILE", "RecordedLine", "StructuredDataset", "find", "read_lines"]

LINES_FILE = "data.jsonl"

log = logging.getLogger("cogkp")


class RecordedLine(NamedTuple):
    """One line of ``data.jsonl``: its number, counted from 1, and its content."""

    number: int
    content: Mapping[str, Any]


class _Dropped(Exception):  # noqa: N818 - a line left out is no error
    """A line that carries nothing to learn from; the reason is its message."""


def find(content: Any, datakey: str) -> Any:
    """Look up a dotted path; a literal key wins, integer parts index lists, and None means absent.

    Example:
        >>> find({"LL": {"tips": [[1, 2], [3, 4]]}}, "LL.tips.1")
        [3, 4]
        >>> find({"LL.image": "a.png", "LL": {"image": "b.png"}}, "LL.image")
        'a.png'
    """
    if isinstance(content, Mapping) and datakey in content:
        return content[datakey]
    head, dot, rest = datakey.partition(".")
    if isinstance(content, Mapping):
        return find(content[head], rest) if dot and head in content else None
    if isinstance(content, list) and head.isdecimal() and int(head) < len(content):
        return find(content[int(head)], rest) if dot else content[int(head)]
    return None


def read_lines(root: Path | str) -> list[RecordedLine]:
    """Read all lines of a data set.

    Raises:
        DataError: there is no ``data.jsonl``, or lines in it are not JSON objects; all of them are listed.
    """
    parsed = list(_parse(Path(root)))
    problems = [line for line in parsed if isinstance(line, Problem)]
    if problems:
        raise DataError.listing(problems)
    return [line for line in parsed if isinstance(line, RecordedLine)]


def _parse(root: Path) -> Iterator[RecordedLine | Problem]:
    try:
        file = (root / LINES_FILE).open("rb")
    except OSError as error:
        raise _no_data_set(root, error) from error
    with file:
        for number, raw in enumerate(file, start=1):
            if raw.strip():
                yield _parsed(raw, number, f"{file.name}:{number}")


def _no_data_set(root: Path, error: OSError) -> DataError:
    if not root.is_dir():
        return DataError("the data set's folder does not exist", where=str(root), hint="Check base_dir in the config.")
    if isinstance(error, FileNotFoundError):
        return DataError("the folder is not a data set", where=str(root), expected=f"a file {LINES_FILE} in it")
    return DataError("the data set cannot be read", where=str(root / LINES_FILE), got=error.strerror or str(error))


def _parsed(raw: bytes, number: int, where: str) -> RecordedLine | Problem:
    try:
        content = json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return Problem("the line is not text", where, expected="UTF-8")
    except (ValueError, RecursionError) as error:
        return Problem("the line is not JSON", where, got=str(error))
    if not isinstance(content, dict):
        return Problem("the line is not an object", where, expected="a JSON object", got=type(content).__name__)
    return RecordedLine(number, content)


@attrs.frozen
class StructuredDataset:
    """A folder with ``data.jsonl`` and the images it names."""

    root: Path = attrs.field(converter=Path)

    def lines(self) -> list[RecordedLine]:
        """Read all lines; raises DataError as :func:`read_lines` does."""
        return read_lines(self.root)

    def index(self, mappings: DataMappings) -> Index:
        """Find and check what the mappings ask for, in every line.

        Args:
            mappings: which entries of a line are images, points and masks.

        Returns:
            The usable lines; the others are counted by reason and logged.

        Raises:
            DataError: the data set or some lines are faulty; all faulty lines are listed.
        """
        reader = _LineReader(self.root, os.path.realpath(self.root).rstrip(os.sep) + os.sep, mappings)
        records: list[Record] = []
        problems: list[Problem] = []
        dropped: Counter[str] = Counter()
        for line in _parse(self.root):
            outcome = reader.read(line)
            if isinstance(outcome, Record):
                records.append(outcome)
            elif isinstance(outcome, Problem):
                problems.append(outcome)
            else:
                dropped[str(outcome)] += 1
        if problems:
            raise DataError.listing(problems)
        for why, count in dropped.items():
            log.warning("%s: %d of %d lines left out: %s", self.root, count, dropped.total() + len(records), why)
        return Index(self.root, tuple(records), dict(dropped))


@attrs.frozen
class _LineReader:
    """Turns lines of one folder into records; ``real_root`` is free of links and ends with a separator."""

    root: Path
    real_root: str
    mappings: DataMappings

    def read(self, line: RecordedLine | Problem) -> Record | Problem | _Dropped:
        """Return the record of a line, or why there is none."""
        if isinstance(line, Problem):
            return line
        try:
            return self._record(line)
        except DataError as error:
            return error.problem
        except _Dropped as reason:
            return reason

    def _record(self, line: RecordedLine) -> Record:
        self._check_valid_flag(line)
        masks = self.mappings.mask or (None,) * len(self.mappings.x)
        rows = zip(self.mappings.x, self.mappings.y, masks, strict=True)
        views = tuple(self._view(line, *row) for row in rows)
        places = self.mappings.xyz_world or (None,) * len(self.mappings.y[0])
        xyz_world, located = self._points(line, places, 3)
        return Record(self.root, line.number, views, xyz_world, located)

    def _points(
        self, line: RecordedLine, keys: Sequence[str | None], width: int
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Read points under their datakeys; (N, width), zero and False where there is none."""
        points = [_point(find(line.content, key), self._where(line, key), width) if key else None for key in keys]
        known = np.array([point is not None for point in points], np.bool_)
        return np.array([point or (0.0,) * width for point in points], np.float64).reshape(-1, width), known

    def _where(self, line: RecordedLine, datakey: str) -> str:
        return f"{self.root}{os.sep}{LINES_FILE}:{line.number} {datakey}"

    def _check_valid_flag(self, line: RecordedLine) -> None:
        flag = find(line.content, self.mappings.valid) if self.mappings.valid else None
        if flag is None:
            return
        if flag not in (True, False):
            where = self._where(line, str(self.mappings.valid))
            raise DataError("the flag cannot be read", where=where, expected="true or false", got=repr(flag))
        if not flag:
            raise _Dropped(f"{self.mappings.valid} is false")

    def _view(self, line: RecordedLine, image_key: str, point_keys: tuple[str, ...], mask_key: str | None) -> View:
        image = self._file(line, image_key)
        if image is None:
            raise _Dropped(f"no {image_key}")
        uv, labelled = self._points(line, point_keys, 2)
        mask = self._file(line, mask_key) if mask_key else None
        return View(image_key.rpartition(".")[0] or image_key, image, uv, labelled, mask)

    def _file(self, line: RecordedLine, datakey: str) -> Path | None:
        value = find(line.content, datakey)
        if isinstance(value, Mapping):
            value = value.get("path")
        if value is None:
            return None
        where = self._where(line, datakey)
        if not isinstance(value, str) or not value.strip():
            raise DataError("the file name cannot be read", where=where, expected="a relative path", got=repr(value))
        return _inside(self.root, self.real_root, value, where)


def _inside(root: Path, real_root: str, name: str, where: str) -> Path:
    """Resolve a name within the folder; refuse what leaves it, and what is not a file with content."""
    path = root / name
    if leads_out(name) or not os.path.realpath(path).startswith(real_root):
        raise DataError(
            "the path leaves the data set", where=where, expected="a file inside its folder", got=repr(name)
        )
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise DataError("the file does not exist", where=where, got=str(path)) from error
    except OSError as error:
        raise DataError("the file cannot be read", where=where, got=f"{path}: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode) or not status.st_size:
        raise DataError("the file is empty", where=where, expected="an image", got=str(path))
    return path


def _point(value: Any, where: str, width: int) -> tuple[float, ...] | None:
    """Read [x, y] or {"x": .., "y": ..}, with z for three; None where nobody labelled it."""
    names = "xyz"[:width]
    if isinstance(value, Mapping) and set(names) <= value.keys():
        value = [value[name] for name in names]
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != width or not all(map(_is_coordinate, value)):
        expected = f"[{', '.join(names)}], numbers or null"
        raise DataError("the point cannot be read", where=where, expected=expected, got=_short_repr(value))
    # The comparison is false for NaN and infinity, and holds for integers too large for a float.
    if not all(number is not None and abs(number) <= sys.float_info.max for number in value):
        return None
    return tuple(map(float, value))


def _is_coordinate(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _short_repr(value: Any, most: int = 60) -> str:
    text = json.dumps(value)
    return text if len(text) <= most else text[:most] + "..."
