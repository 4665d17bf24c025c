"""Our own calibration file: a JSON object, camera name to its numbers.

A camera is ``extrinsic`` (3x4 or 4x4, world_to_camera), ``intrinsic`` (3x3, pixels), ``distortion`` (OpenCV order, any
nesting) and ``resolution`` ([width, height]). Other keys are ignored.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from cogkp.data.calibration.checks import Cameras, camera_of, coefficients, each_camera, numbers, resolution, rigid
from cogkp.errors import DataError
from cogkp.files import write_json
from cogkp.geometry.camera import PinholeCamera
from cogkp.geometry.rig import CameraRig

SEE = "The form is on the page docs/calibration.md."
FIELDS = ("extrinsic", "intrinsic", "distortion", "resolution")


def is_own(content: Mapping[str, Any]) -> bool:
    """Tell our form from others."""
    return any(
        isinstance(value, Mapping) and ("extrinsic" in value or "intrinsic" in value) for value in content.values()
    )


def read_own(content: Any, where: str) -> Cameras:
    """Read the cameras of a file in our own form by name, in its order; raises DataError where it is no such file."""
    if not isinstance(content, Mapping):
        raise DataError("a calibration lists cameras by name", where=where, expected="an object of objects", hint=SEE)
    # Others are not cameras, such as a date, or the board that was photographed.
    objects = {name: value for name, value in content.items() if isinstance(value, Mapping)}
    cameras = {name: value for name, value in objects.items() if any(key in value for key in FIELDS)}
    if not cameras:
        raise DataError(
            "the calibration holds no camera", where=where, expected=f"objects with {', '.join(FIELDS)}", hint=SEE
        )
    makers = ((name, partial(_camera, value, f"{where}, camera {name}")) for name, value in cameras.items())
    return each_camera(makers, where)


def calibration_content(rig: CameraRig) -> dict[str, Any]:
    """Write down a rig as the content of our calibration file.

    Example:
        >>> import torch
        >>> K = torch.tensor([[9.0, 0.0, 4.0], [0.0, 9.0, 3.0], [0.0, 0.0, 1.0]])
        >>> calibration_content(CameraRig(("B",), (PinholeCamera(K, torch.eye(4), (9, 7)),)))["B"]["resolution"]
        [9, 7]
    """
    return {
        name: {
            "extrinsic": camera.world_to_camera.tolist(),
            "intrinsic": camera.K.tolist(),
            "distortion": camera.distortion.tolist(),
            "resolution": list(camera.size_wh),
        }
        for name, camera in zip(rig.names, rig.cameras, strict=True)
    }


def write_calibration(rig: CameraRig, path: str | Path) -> None:
    """Write a rig as our calibration file, whole or not at all (OutputError); read back, every number is the same."""
    write_json(Path(path), calibration_content(rig))


def _camera(value: Mapping[str, Any], where: str) -> PinholeCamera:
    if missing := [key for key in FIELDS if key not in value]:
        raise DataError(
            "a camera lacks a field", where=where, expected=", ".join(missing), hint="Add it, or remove the camera."
        )
    K = numbers(value["intrinsic"], f"{where}, intrinsic", (3, 3))
    pose = numbers(value["extrinsic"], f"{where}, extrinsic", (3, 4), (4, 4))
    return camera_of(
        where,
        K=K,
        pose=rigid(pose, f"{where}, extrinsic"),
        distortion=coefficients(value["distortion"], f"{where}, distortion"),
        size_wh=resolution(value["resolution"], f"{where}, resolution"),
    )
