"""Read the cells of a label table in any common encoding, with any separator and decimal mark.

What can be read in two ways is refused, with what to do.
"""

import csv
import io
import logging
import math
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import attrs

from cogkp.errors import DataError
from cogkp.files import WINDOWS, decoded_text, read_whole

log = logging.getLogger("cogkp")

SEPARATORS = (",", ";", "\t")
REMEDY = "Save the table again as CSV in UTF-8, cells separated by commas, decimal points in numbers."
MISSING = frozenset({"", "nan", "-nan", "na", "n/a", "#n/a", "<na>", "none", "null"})
WITH_COMMA = re.compile(r"[+-]?\d*,\d+(e[+-]?\d+)?", re.IGNORECASE)
WITH_POINT = re.compile(r"[+-]?\d*\.\d+(e[+-]?\d+)?", re.IGNORECASE)
WITH_MARK = re.compile(r"[+-]?\d*[.,]\d+")
THOUSANDS = re.compile(r"[+-]?[1-9][.,]\d{3}")
SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\r?\n?')


class Row(NamedTuple):
    """One row: the number of its last line in the file, and its cells, without blanks at their ends."""

    number: int
    cells: list[str]


@attrs.frozen
class Cells:
    """Rows that hold anything, as long as the headings if they can be, and whether numbers are written as in 50,5."""

    rows: tuple[Row, ...]
    decimal_comma: bool


def read_cells(path: Path, first_cells: Sequence[str]) -> Cells:
    """Read a table; what the first column holds in the rows of headings, in lower case, tells the separator.

    Raises:
        DataError: the file cannot be read, or its numbers can be read in two ways.
    """
    text = _text(path)
    declared = SEPARATOR_LINE.match(text)
    candidates = (declared.group(1),) if declared else SEPARATORS
    try:
        separator = next((each for each in candidates if _headings(text, each, first_cells)), candidates[0])
        rows = [row for row in _rows(text, separator) if any(row.cells)]
    except csv.Error as error:
        raise DataError("the label table cannot be read", where=str(path), got=str(error), hint=REMEDY) from error
    rows = rows[1:] if declared else rows
    width = max(
        (place + 1 for row in rows[: len(first_cells)] for place, cell in enumerate(row.cells) if cell), default=0
    )
    unfinished = rows[-1] if rows and not text.endswith(("\n", "\r")) else None
    rows = [row if row is unfinished else Row(row.number, _fitted(row.cells, width)) for row in rows]
    return Cells(tuple(rows), separator != "," and _has_commas(path, rows[len(first_cells) :]))


def _text(path: Path) -> str:
    """Read the text of a file, in any common encoding."""
    try:
        raw = read_whole(path, None)
    except OSError as error:
        raise DataError("the label table cannot be read", where=str(path), got=error.strerror or str(error)) from error
    try:
        text, encoding = decoded_text(raw)
    except UnicodeDecodeError as error:
        raise DataError("the label table cannot be read", where=str(path), got=str(error), hint=REMEDY) from error
    if encoding == WINDOWS:
        log.warning("%s: not UTF-8, read as Latin-1 (Windows-1252); check names with letters beyond a-z", path)
    return text


def _rows(text: str, separator: str) -> list[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    return [Row(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]


def _headings(text: str, separator: str, first_cells: Sequence[str]) -> bool:
    lines = "".join(islice(io.StringIO(text, newline=""), 2 * len(first_cells)))
    firsts = [row.cells[0].lower() for row in _rows(lines, separator) if any(row.cells)]
    return all(cell in firsts for cell in first_cells)


def _fitted(cells: list[str], width: int) -> list[str]:
    """Leave out empty cells beyond the last heading, and add those that a program left out at the end."""
    return cells if any(cells[width:]) else [*cells[:width], *[""] * (width - len(cells))]


def _has_commas(path: Path, rows: Sequence[Row]) -> bool:
    """Tell whether numbers have decimal commas; raises DataError where that is open."""
    marked = [(row.number, cell) for row in rows for cell in row.cells if WITH_MARK.fullmatch(cell)]
    if marked and all(THOUSANDS.fullmatch(cell) for _, cell in marked):
        number, cell = marked[0]
        raise DataError(
            "numbers can be read in two ways",
            where=f"{path}:{number}",
            expected="decimal places, or no separators of thousands",
            got=f"{cell!r} and nothing that shows which it is",
            hint=REMEDY,
        )
    with_comma = next((row for row in rows if any(map(WITH_COMMA.fullmatch, row.cells))), None)
    with_point = next((row for row in rows if any(map(WITH_POINT.fullmatch, row.cells))), None)
    if with_comma is not None and with_point is not None:
        raise DataError(
            "numbers can be read in two ways",
            where=f"{path}:{with_comma.number}",
            expected="decimal points or decimal commas, not both",
            got=f"commas here, points in line {with_point.number}",
            hint=REMEDY,
        )
    return with_comma is not None


def number_in(cell: str, decimal_comma: bool) -> float | None:
    """Read a cell; None where nothing is labelled; ValueError for anything that is not a finite number.

    Example:
        >>> number_in("50,5", decimal_comma=True), number_in("NA", decimal_comma=False)
        (50.5, None)
    """
    if cell.lower() in MISSING:
        return None
    value = float(cell.replace(",", ".") if decimal_comma and WITH_COMMA.fullmatch(cell) else cell)
    if not math.isfinite(value) or "_" in cell:
        raise ValueError(f"not a finite number: {cell!r}")
    return value
