"""Calibrations in OpenCV's FileStorage format (YAML, XML or JSON), as its stereo and camera samples write them.

Stereo: camera matrices and distortions of both cameras, R and T, in one file or in two. R and T map left to right,
x_right = R x_left + T, and the left camera is the world. What cv2.stereoRectify adds (R1, R2, P1, P2, Q) describes
rectified images and is left out: the cameras are those that took the images.
One camera: ``camera_matrix`` and ``distortion_coefficients``; also as ROS writes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import numpy as np

from cogkp.data.calibration.checks import FloatArray, camera_of, numbers, resolution, rigid
from cogkp.errors import DataError
from cogkp.geometry.camera import PinholeCamera

__all__ = ["Storage", "parse_storage", "read_opencv"]

# Names are compared without case and underscores.
MATRIX = ("m", "k", "cm", "cameramatrix")
LENS = ("d", "dist", "distcoeff", "distcoeffs", "distcoef", "distcoefs", "distortion", "distortioncoefficients")
SIDES = (("1", "l", "left"), ("2", "r", "right"))
ROTATION = ("r", "rotation", "rotationmatrix", "rmat")
TRANSLATION = ("t", "translation", "translationvector", "tvec")
SIZE = ("imagesize", "imgsize", "size", "resolution")
STANDARD_LENSES = ("plumb_bob", "rational_polynomial")
DEFAULT_PAIR = ("LL", "LR")
DEFAULT_ONE = "camera"
REASON = re.compile(r"\((\d+)\): ([^'\n]+)")
"""Where OpenCV's messages say what it met, and in which line."""


@attrs.frozen
class Storage:
    """Entries of one or two files: numbers, words, lists and arrays.

    Args:
        where: names of the files.
        entries: values by their name in lower case without underscores.
        names: as the files spell them.
    """

    where: str
    entries: Mapping[str, Any]
    names: tuple[str, ...]

    def get(self, names: Iterable[str]) -> Any:
        """Return the first entry there is of some names, or None."""
        return next((self.entries[name] for name in names if name in self.entries), None)

    def sided(self, names: Iterable[str], side: int) -> Any:
        """Return the entry of the left (0) or right (1) camera, or None."""
        return self.get(f"{name}{mark}" for name in names for mark in SIDES[side])

    @property
    def is_stereo(self) -> bool:
        """Whether there are two cameras, or what joins two."""
        return any(self.sided(MATRIX, side) is not None for side in (0, 1)) or self.get(ROTATION) is not None

    @property
    def is_half(self) -> bool:
        """Whether this is one of the two files of a stereo calibration."""
        cameras = self.sided(MATRIX, 0) is not None
        return self.is_stereo and cameras is (self.get(ROTATION) is None and self.get(TRANSLATION) is None)

    @property
    def is_calibration(self) -> bool:
        """Whether there is anything of a camera in it."""
        return self.is_stereo or self.get(MATRIX) is not None

    def joined(self, other: Storage) -> Storage:
        """Put two files together; refuses an entry that both have with different values."""
        where = f"{self.where} and {other.where}"
        shared = self.entries.keys() & other.entries.keys()
        for name in sorted(shared):
            if not np.array_equal(np.asarray(self.entries[name]), np.asarray(other.entries[name])):
                raise DataError(
                    "two files disagree",
                    where=where,
                    expected="one value",
                    got=f"two of {name!r}",
                    hint="Are both of one calibration?",
                )
        return Storage(where, {**self.entries, **other.entries}, (*self.names, *other.names))


def parse_storage(text: str, where: str) -> Storage:
    """Parse a FileStorage file.

    Raises:
        DataError: OpenCV cannot parse it.
    """
    import cv2

    try:
        storage = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
        root = storage.root()
        entries = {key: _value(root.getNode(key)) for key in root.keys()}  # noqa: SIM118 (no mapping)
        storage.release()
    except (SystemError, cv2.error) as error:
        reason = REASON.search(str(error.__cause__ or error))
        raise DataError(
            "the calibration is not a complete OpenCV file",
            where=where,
            expected="YAML, XML or JSON as cv2.FileStorage writes it",
            got="line {}: {}".format(*reason.groups()) if reason else "nothing that it can parse",
            hint="Is the file cut off?",
        ) from error
    return Storage(where, {key.lower().replace("_", ""): value for key, value in entries.items()}, tuple(entries))


