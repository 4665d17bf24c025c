"""Measure how long it takes to find the boxes of one image, and how well they fit, against OpenCV, on one thread.

Run: OMP_NUM_THREADS=1 python -m benchmarks.bench_pnp
"""

from __future__ import annotations

import cv2
import numpy as np
import torch

from benchmarks.harness import compare, show
from cogkp.geometry.camera import PinholeCamera
from cogkp.geometry.cuboid import Cuboids
from cogkp.geometry.pnp import solve_cuboids
from cogkp.geometry.rotation import rotation_from_quaternion

OBJECTS, TRIALS = 10, 400
K = torch.tensor([[600.0, 0.0, 320.0], [0.0, 600.0, 240.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
SOLVERS = {"iterative": cv2.SOLVEPNP_ITERATIVE, "EPnP": cv2.SOLVEPNP_EPNP, "SQPnP": cv2.SOLVEPNP_SQPNP}


def scene(count: int, noise_px: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw boxes of height one in front of a camera; noisy pixels (M, 16, 2), two of each corner, and sizes (M, 3)."""
    draw = {"generator": torch.Generator().manual_seed(0), "dtype": torch.float64}
    size = 0.3 + 1.2 * torch.rand(count, 3, **draw)
    size[:, 1] = 1.0
    pose = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    pose[:, :3, :3] = rotation_from_quaternion(torch.randn(count, 4, **draw))
    pose[:, :3, 3] = torch.rand(count, 3, **draw) * torch.tensor([3.0, 3.0, 7.0]) + torch.tensor([-1.5, -1.5, 3.0])
    seen = PinholeCamera(K, torch.eye(4, dtype=torch.float64), (640, 480)).project(Cuboids(pose, size).points())
    uv = seen.uv[:, 1:].repeat_interleave(2, 1)
    return uv + noise_px * torch.randn(uv.shape, **draw), size


def by_opencv(uv: torch.Tensor, size: torch.Tensor, solver: int) -> list[float]:
    """Root mean square distances; infinite where the box was put behind the camera."""
    local = Cuboids(torch.eye(4, dtype=torch.float64), size).points()[:, 1:].repeat_interleave(2, 1)
    distances = []
    for points, pixels in zip(local.numpy(), uv.numpy(), strict=True):
        _, vector, shift = cv2.solvePnP(points, pixels, K.numpy(), None, flags=solver)
        seen = cv2.projectPoints(points, vector, shift, K.numpy(), None)[0][:, 0]
        behind = shift[2, 0] < 0
        distances.append(np.inf if behind else float(np.sqrt(np.square(seen - pixels).sum(1).mean())))
    return distances


def main() -> None:
    """Print how well the boxes fit, then times with their provenance."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    for noise_px in (1.0, 3.0, 8.0):
        uv, size = scene(TRIALS, noise_px)
        ours = solve_cuboids(uv, size, K)
        print(f"{noise_px:.0f} px noise: cogkp {int((~ours.valid).sum())} lost", end="")
        for name, solver in SOLVERS.items():
            theirs = torch.tensor(by_opencv(uv, size, solver), dtype=torch.float64)
            lost, worse = theirs.isinf(), theirs.isfinite() & (theirs > 1.01 * ours.residual_px)
            better = theirs < 0.9999 * ours.residual_px
            print(f"; {name} {int(lost.sum())} behind, {int(worse.sum())} worse, {int(better.sum())} better", end="")
        print(f" of {TRIALS}")
    uv, size = scene(OBJECTS, 1.0)
    ways = {"cogkp, solve_cuboids": lambda: solve_cuboids(uv, size, K)} | {
        f"OpenCV, {name}": lambda solver=solver: by_opencv(uv, size, solver) for name, solver in SOLVERS.items()
    }
    print()
    show(f"{OBJECTS} boxes of 16 pixels, one thread", compare(ways, rounds=51))


if __name__ == "__main__":
    main()
