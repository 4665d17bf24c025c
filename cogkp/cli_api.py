"""Names that the command line needs beside the public ones; loaded on first use."""

from typing import TYPE_CHECKING

from cogkp.lazy import lazy_names

if TYPE_CHECKING:
    from cogkp.config.keypoint.schema import json_schema
    from cogkp.config.torchrun import launched
    from cogkp.data.boxes.importers import import_boxes
    from cogkp.data.boxes.synthetic import render_boxes
    from cogkp.exporter.dynamo import require_exporter
    from cogkp.progress import Progress
    from cogkp.training.distributed import joined
    from cogkp.workflows.export import missing_builder
    from cogkp.workflows.families.centerpose.label_check import check_box_labels
    from cogkp.workflows.families.centerpose.torchrun import ranks_to_start
    from cogkp.workflows.prediction.output import FORMATS

__all__ = [
    "FORMATS",
    "Progress",
    "check_box_labels",
    "import_boxes",
    "joined",
    "json_schema",
    "launched",
    "missing_builder",
    "ranks_to_start",
    "render_boxes",
    "require_exporter",
]

_HOMES = {
    "cogkp.config.keypoint.schema": ("json_schema",),
    "cogkp.config.torchrun": ("launched",),
    "cogkp.data.boxes.importers": ("import_boxes",),
    "cogkp.data.boxes.synthetic": ("render_boxes",),
    "cogkp.exporter.dynamo": ("require_exporter",),
    "cogkp.progress": ("Progress",),
    "cogkp.training.distributed": ("joined",),
    "cogkp.workflows.export": ("missing_builder",),
    "cogkp.workflows.families.centerpose.label_check": ("check_box_labels",),
    "cogkp.workflows.families.centerpose.torchrun": ("ranks_to_start",),
    "cogkp.workflows.prediction.output": ("FORMATS",),
}
__getattr__ = lazy_names(__name__, _HOMES)
