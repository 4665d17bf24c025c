"""A network small enough to export in a blink, and honest: strided convolutions, a skip, soft-argmax, a mask head."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cogkp.artifacts.manifest import Manifest, Origin, OutputDifference, Signature
from cogkp.tasks.base import ExportSpec, OutputSpec

SIDE = 64
STRIDE = 4


class TinyOutputs(NamedTuple):
    keypoints: Tensor
    heatmaps: Tensor
    mask_logits: Tensor


class TinyNet(nn.Module):
    """Two points and three mask classes on a 64 x 64 grey crop."""

    def __init__(self, points: int = 2, classes: int = 3) -> None:
        super().__init__()
        self.down1 = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.down2 = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU())
        self.down3 = nn.Sequential(nn.Conv2d(16, 16, 3, 2, 1), nn.ReLU())
        self.merge = nn.Conv2d(32, 16, 3, 1, 1)
        self.heat = nn.Conv2d(16, points, 1)
        self.mask = nn.Conv2d(16, classes, 1)

    def forward(self, image: Tensor) -> TinyOutputs:
        stride4 = self.down2(self.down1(image))
        coarse = F.interpolate(self.down3(stride4), scale_factor=2.0, mode="nearest")
        features = F.relu(self.merge(torch.cat([stride4, coarse], dim=1)))
        heatmaps = self.heat(features) * 10.0
        mask = F.interpolate(self.mask(features), scale_factor=float(STRIDE), mode="bilinear", align_corners=False)
        return TinyOutputs(soft_argmax(heatmaps), heatmaps, mask)


def soft_argmax(heatmaps: Tensor) -> Tensor:
    """Mean position under the softmax, crop pixels."""
    height, width = heatmaps.shape[-2:]
    probability = heatmaps.float().flatten(-2).softmax(-1).unflatten(-1, (height, width))
    columns = (torch.arange(width, dtype=torch.float32) + 0.5) * STRIDE - 0.5
    rows = (torch.arange(height, dtype=torch.float32) + 0.5) * STRIDE - 0.5
    return torch.stack([(probability.sum(-2) * columns).sum(-1), (probability.sum(-1) * rows).sum(-1)], dim=-1)


def tiny_net(seed: int = 0) -> TinyNet:
    """Make the network with weights drawn from a seed, in evaluation mode, without touching the global stream."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TinyNet().eval()


def tiny_spec(batch_size: int = 1) -> ExportSpec:
    """Describe :class:`TinyNet` as a task would."""
    return ExportSpec(
        inputs={"input": torch.zeros(batch_size, 1, SIDE, SIDE)},
        outputs=(
            OutputSpec("keypoints", "px", 0.02),
            OutputSpec("heatmaps", "logit", 1e-3),
            OutputSpec("mask_logits", "logit", 1e-3),
        ),
        facts={
            "input": {"range": [0.0, 1.0]},
            "point_names": ["tip", "end"],
            "num_classes": 3,
            "crop": {"region": "frame"},
        },
    )


class TinyTask:
    """The part of a task that deployment needs."""

    def __init__(self, net: nn.Module | None = None) -> None:
        self.net = tiny_net() if net is None else net

    def export_module(self) -> nn.Module:
        return self.net

    def export_spec(self, batch_size: int) -> ExportSpec:
        return tiny_spec(batch_size)


def tiny_images(count: int = 2, seed: int = 1) -> dict[str, np.ndarray]:
    """Draw smooth grey images (1, 64, 64), float32 in 0..1."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.random((count, 1, 8, 8), dtype=np.float32))
    images = F.interpolate(coarse, size=(SIDE, SIDE), mode="bilinear", align_corners=False).numpy()
    return {f"image {index}": image for index, image in enumerate(images)}


def manifest_of(signature: Signature) -> Manifest:
    """Describe an exported tiny network as deployment would."""
    rows = signature.inputs[0].shape[0]
    return Manifest(
        created="2026-01-31T12:00:00+00:00",
        versions={"cogkp": "0"},
        origin=Origin(config_sha256="ab" * 32),
        precision="fp32",
        batch_size=rows if isinstance(rows, int) else None,
        opset=17,
        inputs=signature.inputs,
        outputs=signature.outputs,
        facts={"point_names": ["tip", "end"]},
        parity=(OutputDifference("keypoints", "px", 0.02, 1e-5, 1e-5, 1e-6, "grey"),),
    )
