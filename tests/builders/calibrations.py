"""Calibration files as other programs write them, and rigs to put in them."""

import cv2
import numpy as np
import pytest
import torch

from cogkp.data.calibration import read_calibration
from cogkp.errors import DataError
from cogkp.geometry.camera import PinholeCamera
from cogkp.geometry.rig import CameraRig

BENDS = [-0.28, 0.09, 0.0011, -0.0007, 0.03]


def pose_of(rodrigues, translation):
    """(4, 4) rigid motion."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = cv2.Rodrigues(np.array(rodrigues, np.float64))[0], translation
    return pose


def camera(pose, focal=700.0, principal=(322.5, 241.0), size_wh=(640, 480), distortion=BENDS):
    """A camera with a lens."""
    K = [[focal, 0.0, principal[0]], [0.0, 1.01 * focal, principal[1]], [0.0, 0.0, 1.0]]
    return PinholeCamera(
        torch.tensor(K, dtype=torch.float64),
        torch.as_tensor(pose, dtype=torch.float64),
        size_wh,
        torch.tensor(distortion, dtype=torch.float64),
    )


def toed_in(bends=BENDS):
    """Two unlike cameras, the left one the world, as cv2.stereoCalibrate returns them."""
    right = pose_of([0.01, 0.12, -0.02], [-1.6, 0.03, 0.1])
    pair = camera(np.eye(4), distortion=bends), camera(right, 690.0, (310.0, 250.0), distortion=bends)
    return CameraRig(("LL", "LR"), pair)


def rectified():
    """Two equal cameras without lenses, side by side."""
    pair = [camera(pose_of([0, 0, 0], [x, 0, 0]), distortion=[]) for x in (0.0, -1.6)]
    return CameraRig(("LL", "LR"), tuple(pair))


def chain():
    """Three cameras in a row, the first one the world."""
    steps = [pose_of([0.02, 0.1, 0.0], [-1.0, 0.1, 0.0]), pose_of([-0.01, 0.2, 0.03], [-1.2, 0.0, 0.2])]
    poses = [np.eye(4), steps[0], steps[1] @ steps[0]]
    return CameraRig(("cam0", "cam1", "cam2"), tuple(camera(pose, distortion=BENDS[:4]) for pose in poses))


def stereo_entries(rig):
    """What cv2.stereoCalibrate finds, in OpenCV's names."""
    left, right = (rig[name] for name in rig)
    pose = right.world_to_camera.numpy()
    return {
        "M1": left.K.numpy(),
        "D1": left.distortion.numpy()[None],
        "M2": right.K.numpy(),
        "D2": right.distortion.numpy()[None],
        "R": pose[:3, :3],
        "T": pose[:3, 3:],
    }


def write_storage(path, entries):
    """Let OpenCV write its own file."""
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    for name, value in entries.items():
        storage.write(name, np.ascontiguousarray(value) if isinstance(value, np.ndarray) else value)
    storage.release()
    return path


def anipose_text(rig):
    """The file of Anipose and Lightning Pose."""
    blocks = []
    for index, name in enumerate(rig):
        each = rig[name]
        pose = each.world_to_camera.numpy()
        blocks += [
            f"[cam_{index}]",
            f'name = "{name}"',
            f"size = {list(each.size_wh)}",
            f"matrix = {each.K.tolist()}",
            f"distortions = {each.distortion.tolist()}",
            f"rotation = {cv2.Rodrigues(pose[:3, :3])[0].ravel().tolist()}",
            f"translation = {pose[:3, 3].tolist()}",
            "",
        ]
    return "\n".join([*blocks, "[metadata]", "adjusted = false", "error = 0.31", ""])


def kalibr_text(rig):
    """The camchain.yaml of Kalibr."""
    lines, before = [], None
    for index, name in enumerate(rig):
        each = rig[name]
        K, pose = each.K.tolist(), each.world_to_camera.numpy()
        lines.append(f"cam{index}:")
        if before is not None:
            lines += ["  T_cn_cnm1:", *(f"  - {row}" for row in (pose @ np.linalg.inv(before)).tolist())]
        lines += [
            "  cam_overlaps: []",
            "  camera_model: pinhole",
            f"  distortion_coeffs: {each.distortion.tolist()}",
            "  distortion_model: radtan",
            f"  intrinsics: {[K[0][0], K[1][1], K[0][2], K[1][2]]}",
            f"  resolution: {list(each.size_wh)}",
            f"  rostopic: /cam{index}/image_raw",
        ]
        before = pose
    return "\n".join([*lines, ""])


def same(rig, other, tolerance=0.0):
    """Whether two rigs are the same cameras."""
    return all(
        torch.allclose(a, b, rtol=0.0, atol=tolerance)
        for one, two in zip(rig.cameras, other.cameras, strict=True)
        for a, b in ((one.K, two.K), (one.world_to_camera, two.world_to_camera), (one.distortion, two.distortion))
    ) and [c.size_wh for c in rig.cameras] == [c.size_wh for c in other.cameras]


def assert_refused(path, before, after, reason):
    """Damage a file in one place, and see that one line says why it cannot be read."""
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))
    with pytest.raises(DataError, match=reason) as refusal:
        read_calibration(path)
    assert "\n" not in str(refusal.value)
