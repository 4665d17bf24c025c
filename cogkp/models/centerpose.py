"""The CenterPose networks: a backbone, a neck at stride 4, a convolutional GRU and seven heads.

Axes: B batch, H W image, h w grid (h = H / 4, w = W / 4).
Source: Lin, Tremblay, Tyree, Vela, Birchfield, Single-stage Keypoint-based Category-level Object Pose Estimation from
an RGB Image, arXiv 2109.06161.
"""

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from cogkp.errors import ModelError, closest
from cogkp.models.dla import DLA34, DeepUp, JoinUp
from cogkp.models.fan import FullyAttentionalNetwork
from cogkp.models.tracing import is_traced

Backbone = Literal["DLA34", "fan_small", "fan_base", "fan_large"]
BACKBONES: tuple[Backbone, ...] = get_args(Backbone)

GROUPS = 32
SIZE_MULTIPLE = 32  # the deepest level has stride 32
IMAGE_AXES = 4
COLOURS = 3
RARE = -2.19  # the logit of about 0.1: most cells hold no peak, and the first losses stay small
PEAKS = "hm"  # heads of this name predict peaks
CHANNELS = {"hm": 1, "wh": 2, "hps": 16, "reg": 2, "hm_hp": 8, "hp_offset": 2, "scale": 3}
STEPS = (("hm", "wh", "reg"), ("hps", "hm_hp", "hp_offset"), ("scale",))  # from easy to hard


class CenterPoseOutputs(NamedTuple):
    """Raw outputs for each cell of the grid, before decoding; lengths in cells."""

    hm: Tensor
    """(B, 1, h, w) float32 logits that the cell holds an object's centre."""
    wh: Tensor
    """(B, 2, h, w) float32, width and height of the box round the object."""
    hps: Tensor
    """(B, 16, h, w) float32, offsets x, y of the corners 1 to 8 from the cell."""
    reg: Tensor
    """(B, 2, h, w) float32, offset x, y of the centre from the cell."""
    hm_hp: Tensor
    """(B, 8, h, w) float32 logits that the cell holds the corner 1 to 8."""
    hp_offset: Tensor
    """(B, 2, h, w) float32, offset x, y of a corner from the cell."""
    scale: Tensor
    """(B, 3, h, w) float32, sides x, y, z of the object in units of its height."""


class ConvGRU(nn.Module):
    """Apply a convolutional GRU so many ``steps`` to the same features.

    The gates of the input are computed once, and those of the empty memory not at all.
    """

    def __init__(self, channels: int, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.input_gates = nn.Conv2d(channels, 3 * channels, 3, padding=1)
        self.memory_gates = nn.Conv2d(channels, 3 * channels, 3, padding=1, bias=False)

    def forward(self, features: Tensor) -> list[Tensor]:
        """Map (B, channels, h, w) to the memory (B, channels, h, w) after each step."""
        reset_in, update_in, new_in = self.input_gates(features).chunk(3, 1)
        memories = [(1 - torch.sigmoid(update_in)) * torch.tanh(new_in)]
        for _ in range(self.steps - 1):
            reset_of, update_of, new_of = self.memory_gates(memories[-1]).chunk(3, 1)
            update = torch.sigmoid(update_in + update_of)
            new = torch.tanh(new_in + torch.sigmoid(reset_in + reset_of) * new_of)
            memories.append((1 - update) * new + update * memories[-1])
        return memories


def _head(name: str, in_channels: int, channels: int, *, grouped: bool) -> nn.Sequential:
    hidden, last = nn.Conv2d(in_channels, channels, 3, padding=1), nn.Conv2d(channels, CHANNELS[name], 1)
    for convolution in (hidden, last):
        if convolution.bias is not None:
            nn.init.zeros_(convolution.bias)
    if last.bias is not None and PEAKS in name:
        nn.init.constant_(last.bias, RARE)
    norm = [nn.GroupNorm(GROUPS, channels)] if grouped else []
    return nn.Sequential(hidden, *norm, nn.ReLU(inplace=True), last)


class CenterPoseNetwork(nn.Module):
    """Predict object centres, the corners of their boxes, and the relative sizes of the boxes.

    Args:
        backbone: one of ``BACKBONES``.
        conv_gru: predict from easy to hard, in three steps of a recurrent cell; otherwise all at once.
        head_channels: hidden channels of each head; a multiple of 32.
        width: share of the published channels that every layer of DLA34 has; below 1 only there.

    Raises:
        ModelError: an argument describes no network.

    Example:
        >>> outputs = CenterPoseNetwork()(torch.zeros(1, 3, 64, 96))
        >>> outputs.hps.shape, outputs._fields
        (torch.Size([1, 16, 16, 24]), ('hm', 'wh', 'hps', 'reg', 'hm_hp', 'hp_offset', 'scale'))
    """

    def __init__(
        self, backbone: str = "DLA34", *, conv_gru: bool = True, head_channels: int = 256, width: float = 1.0
    ) -> None:
        super().__init__()
        _check_arguments(backbone, head_channels)
        self.backbone: DLA34 | FullyAttentionalNetwork
        self.backbone = DLA34(width) if backbone == "DLA34" else FullyAttentionalNetwork(backbone)
        self.neck = (DeepUp if backbone == "DLA34" else JoinUp)(self.backbone.channels)
        channels = self.backbone.channels[0]
        self.gru = ConvGRU(channels, len(STEPS)) if conv_gru else None
        self.heads = nn.ModuleDict({name: _head(name, channels, head_channels, grouped=conv_gru) for name in CHANNELS})

    def forward(self, image: Tensor) -> CenterPoseOutputs:
        """Predict every map.

        Args:
            image: (B, 3, H, W) float, blue green red, normalised; H and W multiples of 32.

        Returns:
            Float32 outputs, also under autocast; see the fields. Every cell is valid.

        Raises:
            ModelError: the image has another shape or type. Not checked while tracing for export.
        """
        if not is_traced():
            _check_image(image)
        features = self.neck(self.backbone(image))
        looks = [features] * len(STEPS) if self.gru is None else self.gru(features)
        maps = {
            name: self.heads[name](look).float() for names, look in zip(STEPS, looks, strict=True) for name in names
        }
        return CenterPoseOutputs(**maps)


def _check_arguments(backbone: str, head_channels: int) -> None:
    if backbone not in BACKBONES:
        wanted, hint = ", ".join(BACKBONES), closest(backbone, BACKBONES)
        raise ModelError("there is no such backbone", where="backbone", expected=wanted, got=backbone, hint=hint)
    if head_channels < GROUPS or head_channels % GROUPS:
        wanted = f"a positive multiple of {GROUPS}"
        raise ModelError("wrong width of the heads", where="head_channels", expected=wanted, got=str(head_channels))


def _check_image(image: Tensor) -> None:
    got = f"{image.dtype} {tuple(image.shape)}"
    if image.dim() != IMAGE_AXES or image.shape[1] != COLOURS:
        raise ModelError("the image has the wrong axes", where="image", expected="(B, 3, H, W)", got=got)
    if image.shape[2] % SIZE_MULTIPLE or image.shape[3] % SIZE_MULTIPLE or not image.numel():
        wanted = f"H and W a multiple of {SIZE_MULTIPLE}"
        hint = "Change the input resolution."
        raise ModelError("the image has the wrong size", where="image", expected=wanted, got=got, hint=hint)
    if not image.is_floating_point():
        hint = "Scale to 0..1, subtract the mean and divide by the standard deviation."
        raise ModelError("the image has the wrong type", where="image", expected="float", got=got, hint=hint)
