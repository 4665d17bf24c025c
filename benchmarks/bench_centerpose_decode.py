"""Measure how long it takes from a network's maps to the poses of the objects in one image, on one thread.

Processor time is told, which others on the same machine disturb little.

Run: OMP_NUM_THREADS=1 python -m benchmarks.bench_centerpose_decode
"""

from __future__ import annotations

import time

import cv2
import numpy as np
import torch

from benchmarks.harness import compare, show
from cogkp.geometry.letterbox import letterbox
from cogkp.models.centerpose import CHANNELS, CenterPoseOutputs
from cogkp.tasks.centerpose.decode import DecodeRules, decode_maps
from cogkp.tasks.centerpose.detections import DecodedObjects, FilterRules, find_objects
from cogkp.tasks.centerpose.poses import find_poses

OBJECTS, SIDE, CELLS, STRIDE = 10, 512, 128, 4
SIZE_WH = (600, 800)
K = np.array([[660.0, 0.0, 300.0], [0.0, 660.0, 400.0], [0.0, 0.0, 1.0]])
SIGNS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float)


def noisy_maps(seed: int = 0) -> CenterPoseOutputs:
    """Make maps of ten boxes beside each other, with noise everywhere and errors of about a cell."""
    draw = np.random.default_rng(seed)
    maps = {name: draw.normal(0, 0.5, (1, count, CELLS, CELLS)) for name, count in CHANNELS.items()}
    for name in ("hm", "hm_hp"):
        maps[name] -= 6.0
    for name in ("reg", "hp_offset"):
        maps[name] = draw.uniform(0, 1, maps[name].shape)
    to_grid = letterbox(SIZE_WH, SIDE) / STRIDE
    for k in range(OBJECTS):
        place_in_object(maps, to_grid, corners_of(k, draw), draw)
    return CenterPoseOutputs(**{name: torch.from_numpy(values).float() for name, values in maps.items()})


def corners_of(index: int, draw: np.random.Generator) -> np.ndarray:
    """(8, 2) pixels of the corners of one box, turned somehow."""
    turn = np.linalg.qr(draw.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    middle = np.array([-0.7 + 0.35 * (index % 5), -0.5 + 1.0 * (index // 5), 2.0])
    seen = (SIGNS * (0.1, 0.12, 0.08) @ turn.T + middle) @ K.T
    return seen[:, :2] / seen[:, 2:]


def place_in_object(
    maps: dict[str, np.ndarray], to_grid: np.ndarray, corners: np.ndarray, draw: np.random.Generator
) -> None:
    """Write one object into the maps, in place."""
    uv = corners @ to_grid[:2, :2].T + to_grid[:2, 2]
    low, high = uv.min(0), uv.max(0)
    x, y = np.floor(0.5 * (low + high)).astype(int)
    maps["hm"][0, 0, y, x] = 3.0
    maps["wh"][0, :, y, x] = high - low
    maps["scale"][0, :, y, x] = 0.1 / 0.12, 1.0, 0.08 / 0.12
    maps["hps"][0, :, y, x] = (uv - (x, y) + draw.normal(0, 0.5, uv.shape)).ravel()
    for joint, (u, v) in enumerate(np.floor(uv).astype(int)):
        maps["hm_hp"][0, joint, v, u] = 2.0


def decoded_arrays(maps: CenterPoseOutputs) -> DecodedObjects:
    """Decode maps, as arrays."""
    return DecodedObjects(*(field.numpy() for field in decode_maps(maps, DecodeRules())))


def main() -> None:
    """Print how many objects are found, then times with their provenance."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    maps, warp = noisy_maps(), letterbox(SIZE_WH, SIDE)[None]
    decoded = decoded_arrays(maps)
    detections = find_objects(decoded, warp, STRIDE, FilterRules())
    poses = find_poses(detections, K)
    print(f"{len(poses)} of {OBJECTS} objects, {int(detections.peaked.sum())} peaks of corners", end="")
    print(f", residual {poses.residual_px.mean():.2f} px")

    def everything() -> object:
        with torch.inference_mode():
            return find_poses(find_objects(decoded_arrays(maps), warp, STRIDE, FilterRules()), K)

    ways = {
        "all: maps to poses": everything,
        "decode": lambda: decode_maps(maps, DecodeRules()),
        "filter, un-warp, suppress": lambda: find_objects(decoded, warp, STRIDE, FilterRules()),
        "poses": lambda: find_poses(detections, K),
    }
    timings = compare(ways, rounds=51, warmup=3, clock=time.process_time)
    show(f"one image, {OBJECTS} objects, {CELLS} x {CELLS} cells, processor time of one thread", timings)


if __name__ == "__main__":
    main()
