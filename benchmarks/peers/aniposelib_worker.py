"""aniposelib's ways of triangulating, run by benchmarks.bench_triangulation in an environment of their own."""

from __future__ import annotations

import warnings

import cv2
import numpy as np
from aniposelib.cameras import Camera, CameraGroup

from benchmarks.peers.serving import inputs, serve


def group(K: np.ndarray, poses: np.ndarray) -> CameraGroup:
    """Make cameras without lens distortion."""
    cameras = []
    for pose in poses:
        turn = cv2.Rodrigues(pose[:, :3])[0].ravel()
        cameras.append(Camera(matrix=K, dist=np.zeros(5), rvec=turn, tvec=pose[:, 3], size=(640, 480)))
    return CameraGroup(cameras)


def main() -> None:
    """Serve both methods; pixels come normalised, so that undistortion, which we do elsewhere, costs them nothing."""
    cv2.setNumThreads(1)
    warnings.filterwarnings("ignore", "All-NaN slice")
    arrays = inputs()
    K, uv = arrays["K"], arrays["uv"].astype(np.float64)
    cameras = group(K, arrays["poses"])
    rays = (uv - K[:2, 2]) / K[[0, 1], [0, 1]]
    ways = {
        "aniposelib": lambda: cameras.triangulate(rays, undistort=False),
        "aniposelib, fast": lambda: cameras.triangulate(rays, undistort=False, fast=True),
    }
    serve(ways, ("aniposelib", "jax", "numpy"))


if __name__ == "__main__":
    main()
