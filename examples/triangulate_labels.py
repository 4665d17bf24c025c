"""Labelled pairs to points of space, in ten lines.

Run: python examples/triangulate_labels.py RECORDING

RECORDING holds data.jsonl, whose lines carry ``debug.training_targets.keypoint3_mask``, and calibration.config.json.
"""

import sys
from pathlib import Path

import torch

from cogkp.data.calibration import read_calibration
from cogkp.data.keypoint.structured import find, read_lines

POINTS = ("tip", "turn", "end")


def main(root: Path) -> None:
    """Triangulate every line and print what is known of the tool's lengths."""
    rig = read_calibration(root / "calibration.config.json").select(("LL", "LR"))
    labels = [find(line.content, "debug.training_targets.keypoint3_mask") for line in read_lines(root)]
    uv = torch.tensor(
        [[[line[camera][point] for point in POINTS] for camera in rig] for line in labels]
    )  # (lines, 2, 3, 2)
    found = rig.triangulate(uv.double())
    again = rig.project(found.xyz_world)
    residual_px = (again.uv - uv).norm(dim=-1)[again.valid]
    lengths = found.xyz_world.diff(dim=-2).norm(dim=-1)
    print(f"{int(found.valid.sum())} of {found.valid.numel()} points found, reprojection {residual_px.median():.4f} px")
    for name, length in zip(("tip to turn", "turn to end"), lengths.T, strict=True):
        print(f"{name}: {length.mean():.4f} +- {length.std():.4f} world units")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
