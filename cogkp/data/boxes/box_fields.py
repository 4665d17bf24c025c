"""Read one object of an annotation file, and derive missing values (pose, sizes, points) from the others."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cogkp.data.boxes.fields import Fields
from cogkp.data.boxes.frames import project
from cogkp.data.boxes.records import BoxRecord
from cogkp.errors import DataError
from cogkp.geometry.cuboid import POINTS, UNIT_POINTS
from cogkp.geometry.cuboid_fit import fit_cuboids
from cogkp.geometry.rotation import rotation_from_quaternion

__all__ = ["read_box"]

FloatArray = npt.NDArray[np.float64]

LOCAL = np.array(UNIT_POINTS)

# A side that is this share of the longest is rounding, not a side.
THINNEST = 1e-6

KEYS = ("projected_cuboid", "keypoints_3d", "location", "quaternion_xyzw", "scale", "visibility")


class _Space(NamedTuple):
    """A box in space, as far as it is known."""

    points: FloatArray | None
    pose: FloatArray | None
    size: FloatArray | None


def read_box(entry: Fields, number: int, K: FloatArray | None, to_opencv: FloatArray) -> BoxRecord:
    """Read one object.

    Args:
        entry: of the file.
        number: its place in it.
        K: (3, 3) intrinsics, pixels, or None.
        to_opencv: (3, 3) rewrites the file's axes in OpenCV's.

    Returns:
        The record, in OpenCV axes.

    Raises:
        DataError: a value cannot be used, or the pixels are neither stated nor implied.
    """
    category = entry.word("class") or "object"
    space, location = _completed(entry, _stated(entry, to_opencv)), entry.array("location", 3)
    return BoxRecord(
        name=entry.word("name") or f"{category}_{number}",
        category=category,
        where=entry.where,
        uv_source=_pixels(entry, space.points, K),
        xyz_camera=space.points,
        cuboid_to_camera=space.pose,
        size_xyz=space.size,
        visibility=_or(entry.number("visibility", 0.0, 1.0, "a number from 0 to 1"), 1.0),
        symmetric=entry.truth("symmetric"),
        num_symmetry=entry.whole("num_symmetry", 1),
        given=frozenset(key for key in KEYS if key in entry),
        location=None if location is None else to_opencv @ location,
    )


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


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
