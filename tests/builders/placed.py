"""Images of boxes: poses drawn in front of a camera, and the pixels of their points."""

import math

import attrs
import cv2
import numpy as np

SIGNS = np.array([[0, 0, 0], *([x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1))], dtype=float)
K = np.array([[660.0, 0.0, 310.0], [0.0, 650.0, 390.0], [0.0, 0.0, 1.0]])
SIZE_WH = (600, 800)


@attrs.frozen(eq=False)
class Placed:
    """What is known of the boxes in one image."""

    uv_source: np.ndarray
    hypotheses: np.ndarray
    cuboid_to_camera: np.ndarray
    size_xyz: np.ndarray
    sized: np.ndarray
    located: np.ndarray
    visibility: np.ndarray
    K: np.ndarray | None
    ground: object = None
    room: int = 12


def box_points(pose, size, turn_rad=0.0):
    """(9, 3) points of one box, turned about its own y axis first."""
    rotation = cv2.Rodrigues(np.array([0.0, turn_rad, 0.0]))[0]
    return SIGNS * np.asarray(size) / 2 @ rotation.T @ pose[:3, :3].T + pose[:3, 3]


def pixels(points, camera=K):
    """(9, 2) by OpenCV."""
    return cv2.projectPoints(np.asarray(points, float), np.zeros(3), np.zeros(3), camera, None)[0][:, 0]


def scene(rng, count, symmetry=1, views=1, spread=1.0, near=1.5, far=4.0):
    """Objects whose middles are mostly in the image, some near its edge."""
    poses = np.tile(np.eye(4), (count, 1, 1))
    for pose in poses:
        pose[:3, :3] = cv2.Rodrigues(rng.normal(0, 1.0, 3))[0]
        depth = rng.uniform(near, far)
        middle = rng.uniform(-0.55 * spread, 0.55 * spread, 2) * np.array(SIZE_WH) / 650
        pose[:3, 3] = *(middle * depth), depth
    sizes = rng.uniform(0.1, 0.6, (count, 3))
    return placed(poses, sizes, np.broadcast_to(np.asarray(symmetry, np.int64), (count,)), views)


def placed(poses, sizes, symmetry, views=1):
    """Labels of given boxes, each seen after each of its turns."""
    count = len(sizes)
    uv, known = np.zeros((views, count, 9, 2)), np.zeros((views, count), bool)
    for m in range(count):
        for s in range(min(views, symmetry[m])):
            uv[s, m] = pixels(box_points(poses[m], sizes[m], 2 * math.pi * s / symmetry[m]))
            known[s, m] = True
    ones = np.ones(count, bool)
    return Placed(uv, known, np.asarray(poses), np.asarray(sizes), ones, ones, np.ones(count), K)
