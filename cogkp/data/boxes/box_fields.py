"""Read the objects of an annotation file with checks, and derive missing values from the others.

``None`` is returned for keys that are absent or null.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import numpy as np
import numpy.typing as npt

from cogkp.config.issues import short_json
from cogkp.data.boxes.frames import project
from cogkp.data.boxes.records import BoxRecord
from cogkp.data.images import read_grey
from cogkp.errors import DataError, ImageError, Problem
from cogkp.files import read_whole
from cogkp.geometry.cuboid import POINTS, UNIT_POINTS, fit_cuboids
from cogkp.geometry.rotation import rotation_from_quaternion

LARGEST = 1e12
TRUTHS = {"true": True, "false": False}

FloatArray = npt.NDArray[np.float64]
LOCAL = np.array(UNIT_POINTS)
# A side that is this share of the longest is rounding, not a side.
THINNEST = 1e-6

KEYS = ("projected_cuboid", "keypoints_3d", "location", "quaternion_xyzw", "scale", "visibility")


def read_annotation(path: Path) -> Fields:
    """Read an annotation file; raises DataError where it cannot be read or does not hold a JSON object."""
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
    """What an object of the file holds, and where it is, file and key, for people."""

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


class _Space(NamedTuple):
    """A box in space, as far as it is known."""

    points: FloatArray | None
    pose: FloatArray | None
    size: FloatArray | None


def read_box(entry: Fields, number: int, K: FloatArray | None, to_opencv: FloatArray) -> BoxRecord:
    """Read object ``number`` of the file; ``to_opencv``, (3, 3), takes its axes to OpenCV's, which the record has.

    Raises:
        DataError: a value cannot be used, or the pixels are neither stated nor implied.
    """
    category = entry.word("class") or "object"
    space, location = _completed(entry, _stated(entry, to_opencv)), entry.array("location", 3)
    visibility = entry.number("visibility", 0.0, 1.0, "a number from 0 to 1")
    return BoxRecord(
        name=entry.word("name") or f"{category}_{number}",
        category=category,
        where=entry.where,
        uv_source=_pixels(entry, space.points, K),
        xyz_camera=space.points,
        cuboid_to_camera=space.pose,
        size_xyz=space.size,
        visibility=1.0 if visibility is None else visibility,
        symmetric=entry.truth("symmetric"),
        num_symmetry=entry.whole("num_symmetry", 1),
        given=frozenset(key for key in KEYS if key in entry),
        location=None if location is None else to_opencv @ location,
    )


def _stated(entry: Fields, to_opencv: FloatArray) -> _Space:
    points = entry.array("keypoints_3d", POINTS, 3)
    return _Space(None if points is None else points @ to_opencv.T, _pose(entry, to_opencv), _size(entry))


def _pose(entry: Fields, to_opencv: FloatArray) -> FloatArray | None:
    location, quaternion = entry.array("location", 3), entry.array("quaternion_xyzw", 4)
    if quaternion is not None and not math.hypot(*quaternion) > THINNEST:
        raise entry.wrong("quaternion_xyzw", "four numbers that are not all zero")
    if location is None or quaternion is None:
        return None
    pose = np.eye(4)
    pose[:3, :3] = to_opencv @ rotation_from_quaternion(quaternion)
    pose[:3, 3] = to_opencv @ location
    return pose


def _size(entry: Fields) -> FloatArray | None:
    size = entry.array("scale", 3)
    if size is not None and not _solid(size):
        raise entry.wrong("scale", "three side lengths > 0", "A box has a width, a height and a depth.")
    return size


def _solid(size: FloatArray) -> bool:
    return bool(size.min() > THINNEST * size.max() > 0)


def _completed(entry: Fields, stated: _Space) -> _Space:
    """Derive points from pose and sizes, or pose and sizes from points."""
    if stated.points is None:
        if stated.pose is None or stated.size is None:
            return stated
        points = (stated.size * LOCAL) @ stated.pose[:3, :3].T + stated.pose[:3, 3]
        return stated._replace(points=points)
    if stated.pose is not None and stated.size is not None:
        return stated
    fit = fit_cuboids(stated.points)
    size = fit.cuboids.size_xyz
    if not bool(fit.valid) or not _solid(size):
        raise entry.wrong("keypoints_3d", "middle and corners of a box whose sides are > 0")
    pose = fit.cuboids.cuboid_to_camera if stated.pose is None else stated.pose
    return _Space(stated.points, pose, size if stated.size is None else stated.size)


def _pixels(entry: Fields, points: FloatArray | None, K: FloatArray | None) -> FloatArray:
    uv = entry.array("projected_cuboid", POINTS, 2)
    if uv is not None:
        return uv
    hint = "Without pixels a file needs keypoints_3d, or location, quaternion_xyzw and scale, and intrinsics."
    if points is None or K is None:
        raise entry.wrong("projected_cuboid", "nine points", hint)
    pixels = project(K, points)
    if not np.isfinite(pixels).all():
        raise DataError("the object is behind the camera", where=entry.place("keypoints_3d"), hint=hint)
    return pixels
