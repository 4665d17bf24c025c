"""The hybrid FAN backbones (fully attentional networks): ConvNeXt at strides 4 and 8, attention at stride 16.

Axes: B batch, c channels, h rows, w columns, n tokens (n = h w at stride 16).
Source: Zhou, Yu, Xie, Xiao, Anandkumar, Feng, Alvarez, Understanding the Robustness in Vision Transformers,
arXiv 2204.12451.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import NamedTuple

from torch import Tensor, nn

from cogkp.models.fan_blocks import ChannelNorm, ConvNextBlock, FullyAttentionalBlock, PositionCode, ScaledNormPair

__all__ = ["FAN_SIZES", "FullyAttentionalNetwork"]

STEM = (128, 256)  # channels at strides 4 and 8
DEEPEST = 768  # channels at stride 32
LAST_BLOCKS = 2
INITIAL_STD = 0.02


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
    """Extract features at strides 4, 8, 16 and 32.

    Args:
        name: one of ``FAN_SIZES``.

    Attributes:
        channels: of the four levels, finest first.
    """

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
