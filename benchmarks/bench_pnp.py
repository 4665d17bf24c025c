"""Measure how long it takes to find the boxes of one image, and how well they fit, against OpenCV, on one thread.

Run: OMP_NUM_THREADS=1 python -m benchmarks.bench_pnp
"""

from __future__ import annotations

import cv2
import numpy as np

from benchmarks.harness import compare, show
from cogkp.geometry.cuboid import Cuboids, posed
from cogkp.geometry.pnp import see_points, solve_cuboids
from cogkp.geometry.rotation import rotation_from_quaternion

OBJECTS, TRIALS = 10, 400
K = np.array([[600.0, 0.0, 320.0], [0.0, 600.0, 240.0], [0.0, 0.0, 1.0]])
SOLVERS = {"iterative": cv2.SOLVEPNP_ITERATIVE, "EPnP": cv2.SOLVEPNP_EPNP, "SQPnP": cv2.SOLVEPNP_SQPNP}


def scene(count: int, noise_px: float) -> tuple[np.ndarray, np.ndarray]:
    """Draw boxes of height one in front of a camera; noisy pixels (M, 16, 2), two of each corner, and sizes (M, 3)."""
    draw = np.random.default_rng(0)
    size = draw.uniform(0.3, 1.5, (count, 3))
    size[:, 1] = 1.0
    rotation = rotation_from_quaternion(draw.normal(size=(count, 4)))
    boxes = Cuboids(posed(rotation, draw.uniform((-1.5, -1.5, 3.0), (1.5, 1.5, 10.0), (count, 3))), size)
    uv = np.repeat(see_points(boxes.points(), K)[:, 1:], 2, 1)
    return uv + noise_px * draw.normal(size=uv.shape), size


def by_opencv(uv: np.ndarray, size: np.ndarray, solver: int) -> list[float]:
    """Root mean square distances; infinite where the box was put behind the camera."""
    local = np.repeat(Cuboids(np.eye(4), size).points()[:, 1:], 2, 1)
    distances = []
    for points, pixels in zip(local, uv, strict=True):
        _, vector, shift = cv2.solvePnP(points, pixels, K, None, flags=solver)
        seen = cv2.projectPoints(points, vector, shift, K, None)[0][:, 0]
        behind = shift[2, 0] < 0
        distances.append(np.inf if behind else float(np.sqrt(np.square(seen - pixels).sum(1).mean())))
    return distances


def main() -> None:
    """Print how well the boxes fit, then times with their provenance."""
    cv2.setNumThreads(1)
    for noise_px in (1.0, 3.0, 8.0):
        uv, size = scene(TRIALS, noise_px)
        ours = solve_cuboids(uv, size, K)
        print(f"{noise_px:.0f} px noise: cogkp {int((~ours.valid).sum())} lost", end="")
        for name, solver in SOLVERS.items():
            theirs = np.array(by_opencv(uv, size, solver))
            lost, worse = np.isinf(theirs), np.isfinite(theirs) & (theirs > 1.01 * ours.residual_px)
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
