"""Read a calibration file into a rig, and refuse what no real rig could be.

The file is a JSON object: camera name to ``extrinsic`` (3x4 or 4x4, world_to_camera), ``intrinsic`` (3x3, pixels),
``distortion`` (OpenCV order, any nesting) and ``resolution`` ([width, height]). Other keys are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from cogkp.errors import DataError
from cogkp.geometry.camera import PinholeCamera
from cogkp.geometry.distortion import LENGTHS
from cogkp.geometry.rig import CameraRig

__all__ = ["read_calibration"]

FIELDS = ("extrinsic", "intrinsic", "distortion", "resolution")
ROTATION_TOLERANCE = 1e-4
SAME_PLACE = 1e-9

FloatArray = npt.NDArray[np.float64]


def read_calibration(path: str | Path) -> CameraRig:
    """Read the cameras of a calibration file.

    Args:
        path: the JSON file.

    Returns:
        The rig, float64, in the file's order of cameras and in the unit of its translations.

    Raises:
        DataError: the file cannot be read, or a camera is impossible; the message names file, camera and reason.
    """
    where = str(path)
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError("cannot read the calibration", where=where, got=error.strerror or str(error)) from error
    except (ValueError, RecursionError) as error:
        raise DataError("the calibration is no JSON", where=where, got=str(error)) from error
    if not isinstance(content, Mapping) or not all(isinstance(value, Mapping) for value in content.values()):
        raise DataError("a calibration lists cameras by name", where=where, expected="an object of objects")
    cameras = {name: _camera(value, f"{where}, camera {name}") for name, value in content.items() if _is_camera(value)}
    if not cameras:
        raise DataError("the calibration holds no camera", where=where, expected=f"objects with {', '.join(FIELDS)}")
    _check_baselines(cameras, where)
    return CameraRig(tuple(cameras), tuple(cameras.values()))


def _is_camera(value: Mapping[str, Any]) -> bool:
    """Tell a camera from other objects, such as the board that was photographed."""
    return any(key in value for key in FIELDS)


def _camera(value: Mapping[str, Any], where: str) -> PinholeCamera:
    if missing := [key for key in FIELDS if key not in value]:
        raise DataError("a camera lacks a field", where=where, expected=", ".join(missing))
    K = _numbers(value["intrinsic"], f"{where}, intrinsic", (3, 3))
    pose = _numbers(value["extrinsic"], f"{where}, extrinsic", (3, 4), (4, 4))
    bends = _numbers(value["distortion"], f"{where}, distortion").ravel()
    if bends.size not in LENGTHS:
        wanted = ", ".join(map(str, LENGTHS))
        raise DataError("wrong number of coefficients", where=where, expected=f"one of {wanted}", got=str(bends.size))
    _check_intrinsic(K, f"{where}, intrinsic")
    _check_pose(pose, f"{where}, extrinsic")
    square = np.vstack([pose[:3], [0.0, 0.0, 0.0, 1.0]])
    size_wh = _resolution(value["resolution"], f"{where}, resolution")
    return PinholeCamera(torch.from_numpy(K), torch.from_numpy(square), size_wh, torch.from_numpy(bends))


def _numbers(value: Any, where: str, *shapes: tuple[int, int]) -> FloatArray:
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError("not a table of numbers", where=where, got=str(error)) from error
    if shapes and array.shape not in shapes:
        wanted = " or ".join(f"{rows}x{columns}" for rows, columns in shapes)
        raise DataError("a matrix has the wrong shape", where=where, expected=wanted, got=str(array.shape))
    if not np.isfinite(array).all():
        raise DataError("a number is not finite", where=where)
    return array


def _check_intrinsic(K: FloatArray, where: str) -> None:
    if not min(K[0, 0], K[1, 1]) > 0:
        raise DataError("a focal length is not positive", where=where, got=f"{K[0, 0]:g}, {K[1, 1]:g}")
    if K[1, 0] != 0 or not np.array_equal(K[2], [0, 0, 1]):
        raise DataError("not upper triangular", where=where, expected="fx s cx / 0 fy cy / 0 0 1", got=str(K.tolist()))


def _check_pose(pose: FloatArray, where: str) -> None:
    rotation = pose[:3, :3]
    off = float(np.abs(rotation @ rotation.T - np.eye(3)).max())
    if off > ROTATION_TOLERANCE:
        raise DataError("not a rotation", where=where, expected="R R^T = 1", got=f"off by {off:.2g}")
    if np.linalg.det(rotation) < 0:
        raise DataError("the rotation is left-handed", where=where, expected="determinant 1", got="determinant -1")
    if len(pose) > 3 and not np.array_equal(pose[3], [0, 0, 0, 1]):  # noqa: PLR2004
        raise DataError("not a rigid motion", where=where, expected="last row 0 0 0 1", got=str(pose[3].tolist()))


def _resolution(value: Any, where: str) -> tuple[int, int]:
    good = isinstance(value, list) and [type(side) for side in value] == [int, int] and min(value) > 0
    if not good:
        raise DataError("not a size of pictures", where=where, expected="[width, height] in pixels", got=str(value))
    return value[0], value[1]


def _check_baselines(cameras: Mapping[str, PinholeCamera], where: str) -> None:
    centers = {
        name: -camera.world_to_camera[:3, :3].T @ camera.world_to_camera[:3, 3] for name, camera in cameras.items()
    }
    for (one, a), (other, b) in combinations(centers.items(), 2):
        if float((a - b).norm()) <= SAME_PLACE * max(1.0, float(a.norm())):
            raise DataError("two cameras stand in the same place", where=where, got=f"{one} and {other}")
