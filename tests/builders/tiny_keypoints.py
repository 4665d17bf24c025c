"""A recording of a few frames with bright blobs: small enough to train on within a test."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import cv2
import numpy as np

from cogkp.config.augment import Crop, Noise
from cogkp.config.keypoint.spec import DataMappings, KeypointConfig, Targets, Validation

FRAME_WH = (120, 90)
POINTS = ("tip", "end")


def write_recording(root: Path, frames: int, *, seed: int = 0, labelled: bool = True, masks: bool = True) -> Path:
    """Write ``frames`` lines with two blobs each; the first class mask covers the blob of the tip."""
    rng = np.random.default_rng(seed)
    (root / "B").mkdir(parents=True)
    lines = []
    for index in range(frames):
        uv = rng.uniform((20, 20), (100, 70), (2, 2))
        image, mask = _draw(uv, rng)
        cv2.imwrite(str(root / "B" / f"{index}.png"), image)
        entry = {"image": f"B/{index}.png", "mask": None, **dict.fromkeys(POINTS)}
        if labelled:
            entry |= {name: point.tolist() for name, point in zip(POINTS, uv, strict=True)}
        if masks:
            cv2.imwrite(str(root / "B" / f"{index}_mask.png"), mask)
            entry["mask"] = f"B/{index}_mask.png"
        lines.append(json.dumps({"B": entry}))
    (root / "data.jsonl").write_text("\n".join(lines) + "\n")
    return root


def _draw(uv: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    width, height = FRAME_WH
    u, v = np.meshgrid(np.arange(width), np.arange(height))
    image = rng.uniform(30, 50, (height, width))
    for (pu, pv), (peak, sigma) in zip(uv, ((200.0, 4.0), (120.0, 8.0)), strict=True):
        image += peak * np.exp(-((u - pu) ** 2 + (v - pv) ** 2) / (2 * sigma**2))
    mask = ((u - uv[0, 0]) ** 2 + (v - uv[0, 1]) ** 2 < 10.0**2).astype(np.uint8)
    return image.clip(0, 255).astype(np.uint8), mask


def tiny_config(folder: Path, *, frames: int = 8, segmentation: bool = False, validation: int = 0) -> KeypointConfig:
    """Write a tiny recording into ``folder`` and return a configuration that reads it at 64 px."""
    train = write_recording(folder / "train", frames)
    held_out = (str(write_recording(folder / "held_out", validation, seed=1)),) if validation else ()
    config = KeypointConfig(
        base_dir=(str(train),),
        data_mappings=DataMappings(
            x=("B.image",), y=(tuple(f"B.{name}" for name in POINTS),), mask=("B.mask",) if segmentation else None
        ),
        augmentations=(Crop(output_size=64), Noise()),
        validation=Validation(base_dir=held_out),
    )
    if not segmentation:
        return config
    return attrs.evolve(config, targets=Targets(segmentation=True), num_segmentation_classes=2)
