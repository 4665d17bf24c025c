"""Camera chains of Kalibr (YAML): ``cam0``, ``cam1``, ...; ``T_cn_cnm1`` maps each camera's axes from the one before.

The world is the frame of ``cam0``. Only ``pinhole`` with ``radtan`` (OpenCV's k1 k2 p1 p2) or without a lens is the
model used here; the others bend rays in ways that no coefficients of ours can say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from cogkp.data.calibration.checks import FloatArray, camera_of, numbers, resolution, rigid
from cogkp.errors import DataError
from cogkp.geometry.camera import PinholeCamera

__all__ = ["is_kalibr", "parse_yaml", "read_kalibr"]

CAMERA = re.compile(r"cam(\d+)")
COEFFICIENTS = {"radtan": 4, "none": 0}
AGAIN = "Calibrate with: --models pinhole-radtan."


def parse_yaml(text: str, where: str) -> Any:
    """Parse YAML without building any objects; raises DataError with the line that is wrong."""
    import yaml

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            "the calibration is not valid YAML",
            where=where,
            expected="a whole YAML file",
            got=reason,
            hint="Is the file cut off?",
        ) from error


def is_kalibr(content: Any) -> bool:
    """Tell a camera chain from other YAML."""
    return isinstance(content, Mapping) and any(
        CAMERA.fullmatch(str(key)) and isinstance(value, Mapping) for key, value in content.items()
    )


def read_kalibr(content: Mapping[str, Any], where: str) -> dict[str, PinholeCamera]:
    """Read the cameras of a camera chain.

    Args:
        content: the parsed file.
        where: its name, for errors.

    Returns:
        The cameras by their place in the chain: cam0, cam1, ...

    Raises:
        DataError: a link of the chain is missing, a camera is impossible, or of another model.
    """
    names = sorted((str(key) for key in content if CAMERA.fullmatch(str(key))), key=lambda name: int(name[3:]))
    pose = np.eye(4)
    cameras = {}
    for index, name in enumerate(names):
        place = f"{where}, camera {name}"
        if name != f"cam{index}":
            raise DataError(
                "the chain has a gap",
                where=where,
                expected=f"cam{index}",
                got=name,
                hint="Keep every camera of the chain.",
            )
        value = content[name]
        if index > 0:
            pose = _link(value, place) @ pose
        cameras[name] = _camera(value, pose, place)
    return cameras


def _take(value: Any, key: str, where: str) -> Any:
    if not isinstance(value, Mapping) or key not in value:
        raise DataError(
            "a camera lacks a field", where=where, expected=key, hint="Use the camchain.yaml that Kalibr wrote."
        )
    return value[key]


def _link(value: Any, where: str) -> FloatArray:
    place = f"{where}, T_cn_cnm1"
    return rigid(numbers(_take(value, "T_cn_cnm1", where), place, (4, 4)), place)


def _camera(value: Any, pose: FloatArray, where: str) -> PinholeCamera:
    model, lens = _take(value, "camera_model", where), _take(value, "distortion_model", where)
    if model != "pinhole":
        raise DataError(
            "a camera of another model", where=where, expected="camera_model pinhole", got=str(model), hint=AGAIN
        )
    if lens not in COEFFICIENTS:
        raise DataError(
            "a lens of another model",
            where=where,
            expected="distortion_model radtan or none",
            got=str(lens),
            hint=AGAIN,
        )
    bends = numbers(value.get("distortion_coeffs", []), f"{where}, distortion_coeffs").ravel()
    if bends.size != COEFFICIENTS[lens]:
        expected = f"{COEFFICIENTS[lens]} for {lens}"
        raise DataError("wrong number of coefficients", where=where, expected=expected, got=str(bends.size), hint=AGAIN)
    fu, fv, pu, pv = numbers(_take(value, "intrinsics", where), f"{where}, intrinsics", (4,))
    return camera_of(
        where,
        K=np.array([[fu, 0.0, pu], [0.0, fv, pv], [0.0, 0.0, 1.0]]),
        pose=pose,
        distortion=bends,
        size_wh=resolution(_take(value, "resolution", where), f"{where}, resolution"),
    )
