"""The keypoint network: a residual encoder, a pyramid decoder, heatmaps at stride 4 and a soft-argmax.

Axes: B batch, N keypoints, H W image, h w heatmap (h = H / 4, w = W / 4).
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from cogkp.errors import ModelError, closest
from cogkp.geometry.heatmap import expectation, spatial_softmax
from cogkp.models.blocks import CoarseToFineHead, ConvNorm, MaskHead, PyramidDecoder, residual_stage
from cogkp.models.resnet import ResNet18
from cogkp.models.tracing import is_traced

BACKBONES = ("plain", "resnet18")

HEATMAP_STRIDE = 4
SIZE_MULTIPLE = 32  # the deepest level has stride 32
BLOCKS_PER_STAGE = (2, 2, 2, 2)
DECODER_WIDENING = 2  # decoder channels per channel at stride 4
MIN_STEM_CHANNELS = 16
LOGIT_GAIN = 8.0
WIDTH_MULTIPLE = 8
MIN_CLASSES = 2
IMAGE_AXES = 4


class KeypointOutputs(NamedTuple):
    """Outputs of a network without a mask head; the field names, in order, are the ONNX output names."""

    keypoints: Tensor
    """(B, N, 2) float32, pixels of the crop."""
    heatmaps: Tensor
    """(B, N, h, w) float32 probabilities over the cells, stride 4; each map sums to one."""


class KeypointMaskOutputs(NamedTuple):
    """Outputs of a network with a mask head; the field names, in order, are the ONNX output names."""

    keypoints: Tensor
    """(B, N, 2) float32, pixels of the crop."""
    heatmaps: Tensor
    """(B, N, h, w) float32 probabilities over the cells, stride 4; each map sums to one."""
    mask_logits: Tensor
    """(B, classes, H, W) float32, no unit."""


class GenericKeypointModel(nn.Module):
    """Predict named points, and optionally the class of each pixel, in a square crop.

    The image is taken as it is, 0..1: centring and scaling happen inside.

    Args:
        num_keypoints: N, the number of points.
        in_channels: channels of the image.
        num_classes: classes of the mask head; None leaves the head out.
        pretrained_backbone: must be False; weights come from :func:`cogkp.models.backbone_weights.load_encoder`.
        width: half the channels of the decoder, a multiple of 8. The plain encoder has as many at stride 4, and twice
            as many at each deeper level; a ResNet has its own.
        backbone: one of ``BACKBONES``: the plain encoder, or ResNet-18, for which ImageNet weights are published.

    Raises:
        ModelError: an argument describes no network.

    Example:
        >>> import torch
        >>> outputs = GenericKeypointModel(3, width=8)(torch.zeros(2, 1, 64, 64))
        >>> outputs.keypoints.shape, outputs.heatmaps.shape
        (torch.Size([2, 3, 2]), torch.Size([2, 3, 16, 16]))
    """

    def __init__(
        self,
        num_keypoints: int,
        *,
        in_channels: int = 1,
        num_classes: int | None = None,
        pretrained_backbone: bool = False,
        width: int = 16,
        backbone: str = "plain",
    ) -> None:
        super().__init__()
        _check_arguments(num_keypoints, in_channels, num_classes, pretrained_backbone, width)
        _check_backbone(backbone)
        self.in_channels = in_channels
        # The plain encoder's parts bear their own names in checkpoints, so it is no module of its own.
        self.encoder = ResNet18(in_channels) if backbone == "resnet18" else None
        channels = self._plain_encoder(width) if self.encoder is None else list(self.encoder.channels)
        decoded = DECODER_WIDENING * width
        self.decoder = PyramidDecoder(channels, decoded)
        self.heatmap_head = CoarseToFineHead(decoded, num_keypoints, levels=len(channels), gain=LOGIT_GAIN)
        self.mask_head = None if num_classes is None else MaskHead(decoded, num_classes, HEATMAP_STRIDE)

    def _plain_encoder(self, width: int) -> list[int]:
        channels = [width * 2**level for level in range(len(BLOCKS_PER_STAGE))]
        stem = max(MIN_STEM_CHANNELS, width // 2)
        self.stem = nn.Sequential(ConvNorm(self.in_channels, stem, stride=2), ConvNorm(stem, width, stride=2))
        self.stages = nn.ModuleList(
            residual_stage(channels[max(level - 1, 0)], channels[level], blocks=blocks, stride=2 if level else 1)
            for level, blocks in enumerate(BLOCKS_PER_STAGE)
        )
        return channels

    @property
    def encoder_parts(self) -> tuple[str, ...]:
        """First words of the names of the encoder's weights; everything else is decoder and heads."""
        return ("stem", "stages") if self.encoder is None else ("encoder",)

    def encode(self, image: Tensor) -> list[Tensor]:
        """Map (B, in_channels, H, W), 0..1, to features at strides 4, 8, 16 and 32, finest first."""
        if self.encoder is not None:
            levels: list[Tensor] = self.encoder(image)
            return levels
        features, levels = self.stem(4.0 * image - 2.0), []
        for stage in self.stages:
            features = stage(features)
            levels.append(features)
        return levels

    def forward(self, image: Tensor) -> KeypointOutputs | KeypointMaskOutputs:
        """Predict points, heatmaps and, with a mask head, the logits of the pixel classes.

        Args:
            image: (B, in_channels, H, W) float, 0..1, frame of the crop; H and W multiples of 32.

        Returns:
            Float32 outputs, also under autocast; see the fields. Every prediction is valid.

        Raises:
            ModelError: the image has another shape or type. Not checked while tracing for export.
        """
        if not is_traced():
            _check_image(image, self.in_channels)
        decoded = self.decoder(self.encode(image))
        heatmaps = spatial_softmax(self.heatmap_head(decoded))
        keypoints = expectation(heatmaps, HEATMAP_STRIDE)
        if self.mask_head is None:
            return KeypointOutputs(keypoints, heatmaps)
        return KeypointMaskOutputs(keypoints, heatmaps, self.mask_head(decoded[0]).float())


