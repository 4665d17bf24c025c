"""The lines of a StructuredDataset: JSON objects, one each, and the datakeys that lead into them."""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cogkp.errors import DataError, Problem

__all__ = ["ABSENT", "LINES_FILE", "RecordedLine", "find", "lookup", "parse_lines", "read_lines", "steps_of"]

LINES_FILE = "data.jsonl"

DECODER = json.JSONDecoder()

ABSENT = object()
"""Stands for a datakey that a line does not have; null is a value."""


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
    """Read all lines of a data set.

    Raises:
        DataError: there is no ``data.jsonl``, or lines in it are not JSON objects; all of them are listed.
    """
    parsed = list(parse_lines(Path(root)))
    problems = [line for line in parsed if isinstance(line, Problem)]
    if problems:
        raise DataError.listing(problems)
    return [line for line in parsed if isinstance(line, RecordedLine)]


def parse_lines(root: Path) -> Iterator[RecordedLine | Problem]:
    """Read line by line, and say which of them are no JSON objects; raises DataError where there is no data set."""
    try:
        file = (root / LINES_FILE).open("rb")
    except OSError as error:
        raise _no_data_set(root, error) from error
    with file:
        for number, raw in enumerate(file, start=1):
            if raw.strip():
                yield _parsed(raw, number, file.name)


def _no_data_set(root: Path, error: OSError) -> DataError:
    if not root.is_dir():
        return DataError("the data set's folder does not exist", where=str(root), hint="Check base_dir in the config.")
    if isinstance(error, FileNotFoundError):
        return DataError("the folder is not a data set", where=str(root), expected=f"a file {LINES_FILE} in it")
    return DataError("the data set cannot be read", where=str(root / LINES_FILE), got=error.strerror or str(error))


def _parsed(raw: bytes, number: int, file: str) -> RecordedLine | Problem:
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
