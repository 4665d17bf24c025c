"""Calibration files of Anipose and Lightning Pose: TOML, one table ``[cam_N]`` per camera.

``rotation`` (Rodrigues vector) and ``translation`` map the world to the camera, ``distortions`` is OpenCV's order.
Tables without a matrix, such as ``[metadata]``, are ignored.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from cogkp.data.calibration.checks import FloatArray, camera_of, numbers, resolution, rigid
from cogkp.errors import DataError
from cogkp.geometry.camera import PinholeCamera

__all__ = ["read_anipose"]

FIELDS = ("size", "matrix", "distortions", "rotation", "translation")


def read_anipose(text: str, where: str) -> dict[str, PinholeCamera]:
    """Read the cameras of an Anipose file.

    Args:
        text: content of the file.
        where: its name, for errors.

    Returns:
        The cameras by ``name``, else by the name of their table, in the file's order.

    Raises:
        DataError: it is no such file, a camera is impossible, a fisheye, or named like another.
    """
    tables = {key: value for key, value in _parsed(text, where).items() if _is_camera(value)}
    if not tables:
        raise DataError(
            "the calibration holds no camera",
            where=where,
            expected=f"tables [cam_0] with {', '.join(FIELDS)}",
            hint="Is this the right file?",
        )
    cameras: dict[str, PinholeCamera] = {}
    for key, table in tables.items():
        name = str(table.get("name", key))
        if name in cameras:
            raise DataError("two cameras have one name", where=where, got=name, hint=f"Rename that of [{key}].")
        cameras[name] = _camera(table, f"{where}, camera {name}")
    return cameras


def _parsed(text: str, where: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        content: dict[str, Any] = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(
            "the calibration is not valid TOML",
            where=where,
            expected="a whole TOML file",
            got=str(error),
            hint="Is the file cut off?",
        ) from error
    return content


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
    rotation = _rotation(numbers(table["rotation"], f"{where}, rotation", (3,), (3, 1), (1, 3)))
    return camera_of(
        where,
        K=numbers(table["matrix"], f"{where}, matrix", (3, 3)),
        pose=rigid(np.column_stack([rotation, translation]), f"{where}, rotation"),
        distortion=numbers(table["distortions"], f"{where}, distortions").ravel(),
        size_wh=resolution(table["size"], f"{where}, size"),
    )


def _rotation(vector: FloatArray) -> FloatArray:
    import cv2

    return np.asarray(cv2.Rodrigues(vector.ravel())[0], np.float64)