def _check_arguments(
    num_keypoints: int, in_channels: int, num_classes: int | None, pretrained_backbone: bool, width: int
) -> None:
    if num_keypoints < 1:
        raise ModelError("the network needs at least one keypoint", where="num_keypoints", got=str(num_keypoints))
    if in_channels < 1:
        raise ModelError("the image needs a channel", where="in_channels", expected="1 or more", got=str(in_channels))
    if num_classes is not None and num_classes < MIN_CLASSES:
        hint = "Count the background, or pass None for no mask head."
        raise ModelError("a mask needs at least two classes", where="num_classes", got=str(num_classes), hint=hint)
    if width < WIDTH_MULTIPLE or width % WIDTH_MULTIPLE:
        wanted = f"a positive multiple of {WIDTH_MULTIPLE}"
        raise ModelError("wrong width of the network", where="width", expected=wanted, got=str(width))
    if pretrained_backbone:
        hint = "Pass pretrained_backbone=False, then give the weights of a file to load_encoder."
        raise ModelError("the network brings no pretrained weights", where="pretrained_backbone", hint=hint)


def _check_backbone(backbone: str) -> None:
    if backbone not in BACKBONES:
        wanted, hint = " or ".join(BACKBONES), closest(backbone, BACKBONES)
        raise ModelError("there is no such backbone", where="backbone", expected=wanted, got=backbone, hint=hint)


def _check_image(image: Tensor, in_channels: int) -> None:
    got = f"{image.dtype} {tuple(image.shape)}"
    if image.dim() != IMAGE_AXES:
        raise ModelError("the image has the wrong axes", where="image", expected=f"(B, {in_channels}, H, W)", got=got)
    if image.shape[1] != in_channels:
        wanted = f"{in_channels} channel" + ("s" if in_channels > 1 else "")
        hint = "Average colour channels to one." if in_channels == 1 else ""
        raise ModelError("the image has the wrong channels", where="image", expected=wanted, got=got, hint=hint)
    if image.shape[2] % SIZE_MULTIPLE or image.shape[3] % SIZE_MULTIPLE or not image.numel():
        wanted, hint = f"H and W a multiple of {SIZE_MULTIPLE}", "Change the crop's output_size."
        raise ModelError("the image has the wrong size", where="image", expected=wanted, got=got, hint=hint)
    if not image.is_floating_point():
        hint = "Convert to float and divide by 255."
        raise ModelError("the image has the wrong type", where="image", expected="float in 0..1", got=got, hint=hint)
