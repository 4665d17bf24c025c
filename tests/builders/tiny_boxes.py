"""A few rendered images of boxes and an experiment that reads them at 64 px: small enough to train on in a test."""

from __future__ import annotations

from pathlib import Path

from cogkp.config.centerpose.spec import (
    BackboneSpec,
    CenterPoseConfig,
    DatasetSpec,
    ExportSection,
    InferenceSpec,
    ModelSpec,
)
from cogkp.data.boxes.synthetic import render_boxes

SIDE = 64
FOUND = 10


def tiny_experiment(folder: Path, *, pictures: int = 4, width: float = 1.0, **dataset) -> CenterPoseConfig:
    """Render images into ``folder`` and return an experiment for them."""
    data = str(render_boxes(folder / "boxes", images=pictures, seed=0, size_wh=(96, 72)))
    return CenterPoseConfig(
        dataset=DatasetSpec(
            train_data=data,
            val_data=data,
            test_data=data,
            category="carton",
            input_res=SIDE,
            output_res=SIDE // 4,
            batch_size=4,
            workers=0,
            **dataset,
        ),
        model=ModelSpec(head_conv=32, backbone=BackboneSpec(width=width)),
        inference=InferenceSpec(num_select=FOUND),
        export=ExportSection(input_width=SIDE, input_height=SIDE, num_select=FOUND),
    )
