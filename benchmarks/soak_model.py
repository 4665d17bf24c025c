"""Ask a model very often, and open and close it very often, and watch the memory of the process.

Prints the resident memory before and after 100,000 predictions (after 1,000 to warm up), and before and after 500
opens and closes, with the open files; the growth is what is asked for.
"""

from __future__ import annotations

import argparse
import gc
import os
import tempfile
from pathlib import Path

import cv2
import numpy as np

import cogkp
from benchmarks.bench_model import export
from benchmarks.harness import provenance

__all__ = ["main"]


def resident_kib() -> int:
    """Read the resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def open_files() -> int:
    """Count the open files of this process."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def told(what: str, before: int, after: int) -> None:
    """Print growth."""
    print(f"{what}: {before:,} -> {after:,} KiB, {100 * (after - before) / before:+.2f} %")


def main() -> None:
    """Soak."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predictions", type=int, default=100_000)
    parser.add_argument("--opens", type=int, default=500)
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = export(folder)
        image = np.random.default_rng(0).integers(0, 256, (256, 256), np.uint8)
        cv2.imwrite(str(folder / "a.png"), image)
        with cogkp.load(file, threads=1) as model:
            for _ in range(1000):
                model(image)
            before = resident_kib()
            for _ in range(asked.predictions):
                found = model(image)
                _ = found.points, found.confidence, found.covariance
            told(f"{asked.predictions:,} predictions of an array", before, resident_kib())
            many = [folder / "a.png"] * 1000
            cogkp.write_predictions(cogkp.predict(model, many), folder / "o.jsonl")
            before = resident_kib()
            for _ in range(max(asked.predictions // 10_000, 1)):
                cogkp.write_predictions(cogkp.predict(model, many), folder / "o.jsonl")
            told(f"{max(asked.predictions // 10_000, 1)} times 1,000 files, written", before, resident_kib())
        for _ in range(20):
            cogkp.load(file, threads=1).close()
        gc.collect()
        before, files = resident_kib(), open_files()
        for _ in range(asked.opens):
            with cogkp.load(file, threads=1) as model:
                model(image)
        gc.collect()
        told(f"{asked.opens} opens and closes", before, resident_kib())
        print(f"open files: {files} -> {open_files()}")
    for key, value in provenance().items():
        print(f"{key}: {value}")


if __name__ == "__main__":
    main()
