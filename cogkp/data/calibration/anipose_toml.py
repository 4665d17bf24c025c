"""Calibration files of Anipose, Lightning Pose and Caliscope: TOML, a table ``[cam_N]`` or ``[cameras.N]`` per camera.

``rotation`` (Rodrigues vector, or 3x3) and ``translation`` map the world to the camera, ``distortions`` is OpenCV's
order. Tables without a matrix, such as ``[metadata]``, are ignored.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from cogkp.data.calibration.checks import (
    Cameras,
    camera_of,
    coefficients,
    each_camera,
    numbers,
    resolution,
    rigid,
    rotation_of,
)
from cogkp.errors import DataError
from cogkp.geometry.camera import PinholeCamera

FIELDS = ("size", "matrix", "distortions", "rotation", "translation")


def is_anipose(content: Mapping[str, Any]) -> bool:
    """Tell tables of cameras from other forms."""
    return any(map(_is_camera, _tables(content).values()))


def read_anipose(content: Mapping[str, Any], where: str) -> Cameras:
    """Read the cameras of an Anipose, Lightning Pose or Caliscope file by ``name``, else the name of their table.

    Raises:
        DataError: it is no such file, or two cameras have one name.
    """
    tables = {key: value for key, value in _tables(content).items() if _is_camera(value)}
    if not tables:
        raise DataError(
            "the calibration holds no camera",
            where=where,
            expected=f"tables [cam_0] with {', '.join(FIELDS)}",
            hint="Is this the right file?",
        )
    named: dict[str, Mapping[str, Any]] = {}
    for key, table in tables.items():
        name = str(table.get("name", key))
        if name in named:
            raise DataError("two cameras have one name", where=where, got=name, hint=f"Rename that of [{key}].")
        named[name] = table
    makers = ((name, partial(_camera, table, f"{where}, camera {name}")) for name, table in named.items())
    return each_camera(makers, where)


def _tables(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tables of cameras; Caliscope gathers them below ``cameras``, by number."""
    gathered = content.get("cameras")
    numbered = gathered.items() if isinstance(gathered, Mapping) else ()
    return {**content, **{f"cam_{key}": table for key, table in numbered}}


def _is_camera(value: Any) -> bool:
    return isinstance(value, Mapping) and any(key in value for key in ("matrix", "distortions"))


def _camera(table: Mapping[str, Any], where: str) -> PinholeCamera:
    if table.get("fisheye"):
        raise DataError(
            "a fisheye lens cannot be read",
            where=where,
            expected="fisheye = false",
            got="fisheye = true, whose coefficients mean another model",
            hint="Calibrate with OpenCV's standard model.",
        )
    if missing := [key for key in FIELDS if key not in table]:
        raise DataError("a camera lacks a field", where=where, expected=", ".join(missing), hint="Add it to its table.")
    translation = numbers(table["translation"], f"{where}, translation", (3,), (3, 1), (1, 3)).ravel()
    rotation = rotation_of(table["rotation"], f"{where}, rotation")
    return camera_of(
        where,
        K=numbers(table["matrix"], f"{where}, matrix", (3, 3)),
        pose=rigid(np.column_stack([rotation, translation]), f"{where}, rotation"),
        distortion=coefficients(table["distortions"], f"{where}, distortions"),
        size_wh=resolution(table["size"], f"{where}, size"),
    )