def read_opencv(
    storage: Storage, size_wh: tuple[int, int] | None, names: tuple[str, ...] | None
) -> dict[str, PinholeCamera]:
    """Read the cameras of parsed files.

    Args:
        storage: all entries.
        size_wh: size of the images, where the files do not say it.
        names: of left and right camera, or of the one; None takes LL and LR, or the file's name of the one.

    Returns:
        The cameras by name; the left or only camera is the world.

    Raises:
        DataError: something is missing, or a camera is impossible.
    """
    _check_model(storage)
    size = _size(storage, size_wh)
    if not storage.is_stereo:
        own = storage.entries.get("cameraname")
        name = names[0] if names else (own if isinstance(own, str) and own else DEFAULT_ONE)
        found = storage.get(MATRIX), storage.get(LENS)
        return {name: _camera(storage, "camera_matrix, distortion_coefficients", found, np.eye(4), size, name)}
    left, right = names if names and len(names) == len({*names}) == len(DEFAULT_PAIR) else DEFAULT_PAIR
    poses = np.eye(4), _left_to_right(storage)
    return {
        name: _camera(
            storage,
            f"M{side + 1}, D{side + 1}",
            (storage.sided(MATRIX, side), storage.sided(LENS, side)),
            poses[side],
            size,
            name,
        )
        for side, name in enumerate((left, right))
    }


def _value(node: Any) -> Any:
    if node.isSeq():
        return [_value(node.at(index)) for index in range(node.size())]
    if node.isMap():
        return _matrix(node)
    if node.isInt():
        return round(node.real())
    return node.real() if node.isReal() else node.string()


def _matrix(node: Any) -> Any:
    """Read a tagged matrix; also one that ROS wrote, which lacks the tag and the type of its numbers."""
    keys = set(node.keys())
    if "dt" in keys:
        matrix = node.mat()
        return np.zeros(0) if matrix is None else matrix  # an empty list of coefficients is no lens
    if not {"rows", "cols", "data"} <= keys:
        return {key: _value(node.getNode(key)) for key in keys}
    rows, columns = (round(node.getNode(key).real()) for key in ("rows", "cols"))
    data = np.array(_value(node.getNode("data")), np.float64)
    return data.reshape(rows, columns) if data.size == rows * columns else data


def _check_model(storage: Storage) -> None:
    lens = storage.entries.get("distortionmodel", STANDARD_LENSES[0])
    if storage.entries.get("fisheyemodel") or (isinstance(lens, str) and lens not in STANDARD_LENSES):
        got = "a fisheye model" if storage.entries.get("fisheyemodel") else str(lens)
        raise DataError(
            "a lens of another model",
            where=storage.where,
            expected="OpenCV's standard model",
            got=got,
            hint="Calibrate with cv2.stereoCalibrate or cv2.calibrateCamera.",
        )


def _size(storage: Storage, given: tuple[int, int] | None) -> tuple[int, int]:
    value = storage.get(SIZE)
    if value is None and {"imagewidth", "imageheight"} <= storage.entries.keys():
        value = storage.entries["imagewidth"], storage.entries["imageheight"]
    if value is None and given is None:
        raise DataError(
            "the calibration does not say how large the images were",
            where=storage.where,
            expected="image_width and image_height in it, or size_wh",
            got="neither",
            hint="Give the size: --size WIDTH HEIGHT, or size_wh=(width, height).",
        )
    if value is None:
        return given or (0, 0)
    return resolution([int(side) for side in np.ravel(numbers(value, f"{storage.where}, image size"))], storage.where)


def _left_to_right(storage: Storage) -> FloatArray:
    rotation, translation = storage.get(ROTATION), storage.get(TRANSLATION)
    missing = [name for name, value in (("R", rotation), ("T", translation)) if value is None]
    if missing:
        raise _missing(storage, missing)
    R = numbers(rotation, f"{storage.where}, R", (3, 3))
    T = numbers(translation, f"{storage.where}, T", (3,), (3, 1), (1, 3)).ravel()
    if not np.abs(T).max() > 0:
        raise DataError(
            "two cameras stand in the same place",
            where=f"{storage.where}, T",
            expected="a baseline above zero",
            got="T = 0",
            hint="Is this the T of cv2.stereoCalibrate?",
        )
    return rigid(np.column_stack([R, T]), f"{storage.where}, R")


def _missing(storage: Storage, names: Iterable[str]) -> DataError:
    hint = "OpenCV's sample writes two files, intrinsics.yml and extrinsics.yml: keep them side by side, or give both."
    return DataError(
        "the calibration lacks an entry",
        where=storage.where,
        expected=" and ".join(names),
        got=", ".join(storage.names) or "nothing",
        hint=hint,
    )


def _camera(
    storage: Storage, entries: str, found: tuple[Any, Any], pose: FloatArray, size_wh: tuple[int, int], name: str
) -> PinholeCamera:
    missing = [entry for entry, value in zip(entries.split(", "), found, strict=True) if value is None]
    if missing:
        raise _missing(storage, missing)
    where = f"{storage.where}, camera {name}"
    matrix, lens = (f"{where}, {entry}" for entry in entries.split(", "))
    return camera_of(
        where,
        K=numbers(found[0], matrix, (3, 3)),
        pose=pose,
        distortion=numbers(found[1], lens).ravel(),
        size_wh=size_wh,
    )
