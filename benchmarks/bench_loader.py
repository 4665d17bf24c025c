"""Measure how long one sample takes from file to network input, on one thread.

Run: OMP_NUM_THREADS=1 python benchmarks/bench_loader.py
"""

from __future__ import annotations

import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from cogkp.config.augment import default_stages
from cogkp.config.keypoint import DataMappings, KeypointConfig
from cogkp.data.augment import AugmentPipeline
from cogkp.data.augment.photometric import change_pixels
from cogkp.data.datasets import AugmentedKeypointDataset
from cogkp.data.images import read_grey
from cogkp.data.structured import write_structured

SIZE_WH = (640, 480)
RUNS = 200


def textured_frame(generator: np.random.Generator) -> np.ndarray:
    """Draw something that compresses about as well as a photograph."""
    coarse = cv2.resize(generator.random((30, 40, 3), dtype=np.float32), SIZE_WH, interpolation=cv2.INTER_CUBIC)
    noisy = 255.0 * coarse + 2.0 * generator.standard_normal(coarse.shape, dtype=np.float32)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def median_ms(work: Callable[[int], object]) -> float:
    """Time a piece of work."""
    times = []
    for i in range(RUNS):
        start = time.perf_counter()
        work(i)
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def measure(root: Path, frame: np.ndarray, suffix: str) -> None:
    """Time items of a data set that holds one frame."""
    write_structured(root, [{"B": {"image": frame, "tip_point": [320.0, 240.0]}}], suffix=suffix)
    config = KeypointConfig(base_dir=(str(root),), data_mappings=DataMappings())
    dataset = AugmentedKeypointDataset(config, "train", lambda sample: (sample.image,))
    path = next(root.glob("B.image/*"))
    print(
        f"  {path.suffix}, {path.stat().st_size / 1e3:.0f} kB: read {median_ms(lambda _: read_grey(path)):.2f} ms",
        end="",
    )
    print(f", whole sample {median_ms(lambda i: dataset[0, i, 0]):.2f} ms")


def main() -> None:
    """Print the medians with their provenance."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, cv2 {cv2.__version__}")
    generator = np.random.default_rng(0)
    frame = textured_frame(generator)
    with tempfile.TemporaryDirectory() as folder:
        for name, pixels, suffix in [
            ("colour", frame, ".png"),
            ("grey", frame[..., 0].copy(), ".png"),
            ("colour", frame, ".jpg"),
        ]:
            print(f"{name} {SIZE_WH[0]}x{SIZE_WH[1]}")
            measure(Path(folder) / f"{name}{suffix}", pixels, suffix)
    pipeline = AugmentPipeline(default_stages(), training=True)
    grey = frame.mean(axis=2, dtype=np.float32) / np.float32(255.0)
    uv, labelled = np.zeros((1, 2)), np.ones(1, bool)
    warp = pipeline.draw_warp(SIZE_WH, uv, labelled, generator)
    crop = pipeline.render(grey, warp)
    print(f"draw_warp {median_ms(lambda _: pipeline.draw_warp(SIZE_WH, uv, labelled, generator)):.3f} ms")
    print(f"render {median_ms(lambda _: pipeline.render(grey, warp)):.3f} ms")
    for stage in default_stages():
        print(f"{type(stage).__name__} {median_ms(lambda _, s=stage: change_pixels(s, crop, generator)):.3f} ms")


if __name__ == "__main__":
    main()
