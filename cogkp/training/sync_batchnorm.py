"""BatchNorm over the images of all ranks, so that a step does not depend on the number of processes.

PyTorch's own SyncBatchNorm does the same on CUDA alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cogkp.training.distributed import Ranks

__all__ = ["StepBatchNorm", "normalise_over_ranks"]

IMAGE_AXES = (0, 2, 3)


class StepBatchNorm(nn.BatchNorm2d):
    """BatchNorm with the statistics of the whole optimiser step; in evaluation mode the plain one."""

    def forward(self, features: Tensor) -> Tensor:
        """Normalise.

        Args:
            features: (B, C, h, w) of this rank; at least one image.

        Returns:
            The same shape and dtype.

        Gradient: flows to the features of every rank.
        Precision: float32 or better, also under autocast; statistics of the ranks are joined in float64.
        """
        if not self.training:
            return super().forward(features)
        values = features.to(torch.promote_types(features.dtype, torch.float32))
        mean, variance, count = _statistics(values)
        self._follow(mean.detach(), variance.detach() * count / (count - 1.0))
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        normal = torch.addcmul(_spread(shift, values), values, _spread(scale, values))
        return normal.to(features.dtype)

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics as the plain layer does."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance.to(self.running_var.dtype), share)


def _statistics(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean (C,), biased variance (C,) and count () of all ranks' values per channel, float64."""
    variance, mean = (each.double() for each in torch.var_mean(features, IMAGE_AXES, correction=0))
    count = mean.new_full((1,), features.numel() / features.shape[1])
    own = torch.cat([count * mean, count * (variance + mean.square()), count])
    total: Tensor = _Sum.apply(own)  # type: ignore[no-untyped-call]
    size = total[-1]
    mean, square = (total[:-1] / size).chunk(2)
    return mean, square - mean.square(), size.detach()


def _spread(channels: Tensor, values: Tensor) -> Tensor:
    return channels.to(values.dtype)[None, :, None, None]


class _Sum(torch.autograd.Function):
    """Add up over the ranks. What each rank's loss asks of the sum is added up, too, on the way back."""

    @staticmethod
    def forward(_context: Any, tensor: Tensor) -> Tensor:
        return Ranks.here().sum(tensor)

    @staticmethod
    def backward(_context: Any, *gradients: Tensor) -> Tensor:
        return Ranks.here().sum(gradients[0])


def normalise_over_ranks(model: nn.Module, wanted: bool) -> None:
    """Let every BatchNorm take the statistics of all ranks, or again those of this process alone.

    Layers stay where they are, with their parameters, buffers and names; only what they are changes.
    """
    for module in model.modules():
        if type(module) in (nn.BatchNorm2d, StepBatchNorm):
            module.__class__ = StepBatchNorm if wanted else nn.BatchNorm2d
