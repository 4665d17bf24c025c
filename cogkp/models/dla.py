"""The DLA34 backbone (deep layer aggregation), and necks of iterative deep aggregation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cogkp.errors import ModelError
from cogkp.models.blocks import ConvNorm

CHANNELS = (16, 32, 64, 128, 256, 512)
DEPTHS = (1, 2, 2, 1)  # of the trees of levels 2 to 5
STRIDE = 2  # of each tree
JOINS_INPUT = 3  # from this level on, the halved input itself is one of the root's children


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
    """Join all levels, finest first, each of half the resolution of the one before, at that of the finest."""

    def __init__(self, in_channels: Sequence[int]) -> None:
        super().__init__()
        self.join = IterativeUp(in_channels, in_channels[0], [2**level for level in range(len(in_channels))])

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Map levels (B, in_channels[i], h / 2^i, w / 2^i) to (B, in_channels[0], h, w)."""
        joined: list[Tensor] = self.join(levels)
        return joined[-1]


class DeepUp(nn.Module):
    """Aggregate from the deepest pair of levels to all of them, then join the three finest results.

    Channels are given finest first; each level has half the resolution of the one before.
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


class DlaBlock(nn.Module):
    """Add two 3x3 convolutions, the first of which may have a stride, to a residual that the caller provides."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)

    def forward(self, features: Tensor, residual: Tensor) -> Tensor:
        """Map (B, in_channels, h, w) and (B, out_channels, h / stride, w / stride) to the shape of the latter."""
        hidden = F.relu(self.bn1(self.conv1(features)))
        return F.relu(self.bn2(self.conv2(hidden)) + residual)


class Root(nn.Module):
    """Aggregate the children of a tree, ``in_channels`` all together, by one 1x1 convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, children: Sequence[Tensor]) -> Tensor:
        """Map tensors (B, c_i, h, w) to (B, out_channels, h, w)."""
        return F.relu(self.bn(self.conv(torch.cat(list(children), 1))))


class Leaves(nn.Module):
    """A tree of depth one: two blocks in a row, joined by a root with what came from further out."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, outer_channels: int) -> None:
        super().__init__()
        self.tree1 = DlaBlock(in_channels, out_channels, stride)
        self.tree2 = DlaBlock(out_channels, out_channels)
        self.root = Root(2 * out_channels + outer_channels, out_channels)
        same = in_channels == out_channels
        self.project = None if same else ConvNorm(in_channels, out_channels, kernel=1, activate=False)

    def forward(self, features: Tensor, bottom: Tensor, outer: Sequence[Tensor] = ()) -> Tensor:
        """Return the root's features, (B, out_channels, h / stride, w / stride), of (B, in_channels, h, w).

        ``bottom`` are the features at the resolution that goes out, as are the ``outer`` tensors.
        """
        first = self.tree1(features, bottom if self.project is None else self.project(bottom))
        second = self.tree2(first, first)
        joined: Tensor = self.root([second, first, *outer])
        return joined


class Tree(nn.Module):
    """A tree of depth two: two trees of depth one in a row, the second of which joins everything."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, outer_channels: int) -> None:
        super().__init__()
        self.tree1 = Leaves(in_channels, out_channels, stride, 0)
        self.tree2 = Leaves(out_channels, out_channels, 1, outer_channels + out_channels)

    def forward(self, features: Tensor, bottom: Tensor, outer: Sequence[Tensor] = ()) -> Tensor:
        """Return the root's features; see :meth:`Leaves.forward`."""
        first = self.tree1(features, bottom)
        joined: Tensor = self.tree2(first, first, [*outer, first])
        return joined


def _tree(channels: Sequence[int], level: int, depth: int) -> Leaves | Tree:
    in_channels, out_channels = channels[level - 1], channels[level]
    kind = Leaves if depth == 1 else Tree
    return kind(in_channels, out_channels, STRIDE, in_channels if level >= JOINS_INPUT else 0)


class DLA34(nn.Module):
    """Extract features at strides 4, 8, 16 and 32.

    Args:
        width: share of the published channels that every layer has, such that the first has at least one.

    Attributes:
        channels: of the four levels, finest first.

    Raises:
        ModelError: the width leaves a layer without channels.

    Example:
        >>> [tuple(level.shape) for level in DLA34()(torch.zeros(1, 3, 64, 32))]
        [(1, 64, 16, 8), (1, 128, 8, 4), (1, 256, 4, 2), (1, 512, 2, 1)]
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        channels = [round(width * count) for count in CHANNELS]
        if channels[0] < 1:
            raise ModelError("the network is too narrow", where="width", expected="at least 1/16", got=f"{width:g}")
        self.channels = tuple(channels[2:])
        self.base_layer = ConvNorm(3, channels[0], kernel=7)
        self.level0 = ConvNorm(channels[0], channels[0])
        self.level1 = ConvNorm(channels[0], channels[1], stride=2)
        self.level2, self.level3, self.level4, self.level5 = (
            _tree(channels, level, depth) for level, depth in enumerate(DEPTHS, start=2)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map (B, 3, H, W), H and W multiples of 32, to (B, channels[i], H / 2^(i+2), W / 2^(i+2))."""
        features = self.level1(self.level0(self.base_layer(image)))
        levels = []
        for level, tree in enumerate((self.level2, self.level3, self.level4, self.level5), start=2):
            bottom = F.max_pool2d(features, STRIDE)
            features = tree(features, bottom, [bottom] if level >= JOINS_INPUT else [])
            levels.append(features)
        return levels
