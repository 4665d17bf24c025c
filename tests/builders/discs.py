"""Recordings of bright discs on black, whose centroid is their label: the truth can be read off the pixels."""

from typing import Any, NamedTuple

import attrs
import numpy as np
import torch

from cogkp.config.augment import Crop, default_stages
from cogkp.config.keypoint.spec import DataMappings, KeypointConfig, Targets
from cogkp.data.keypoint.structured import write_structured

SIZE_WH = (160, 120)


class Moved(NamedTuple):
    """The simplest targets: points in the crop."""

    uv_crop: Any
    labelled: Any


def encode(sample):
    uv = sample.source_to_crop.apply(torch.from_numpy(sample.labels.uv_source)).numpy()
    return Moved(uv.astype(np.float32), sample.labels.labelled)


def disc_view(uv, radius_px=9.0):
    """Draw a bright disc on black with its mask and its centre's label."""
    v, u = np.mgrid[: SIZE_WH[1], : SIZE_WH[0]]
    distance = np.hypot(u - uv[0], v - uv[1])
    image = (255 * np.clip(radius_px + 0.5 - distance, 0, 1)).astype(np.uint8)
    return {"image": image, "mask": (distance <= radius_px).astype(np.uint8), "tip": list(uv), "end": None}


def disc_root(root, count=5, **changes):
    generator = np.random.default_rng(0)
    lines = [
        {eye: disc_view(generator.uniform((50, 40), (110, 80))) | changes for eye in ("LL", "LR")} for _ in range(count)
    ]
    write_structured(root, lines)
    return str(root)


def disc_config(*roots, **changes):
    mappings = DataMappings(
        x=("LL.image", "LR.image"), y=(("LL.tip", "LL.end"), ("LR.tip", "LR.end")), mask=("LL.mask", "LR.mask")
    )
    settings = {
        "base_dir": roots,
        "data_mappings": mappings,
        "targets": Targets(segmentation=True),
        "num_segmentation_classes": 2,
        "augmentations": tuple(attrs.evolve(s, output_size=96) if isinstance(s, Crop) else s for s in default_stages()),
    }
    return KeypointConfig(**settings | changes)
