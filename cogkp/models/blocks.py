"""Building blocks of the keypoint network: convolution with BatchNorm, residual block, pyramid decoder and heads.

Axes: B batch, c channels, h rows, w columns. Dense 3x3 convolutions throughout: they are fast on CPUs and in TensorRT,
and each batch normalisation folds into the convolution before it at deployment.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RESIDUAL_GAIN = 0.25  # a branch that starts weak keeps the first steps of a deep network close to linear
VOTE_STD = 1e-3  # untrained heatmaps are nearly flat: the first prediction is the middle, not a random cell


class ConvNorm(nn.Sequential):
    """Convolve without bias, then normalise over the batch; padding keeps h and w up to the stride.

    Args:
        kernel: side of the odd square kernel, cells.
        stride: cells per output cell.
        activate: end with a ReLU.
        gain: initial scale of the normalised output.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        activate: bool = True,
        gain: float = 1.0,
    ) -> None:
        norm = nn.BatchNorm2d(out_channels)
        nn.init.constant_(norm.weight, gain)
        convolution = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)
        super().__init__(convolution, norm, *([nn.ReLU(inplace=True)] if activate else []))


class ResidualBlock(nn.Module):
    """Add two 3x3 convolutions to their own input, which is projected where the shape changes."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        last = ConvNorm(out_channels, out_channels, activate=False, gain=RESIDUAL_GAIN)
        self.branch = nn.Sequential(ConvNorm(in_channels, out_channels, stride=stride), last)
        same = stride == 1 and in_channels == out_channels
        self.shortcut: nn.Module = (
            nn.Identity() if same else ConvNorm(in_channels, out_channels, kernel=1, stride=stride, activate=False)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, in_channels, h, w) to (B, out_channels, h / stride, w / stride)."""
        return F.relu(self.shortcut(features) + self.branch(features))


def residual_stage(in_channels: int, out_channels: int, *, blocks: int, stride: int) -> nn.Sequential:
    """Chain residual blocks, at least one; the first one changes channels and, by ``stride``, resolution.

    Returns:
        A module from (B, in_channels, h, w) to (B, out_channels, h / stride, w / stride).
    """
    first = ResidualBlock(in_channels, out_channels, stride)
    return nn.Sequential(first, *(ResidualBlock(out_channels, out_channels) for _ in range(blocks - 1)))


class PyramidDecoder(nn.Module):
    """Carry deep features back to the finest level, adding the encoder's features on the way.

    The levels' channels are given finest first; each level has half the resolution of the one before.
    """

    def __init__(self, level_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(ConvNorm(c, channels, kernel=1, activate=False) for c in level_channels)
        self.merges = nn.ModuleList(ConvNorm(channels, channels) for _ in level_channels[1:])

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Map levels (B, level_channels[i], h / 2^i, w / 2^i) to (B, channels, h / 2^i, w / 2^i), finest first."""
        sides = [lateral(level) for lateral, level in zip(self.laterals, levels, strict=True)]
        decoded = [F.relu(sides[-1])]
        for side, merge in zip(reversed(sides[:-1]), reversed(self.merges), strict=True):
            decoded.append(merge(side + F.interpolate(decoded[-1], scale_factor=2.0, mode="nearest")))
        return decoded[::-1]


class CoarseToFineHead(nn.Module):
    """Sum the logits of every level: coarse levels find the neighbourhood, fine ones the cell.

    A deep level reaches the output through one small convolution, so the first, large errors of a softmax expectation
    are corrected where the receptive field is wide. Runs in float32: near a sharp peak, logits need more than 8 bits.

    Args:
        gain: fixed factor on the sum, an inverse temperature of the softmax that follows.
    """

    def __init__(self, channels: int, maps: int, *, levels: int, gain: float) -> None:
        super().__init__()
        self.gain = gain
        self.votes = nn.ModuleList(_quiet_vote(channels, maps) for _ in range(levels))

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Map levels (B, channels, h / 2^i, w / 2^i), finest first, to float32 logits (B, maps, h, w)."""
        with torch.autocast(levels[0].device.type, enabled=False):
            votes = [vote(level.float()) for vote, level in zip(self.votes, levels, strict=True)]
            logits: Tensor = votes[-1]
            for vote in reversed(votes[:-1]):
                logits = vote + F.interpolate(logits, scale_factor=2.0, mode="bilinear", align_corners=False)
            return self.gain * logits


def _quiet_vote(channels: int, maps: int) -> nn.Conv2d:
    vote = nn.Conv2d(channels, maps, 1)
    nn.init.normal_(vote.weight, std=VOTE_STD)
    if vote.bias is not None:
        nn.init.zeros_(vote.bias)
    return vote


class MaskHead(nn.Module):
    """Predict the class of each pixel: coarse logits per cell, refined within each cell.

    The sharpening starts at zero. Alone, it would first have to learn the same thing for each pixel of a cell, and
    thin things would stay speckled for long.

    Args:
        stride: pixels per cell along each axis.
    """

    def __init__(self, channels: int, num_classes: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.hidden = ConvNorm(channels, channels)
        self.smooth = nn.Conv2d(channels, num_classes, 1)
        self.detail = nn.Sequential(nn.Conv2d(channels, num_classes * stride**2, 1), nn.PixelShuffle(stride))
        for parameter in self.detail.parameters():
            nn.init.zeros_(parameter)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B, num_classes, stride h, stride w) of features (B, channels, h, w)."""
        hidden = self.hidden(features)
        smooth = F.interpolate(
            self.smooth(hidden), scale_factor=float(self.stride), mode="bilinear", align_corners=False
        )
        detail: Tensor = self.detail(hidden)
        return smooth + detail
