"""The verb ``inference``: find objects in images without labels, and write them as JSON and drawings."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch

from cogkp.config.centerpose.spec import CenterPoseConfig
from cogkp.data.images import encode_image
from cogkp.errors import Problem
from cogkp.files import write_bytes, write_json
from cogkp.geometry.camera_frame import CameraFrame
from cogkp.geometry.cuboid_fit import Plane
from cogkp.progress import SILENT, Progress
from cogkp.tasks.base import Outline
from cogkp.tasks.centerpose.codec import CenterPoseCodec
from cogkp.tasks.centerpose.detections import Detections
from cogkp.tasks.centerpose.inference_json import detection_record, inference_record
from cogkp.tasks.centerpose.overlays import detection_outlines, pose_outline
from cogkp.tasks.centerpose.poses import ObjectPoses, find_poses
from cogkp.visual.canvas import RgbImage
from cogkp.visual.figure import enlarged_tile
from cogkp.visual.outline import draw_outlines
from cogkp.workflows.families.centerpose.inference_images import (
    InferenceImages,
    Loaded,
    find_inference_images,
    loaded_groups,
    require_apart,
    result_names,
)
from cogkp.workflows.families.centerpose.model import opened_model
from cogkp.workflows.families.centerpose.results_folder import at_work
from cogkp.workflows.setup import OpenedModel

__all__ = ["ExperimentInference", "infer_experiment"]

DRAWING_SUFFIX = ".jpg"
LEAST_SIDE_PX = 512
TEXT_SHARE, LEAST_TEXT_PX = 1 / 36, 9

UNKNOWN = np.full(3, np.nan)


@attrs.frozen
class ExperimentInference:
    """What an inference found.

    Args:
        folder: of its results; below it the files of each image, in the tree of the images.
        images: that were looked at.
        objects: found in all of them.
        up_to_scale: objects whose lengths are known up to one common factor only.
        problems: a line for each image that could not be used.
        seconds: this call took.
    """

    folder: Path
    images: int
    objects: int
    up_to_scale: int
    problems: tuple[str, ...]
    seconds: float


def infer_experiment(config: CenterPoseConfig, *, progress: Progress = SILENT) -> ExperimentInference:
    """Find objects in all images below ``dataset.inference_data``; labels are not needed.

    The camera is that of the JSON file beside an image, else that of the experiment; no camera is assumed. For each
    image a JSON file and a drawing are written, in a tree that mirrors that of the images. Images that cannot be
    used are left out and reported.

    Args:
        config: the experiment; ``inference.checkpoint``, else ``inference.trt_engine``, names a checkpoint, an ONNX
            file or an engine.
        progress: shows images.

    Raises:
        ConfigError: the experiment does not fit together, or names no model or no folder of results.
        ArtifactError: the model cannot be used, or is of another family.
        DataError: there are no images, or none can be used.
        OutputError: something cannot be written, or results would be written among the images.
    """
    started = time.perf_counter()
    require_apart(config)
    with at_work(config, "inference") as (results, status):
        images = find_inference_images(config)
        with opened_model(config, "inference") as model:
            tally = _Verb(config, model, results.path).over(images, progress)
        kpi = {"pictures": tally.images, "objects": tally.objects, "unusable": len(tally.problems)}
        message = "the inference is done" + (", but not all images could be used" if tally.problems else "")
        status.write("SUCCESS", message, verbosity="WARNING" if tally.problems else "INFO", kpi=kpi)
    return ExperimentInference(
        folder=results.path,
        images=tally.images,
        objects=tally.objects,
        up_to_scale=tally.up_to_scale,
        problems=tuple(map(str, tally.problems)),
        seconds=time.perf_counter() - started,
    )


@attrs.define
class _Tally:
    problems: list[Problem]
    images: int = 0
    objects: int = 0
    up_to_scale: int = 0


@attrs.frozen(eq=False)
class _Verb:
    """An inference that lacks nothing but its images."""

    config: CenterPoseConfig
    model: OpenedModel
    folder: Path

    def over(self, images: InferenceImages, progress: Progress) -> _Tally:
        data, section = self.config.dataset, self.config.inference
        size = data.batch_size if section.batch_size < 1 else section.batch_size
        names = dict(zip((each.image for each in images.usable), result_names(images.usable), strict=True))
        tally = _Tally(list(images.problems))
        codec = self.model.task.codec
        assert isinstance(codec, CenterPoseCodec)
        groups = loaded_groups(images.usable, codec.view, size, data.workers)
        with progress.work("inference", len(images.usable)) as work:
            for group in groups:
                good = [each for each in group if isinstance(each, Loaded)]
                tally.problems += [each for each in group if isinstance(each, Problem)]
                for each, found in zip(good, self.found(good), strict=True):
                    self.write(each, found, names[each.record.image])
                    tally.images += 1
                    tally.objects += len(found)
                    tally.up_to_scale += int((~found.metric).sum()) if isinstance(found, ObjectPoses) else 0
                work.advance(len(group), objects=str(tally.objects))
        return tally

    def found(self, group: Sequence[Loaded]) -> Iterator[ObjectPoses | Detections]:
        """Find the objects of each image of a group."""
        if not group:
            return
        outputs = self.model.predict(torch.from_numpy(np.stack([each.image for each in group])))
        source_to_crop = torch.stack([each.source_to_crop for each in group])
        detections = self.model.task.codec.decode(outputs, source_to_crop)
        if not self.config.inference.use_pnp:
            yield from (detections.pick(detections.image == row) for row in range(len(group)))
            return
        poses = self.posed(detections, group)
        yield from (poses.of_image(row) for row in range(len(group)))

    def posed(self, detections: Detections, group: Sequence[Loaded]) -> ObjectPoses:
        records, wanted = [each.record for each in group], self.config.inference.object_height
        heights = [each.object_height or wanted or math.nan for each in records]
        grounds = [(UNKNOWN, UNKNOWN) if (on := each.ground) is None else (on.center, on.normal) for each in records]
        center, normal = (torch.from_numpy(np.stack(part)) for part in zip(*grounds, strict=True))
        return find_poses(
            detections,
            torch.from_numpy(np.stack([each.K for each in records if each.K is not None])),
            metric=self.config.dataset.use_absolute_scale,
            height=torch.tensor(heights, dtype=torch.float64),
            ground=Plane(center, normal),
        )

    def write(self, loaded: Loaded, found: ObjectPoses | Detections, name: str) -> None:
        """Write what was found in one image."""
        section, path = self.config.inference, self.folder / name
        if section.save_json:
            write_json(path.with_name(f"{path.name}.json"), self.record(loaded, found))
        if section.save_visualization:
            drawing = encode_image(_drawing(loaded, self.outlines(loaded, found)), DRAWING_SUFFIX)
            write_bytes(path.with_name(path.name + DRAWING_SUFFIX), drawing)

    def record(self, loaded: Loaded, found: ObjectPoses | Detections) -> dict[str, Any]:
        data, name = self.config.dataset, loaded.record.image.name
        if isinstance(found, Detections):
            return detection_record(name, found, data.category)
        axes = CameraFrame.OPENCV if self.config.inference.opencv else CameraFrame(data.camera_frame)
        return inference_record(name, found, data.category, axes)

    def outlines(self, loaded: Loaded, found: ObjectPoses | Detections) -> list[Outline]:
        if isinstance(found, Detections):
            return detection_outlines(found)
        assert loaded.record.K is not None
        return [pose_outline(pose, loaded.record.K, self.config.inference.axis_size) for pose in found]


def _drawing(loaded: Loaded, outlines: Sequence[Outline]) -> RgbImage:
    """Draw objects into their image, which is enlarged where lines and letters would cover it."""
    tile, factor = enlarged_tile(loaded.pixels, None, LEAST_SIDE_PX)
    text_px = max(LEAST_TEXT_PX, round(TEXT_SHARE * min(tile.shape[:2])))
    return draw_outlines(tile, outlines, factor=factor, text_px=text_px)
