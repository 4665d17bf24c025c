"""Cameras around a scene near the world's origin, and an oracle that shares no code with the library."""

import math

import cv2
import numpy as np
import torch


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


def degenerate(dtype):
    """Pixels (2, 9, 2) and cameras (2, 3, 4); only the last point can be found."""
    nan, inf = math.nan, math.inf
    K = np.array([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]])
    P = np.stack([K @ np.eye(3, 4), K @ np.c_[np.eye(3), [-1.0, 0, 0]]])
    left = [[50, 50], [50, 50], [nan, 1], [inf, 1], [1e30, 1], [-1e7, 1e7], [50, 50], [150, 50], [100, 50]]
    right = [[50, 50], [90, 50], [1, 1], [1, 1], [1, 1], [1e7, 1], [49.9999, 50], [nan, nan], [50, 50]]
    return torch.as_tensor(np.array([left, right]), dtype=dtype), torch.as_tensor(P, dtype=dtype)


def t(value, dtype=torch.float64):
    """A tensor, float64 unless asked otherwise."""
    return torch.as_tensor(value, dtype=dtype)


def scene(seed, views=2, points=40, noise=0.0):
    """Random cameras (V, 3, 4), points (N, 3) between them, and their pixels (V, N, 2) with some noise."""
    rng = np.random.default_rng(seed)
    P, xyz = rig(rng, views), rng.uniform(-1, 1, (points, 3))
    return P, xyz, pixels(P, xyz) + noise * rng.normal(size=(views, points, 2))
