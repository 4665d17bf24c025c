"""Check that the mapped datakeys occur in a data set: a misspelt one would look like "never labelled"."""

import logging
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Literal

from cogkp.config.keypoint.spec import DataMappings
from cogkp.data.keypoint.records import Index
from cogkp.data.keypoint.structured.reader import LINES_FILE, RecordedLine, parse_lines
from cogkp.errors import DataError, Problem, closest, counted

log = logging.getLogger("cogkp")

FEW = 0.5
"""A datakey that stands in a smaller share of the lines is reported."""

LINES_SEARCHED = 10_000
MOST_LISTED = 8


PointLabels = Literal["needed", "some roots", "unused"]
"""Whether each data set must have the datakeys of points, or some may be without labels, or nobody asks."""


def check_datakeys(index: Index, mappings: DataMappings, points: PointLabels = "needed") -> None:
    """Refuse datakeys that no line has, and warn of those that few lines have.

    Raises:
        DataError: no line of the data set has a datakey; all such keys are listed, with the closest key there is.
    """
    if not index.read:
        return
    if mappings.xyz_world and not index.located.any():
        log.warning("%s: data_mappings.xyz_world: no line says where a point is", index.root / LINES_FILE)
    passed_over = _passed_over(index, mappings, points)
    counts = {key: count for key, count in index.occurrences.items() if key not in passed_over}
    absent = [key for key, count in counts.items() if count == 0]
    few = [key for key, count in counts.items() if _is_told(key, count, index, mappings)]
    if not absent and not few:
        return
    there = _datakeys_in(index)
    if absent:
        raise DataError.listing([_problem(key, index, mappings, there) for key in absent])
    for key in few:
        hint = _closest(key, there, mappings)
        also = "; a line without it counts as valid" if key == mappings.valid else ""
        log.warning(
            "%s: the datakey %r stands in %d of %s%s.%s",
            index.root / LINES_FILE,
            key,
            index.occurrences[key],
            counted(index.read, "line"),
            also,
            f" {hint}" if hint else "",
        )


def _passed_over(index: Index, mappings: DataMappings, points: PointLabels) -> set[str]:
    """Choose the datakeys that may be absent."""
    labels = {key for row in mappings.y for key in row}
    if points == "unused":
        return labels | set(mappings.xyz_world or ())
    if points == "some roots" and not any(index.occurrences[key] for key in labels):
        log.warning("%s: none of the %d mapped points is labelled in any line", index.root / LINES_FILE, len(labels))
        return labels
    return set()


def _is_told(key: str, count: int, index: Index, mappings: DataMappings) -> bool:
    most = 1.0 if key == mappings.valid else FEW
    return 0 < count < most * index.read


def _problem(key: str, index: Index, mappings: DataMappings, there: Iterable[str]) -> Problem:
    names = [name for name in there if name not in mappings.datakeys]
    listed = ", ".join(names[:MOST_LISTED]) + (", ..." if len(names) > MOST_LISTED else "")
    return Problem(
        "no line has this datakey",
        f"{index.root / LINES_FILE} data_mappings.{_role(key, mappings)}",
        expected="a key that the lines have; null in them where a value is missing",
        got=repr(key),
        hint=_closest(key, there, mappings) or (f"The lines also have {listed}." if listed else ""),
    )


def _role(key: str, mappings: DataMappings) -> str:
    """Say which setting names a datakey."""
    for view, row in enumerate(mappings.y):
        if key in row:
            return f"y[{view}][{row.index(key)}]"
    for name in ("x", "mask", "xyz_world"):
        keys = getattr(mappings, name) or ()
        if key in keys:
            return f"{name}[{keys.index(key)}]"
    return "valid"


def _closest(key: str, there: Iterable[str], mappings: DataMappings) -> str:
    """Phrase a hint; keys that are not mapped, and among them those that differ in case or place only, come first."""
    free = [name for name in there if name not in mappings.datakeys]
    accents = [name for name in free if unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", key)]
    if accents:
        return f"Did you mean {accents[0]!a}, whose accents are written another way than in {key!a}?"
    last = key.rpartition(".")[2].lower()
    same = [name for name in free if name.rpartition(".")[2].lower() == last]
    return (f"Did you mean {same[0]!r}?" if len(same) == 1 else closest(key, same)) or closest(key, free)


def _datakeys_in(index: Index) -> list[str]:
    """List the datakeys of the first lines, in their order."""
    lines = (line for line in islice(parse_lines(index.root), LINES_SEARCHED) if isinstance(line, RecordedLine))
    return list(dict.fromkeys(key for line in lines for key in _paths(line.content)))


def _paths(value: Any, start: str = "") -> Iterator[str]:
    """Go through the datakeys within a value; the coordinates of a point are none."""
    if isinstance(value, dict):
        items: Iterable[tuple[str, Any]] = value.items()
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        items = ((str(place), item) for place, item in enumerate(value))
    else:
        return
    for name, item in items:
        yield start + name
        yield from _paths(item, f"{start}{name}.")
