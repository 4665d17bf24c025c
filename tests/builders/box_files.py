"""Small folders in the form of Objectron, with exact labels that a test may then spoil."""

import copy
import json

import cv2
import numpy as np

from cogkp.data.boxes.records import Ground
from cogkp.data.boxes.writer import annotation_of, placed_box
from cogkp.geometry.camera_frame import CameraFrame

SIZE_WH = (96, 72)
K = np.array([[90.0, 0.0, 47.0], [0.0, 91.0, 36.0], [0.0, 0.0, 1.0]])
UPRIGHT = np.diag([1.0, -1.0, -1.0])


def standing(yaw_rad=0.4, location=(0.05, -0.02, 2.0), tilt_rad=0.5):
    """The pose of a box on the ground, seen from a little above."""
    tilt = cv2.Rodrigues(np.array([tilt_rad, 0.0, 0.0]))[0]
    turn = cv2.Rodrigues(np.array([0.0, yaw_rad, 0.0]))[0]
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = tilt @ UPRIGHT @ turn, location
    return pose


def box(index=0, size=(0.5, 0.8, 0.3), **facts):
    return placed_box("crate", standing(0.4 + index, (0.05 * index, -0.02, 2.0)), np.array(size), K, **facts)


def annotation(index=0, frame=CameraFrame.OBJECTRON, *, boxes=None, ground=None):
    pose = standing(0.4 + index)
    ground = ground or Ground(pose[:3, 3] - 0.4 * pose[:3, 1], pose[:3, 1])
    return annotation_of(boxes or [box(index)], SIZE_WH, K, ground=ground, camera_frame=frame, provenance="a test")


def write(folder, stem, content, *, suffix=".png", size_wh=SIZE_WH):
    """One image with its annotation; returns the annotation's path."""
    folder.mkdir(parents=True, exist_ok=True)
    v, u = np.mgrid[: size_wh[1], : size_wh[0]]
    pixels = np.stack([u * 2, v * 3, u + v], -1).astype(np.uint8)
    (folder / f"{stem}{suffix}").write_bytes(cv2.imencode(suffix, pixels)[1].tobytes())  # names of any bytes
    path = folder / f"{stem}.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def write_set(folder, count=3, frame=CameraFrame.OBJECTRON):
    for index in range(count):
        write(folder, f"{index:04d}", annotation(index, frame))
    return folder


def spoilt(content, place, value=...):
    """A copy with one key changed, or removed; the place is a dotted path, integers index lists."""
    content = copy.deepcopy(content)
    inner = content
    *above, last = (int(part) if part.isdecimal() else part for part in place.split("."))
    for part in above:
        inner = inner[part]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return content
