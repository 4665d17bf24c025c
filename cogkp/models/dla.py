"""The DLA34 backbone (deep layer aggregation).

Axes: B batch, c channels, h rows, w columns. Modules carry the names that the published weights carry; parameters that
could reach no output are left out.
Source: Yu, Wang, Shelhamer, Darrell, Deep Layer Aggregation, arXiv 1707.06484.
"""

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


class DlaBlock(nn.Module):
    """Add two 3x3 convolutions to a residual that the caller provides.

    Args:
        in_channels: channels that come in.
        out_channels: channels that go out.
        stride: cells per output cell.
    """

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
    """Aggregate the children of a tree by one 1x1 convolution.

    Args:
        in_channels: channels of all children together.
        out_channels: channels that go out.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, children: Sequence[Tensor]) -> Tensor:
        """Map tensors (B, c_i, h, w) to (B, out_channels, h, w)."""
        return F.relu(self.bn(self.conv(torch.cat(list(children), 1))))


class Leaves(nn.Module):
    """A tree of depth one: two blocks in a row, joined by a root with what came from further out.

    Args:
        in_channels: channels that come in.
        out_channels: channels that go out.
        stride: cells per output cell.
        outer_channels: channels of all tensors that come from further out.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, outer_channels: int) -> None:
        super().__init__()
        self.tree1 = DlaBlock(in_channels, out_channels, stride)
        self.tree2 = DlaBlock(out_channels, out_channels)
        self.root = Root(2 * out_channels + outer_channels, out_channels)
        same = in_channels == out_channels
        self.project = None if same else ConvNorm(in_channels, out_channels, kernel=1, activate=False)

    def forward(self, features: Tensor, bottom: Tensor, outer: Sequence[Tensor] = ()) -> Tensor:
        """Return the root's features.

        Args:
            features: (B, in_channels, h, w).
            bottom: (B, in_channels, h / stride, w / stride), the features at the resolution that goes out.
            outer: tensors at the resolution that goes out.

        Returns:
            (B, out_channels, h / stride, w / stride).
        """
        first = self.tree1(features, bottom if self.project is None else self.project(bottom))
        second = self.tree2(first, first)
        joined: Tensor = self.root([second, first, *outer])
        return joined


class Tree(nn.Module):
    """A tree of depth two: two trees of depth one in a row, the second of which joins everything.

    Args:
        in_channels: channels that come in.
        out_channels: channels that go out.
        stride: cells per output cell.
        outer_channels: channels of all tensors that come from further out.
    """

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
