"""What the network sees: one sample of a data set, its labels, and the way back to the frame.

Run: python examples/look_at_samples.py CONFIG
"""

import sys

import numpy as np

import cogkp
from cogkp.tasks.registry import build_task


def main(path: str) -> None:
    """Print where the points of the first sample lie in its crop and in its frame."""
    task = build_task(cogkp.load_config(path))
    sample, targets = task.datasets("train")[0][0]
    print(sample.sample_id, "image", sample.image.shape, "range", sample.image.min(), sample.image.max())
    home = sample.source_to_crop.inverse()
    for name, uv_crop, valid in zip(task.config.point_names, targets.uv_crop, targets.valid, strict=True):
        uv_source = home.matrix.numpy() @ np.append(uv_crop, 1.0)
        print(f"{name}: crop {uv_crop.round(1)}, frame {uv_source[:2].round(1)}, {'valid' if valid else 'not usable'}")


if __name__ == "__main__":
    main(sys.argv[1])
