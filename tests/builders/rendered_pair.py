"""Two calibrated cameras, and images of them in which a tiny network finds some points."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from tests.builders.keypoint_model import scene

SIZE_WH = (120, 90)
NAMES = ("LL", "LR")


def write_calibration(path: Path, names=NAMES, size_wh=SIZE_WH) -> Path:
    """Write a calibration of cameras side by side."""
    cameras = {}
    for place, name in enumerate(names):
        pose = np.eye(4)
        pose[0, 3] = -0.3 * place
        cameras[name] = {
            "intrinsic": [[110.0, 0, 59.5], [0, 110.0, 44.5], [0, 0, 1]],
            "extrinsic": pose.tolist(),
            "distortion": [-0.05, 0.01, 0.0, 0.0],
            "resolution": list(size_wh),
        }
    path.write_text(json.dumps(cameras))
    return path


def write_folders(root: Path, count: int = 5, names=NAMES) -> dict[str, Path]:
    """Write a folder of images for each camera; the same scene in all of them."""
    folders = {name: root / name for name in names}
    for folder in folders.values():
        folder.mkdir(parents=True)
        for number in range(count):
            cv2.imwrite(str(folder / f"{number:03d}.png"), scene(number, SIZE_WH))
    return folders
