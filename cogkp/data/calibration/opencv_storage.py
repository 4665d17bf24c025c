"""Calibrations in the words of OpenCV's FileStorage, YAML, XML or JSON, as its stereo and camera samples write them.

Stereo: camera matrices and distortions of both cameras, R and T, in one file or in two. R and T map left to right,
x_right = R x_left + T, and the left camera is the world. What cv2.stereoRectify adds (R1, R2, P1, P2, Q) describes
rectified images and is left out: the cameras are those that took the images.
One camera: ``camera_matrix`` and ``distortion_coefficients``; also as ROS writes it, to a file or to a topic. Two files
of ROS are a pair where their projection matrices say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import attrs
import numpy as np

from cogkp.config.issues import short_repr
from cogkp.data.calibration.checks import (
    STANDARD_LENSES,
    Cameras,
    FloatArray,
    camera_of,
    coefficients,
    each_camera,
    model_name,
    numbers,
    resolution,
    rigid,
    rotation_of,
)
from cogkp.errors import DataError
from cogkp.geometry.camera import PinholeCamera

# Names are compared without case and underscores.
MATRIX = ("m", "k", "cm", "cameramatrix")
LENS = ("d", "dist", "distcoeff", "distcoeffs", "distcoef", "distcoefs", "distortion", "distortioncoefficients")
SIDES = (("1", "l", "left"), ("2", "r", "right"))
ROTATION = ("r", "rotation", "rotationmatrix", "rmat")
TRANSLATION = ("t", "translation", "translationvector", "tvec")
SIZE = ("imagesize", "imgsize", "size", "resolution")
TOPIC = {
    "k": "cameramatrix",
    "d": "distortioncoefficients",
    "r": "rectificationmatrix",
    "p": "projectionmatrix",
    "width": "imagewidth",
    "height": "imageheight",
}
"""What the entries of a message of a ROS topic are called in the file of a ROS camera."""
DEFAULT_PAIR = ("LL", "LR")
DEFAULT_ONE = "camera"


@attrs.frozen
class Storage:
    """Entries of one or two files: numbers, words, lists and arrays.

    Args:
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
    def camera(self) -> str:
        """The name of its one camera; empty where it has none."""
        name = self.entries.get("cameraname")
        return str(name).strip() if isinstance(name, str | int | float) else ""

    @property
    def is_calibration(self) -> bool:
        """Whether there is anything of a camera in it."""
        return self.is_stereo or self.get(MATRIX) is not None

    def joined(self, other: Storage) -> Storage:
        """Put two files together; refuses an entry that both have with different values."""
        where = f"{self.where} and {other.where}"
        shared = self.entries.keys() & other.entries.keys()
        for name in sorted(shared):
            if self.entries[name] != other.entries[name]:
                raise DataError(
                    "two files disagree",
                    where=where,
                    expected="one value",
                    got=f"two of {name!r}",
                    hint="Are both of one calibration?",
                )
        return Storage(where, {**self.entries, **other.entries}, (*self.names, *other.names))


def storage_of(content: Mapping[str, Any], where: str) -> Storage:
    """Take the parsed content of a file: FileStorage, the file of a ROS camera, or one message of its topic."""
    entries = {key.lower().replace("_", ""): [] if value is None else value for key, value in content.items()}
    if {"k", "d", "width", "height"} <= entries.keys():  # R of a topic rectifies, it joins no cameras
        entries = {TOPIC.get(key, key): value for key, value in entries.items()}
        header = content.get("header")
        entries.setdefault("cameraname", header.get("frame_id") if isinstance(header, Mapping) else "")
    return Storage(where, entries, tuple(content))


def read_opencv(storage: Storage, size_wh: tuple[int, int] | None, names: tuple[str, ...] | None) -> Cameras:
    """Read the cameras of parsed files by name; the left or only camera is the world.

    ``size_wh`` counts where the files do not say it; ``names`` None takes LL and LR, or the file's name of the one.

    Raises:
        DataError: the lens is of another model, or nobody says how large the images were.
    """
    _check_model(storage)
    size = _size(storage, size_wh)
    if not storage.is_stereo:
        name = names[0] if names else storage.camera or DEFAULT_ONE
        return each_camera([(name, partial(_single, storage, size, np.eye(4), name))], storage.where)
    sides = enumerate(_pair_names(names, DEFAULT_PAIR))
    makers = ((name, partial(_one_of_two, storage, side, size, name)) for side, name in sides)
    return each_camera(makers, storage.where)


