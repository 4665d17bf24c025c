"""Necks of iterative deep aggregation: deep feature maps are upsampled step by step and added to finer ones.

Axes: B batch, c channels, h rows, w columns.
Source: Yu, Wang, Shelhamer, Darrell, Deep Layer Aggregation, arXiv 1707.06484; Zhou, Wang, Krähenbühl, Objects as
Points, arXiv 1904.07850. Convolutions are plain ones.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def _conv_norm_relu(in_channels: int, out_channels: int) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


def _bilinear_up(channels: int, factor: int) -> nn.ConvTranspose2d:
    """Upsample each channel by a transposed convolution that starts as bilinear interpolation and is trained."""
    side = 2 * factor
    up = nn.ConvTranspose2d(channels, channels, side, factor, factor // 2, groups=channels, bias=False)
    profile = 1 - (torch.arange(side) - (side - 1) / 2).abs() / factor
    with torch.no_grad():
        up.weight.copy_(torch.outer(profile, profile).expand_as(up.weight))
    return up


class IterativeUp(nn.Module):
    """Add deeper and deeper features to the finest ones, with a convolution after each sum.

    Args:
        in_channels: of the levels, finest first; the finest has ``channels``.
        channels: of every result.
        factors: cells of the finest level per cell of each level, powers of two, the first is 1.
    """

    def __init__(self, in_channels: Sequence[int], channels: int, factors: Sequence[int]) -> None:
        super().__init__()
        self.projections = nn.ModuleList(_conv_norm_relu(c, channels) for c in in_channels[1:])
        self.ups = nn.ModuleList(_bilinear_up(channels, factor) for factor in factors[1:])
        self.nodes = nn.ModuleList(_conv_norm_relu(channels, channels) for _ in in_channels[1:])

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Map levels (B, in_channels[i], h / factors[i], w / factors[i]) to as many sums (B, channels, h, w)."""
        sums = [levels[0]]
        for level, project, up, node in zip(levels[1:], self.projections, self.ups, self.nodes, strict=True):
            sums.append(node(up(project(level)) + sums[-1]))
        return sums


class JoinUp(nn.Module):
    """Join all levels at the resolution of the finest one.

    Args:
        in_channels: of the levels, finest first; each level has half the resolution of the one before.
    """

    def __init__(self, in_channels: Sequence[int]) -> None:
        super().__init__()
        self.join = IterativeUp(in_channels, in_channels[0], [2**level for level in range(len(in_channels))])

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Map levels (B, in_channels[i], h / 2^i, w / 2^i) to (B, in_channels[0], h, w)."""
        joined: list[Tensor] = self.join(levels)
        return joined[-1]


class DeepUp(nn.Module):
    """Aggregate from the deepest pair of levels to all of them, then join the three finest results.

    Args:
        channels: of the levels, finest first; each level has half the resolution of the one before.
    """

    JOINED = 3  # the deepest result, at stride 32, is not joined

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.rounds = nn.ModuleList()
        last = len(channels) - 1
        for start in reversed(range(last)):
            # All levels deeper than the next one left the round before with its channels and resolution.
            deeper = last - start
            self.rounds.append(
                IterativeUp([channels[start], *[channels[start + 1]] * deeper], channels[start], [1, *[2] * deeper])
            )
        self.join = JoinUp(channels[: self.JOINED])

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Map levels (B, channels[i], h / 2^i, w / 2^i) to (B, channels[0], h, w)."""
        current, results = list(levels), [levels[-1]]
        for start, aggregate in zip(reversed(range(len(levels) - 1)), self.rounds, strict=True):
            current[start:] = aggregate(current[start:])
            results.insert(0, current[-1])
        joined: Tensor = self.join(results[: self.JOINED])
        return joined
