"""The hybrid FAN backbones (fully attentional networks): ConvNeXt at strides 4 and 8, attention at stride 16.

Axes: B batch, c channels, h rows, w columns, n tokens (n = h w at stride 16), d channels of a head.
Source: Zhou et al., Understanding the Robustness in Vision Transformers, arXiv 2204.12451; Liu et al., A ConvNet for
the 2020s, arXiv 2201.03545; El-Nouby et al., XCiT, arXiv 2106.09681.
"""

import math
from types import MappingProxyType
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-6
WIDENING = 4
CONVNEXT_SCALE = 1e-6  # a stage starts as the identity
DROPPED = 0.3  # share of the samples that skip a branch while training
POSITION_VALUES = 32  # per axis, half sines and half cosines
TEMPERATURE = 1e4

STEM = (128, 256)  # channels at strides 4 and 8
DEEPEST = 768  # channels at stride 32
LAST_BLOCKS = 2
INITIAL_STD = 0.02


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of each cell."""

    def __init__(self, channels: int, eps: float = EPS) -> None:
        super().__init__(channels, eps=eps)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, channels, h, w) to the same shape."""
        return super().forward(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNextBlock(nn.Module):
    """Add a wide depthwise convolution and a perceptron per cell to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=EPS)
        wide = WIDENING * channels
        self.perceptron = nn.Sequential(nn.Linear(channels, wide), nn.GELU(), nn.Linear(wide, channels))
        self.scale = nn.Parameter(torch.full((channels,), CONVNEXT_SCALE))

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, channels, h, w) to the same shape."""
        cells = self.norm(self.depthwise(features).permute(0, 2, 3, 1))
        branch: Tensor = self.scale * self.perceptron(cells)
        return features + branch.permute(0, 3, 1, 2)


class PositionCode(nn.Module):
    """Sinusoidal position encoding of each cell, along both axes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(2 * POSITION_VALUES, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, c, h, w), of which only the size counts, to (1, channels, h, w)."""
        height, width = features.shape[-2:]
        rows = _waves(height, features)[:, :, None].expand(-1, -1, width)
        columns = _waves(width, features)[:, None, :].expand(-1, height, -1)
        code: Tensor = self.project(torch.cat([rows, columns])[None])
        return code


def _waves(cells: int, like: Tensor) -> Tensor:
    """Sines and cosines in turn, (values, cells); the coordinates 1 to ``cells`` go once round."""
    angle = torch.arange(1, cells + 1, device=like.device, dtype=torch.float32) * (2 * math.pi / cells)
    pairs = torch.arange(POSITION_VALUES // 2, device=like.device, dtype=torch.float32)
    phase = angle[None, :] / TEMPERATURE ** (2 * pairs / POSITION_VALUES)[:, None]
    return torch.stack([phase.sin(), phase.cos()], 1).flatten(0, 1)


class TokenAttention(nn.Module):
    """Multi-head self-attention over tokens."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(channels, channels)
        self.key_value = nn.Linear(channels, 2 * channels)
        self.project = nn.Linear(channels, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (B, n, channels) to the same shape."""
        query = _by_head(self.query(tokens), self.heads)
        key, value = (_by_head(half, self.heads) for half in self.key_value(tokens).chunk(2, -1))
        attended = F.scaled_dot_product_attention(query, key, value)
        projected: Tensor = self.project(attended.transpose(1, 2).flatten(2))
        return projected


def _by_head(tokens: Tensor, heads: int) -> Tensor:
    """Split (B, n, c) into (B, heads, n, d)."""
    split: Tensor = tokens.unflatten(-1, (heads, -1))  # type: ignore[no-untyped-call]
    return split.transpose(1, 2)


class SpatialPerceptron(nn.Module):
    """Widen the channels, look at the neighbours within each, and narrow them again."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = WIDENING * channels
        self.widen = nn.Linear(channels, wide)
        self.neighbours = nn.Sequential(
            nn.Conv2d(wide, wide, 3, padding=1, groups=wide),
            nn.GELU(),
            nn.BatchNorm2d(wide),
            nn.Conv2d(wide, wide, 3, padding=1, groups=wide),
        )
        self.scale = nn.Parameter(torch.ones(wide))
        self.narrow = nn.Linear(wide, channels)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Map (B, n, channels) on a grid of (h, w) to the same shape."""
        wide = self.widen(tokens)
        near = self.neighbours(wide.transpose(1, 2).unflatten(2, grid)).flatten(2).transpose(1, 2)
        narrowed: Tensor = self.narrow(wide + self.scale * near)
        return narrowed


class ChannelProcessing(nn.Module):
    """Weigh the channels of a perceptron by how much they agree with the tokens' mean channel; each head has a gain.

    The query has no bias: a softmax over tokens does not see what is added to all of them.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(channels, channels, bias=False)
        self.gain = nn.Parameter(torch.ones(heads, 1, 1))
        self.perceptron = SpatialPerceptron(channels)
        self.norm = nn.LayerNorm(channels, eps=EPS)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Map (B, n, channels) on a grid of (h, w) to the same shape."""
        query = _by_head(self.query(tokens), self.heads).softmax(2)
        key = _by_head(tokens, self.heads).softmax(2).mean(-1, keepdim=True)
        gate = torch.sigmoid(query.transpose(2, 3) @ key) * self.gain
        value: Tensor = self.norm(self.perceptron(tokens, grid))
        return value * gate.flatten(1)[:, None, :]


class FullyAttentionalBlock(nn.Module):
    """Attend to tokens, then to channels; while training, some samples skip either."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.token_norm = nn.LayerNorm(channels, eps=EPS)
        self.tokens = TokenAttention(channels, heads)
        self.token_scale = nn.Parameter(torch.ones(channels))
        self.channel_norm = nn.LayerNorm(channels, eps=EPS)
        self.channels = ChannelProcessing(channels, heads)
        self.channel_scale = nn.Parameter(torch.ones(channels))

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Map (B, n, channels) on a grid of (h, w) to the same shape."""
        tokens = tokens + self._thinned(self.token_scale * self.tokens(self.token_norm(tokens)))
        return tokens + self._thinned(self.channel_scale * self.channels(self.channel_norm(tokens), grid))

    def _thinned(self, branch: Tensor) -> Tensor:
        """Stochastic depth: drop the branch for some samples and scale it up for the others."""
        if not self.training:
            return branch
        return branch * F.dropout(branch.new_ones(branch.shape[0], 1, 1), DROPPED)


class ScaledNormPair(nn.Module):
    """The part of a class-attention block that acts on the image's tokens, which never see the class token."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.LayerNorm(channels, eps=EPS)
        self.scale = nn.Parameter(torch.ones(channels))
        self.second = nn.LayerNorm(channels, eps=EPS)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (B, n, channels) to the same shape."""
        normed: Tensor = self.second(tokens + self.scale * self.first(tokens))
        return 2 * normed


class FanSize(NamedTuple):
    """One published size: channels and number of the token blocks, and which of them gives the level at stride 16."""

    channels: int
    depth: int
    heads: int
    conv_blocks: tuple[int, int]
    tapped: int


FAN_SIZES = MappingProxyType(
    {
        "fan_small": FanSize(384, 10, 8, (3, 3), 9),
        "fan_base": FanSize(448, 16, 8, (3, 3), 15),
        "fan_large": FanSize(480, 22, 10, (3, 5), 18),
    }
)


class FullyAttentionalNetwork(nn.Module):
    """Extract features at strides 4, 8, 16 and 32; ``name`` is one of ``FAN_SIZES``, ``channels`` are finest first."""

    def __init__(self, name: str) -> None:
        super().__init__()
        size = FAN_SIZES[name]
        self.tapped = size.tapped
        self.channels = (*STEM, size.channels, DEEPEST)
        fine, coarse = STEM
        self.stem = nn.Sequential(nn.Conv2d(3, fine, 4, 4), ChannelNorm(fine))
        self.fine = nn.Sequential(*(ConvNextBlock(fine) for _ in range(size.conv_blocks[0])))
        self.down = nn.Sequential(ChannelNorm(fine), nn.Conv2d(fine, coarse, 2, 2))
        self.coarse = nn.Sequential(*(ConvNextBlock(coarse) for _ in range(size.conv_blocks[1])))
        self.embed = nn.Conv2d(coarse, size.channels, 2, 2)
        self.position = PositionCode(size.channels)
        self.blocks = nn.ModuleList(FullyAttentionalBlock(size.channels, size.heads) for _ in range(size.depth))
        self.last = nn.Sequential(*(ScaledNormPair(size.channels) for _ in range(LAST_BLOCKS)))
        self.deepen = nn.Conv2d(size.channels, DEEPEST, 3, 2, 1)
        self.norms = nn.ModuleList(ChannelNorm(channels, eps=1e-5) for channels in self.channels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=INITIAL_STD)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map (B, 3, H, W), H and W multiples of 32, to (B, channels[i], H / 2^(i+2), W / 2^(i+2))."""
        fine = self.fine(self.stem(image))
        coarse = self.coarse(self.down(fine))
        embedded = self.embed(coarse)
        grid = embedded.shape[-2:]
        tokens = (embedded + self.position(embedded)).flatten(2).transpose(1, 2)
        tapped = tokens
        for index, block in enumerate(self.blocks):
            tokens = block(tokens, grid)
            tapped = tokens if index == self.tapped else tapped
        deepest = self.deepen(self.last(tokens).transpose(1, 2).unflatten(2, grid))
        levels = (fine, coarse, tapped.transpose(1, 2).unflatten(2, grid), deepest)
        return [norm(level) for norm, level in zip(self.norms, levels, strict=True)]
