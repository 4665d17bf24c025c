"""Cameras around a scene near the world's origin, and an oracle that shares no code with the library."""

import cv2
import numpy as np


def rig(rng, views=2):
    """(V, 3, 4) projection matrices that look at the origin from about six units away."""
    matrices = []
    for _ in range(views):
        K = np.array([[800 + rng.uniform(-50, 50), 0, 320.3], [0, 790 + rng.uniform(-50, 50), 240.1], [0, 0, 1]])
        turn = cv2.Rodrigues(rng.normal(0, 0.25, 3))[0]
        matrices.append(K @ np.c_[turn, rng.normal((0, 0, 6), 0.4)])
    return np.array(matrices)


def rigid(rng):
    """A random motion of the world."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = cv2.Rodrigues(rng.normal(0, 1, 3))[0], rng.normal(0, 2, 3)
    return pose


def pixels(P, xyz):
    """(V, N, 2) exact pixels."""
    moved = np.einsum("vij,nj->vni", P[:, :, :3], xyz) + P[:, None, :, 3]
    return moved[..., :2] / moved[..., 2:]


def svd_triangulate(uv, P, weights):
    """Homogeneous DLT of one point in float64: smallest singular vector of the stacked rows."""
    rows = [w * (u * p[2] - p[k]) / 800 for pair, p, w in zip(uv, P, weights, strict=True) for k, u in enumerate(pair)]
    point = np.linalg.svd(np.array(rows))[2][-1]
    return point[:3] / point[3]


def bundle(xyz, uv, P, weights):
    """Gauss-Newton of each point to convergence in float64, with numerical derivatives."""
    best = []
    for n, point in enumerate(xyz):
        here = point.copy()
        scale = np.repeat(np.sqrt(weights[:, n]), 2)
        for _ in range(20):
            nearby = here + 1e-6 * np.vstack([np.zeros((1, 3)), np.eye(3), -np.eye(3)])
            seen = pixels(P, nearby).transpose(1, 0, 2).reshape(7, -1)
            jacobian = scale[:, None] * (seen[1:4] - seen[4:]).T / 2e-6
            here = here + np.linalg.lstsq(jacobian, scale * (uv[:, n].ravel() - seen[0]), rcond=None)[0]
        best.append(here)
    return np.array(best)
