"""Read StructuredDatasets: a folder with ``data.jsonl``, one line per multi-camera frame.

Everything a line names lies inside the folder, since data sets are copied and uploaded as folders. All faulty lines of
a folder are reported in one error, before any pixel is read.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from array import array
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import numpy as np
import numpy.typing as npt

from cogkp.config.issues import short_json
from cogkp.config.keypoint.spec import DataMappings
from cogkp.data.keypoint.records import Index
from cogkp.data.keypoint.structured.named_files import Folder, NamedFile, NameList
from cogkp.errors import DataError, Problem
from cogkp.files import open_file

LINES_FILE = "data.jsonl"

DECODER = json.JSONDecoder()

ABSENT = object()
"""Stands for a datakey that a line does not have; null is a value."""

log = logging.getLogger("cogkp")
FLOAT_MAX = sys.float_info.max
FLOATS = {float}
MISSING_MARK = -1
"""Both coordinates of a point that many tools write where there is none."""

VISIBILITY_KEYS = ("visibility", "visible", "v")


class RecordedLine(NamedTuple):
    """One line of ``data.jsonl``: its number, counted from 1, and its content."""

    number: int
    content: Mapping[str, Any]


def find(content: Any, datakey: str) -> Any:
    """Look up a dotted path; a literal key wins, integer parts index lists, and None means absent.

    Example:
        >>> find({"LL": {"tips": [[1, 2], [3, 4]]}}, "LL.tips.1")
        [3, 4]
        >>> find({"LL.image": "a.png", "LL": {"image": "b.png"}}, "LL.image")
        'a.png'
    """
    value = lookup(content, steps_of(datakey))
    return None if value is ABSENT else value


def steps_of(datakey: str) -> tuple[tuple[str, str], ...]:
    """Take a datakey apart: for each of its parts, what is left from there on, and the part."""
    parts = datakey.split(".")
    return tuple((".".join(parts[place:]), part) for place, part in enumerate(parts))


def lookup(content: Any, steps: tuple[tuple[str, str], ...]) -> Any:
    """Look up as :func:`find` does; ABSENT and null are distinguished."""
    for rest, part in steps:
        if isinstance(content, dict):
            if rest in content:
                return content[rest]
            content = content.get(part, ABSENT)
        elif isinstance(content, list) and part.isdecimal() and int(part) < len(content):
            content = content[int(part)]
        else:
            return ABSENT
    return content


def read_lines(root: Path | str) -> list[RecordedLine]:
    """Read all lines; DataError where there is no ``data.jsonl``, or with all lines that are not JSON objects."""
    parsed = list(parse_lines(Path(root)))
    problems = [line for line in parsed if isinstance(line, Problem)]
    if problems:
        raise DataError.listing(problems)
    return [line for line in parsed if isinstance(line, RecordedLine)]


def parse_lines(root: Path) -> Iterator[RecordedLine | Problem]:
    """Read line by line, and say which of them are no JSON objects; raises DataError where there is no data set."""
    path = root / LINES_FILE
    where = str(path)
    try:
        file = open_file(path)
    except OSError as error:
        raise _no_data_set(root, error) from error
    with file:
        for number, raw in enumerate(file, start=1):
            if not raw.strip():
                continue
            line = parsed_line(raw, number, where)
            if isinstance(line, Problem) and is_torn(raw):
                log.warning("%s:%d: the last line was cut off while it was written, and is left out", where, number)
            else:
                yield line


def _no_data_set(root: Path, error: OSError) -> DataError:
    if not root.is_dir():
        return DataError("the data set's folder does not exist", where=str(root), hint="Check base_dir in the config.")
    if isinstance(error, FileNotFoundError):
        return DataError("the folder is not a data set", where=str(root), expected=f"a file {LINES_FILE} in it")
    return DataError("the data set cannot be read", where=str(root / LINES_FILE), got=error.strerror or str(error))


def is_torn(raw: bytes) -> bool:
    """Say whether a line that is not JSON is the beginning of one that was being written when its writer died."""
    # A power cut may leave zeros.
    return not raw.endswith(b"\n") and raw.startswith((b"{", b"\0"))


def parsed_line(raw: bytes, number: int, file: str) -> RecordedLine | Problem:
    """Read a line, or say why it is none."""
    try:
        content = _loaded((raw[len(BOM_UTF8) :] if raw.startswith(BOM_UTF8) else raw).decode())
    except UnicodeDecodeError:
        return Problem("the line is not text", f"{file}:{number}", expected="UTF-8")
    except (ValueError, RecursionError) as error:
        return Problem("the line is not JSON", f"{file}:{number}", got=str(error))
    if not isinstance(content, dict):
        got = type(content).__name__
        return Problem("the line is no record", f"{file}:{number}", expected="a JSON object", got=got)
    return RecordedLine(number, content)


def _loaded(text: str) -> Any:
    """Read JSON as ``json.loads`` does, in half the time."""
    if text.startswith("{"):
        content, end = DECODER.raw_decode(text)
        if end == len(text) or text[end:].isspace():
            return content
    return json.loads(text)


class _Dropped(Exception):  # noqa: N818 - a line left out is no error
    """A line that carries nothing to learn from; the reason is its message."""


@attrs.frozen
class StructuredDataset:
    """A folder with ``data.jsonl`` and the images it names."""

    root: Path = attrs.field(converter=Path)

    def lines(self) -> list[RecordedLine]:
        """Read all lines; raises DataError as :func:`read_lines` does."""
        return read_lines(self.root)

    def index(self, mappings: DataMappings) -> Index:
        """Find and check what the mappings ask for, in every line.

        Unusable lines are counted by reason and logged. A point counts as not labelled where it is null, NaN or
        infinite, [-1, -1], or has a visibility of 0.

        Raises:
            DataError: the data set or some lines are faulty; all faulty lines are listed.
        """
        reader = _LineReader(self.root, mappings)
        problems: list[Problem] = []
        dropped: Counter[str] = Counter()
        read = 0
        for line in parse_lines(self.root):
            read += 1
            if isinstance(line, Problem):
                problems.append(line)
                continue
            try:
                reader.take(*line)
            except DataError as error:
                problems.append(error.problem)
            except _Dropped as reason:
                dropped[str(reason)] += 1
        if problems:
            raise DataError.listing(problems)
        for why, count in dropped.items():
            log.warning("%s: %d of %d lines left out: %s", self.root, count, read, why)
        for why, count in reader.unlabelled.items():
            log.info("%s: %d points count as not labelled: %s", self.root, count, why)
        return reader.index(dropped, read)


class _LineReader:
    """Gathers what the usable lines of one folder say, in flat arrays."""

    def __init__(self, root: Path, mappings: DataMappings) -> None:
        self.mappings = mappings
        self.unlabelled: Counter[str] = Counter()
        self._root = root
        self._files = Folder(root)
        self._masks = mappings.mask or (None,) * len(mappings.x)
        self._steps = {key: steps_of(key) for key in mappings.datakeys}
        self._absent = dict.fromkeys(mappings.datakeys, 0)
        self._lines = array("q")
        self._images, self._mask_files = NameList(), NameList()
        self._uv, self._labelled = array("d"), bytearray()
        self._xyz, self._located = array("d"), bytearray()

    def take(self, number: int, content: Mapping[str, Any]) -> None:
        """Keep one line; raises DataError where it is faulty, and _Dropped where it carries nothing."""
        values = {}
        for key, steps in self._steps.items():
            values[key] = value = lookup(content, steps)
            if value is ABSENT:
                self._absent[key] += 1
        mappings = self.mappings
        if mappings.valid:
            self._check_valid_flag(number, mappings.valid, values[mappings.valid])
        images, masks, points = [], [], []
        for image_key, row, mask_key in zip(mappings.x, mappings.y, self._masks, strict=True):
            images.append(self._file(number, image_key, values[image_key]))
            if images[-1] is None:
                raise _Dropped(f"no {image_key}")
            points += [self._point(number, key, values[key], 2) for key in row]
            masks.append(self._file(number, mask_key, values[mask_key]) if mask_key else None)
        places = [self._point(number, key, values[key], 3) for key in mappings.xyz_world or ()]
        self._lines.append(number)
        self._images.extend(images)
        if mappings.mask:
            self._mask_files.extend(masks)
        _extend(self._uv, self._labelled, points, (0.0, 0.0))
        if places:
            _extend(self._xyz, self._located, places, (0.0, 0.0, 0.0))

    def index(self, dropped: Mapping[str, int], read: int) -> Index:
        """Hand over what was kept."""
        mappings, lines = self.mappings, np.array(self._lines, np.int64)
        views, points = len(mappings.x), len(mappings.y[0])
        xyz_world, located = np.zeros((1, points, 3)), np.zeros((1, points), np.bool_)
        if mappings.xyz_world:
            xyz_world, located = _floats(self._xyz, points, 3), _flags(self._located, points)
        return Index(
            root=self._root,
            cameras=tuple(key.rpartition(".")[0] or key for key in mappings.x),
            lines=lines,
            images=self._images.packed(),
            masks=self._mask_files.packed() if mappings.mask else None,
            uv_source=_floats(self._uv, views, points, 2),
            labelled=_flags(self._labelled, views, points),
            xyz_world=np.broadcast_to(xyz_world, (len(lines), points, 3)),
            located=np.broadcast_to(located, (len(lines), points)),
            dropped=dict(dropped),
            read=read,
            occurrences={key: read - count for key, count in self._absent.items()},
        )

    def _where(self, number: int, datakey: str) -> str:
        return f"{self._root}{os.sep}{LINES_FILE}:{number} {datakey}"

    def _check_valid_flag(self, number: int, key: str, flag: Any) -> None:
        if flag is None or flag is ABSENT or flag is True:
            return
        if flag not in (True, False):
            where = self._where(number, key)
            raise DataError("the flag cannot be read", where=where, expected="true or false", got=short_json(flag))
        if not flag:
            raise _Dropped(f"{key} is false")

    def _point(self, number: int, datakey: str, value: Any, width: int) -> Sequence[float] | None:
        """Read a point; None where nobody labelled it, counted where the line says so by a mark."""
        if value is ABSENT or value is None:
            return None
        if _is_plain(value, width):
            return value  # type: ignore[no-any-return]
        try:
            point, mark = _read_point(value, width)
        except ValueError:
            names = ", ".join("xyz"[:width])
            raise DataError(
                "the point cannot be read",
                where=self._where(number, datakey),
                expected=f"[{names}], numbers or null",
                got=short_json(value),
            ) from None
        if mark:
            self.unlabelled[mark] += 1
        return point

    def _file(self, number: int, datakey: str, value: Any) -> NamedFile | None:
        """Check a file that a line names; its name within the folder, and its size in bytes."""
        if isinstance(value, Mapping):
            value = value.get("path")
        if value is ABSENT or value is None:
            return None
        if not isinstance(value, str) or not value.strip():
            where = self._where(number, datakey)
            raise DataError(
                "the file name cannot be read", where=where, expected="a relative path", got=short_json(value)
            )
        try:
            return self._files.checked(value)
        except DataError as error:
            raise error.changed(where=self._where(number, datakey)) from error


def _extend(
    numbers: array[float], flags: bytearray, points: Sequence[Sequence[float] | None], empty: tuple[float, ...]
) -> None:
    listed: list[float] = []
    for point in points:
        listed += empty if point is None else point
        flags.append(point is not None)
    numbers.fromlist(listed)


def _floats(numbers: array[float], *shape: int) -> npt.NDArray[np.float64]:
    return np.array(numbers, np.float64).reshape(-1, *shape)


def _flags(flags: bytearray, *shape: int) -> npt.NDArray[np.bool_]:
    return np.array(flags, np.bool_).reshape(-1, *shape)


def _is_plain(value: Any, width: int) -> bool:
    """Tell quickly whether a value is a list of finite floats and no mark, as nearly all points are."""
    if type(value) is not list or len(value) != width or value[0] == MISSING_MARK or {*map(type, value)} != FLOATS:
        return False
    total = sum(value)
    return bool(total - total == 0.0)  # infinity and NaN stay in a sum, and leave NaN here


def _read_point(value: Any, width: int) -> tuple[tuple[float, ...] | None, str]:
    """Read [x, y] or {"x": .., "y": ..}, with z for three; raises ValueError where it is no point.

    Returns:
        The point, or None where nobody labelled it; and by which mark the value says so, if by any.
    """
    if isinstance(value, dict):
        names = "xyz"[:width]
        if not set(names) <= value.keys():
            raise ValueError
        if width == len("xy"):
            stated = [value[key] for key in VISIBILITY_KEYS if value.get(key) is not None]
            if not all(isinstance(each, int | float) for each in stated):
                raise ValueError
            if any(each <= 0 for each in stated):
                return None, "a visibility of 0"
        value = [value[name] for name in names]
    if not isinstance(value, list) or len(value) != width:
        raise ValueError
    for number in value:
        if type(number) is not float and (isinstance(number, bool) or not isinstance(number, int | None)):
            raise ValueError
    # The comparison is false for NaN and infinity, and holds for integers too large for a float.
    for number in value:
        if number is None or not -FLOAT_MAX <= number <= FLOAT_MAX:
            return None, "NaN or infinite" if number is not None else ""
    if width == len("xy") and value[0] == value[1] == MISSING_MARK:
        return None, "[-1, -1], a mark for missing"
    return tuple(map(float, value)), ""
