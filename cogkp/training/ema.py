"""Exponential moving average (EMA) of the weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

__all__ = ["WeightAverage"]


class WeightAverage:
    """Keep the exponential moving average of a network.

    After step n, counted from 1, the average moves by ``1 - min(decay, n / (n + 9))`` towards the trained network: at
    first quickly, so that it forgets the random weights it began with, later by ``1 - decay``.

    Everything that is a floating-point number is averaged, the running means and variances of BatchNorm included. Those
    describe the activations of the weights they were gathered with. Averaged over the same steps as the weights they
    stay a fit to them, while the newest ones would belong to weights that the average has not reached yet. Whole
    numbers, as the count of batches that BatchNorm has seen, are copied.

    Args:
        model: the network as it is when averaging begins; not changed.
        decay: share of the average that one step leaves, 0 to 1, 1 excluded.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.steps = 0

    def follow(self, model: nn.Module) -> None:
        """Update the average after an optimiser step."""
        self.steps += 1
        kept = min(self.decay, self.steps / (self.steps + 9.0))
        mine, theirs = self.model.state_dict(), model.state_dict()
        moving = [name for name in mine if mine[name].is_floating_point()]
        with torch.no_grad():
            torch._foreach_lerp_([mine[name] for name in moving], [theirs[name] for name in moving], 1.0 - kept)
            for name in mine.keys() - set(moving):
                mine[name].copy_(theirs[name])

    def weights(self) -> dict[str, Tensor]:
        """Copy the average to the CPU; the names are those of the network."""
        return {name: tensor.cpu().clone() for name, tensor in self.model.state_dict().items()}