def read_rectified(pair: Sequence[Storage], size_wh: tuple[int, int] | None, names: tuple[str, ...] | None) -> Cameras:
    """Read two files of one camera each, as ROS writes them: their projection matrices hold what joins both.

    The first camera is the world. ``size_wh`` counts where the files do not say it; ``names`` None takes those of the
    files where they differ, else LL and LR.

    Raises:
        DataError: the files do not say how the cameras stand to each other, or a lens is of another model.
    """
    for each in pair:
        _check_model(each)
    own = tuple(each.camera for each in pair)
    chosen = _pair_names(names, own if all(own) and own[0] != own[1] else DEFAULT_PAIR)
    sizes = [_size(each, size_wh) for each in pair]
    first, second = (_rectified_to_camera(each) for each in pair)
    if np.allclose(first[:3, :3].T @ first[:3, 3], second[:3, :3].T @ second[:3, 3]):
        raise _not_joined(" and ".join(each.where for each in pair), "projection matrices of one place")
    poses = np.eye(4), second @ np.linalg.inv(first)
    found = zip(chosen, pair, sizes, poses, strict=True)
    makers = ((name, partial(_single, each, size, pose, name)) for name, each, size, pose in found)
    return each_camera(makers, pair[0].where)


def _rectified_to_camera(storage: Storage) -> FloatArray:
    """Return (4, 4), from the axes that both rectified cameras share to those of the camera itself.

    The file says how the camera is turned to be rectified, x_rectified = R x, and where it then stands, P = [K | K t].
    """
    R, P = storage.entries.get("rectificationmatrix"), storage.entries.get("projectionmatrix")
    if R is None or P is None:
        raise _not_joined(storage.where, ", ".join(storage.names))
    P = numbers(P, f"{storage.where}, projection_matrix", (3, 4))
    if not abs(np.linalg.det(P[:, :3])) > 0:
        raise _not_joined(storage.where, f"projection_matrix {P.tolist()}")
    place = f"{storage.where}, rectification_matrix"
    turned = rigid(np.column_stack([numbers(R, place, (3, 3)).T, np.zeros(3)]), place)
    move = np.eye(4)
    move[:3, 3] = np.linalg.solve(P[:, :3], P[:, 3])
    return np.asarray(turned @ move)


def _not_joined(where: str, got: str) -> DataError:
    return DataError(
        "two files of one camera each do not say how the cameras stand to each other",
        where=where,
        expected="rectification_matrix and projection_matrix with a baseline, as ROS's stereo calibration writes them",
        got=got,
        hint="Give the file that holds R and T, or calibrate both cameras together.",
    )


def _pair_names(names: tuple[str, ...] | None, default: tuple[str, ...]) -> tuple[str, ...]:
    return names if names and len(names) == len({*names}) == len(DEFAULT_PAIR) else default


def _check_model(storage: Storage) -> None:
    lens = storage.entries.get("distortionmodel") or STANDARD_LENSES[0]
    if storage.entries.get("fisheyemodel") or model_name(lens) not in STANDARD_LENSES:
        got = "a fisheye model" if storage.entries.get("fisheyemodel") else short_repr(lens).strip("'")
        raise DataError(
            "a lens of another model",
            where=storage.where,
            expected="OpenCV's standard model",
            got=got,
            hint="Calibrate with cv2.stereoCalibrate or cv2.calibrateCamera.",
        )


def _size(storage: Storage, given: tuple[int, int] | None) -> tuple[int, int]:
    value = storage.get(SIZE)
    for sides in (("imagewidth", "imageheight"), ("width", "height")):
        if value is None and {*sides} <= storage.entries.keys():
            value = [storage.entries[side] for side in sides]
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
    return resolution(value, f"{storage.where}, image size")


def _left_to_right(storage: Storage) -> FloatArray:
    rotation, translation = storage.get(ROTATION), storage.get(TRANSLATION)
    missing = [name for name, value in (("R", rotation), ("T", translation)) if value is None]
    if missing:
        raise _missing(storage, missing)
    R = rotation_of(rotation, f"{storage.where}, R")
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


def _single(storage: Storage, size_wh: tuple[int, int], pose: FloatArray, name: str) -> PinholeCamera:
    found = storage.get(MATRIX), storage.get(LENS)
    return _camera(storage, ("camera_matrix", "distortion_coefficients"), found, pose, size_wh, name)


def _one_of_two(storage: Storage, side: int, size_wh: tuple[int, int], name: str) -> PinholeCamera:
    entries = f"M{side + 1}", f"D{side + 1}"
    pose = _left_to_right(storage) if side else np.eye(4)
    return _camera(storage, entries, (storage.sided(MATRIX, side), storage.sided(LENS, side)), pose, size_wh, name)


def _camera(
    storage: Storage,
    entries: tuple[str, str],
    found: tuple[Any, Any],
    pose: FloatArray,
    size_wh: tuple[int, int],
    name: str,
) -> PinholeCamera:
    missing = [entry for entry, value in zip(entries, found, strict=True) if value is None]
    if missing:
        raise _missing(storage, missing)
    where = f"{storage.where}, camera {name}"
    return camera_of(
        where,
        K=numbers(found[0], f"{where}, {entries[0]}", (3, 3)),
        pose=pose,
        distortion=coefficients(found[1], f"{where}, {entries[1]}"),
        size_wh=size_wh,
    )
