"""Predictions of a keypoint model in the formats of others: strings and plain values, one frame at a time.

Nothing here writes a file or knows a model: what comes in are names, pixels, confidences and the name of an image, and
what comes out can be appended to a file in whole lines.
"""

from cogkp.data.keypoint.exporters.coco import coco_dataset, coco_image, coco_result, json_array
from cogkp.data.keypoint.exporters.deeplabcut import deeplabcut_header, deeplabcut_row
from cogkp.data.keypoint.exporters.points_table import points_table_header, points_table_rows

__all__ = [
    "coco_dataset",
    "coco_image",
    "coco_result",
    "deeplabcut_header",
    "deeplabcut_row",
    "json_array",
    "points_table_header",
    "points_table_rows",
]
