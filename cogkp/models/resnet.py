"""ResNet-18 as an encoder; parameter names and shapes are those of the published ImageNet weights.

Axes: B batch, c channels, H W image. K. He and others, "Deep Residual Learning for Image Recognition", CVPR 2016.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cogkp.models.blocks import RESIDUAL_GAIN

RESNET18_WEIGHTS = "resnet18-f37072fd.pth"
"""The published file of ImageNet weights; the digits begin its SHA-256."""

STEM_KERNELS, STEM_MEAN, CLASSIFIER = "conv1.weight", "bn1.running_mean", "fc."

CHANNELS = (64, 128, 256, 512)
BLOCKS = 2
COLOURS = 3

# The published weights were trained on images of this mean and standard deviation: red, green, blue, of 0..1.
COLOUR_MEAN, COLOUR_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GREY_MEAN, GREY_STD = sum(COLOUR_MEAN) / COLOURS, sum(COLOUR_STD) / COLOURS


class BasicBlock(nn.Module):
    """Add two 3x3 convolutions to their own input, which is projected where the shape changes."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        nn.init.constant_(self.bn2.weight, RESIDUAL_GAIN)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            projection = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(out_channels))

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, in_channels, h, w) to (B, out_channels, h / stride, w / stride)."""
        branch = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(features)))))
        return F.relu(self.downsample(features) + branch)


class ResNet18(nn.Module):
    """Extract features at strides 4, 8, 16 and 32; the classifier is left out.

    The image is taken as it is, 0..1, and normalised inside as the published weights expect it.

    Args:
        in_channels: channels of the image; 3 are red, green and blue.

    Attributes:
        channels: of the four levels, finest first.

    Example:
        >>> [tuple(level.shape) for level in ResNet18(1)(torch.zeros(1, 1, 64, 32))]
        [(1, 64, 16, 8), (1, 128, 8, 4), (1, 256, 4, 2), (1, 512, 2, 1)]
    """

    mean: Tensor
    std: Tensor
    channels = CHANNELS

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        coloured = in_channels == COLOURS
        self._constant("mean", COLOUR_MEAN if coloured else (GREY_MEAN,))
        self._constant("std", COLOUR_STD if coloured else (GREY_STD,))
        self.conv1 = nn.Conv2d(in_channels, CHANNELS[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(CHANNELS[0])
        self.layer1 = _layer(CHANNELS[0], CHANNELS[0], 1)
        self.layer2 = _layer(CHANNELS[0], CHANNELS[1], 2)
        self.layer3 = _layer(CHANNELS[1], CHANNELS[2], 2)
        self.layer4 = _layer(CHANNELS[2], CHANNELS[3], 2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def _constant(self, name: str, values: tuple[float, ...]) -> None:
        """Keep values that move with the network but are no part of its weights."""
        self.register_buffer(name, torch.tensor(values).reshape(-1, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map (B, in_channels, H, W), H and W multiples of 32, to (B, channels[i], H / 2^(i+2), W / 2^(i+2))."""
        features = F.relu(self.bn1(self.conv1((image - self.mean) / self.std)))
        features = F.max_pool2d(features, 3, 2, 1)
        levels = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            features = layer(features)
            levels.append(features)
        return levels


def _layer(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    first = BasicBlock(in_channels, out_channels, stride)
    return nn.Sequential(first, *(BasicBlock(out_channels, out_channels, 1) for _ in range(BLOCKS - 1)))


def for_grey_images(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the first layer's RGB weights to one grey channel with the same response to grey images.

    The kernels of the three colours are summed, each scaled from its own standard deviation to that of grey. What the
    three means differ from that of grey is a constant per channel, which moves into the running mean behind it. Equal
    up to rounding, except within three pixels of the border, where the padding has another colour. Of the state dict,
    ``conv1.weight`` (64, 3, 7, 7), then (64, 1, 7, 7), and ``bn1.running_mean`` (64,) are replaced in a copy.
    """
    kernels = weights[STEM_KERNELS]
    mean, std = (kernels.new_tensor(values).reshape(1, -1, 1, 1) for values in (COLOUR_MEAN, COLOUR_STD))
    grey = (kernels * (GREY_STD / std)).sum(dim=1, keepdim=True)
    constant = (kernels * ((GREY_MEAN - mean) / std)).sum(dim=(1, 2, 3))
    return {**weights, STEM_KERNELS: grey, STEM_MEAN: weights[STEM_MEAN] - constant}
