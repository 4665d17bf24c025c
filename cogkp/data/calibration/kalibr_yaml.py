"""Camera chains of Kalibr (YAML): ``cam0``, ``cam1``, ...; ``T_cn_cnm1`` maps each camera's axes from the one before.

The world is the frame of ``cam0``; where a link is missing, ``T_cam_imu`` of both cameras joins them. Only ``pinhole``
with ``radtan`` (OpenCV's k1 k2 p1 p2) or without a lens is the model used here; the others bend rays in ways that no
coefficients of ours can say.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

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
)
from cogkp.errors import DataError
from cogkp.geometry.camera import PinholeCamera
from cogkp.geometry.distortion import LENGTHS

CAMERA = re.compile(r"cam(\d{1,4})")
COEFFICIENTS = {"radtan": (4, *LENGTHS), "none": (0,)}
"""How many there may be; Kalibr writes four for radtan, others write more in the same order."""
LINK = "T_cn_cnm1"
MOST_SHOWN = 60
AGAIN = "Calibrate with: --models pinhole-radtan."


def is_kalibr(content: Mapping[str, Any]) -> bool:
    """Tell a camera chain from other YAML."""
    return any(
        CAMERA.fullmatch(key) and isinstance(value, Mapping) and ("intrinsics" in value or "camera_model" in value)
        for key, value in content.items()
    )


def read_kalibr(content: Mapping[str, Any], where: str) -> Cameras:
    """Read a chain as cam0, cam1, ...; cameras behind a missing link or a gap cannot be used."""
    chain = {int(name[3:]): value for name, value in content.items() if CAMERA.fullmatch(name)}
    return each_camera(((f"cam{index}", partial(_camera, chain, index, where)) for index in sorted(chain)), where)


def _pose(chain: Mapping[int, Any], index: int, where: str) -> FloatArray:
    """Follow the chain from cam0 to a camera, or go through the inertial unit (IMU) that both are calibrated to."""
    if index == 0:
        return np.eye(4)
    value, place = chain.get(index), f"{where}, camera cam{index}"
    if index not in chain:
        raise DataError(
            "the chain has a gap", where=where, expected=f"cam{index}", hint="Keep every camera of the chain."
        )
    if isinstance(value, Mapping) and LINK in value:
        return _transform(value, LINK, place) @ _pose(chain, index - 1, where)
    first, own = _imu_to_camera(chain.get(0), f"{where}, camera cam0"), _imu_to_camera(value, place)
    if first is None or own is None:
        raise _lacks(f"{LINK}, or T_cam_imu here and of cam0", place)
    return np.asarray(own @ np.linalg.inv(first))


def _imu_to_camera(value: Any, where: str) -> FloatArray | None:
    if isinstance(value, Mapping) and "T_cam_imu" in value:
        return _transform(value, "T_cam_imu", where)
    if isinstance(value, Mapping) and "T_imu_cam" in value:
        return np.asarray(np.linalg.inv(_transform(value, "T_imu_cam", where)))
    return None


def _transform(value: Mapping[str, Any], key: str, where: str) -> FloatArray:
    return rigid(numbers(value[key], f"{where}, {key}", (4, 4)), f"{where}, {key}")


def _take(value: Any, key: str, where: str) -> Any:
    if not isinstance(value, Mapping) or key not in value:
        raise _lacks(key, where)
    return value[key]


def _lacks(key: str, where: str) -> DataError:
    return DataError(
        "a camera lacks a field", where=where, expected=key, hint="Use the camchain.yaml that Kalibr wrote."
    )


def _camera(chain: Mapping[int, Any], index: int, file: str) -> PinholeCamera:
    value, where = chain[index], f"{file}, camera cam{index}"
    model, lens = _take(value, "camera_model", where), model_name(_take(value, "distortion_model", where))
    lens = "radtan" if lens in STANDARD_LENSES else lens
    if model_name(model) != "pinhole":
        raise DataError(
            "a camera of another model",
            where=where,
            expected="camera_model pinhole",
            got=str(model)[:MOST_SHOWN],
            hint=AGAIN,
        )
    if lens not in COEFFICIENTS:
        raise DataError(
            "a lens of another model",
            where=where,
            expected="distortion_model radtan or none",
            got=lens[:MOST_SHOWN],
            hint=AGAIN,
        )
    bends = coefficients(value.get("distortion_coeffs"), f"{where}, distortion_coeffs")
    if bends.size not in COEFFICIENTS[lens]:
        expected = f"{COEFFICIENTS[lens][0]} for {lens}"
        raise DataError("wrong number of coefficients", where=where, expected=expected, got=str(bends.size), hint=AGAIN)
    fu, fv, pu, pv = numbers(_take(value, "intrinsics", where), f"{where}, intrinsics", (4,))
    return camera_of(
        where,
        K=np.array([[fu, 0.0, pu], [0.0, fv, pv], [0.0, 0.0, 1.0]]),
        pose=_pose(chain, index, file),
        distortion=bends,
        size_wh=resolution(_take(value, "resolution", where), f"{where}, resolution"),
    )
