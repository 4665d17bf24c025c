"""What the published file of ResNet-18's ImageNet weights looks like: its names and shapes, with drawn numbers."""

from __future__ import annotations

import torch
from torch import Tensor

CHANNELS = (64, 128, 256, 512)


def _norm(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    shapes = {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}
    return {**shapes, f"{name}.num_batches_tracked": ()}


def _block(name: str, before: int, after: int) -> dict[str, tuple[int, ...]]:
    shapes = {f"{name}.conv1.weight": (after, before, 3, 3), **_norm(f"{name}.bn1", after)}
    shapes |= {f"{name}.conv2.weight": (after, after, 3, 3), **_norm(f"{name}.bn2", after)}
    if before != after:
        shapes |= {f"{name}.downsample.0.weight": (after, before, 1, 1), **_norm(f"{name}.downsample.1", after)}
    return shapes


def shapes_of_resnet18() -> dict[str, tuple[int, ...]]:
    """Names and shapes as torchvision publishes them."""
    shapes = {"conv1.weight": (64, 3, 7, 7), **_norm("bn1", 64)}
    for level, (before, after) in enumerate(zip((64, *CHANNELS), CHANNELS, strict=False), start=1):
        shapes |= _block(f"layer{level}.0", before, after) | _block(f"layer{level}.1", after, after)
    return shapes | {"fc.weight": (1000, 512), "fc.bias": (1000,)}


def published_resnet18(seed: int = 0) -> dict[str, Tensor]:
    """Draw weights of the published shapes, of sizes that keep activations finite."""
    generator = torch.Generator().manual_seed(seed)
    drawn: dict[str, Tensor] = {}
    for name, shape in shapes_of_resnet18().items():
        if name.endswith("num_batches_tracked"):
            drawn[name] = torch.tensor(100)
        elif name.endswith(("running_var", "bn1.weight", "bn2.weight")):
            drawn[name] = 0.5 + torch.rand(shape, generator=generator)
        else:
            drawn[name] = 0.05 * torch.randn(shape, generator=generator)
    return drawn
