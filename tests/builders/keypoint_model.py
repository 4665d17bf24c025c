"""Model files of a keypoint network whose weights are random but sharp: a checkpoint, and ONNX files made of it."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
import torch

from cogkp.artifacts.checkpoint import Provenance
from cogkp.config.augment import Crop
from cogkp.config.keypoint.io import dump
from cogkp.config.keypoint.spec import DataMappings, KeypointConfig, Targets
from cogkp.tasks.keypoint.task import KeypointTask
from tests.builders.model_files import write_checkpoint

POINTS = ("tip", "turn", "end")
SIDE = 64


def keypoint_config(*, masks: bool = False, **crop) -> KeypointConfig:
    """Describe a small network of three points, and of three mask classes."""
    config = KeypointConfig(
        data_mappings=DataMappings(
            x=("A.image",), y=(tuple(f"A.{name}" for name in POINTS),), mask=("A.mask",) if masks else None
        ),
        augmentations=(Crop(**{"output_size": SIDE, **crop}),),
    )
    return attrs.evolve(config, targets=Targets(segmentation=True), num_segmentation_classes=3) if masks else config


def keypoint_task(config: KeypointConfig, seed: int = 0) -> KeypointTask:
    """Draw weights that find different points in different images."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        task = KeypointTask(config)
        for vote in task.model.heatmap_head.votes:  # quiet at the start of a training
            torch.nn.init.normal_(vote.weight, std=2.0)
    task.model.eval()
    return task


def save_checkpoint(path: Path, task: KeypointTask, *, average: dict | None = None, family: str = "keypoint") -> Path:
    """Write a checkpoint as a training does."""
    provenance = Provenance(
        config=dump(task.config),
        options={},
        points=task.config.point_names,
        num_classes=task.config.num_classes,
        data=(),
        family=family,
    )
    return write_checkpoint(path, task.model.state_dict(), provenance, average=average)


def scene(seed: int = 0, size_wh: tuple[int, int] = (120, 90), channels: int = 3) -> np.ndarray:
    """Draw blobs of different colours: (H, W, channels) uint8."""
    rng = np.random.default_rng(seed)
    u, v = np.meshgrid(np.arange(size_wh[0]), np.arange(size_wh[1]))
    image = rng.uniform(0, 60, (size_wh[1], size_wh[0], channels))
    for _ in range(4):
        centre, sigma = rng.uniform((0, 0), size_wh), rng.uniform(3, 12)
        blob = np.exp(-((u - centre[0]) ** 2 + (v - centre[1]) ** 2) / (2 * sigma**2))
        image += blob[..., None] * rng.uniform(20, 200, channels)
    return image.clip(0, 255).astype(np.uint8)
