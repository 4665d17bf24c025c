"""Read values of an annotation file with checks; an error names file and key.

``None`` is returned for keys that are absent or null.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from cogkp.config.issues import short_json
from cogkp.data.images import read_grey
from cogkp.errors import DataError, ImageError, Problem
from cogkp.files import read_whole

__all__ = ["Fields", "image_problem", "read_annotation"]

LARGEST = 1e12
TRUTHS = {"true": True, "false": False}


def read_annotation(path: Path) -> Fields:
    """Read an annotation file.

    Raises:
        DataError: it cannot be read or does not hold a JSON object.
    """
    try:
        content = json.loads(read_whole(path).decode("utf-8-sig"))
    except OSError as error:
        raise DataError("the annotation cannot be read", where=str(path), got=error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise DataError("the annotation is not text", where=str(path), expected="UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise DataError("the annotation is not JSON", where=str(path), got=str(error)) from error
    if not isinstance(content, dict):
        raise DataError(
            "the annotation is not an object", where=str(path), expected="a JSON object", got=type(content).__name__
        )
    return Fields(str(path), content)


def image_problem(path: Path) -> Problem | None:
    """Decode an image and say what is wrong with it; None where it is whole."""
    try:
        read_grey(path)
    except ImageError as error:
        return error.problem
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@attrs.frozen
class Fields:
    """An object of the file.

    Args:
        where: file and key, for people.
        content: what it holds.
    """

    where: str
    content: Mapping[str, Any]

    def __contains__(self, key: str) -> bool:
        return self.content.get(key) is not None

    def place(self, key: str) -> str:
        """Say where a key stands."""
        return f"{self.where}{'.' if ' ' in self.where else ' '}{key}"

    def wrong(self, key: str, expected: str, hint: str = "") -> DataError:
        """Make the error for a value that is not what it should be."""
        got = short_json(self.content[key]) if key in self.content else "nothing"
        return DataError("the value cannot be used", where=self.place(key), expected=expected, got=got, hint=hint)

    def within(self, key: str) -> Fields | None:
        """Go into an object."""
        value = self.content.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.wrong(key, "a JSON object")
        return Fields(self.place(key), value)

    def each(self, key: str) -> list[Fields]:
        """Go into each object of a list that must be there."""
        value = self.content.get(key)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self.wrong(key, "a list of JSON objects, empty where nothing is labelled")
        return [Fields(self.place(f"{key}[{number}]"), item) for number, item in enumerate(value)]

    def array(self, key: str, *shape: int) -> npt.NDArray[np.float64] | None:
        """Read finite numbers of a fixed shape."""
        value = self.content.get(key)
        if value is None:
            return None
        expected = " x ".join(map(str, shape)) + " finite numbers"
        if not _has_shape(value, shape):
            raise self.wrong(key, expected, _counted(value, shape))
        numbers = np.array(value, np.float64)
        if not np.isfinite(numbers).all():
            raise self.wrong(key, expected, "NaN and infinity are not labels: leave out what is not known.")
        return numbers

    def number(self, key: str, low: float, high: float, expected: str, hint: str = "") -> float | None:
        """Read one number between two bounds, both included."""
        value = self.content.get(key)
        if value is None:
            return None
        if not _is_number(value) or not low <= value <= min(high, LARGEST):
            raise self.wrong(key, expected, hint)
        return float(value)

    def whole(self, key: str, low: int) -> int | None:
        """Read a whole number from a bound on."""
        value = self.content.get(key)
        if value is None:
            return None
        if not _is_number(value) or not low <= value <= LARGEST or value != round(value):
            raise self.wrong(key, f"a whole number >= {low}")
        return int(value)

    def truth(self, key: str) -> bool | None:
        """Read true or false, also where it was written as a word."""
        value = self.content.get(key)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in TRUTHS:
            return TRUTHS[value.lower()]
        raise self.wrong(key, "true or false")

    def word(self, key: str) -> str | None:
        """Read a text."""
        value = self.content.get(key)
        if value is not None and not isinstance(value, str):
            raise self.wrong(key, "a text")
        return value


def _has_shape(value: Any, shape: tuple[int, ...]) -> bool:
    if not shape:
        # NaN and infinity have a message of their own. What is larger is no pixel and no length.
        return _is_number(value) and not LARGEST < abs(value) < math.inf
    return isinstance(value, list) and len(value) == shape[0] and all(_has_shape(item, shape[1:]) for item in value)


def _counted(value: Any, shape: tuple[int, ...]) -> str:
    if isinstance(value, list) and len(value) != shape[0]:
        return f"There are {len(value)} where {shape[0]} belong."
    return ""
