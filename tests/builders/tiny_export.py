"""A network small enough to export in a blink, and honest: strided convolutions, a skip, soft-argmax, a mask head."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
    columns = (torch.arange(width) + 0.5) * STRIDE - 0.5
    rows = (torch.arange(height) + 0.5) * STRIDE - 0.5
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
        facts={"input_range": [0.0, 1.0], "point_names": ["tip", "end"], "num_classes": 3, "crop": {"region": "frame"}},
    )
