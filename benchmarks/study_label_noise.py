"""How far labels lie from the truth, told by a mirror: both views of one point share their column, up to perspective.

Run, with the labels of a Lightning Pose set whose points are named ``..._top`` and ``..._bot``:

    python -m benchmarks.study_label_noise SETS/mirror-mouse/CollectedData.csv

The column of the upper view is fitted as a linear function of the lower view's column and of both rows. What is left
is the noise of two labels, and whatever of the perspective is not linear: an upper bound, the tighter the smaller.
"""

from __future__ import annotations

import argparse
import csv
import math
from pathlib import Path

import numpy as np

HEADER_ROWS = 3
UPPER, LOWER = "_top", "_bot"
PARAMETERS = 4
# Mean length of a plane vector whose coordinates have standard deviation one.
MEAN_LENGTH = math.sqrt(math.pi / 2)


def read_labels(path: Path) -> dict[str, np.ndarray]:
    """Read (frames, 2) pixels of each point, NaN where it is not labelled."""
    rows = list(csv.reader(path.read_text("utf-8").splitlines()))
    values = np.array([[float(value or "nan") for value in row[1:]] for row in rows[HEADER_ROWS:]])
    return {name: values[:, 2 * k : 2 * k + 2] for k, name in enumerate(rows[1][1::2])}


def noise_px(upper: np.ndarray, lower: np.ndarray) -> tuple[int, float]:
    """Return how many frames show both views, and the noise of one coordinate of one label, px."""
    both = np.isfinite(upper).all(1) & np.isfinite(lower).all(1)
    known = np.column_stack((lower[both], upper[both, 1], np.ones(both.sum())))
    left = upper[both, 0] - known @ np.linalg.lstsq(known, upper[both, 0], rcond=None)[0]
    return int(both.sum()), math.sqrt(float(left @ left) / (2 * (both.sum() - PARAMETERS)))


def main() -> None:
    """Print the noise of each point that both views show."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("labels", type=Path, help="CollectedData.csv")
    labels = read_labels(parser.parse_args().labels)
    lengths = []
    print("point        frames  one coordinate, px  mean distance, px")
    for name in (name.removesuffix(UPPER) for name in labels if name.endswith(UPPER)):
        if name + LOWER in labels:
            frames, noise = noise_px(labels[name + UPPER], labels[name + LOWER])
            lengths += [MEAN_LENGTH * noise]
            print(f"{name:<12} {frames:>6}  {noise:>18.2f}  {lengths[-1]:>17.2f}")
    print(f"{'mean':<12} {'':>6}  {'':>18}  {np.mean(lengths):>17.2f}")


if __name__ == "__main__":
    main()
