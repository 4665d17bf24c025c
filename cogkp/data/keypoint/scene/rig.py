"""The stereo cameras of the synthetic recording: LL and LR, slightly toed in and slightly unequal.

World: origin midway between the cameras, OpenCV axes (+x right, +y down, +z forward), one world unit about 30 mm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from cogkp.data.calibration import calibration_content
from cogkp.geometry.camera import PinholeCamera
from cogkp.geometry.rig import CameraRig

__all__ = ["CAMERAS", "calibration", "project", "stereo_head"]

CAMERAS = ("LL", "LR")

FloatArray = npt.NDArray[np.float64]


def _rotation(yaw_deg: float, pitch_deg: float, roll_deg: float) -> FloatArray:
    """Rotate about y, then x, then z."""
    (cy, cx, cz), (sy, sx, sz) = (
        [turn(math.radians(angle)) for angle in (yaw_deg, pitch_deg, roll_deg)] for turn in (math.cos, math.sin)
    )
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_x @ about_y)


def _camera(
    center_x: float,
    angles_deg: tuple[float, float, float],
    focal_px: tuple[float, float],
    principal: tuple[float, float],
) -> PinholeCamera:
    K = torch.tensor([[focal_px[0], 0.0, principal[0]], [0.0, focal_px[1], principal[1]], [0.0, 0.0, 1.0]])
    world_to_camera = np.eye(4)
    world_to_camera[:3, :3] = _rotation(*angles_deg)
    world_to_camera[:3, 3] = -world_to_camera[:3, :3] @ np.array([center_x, 0.0, 0.0])
    return PinholeCamera(K.double(), torch.from_numpy(world_to_camera), (320, 256))


def stereo_head() -> dict[str, PinholeCamera]:
    """Return the head: baseline 2.6 world units, optical axes meeting about 6.5 units away.

    The two cameras differ a little in focal length, principal point and mounting angles, as real ones do, so that
    code which mixes them up is found out.
    """
    return {
        "LL": _camera(-1.3, (-11.0, 0.3, -0.4), (431.2, 430.7), (161.3, 126.1)),
        "LR": _camera(1.3, (11.5, -0.2, 0.5), (428.6, 428.9), (157.4, 129.2)),
    }


def calibration(cameras: Mapping[str, PinholeCamera]) -> dict[str, Any]:
    """Write cameras as the content of our calibration file."""
    return calibration_content(CameraRig(tuple(cameras), tuple(cameras.values())))


def project(camera: PinholeCamera, xyz_world: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Project (N, 3) points; return (N, 2) pixels and (N,) depths, both float64."""
    projected = camera.project(torch.from_numpy(np.ascontiguousarray(xyz_world)))
    return projected.uv.numpy(), projected.depth.numpy()
