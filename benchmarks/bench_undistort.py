"""Undo lens distortion beside OpenCV: time of 1e5 points and round trip error, one thread, several lenses.

OpenCV's default stops after five steps; its patient way goes on until 1e-10. Both take pixels and
give the normalised image plane, as `PinholeCamera.unproject_rays` does; bare `undistort` starts from that plane.

Run: OMP_NUM_THREADS=1 python -m benchmarks.bench_undistort
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.harness import Timing, compare, provenance
from cogkp.geometry.camera import PinholeCamera
from cogkp.geometry.distortion import undistort

POINTS = 100_000
SIZE_WH = (1920, 1080)
FOCAL_PX = 1000.0
ROUNDS = 31
RATIONAL = (-0.3, 0.1, 1e-3, -2e-3, 0.02, 0.1, -0.02, 0.01)
PRISM = (*RATIONAL, 1e-3, 2e-3, -1e-3, 5e-4)
LENSES = {
    "k1=-0.10": (-0.10, 0.0, 0.0, 0.0),
    "k1=-0.30 k2=0.10": (-0.30, 0.10, 0.0, 0.0),
    "k1=+0.20": (0.20, 0.0, 0.0, 0.0),
    "5, tangential": (-0.30, 0.10, 1e-3, -2e-3, -0.01),
    "8, rational": RATIONAL,
    "12, prism": PRISM,
    "14, tilted": (*PRISM, 0.02, -0.03),
}
K = np.array([[FOCAL_PX, 0.0, 959.5], [0.0, FOCAL_PX, 539.5], [0.0, 0.0, 1.0]])
PATIENCE = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 500, 1e-10)
Array = np.ndarray[Any, np.dtype[np.floating[Any]]]


def pixels(dtype: type[np.floating[Any]]) -> Array:
    """Give random pixels of the frame, its corners first."""
    width, height = SIZE_WH
    uv = np.random.default_rng(0).uniform((-0.5, -0.5), (width - 0.5, height - 0.5), (POINTS, 2))
    uv[:4] = [(u, v) for u in (-0.5, width - 0.5) for v in (-0.5, height - 0.5)]
    return uv.astype(dtype)


def patiently(uv: Array, lens: Array) -> Array:
    """Undo a lens with OpenCV until it is right."""
    if hasattr(cv2, "undistortPointsIter"):
        return np.asarray(cv2.undistortPointsIter(uv, K, lens, np.eye(3), np.eye(3), PATIENCE))
    return np.asarray(cv2.undistortPoints(uv, K, lens, None, np.eye(3), np.eye(3), PATIENCE))


def error_px(uv: Array, xy: Array, lens: Array) -> float:
    """Send points through the lens again, with OpenCV in float64: the farthest from where they came."""
    rays = np.c_[xy.reshape(-1, 2).astype(np.float64), np.ones(len(uv))]
    back, _ = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), K, lens)
    return float(np.abs(back[:, 0] - uv).max())


def ways_of(uv: Array, lens: Array) -> dict[str, Callable[[], Array]]:
    """Give the ways to undo a lens, each from what is at hand to points of the normalised plane."""
    points, coefficients = torch.from_numpy(uv), torch.from_numpy(lens.astype(uv.dtype))
    plane = torch.from_numpy(((uv - K[:2, 2]) / FOCAL_PX).astype(uv.dtype))
    camera = PinholeCamera(torch.from_numpy(K.astype(uv.dtype)), torch.eye(4), SIZE_WH, coefficients)
    return {
        "cv2 default": lambda: np.asarray(cv2.undistortPoints(uv, K, lens)),
        "unproject_rays": lambda: camera.unproject_rays(points).xyz_camera[..., :2].numpy(),
        "undistort": lambda: undistort(plane, coefficients).xy.numpy(),
        "cv2 patient": lambda: patiently(uv, lens),
    }


def report(name: str, timings: list[Timing], errors: dict[str, float]) -> None:
    """Print one line a way."""
    for timing in timings:
        print(
            f"{name:<18} {timing.name:<16} {timing.median_s * 1e3:>8.2f} ms {timing.spread_s * 1e3:>7.2f} ms"
            f" {timing.ratio:>6.2f} {errors[timing.name]:>10.1e}"
        )


def main() -> None:
    """Compare all ways on all lenses, in both precisions."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    for dtype in (np.float64, np.float32):
        uv = pixels(dtype)
        print(f"\n{np.dtype(dtype)}, {POINTS} points of {SIZE_WH[0]}x{SIZE_WH[1]}, {FOCAL_PX:.0f} px, one thread\n")
        print(f"{'lens':<18} {'way':<16} {'median':>11} {'quartiles':>10} {'ratio':>6} {'worst px':>10}")
        for name, coefficients in LENSES.items():
            lens = np.array(coefficients)
            ways = ways_of(uv, lens)
            errors = {way: error_px(uv, run(), lens) for way, run in ways.items()}
            report(name, compare(ways, rounds=ROUNDS), errors)
    print()
    for fact, value in provenance().items():
        print(f"{fact}: {value}")


if __name__ == "__main__":
    main()
