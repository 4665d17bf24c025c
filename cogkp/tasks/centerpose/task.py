"""The CenterPose task: 3-D boxes of objects from single images."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import nn

from cogkp.config.centerpose.spec import CenterPoseConfig
from cogkp.data.boxes.augment import BoxAugment
from cogkp.data.boxes.dataset import NEEDED, ObjectDataset
from cogkp.data.dataset import Split
from cogkp.geometry.camera_frame import CameraFrame
from cogkp.models.centerpose import CenterPoseNetwork, CenterPoseOutputs
from cogkp.tasks.base import PCK_THRESHOLDS_PX, ExportSpec, OutputSpec
from cogkp.tasks.centerpose.codec import CenterPoseCodec
from cogkp.tasks.centerpose.decode import DecodeRules, DecodingNetwork
from cogkp.tasks.centerpose.detections import MISSING, DecodedObjects
from cogkp.tasks.centerpose.losses import CenterPoseLoss, LossSettings, build_loss
from cogkp.tasks.centerpose.metrics import CenterPoseMetrics, EvaluationRules

# Unit and tolerance. A cell is four pixels of the input.
CELLS = ("cell", 1e-4)
OUTPUTS = {
    "bboxes": CELLS,
    "scores": ("probability", 1e-4),
    "kps": CELLS,
    "clses": ("class", 0.0),
    "obj_scale": ("height", 1e-4),
    "kps_displacement_mean": CELLS,
    "kps_heatmap_mean": CELLS,
}
LOGITS = ("logit", 1e-3)
MAPS = {
    "hm": LOGITS,
    "wh": CELLS,
    "hps": CELLS,
    "reg": CELLS,
    "hm_hp": LOGITS,
    "hp_offset": CELLS,
    "scale": ("height", 1e-4),
}


class CenterPoseTask:
    """The task of one CenterPose experiment.

    The network's weights are drawn from torch's global generator: seed it first where that matters. ``size_wh`` of the
    input, pixels, is given where an exported network says it and not the experiment.
    """

    def __init__(self, config: CenterPoseConfig, *, size_wh: tuple[int, int] | None = None) -> None:
        self.config = config
        codec = CenterPoseCodec.of(config)
        self.codec = codec if size_wh is None else codec.for_input_size(size_wh)
        self.model = CenterPoseNetwork(
            config.model.backbone.model_type,
            conv_gru=config.model.use_convGRU,
            head_channels=config.model.head_conv,
            width=config.model.backbone.width,
        )

    def datasets(self, split: Split) -> ObjectDataset:
        """Open the data of one split; 'evaluation' is the experiment's ``dataset.test_data``."""
        data = self.config.dataset
        folders = {"validation": data.val_data, "evaluation": data.test_data}
        folder = folders.get(split, data.train_data)
        return ObjectDataset(
            [folder] if folder else [],
            split,
            self.codec.encode,
            view=self.codec.view,
            augment=_augment(self.config),
            camera_frame=CameraFrame(data.camera_frame),
            num_symmetry=data.symmetry_count,
            files=data.images,
            need=NEEDED if split in ("train", "preview") else (*NEEDED, "intrinsics"),
            category=None if data.all_classes else data.category,
        )

    @cached_property
    def loss(self) -> CenterPoseLoss:
        """The active terms; built on first use, so that a model can be deployed where its loss cannot run."""
        return build_loss(LossSettings.of(self.config.train.loss_config))

    def metrics(self, thresholds_px: Sequence[float] = PCK_THRESHOLDS_PX) -> CenterPoseMetrics:
        """Start an empty evaluation; hits of corners are counted within each threshold, pixels of the full frame."""
        rules = EvaluationRules(
            turns=self.config.evaluate.eval_num_symmetry, metric=self.config.dataset.use_absolute_scale
        )
        return CenterPoseMetrics(self.codec, rules, thresholds_px)

    def export_module(self) -> nn.Module:
        """Return the network with its decoding, in evaluation mode."""
        return DecodingNetwork(self.model, DecodeRules(self.config.export.num_select)).eval()

    def export_spec(self, batch_size: int) -> ExportSpec:
        """Describe the exported network for one fixed batch size."""
        export = self.config.export
        return ExportSpec(
            inputs={"input": torch.zeros(batch_size, export.input_channel, export.input_height, export.input_width)},
            outputs=tuple(OutputSpec(name, *OUTPUTS[name]) for name in DecodedObjects._fields),
            facts=self._facts(),
            inner=tuple(OutputSpec(name, *MAPS[name]) for name in CenterPoseOutputs._fields),
        )

    def _facts(self) -> dict[str, Any]:
        data, export = self.config.dataset, self.config.export
        needed = needed_facts(self.config, (export.input_width, export.input_height))
        # The ends of the scale 0..1, as the network takes them; the widest over the colours.
        ends = [((0.0 - mean) / std, (1.0 - mean) / std) for mean, std in zip(data.mean, data.std, strict=True)]
        return {
            **needed,
            "input": {
                **needed["input"],
                "range": [min(low for low, _ in ends), max(high for _, high in ends)],
                "channels": export.input_channel,
                "colour": "blue, green, red on the scale 0..1, less mean, divided by std",
            },
            "crop": {"region": "the whole image, as large as fits into the input, centred, black around it"},
            "points": {"names": [str(corner) for corner in range(1, 9)], "unit": "cells of the grid"},
            "num_select": export.num_select,
            "missing": MISSING,
            "model": self.config.model.backbone.model_type,
        }


def needed_facts(config: CenterPoseConfig, size_wh: tuple[Any, Any]) -> dict[str, Any]:
    """Say what whoever asks a network must know; also of a model of another program, whose file says nothing."""
    data = config.dataset
    return {
        "family": "centerpose",
        "category": data.category,
        "images": data.images.facts,
        "input": {"size_wh_px": list(size_wh), "mean": list(data.mean), "std": list(data.std)},
        "stride_px": config.model.down_ratio,
        "scale": "metres" if data.use_absolute_scale else "units of the object's height",
    }


def _augment(config: CenterPoseConfig) -> BoxAugment:
    data = config.dataset
    return BoxAugment(
        random_crop=not data.not_rand_crop,
        shift=data.shift,
        scale=data.scale,
        rotate_probability=data.aug_rot,
        rotate_deg=data.rotate,
        flip_probability=data.flip,
        flip_pairs=data.flip_idx,
        colour=not data.no_color_aug,
        eigenvalues=data.eig_val,
        eigenvectors=data.eig_vec,
    )
