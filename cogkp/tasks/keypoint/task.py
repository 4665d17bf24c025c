"""The keypoint task: points, and optionally the class of each pixel, in single images."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import nn

from cogkp.config.keypoint.spec import KeypointConfig
from cogkp.data.crop import BOX_RULES
from cogkp.data.dataset import Split
from cogkp.data.images import RESAMPLING
from cogkp.data.keypoint.dataset import AugmentedKeypointDataset
from cogkp.data.keypoint.stereo import paired_rig
from cogkp.models.keypoint import GenericKeypointModel, KeypointMaskOutputs, KeypointOutputs
from cogkp.tasks.base import PCK_THRESHOLDS_PX, ExportSpec, OutputSpec
from cogkp.tasks.keypoint.codec import KeypointCodec
from cogkp.tasks.keypoint.losses import KeypointLoss, build_loss
from cogkp.tasks.keypoint.metrics import KeypointMetrics
from cogkp.tasks.keypoint.metrics_3d import Segment, SpaceMetrics
from cogkp.tasks.keypoint.report_3d import LengthUnit
from cogkp.tasks.keypoint.stereo import StereoGeometry

HEATMAP_STRIDE = 4

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "small": {"width": 16},
    "large": {"width": 32},
    "resnet18": {"width": 32, "backbone": "resnet18"},
}
"""What each value of ``model.preset`` builds."""

OUTPUTS = {
    # A tenth of the best errors reached on real images would be 0.1 px; exported models differ by 1e-5 px in float32.
    "keypoints": OutputSpec("keypoints", "px", 0.02),
    # A wrong layer order or a lost normalisation moves mass by far more; rounding in float32 moves it by 1e-6.
    "heatmaps": OutputSpec("heatmaps", "probability", 1e-3),
    # Logits of trained masks reach a few tens: one part in a thousand of that, and a class flips only nearer than this.
    "mask_logits": OutputSpec("mask_logits", "logit", 0.02),
}


class KeypointTask:
    """The task of one keypoint configuration.

    The network's weights are drawn from torch's global generator: seed it first where that matters.
    """

    def __init__(self, config: KeypointConfig) -> None:
        self.config = config
        self.codec = KeypointCodec.of(config)
        self.model = GenericKeypointModel(
            config.num_keypoints, in_channels=1, num_classes=config.num_classes, **PRESETS[config.model.preset]
        )

    def datasets(self, split: Split) -> AugmentedKeypointDataset:
        """Open the data of one split."""
        return AugmentedKeypointDataset(self.config, split, self.codec.encode)

    @cached_property
    def loss(self) -> KeypointLoss:
        """The active terms; built on first use, so that a model can be deployed where its loss cannot run."""
        return build_loss(self.config)

    @cached_property
    def _geometry(self) -> StereoGeometry | None:
        """The calibrated pair; read on first use, so that a model can be deployed where its calibration is missing."""
        rig = paired_rig(self.config)
        return None if rig is None else StereoGeometry(rig)

    def metrics(self, thresholds_px: Sequence[float] = PCK_THRESHOLDS_PX) -> KeypointMetrics:
        """Start an empty evaluation; points of space count where calibrated stereo pairs are configured."""
        space = None
        if self._geometry is not None:
            segments = [Segment(*each) for each in self.config.loss_terms.triangulation_rigidity_loss.known_segments]
            space = SpaceMetrics(self._geometry, self.codec, segments, LengthUnit.of(None))
        return KeypointMetrics(self.codec, self.config.num_classes, thresholds_px, space)

    def export_module(self) -> nn.Module:
        """Return the network in evaluation mode."""
        return self.model.eval()

    def export_spec(self, batch_size: int) -> ExportSpec:
        """Describe the exported network for one fixed batch size."""
        size = self.codec.output_size
        fields = KeypointMaskOutputs._fields if self.codec.segmentation else KeypointOutputs._fields
        return ExportSpec(
            inputs={"input": torch.zeros(batch_size, 1, size, size)},
            outputs=tuple(OUTPUTS[name] for name in fields),
            facts=self._facts(),
        )

    def _facts(self) -> dict[str, Any]:
        crop = self.config.crop
        return {
            "family": "keypoint",
            "prefix": self.config.prefix,
            "images": self.config.images.facts,
            "input": {
                "size_px": crop.output_size,
                "range": [0.0, 1.0],
                "channels": 1,
                "colour": "mean of the colour channels, no other normalisation",
            },
            "crop": {
                "region": crop.region,
                "box": None if crop.box is None else list(crop.box),
                "margin": crop.margin,
                "min_size_px": crop.min_size_px,
                "box_rule": BOX_RULES[crop.region],
                "needs_box": crop.region == "points",
                "placement": "the rectangle as large as fits into the input, unstretched, centred",
                **RESAMPLING,
                "pixel_rule": "the centre of the top-left pixel is (0, 0); resizing by s maps u to (u + 0.5) s - 0.5",
            },
            "points": {"names": list(self.config.point_names), "unit": "px of the input crop"},
            "heatmaps": {"stride_px": HEATMAP_STRIDE, "unit": "probability; each map sums to 1"},
            "uncertainty": {"kernel_sigma_px": self.codec.kernel_sigma_px, "noise_px": self.codec.noise_px},
            "num_segmentation_classes": self.config.num_classes,
            "preset": self.config.model.preset,
        }
