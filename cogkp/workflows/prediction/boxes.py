"""Boxes that say where to look: one for all frames, or a file with one for each."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cogkp.data.sources import Frame
from cogkp.errors import DataError
from cogkp.files import decoded_text, read_whole
from cogkp.inference.processor import Box
from cogkp.workflows.prediction.asking import Boxes

SIDES = ("left", "top", "right", "bottom")
FORMS = (
    'four numbers "left,top,right,bottom", a CSV file with the columns image or frame, left, top, right, bottom, or '
    'JSON lines {"image": ..., "box": [left, top, right, bottom]} with "frame" in place of "image" for videos'
)


def boxes_of(given: str | os.PathLike[str] | Sequence[float] | Mapping[Any, Sequence[float]]) -> Boxes:
    """Make what says where to look in a frame.

    Args:
        given: (left, top, right, bottom) in pixels for all frames; a mapping from names of images or numbers of frames;
            or a file of such, see :data:`FORMS`.

    Raises:
        DataError: it is none of these.
    """
    if isinstance(given, Mapping):
        return _looked_up({_key(key): _box(value, "boxes") for key, value in given.items()}, "boxes")
    if not isinstance(given, str | os.PathLike):
        box = _box(given, "boxes")
        return lambda _frame: box
    text = os.fspath(given)
    if not Path(text).is_file() and text.count(",") == len(SIDES) - 1:
        box = _box(text.split(","), "boxes")
        return lambda _frame: box
    return _looked_up(dict(_read(Path(text))), text)


def _looked_up(boxes: Mapping[str | int, Box], where: str) -> Boxes:
    def box(frame: Frame) -> Box:
        name, number = frame.name, frame.number
        stem = os.path.splitext(name)[0]  # noqa: PTH122 - a name may hold folders
        for key in (name, stem, os.path.basename(name), number):  # noqa: PTH119
            if key in boxes:
                return boxes[key]
        got = f"neither {name} nor frame {number}"
        raise DataError("there is no box for this frame", where=where, expected="a box for each frame", got=got)

    return box


def _read(path: Path) -> Iterator[tuple[str | int, Box]]:
    try:
        text, _ = decoded_text(read_whole(path))
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise DataError("the boxes cannot be read", where=str(path), expected=FORMS, got=why) from error
    rows = _json_lines(text, path) if text.lstrip().startswith("{") else _table(text, path)
    for number, key, values in rows:
        yield _key(key), _box(values, f"{path}:{number}")


def _json_lines(text: str, path: Path) -> Iterator[tuple[int, Any, Any]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError("the line is not JSON", where=f"{path}:{number}", got=str(error)) from error
        if not isinstance(row, dict):
            raise DataError("the line is no box", where=f"{path}:{number}", expected=FORMS)
        yield number, row.get("image", row.get("frame")), row.get("box")


def _table(text: str, path: Path) -> Iterator[tuple[int, Any, Any]]:
    reader = csv.DictReader(text.splitlines())
    names = reader.fieldnames or ()
    key = next((name for name in ("image", "frame") if name in names), None)
    if key is None or not set(SIDES) <= set(names):
        raise DataError("not a table of boxes", where=str(path), expected=FORMS, got=", ".join(names)[:80] or "nothing")
    for row in reader:
        yield reader.line_num, row[key], [row[side] for side in SIDES]


def _key(key: Any) -> str | int:
    text = str(key)
    return int(text) if text.isdecimal() else text


def _box(values: Any, where: str) -> Box:
    try:
        left, top, right, bottom = map(float, values)
    except (TypeError, ValueError) as error:
        expected = "four numbers: left, top, right, bottom"
        raise DataError("not a box", where=where, expected=expected, got=repr(values)[:60]) from error
    return left, top, right, bottom
