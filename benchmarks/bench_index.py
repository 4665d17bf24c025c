"""How long a data set of many lines takes to open, and how much memory it holds then.

Run: OMP_NUM_THREADS=1 python -m benchmarks.bench_index [LINES]
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from benchmarks.harness import provenance
from cogkp.config.keypoint.spec import DataMappings, KeypointConfig
from cogkp.data.keypoint.dataset import AugmentedKeypointDataset

LINES = 1_000_000
IMAGES = 1000
SIZE_WH = (160, 120)
POINTS = ("tip", "end", "tail")


def write_lines(root: Path, lines: int) -> None:
    """Write a data set whose lines share a thousand images; every seventh line lacks its last point."""
    for number in range(IMAGES):
        cv2.imwrite(str(root / f"{number:06d}.png"), np.full(SIZE_WH[::-1], number % 255, np.uint8))
    generator = np.random.default_rng(0)
    with (root / "data.jsonl").open("w") as file:
        for number in range(lines):
            places = generator.uniform(0.0, np.subtract(SIZE_WH, 1.0), (len(POINTS), 2)).tolist()
            points = dict(zip(POINTS, places, strict=True)) | ({"tail": None} if number % 7 == 0 else {})
            file.write(json.dumps({"image": f"{number % IMAGES:06d}.png", "points": points}) + "\n")


def peak_mb() -> float:
    """Return the largest memory of this process so far, megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def main() -> None:
    """Print seconds and megabytes."""
    lines = int(sys.argv[1]) if len(sys.argv) > 1 else LINES
    mappings = DataMappings(x=("image",), y=(tuple(f"points.{name}" for name in POINTS),))
    with tempfile.TemporaryDirectory() as folder:
        write_lines(Path(folder), lines)
        config = KeypointConfig(base_dir=(folder,), data_mappings=mappings)
        before, start = peak_mb(), time.perf_counter()
        dataset = AugmentedKeypointDataset(config)
        seconds = time.perf_counter() - start
        print(f"{len(dataset)} lines open in {seconds:.1f} s; the peak of memory grows by {peak_mb() - before:.0f} MB")
    for name, value in provenance().items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
