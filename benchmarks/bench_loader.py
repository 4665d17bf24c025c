"""How far one training sample is from the floor: bare decoding of the same file, on one thread.

Run: OMP_NUM_THREADS=1 python -m benchmarks.bench_loader
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.harness import compare, show
from cogkp.config.keypoint.spec import KeypointConfig
from cogkp.data.images import read_grey
from cogkp.data.keypoint.dataset import AugmentedKeypointDataset
from cogkp.data.keypoint.structured import write_structured

SIZE_WH = (640, 480)
ROUNDS = 100


def textured_frame(generator: np.random.Generator) -> np.ndarray:
    """Draw something that compresses about as well as a photograph."""
    coarse = cv2.resize(generator.random((30, 40, 3), dtype=np.float32), SIZE_WH, interpolation=cv2.INTER_CUBIC)
    noisy = 255.0 * coarse + 2.0 * generator.standard_normal(coarse.shape, dtype=np.float32)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def ways(root: Path, frame: np.ndarray, suffix: str) -> dict[str, Callable[[], object]]:
    """Prepare a data set of one frame, and three ways of reading it."""
    write_structured(root, [{"B": {"image": frame, "tip_point": [320.0, 240.0]}}], suffix=suffix)
    dataset = AugmentedKeypointDataset(KeypointConfig(base_dir=(str(root),)), "train", lambda sample: (sample.image,))
    path = next(root.glob("B.image/*"))
    positions = itertools.count()
    return {
        "cv2.imread": lambda: cv2.imread(str(path), cv2.IMREAD_UNCHANGED),
        "checked, grey, 0..1": lambda: read_grey(path),
        "whole sample, default stages": lambda: dataset[0, next(positions), 0],
    }


def main() -> None:
    """Print a table for each kind of file."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    frame = textured_frame(np.random.default_rng(0))
    kinds = {"colour PNG": (frame, ".png"), "grey PNG": (frame[..., 0].copy(), ".png"), "colour JPEG": (frame, ".jpg")}
    with tempfile.TemporaryDirectory() as folder:
        for name, (pixels, suffix) in kinds.items():
            show(
                f"{name}, {SIZE_WH[0]}x{SIZE_WH[1]}", compare(ways(Path(folder) / name, pixels, suffix), rounds=ROUNDS)
            )
            print()


if __name__ == "__main__":
    main()
