"""Measure how long it takes to triangulate many points, against OpenCV, on one thread.

Run: OMP_NUM_THREADS=1 python -m benchmarks.bench_triangulation
"""

from __future__ import annotations

import cv2
import numpy as np
import torch

from benchmarks.harness import compare, show
from cogkp.geometry.triangulate import covariance, refine, triangulate_pair, triangulate_views

POINTS = 100_000
NOISE_PX = 0.5


def rig(generator: np.random.Generator, views: int) -> np.ndarray:
    """Place cameras around a scene, about six units away; (V, 3, 4)."""
    K = np.array([[800.0, 0, 320], [0, 790, 240], [0, 0, 1]])
    poses = [
        np.c_[cv2.Rodrigues(generator.normal(0, 0.1, 3))[0], generator.normal((0, 0, 6), 0.5)] for _ in range(views)
    ]
    return np.array([K @ pose for pose in poses])


def error(found: np.ndarray, xyz: np.ndarray) -> float:
    """Root mean square distance, world units."""
    return float(np.sqrt(np.square(found - xyz).sum(1).mean()))


def main() -> None:
    """Print errors, then times with their provenance."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    cameras, xyz = rig(generator, 4), generator.uniform(-1, 1, (POINTS, 3))
    moved = np.einsum("vij,nj->vni", cameras[:, :, :3], xyz) + cameras[:, None, :, 3]
    noisy = moved[..., :2] / moved[..., 2:] + generator.normal(0, NOISE_PX, (4, POINTS, 2))
    uv, P = torch.tensor(noisy, dtype=torch.float32), torch.tensor(cameras, dtype=torch.float32)
    left, right = (np.ascontiguousarray(uv[k].numpy().T) for k in range(2))
    pixel = (NOISE_PX**2 * torch.eye(2)).expand(4, POINTS, 2, 2)
    start = triangulate_views(uv, P).xyz_world

    def opencv() -> np.ndarray:
        return np.asarray(cv2.triangulatePoints(cameras[0], cameras[1], left, right))

    def pair() -> torch.Tensor:
        return triangulate_pair(uv[0], uv[1], P[0], P[1]).xyz_world

    def pair_and_gradient() -> None:
        one, other = (uv[k].clone().requires_grad_() for k in range(2))
        triangulate_pair(one, other, P[0], P[1]).xyz_world.sum().backward()

    homogeneous = opencv()
    print(f"error with {NOISE_PX} px noise: pair {error(pair().numpy(), xyz):.5f}, ", end="")
    print(f"OpenCV {error((homogeneous[:3] / homogeneous[3]).T, xyz):.5f}, ", end="")
    print(f"4 views {error(start.numpy(), xyz):.5f}, refined {error(refine(start, uv, P).numpy(), xyz):.5f}\n")
    ways = {
        "triangulate_pair": pair,
        "cv2.triangulatePoints": opencv,
        "triangulate_pair and gradient": pair_and_gradient,
        "triangulate_views, 4 views": lambda: triangulate_views(uv, P),
        "refine, 4 views, 2 steps": lambda: refine(start, uv, P),
        "covariance, 4 views": lambda: covariance(start, P, pixel),
    }
    show(f"{POINTS} points, float32, one thread", compare(ways))


if __name__ == "__main__":
    main()
