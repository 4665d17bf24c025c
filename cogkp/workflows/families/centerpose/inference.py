"""The verb ``inference`` of an experiment: objects in pictures without labels, as JSON and as drawings."""

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
from cogkp.visual.canvas import Picture
from cogkp.visual.figure import enlarged_tile
from cogkp.visual.outline import draw_outlines
from cogkp.workflows.adapter import OpenedModel
from cogkp.workflows.families.centerpose.inference_images import (
    Loaded,
    Pictures,
    find_inference_pictures,
    loaded_groups,
    require_apart,
    result_names,
)
from cogkp.workflows.families.centerpose.model import opened_model
from cogkp.workflows.families.centerpose.results_folder import at_work

__all__ = ["ExperimentInference", "infer_experiment"]

DRAWING_SUFFIX = ".jpg"
LEAST_SIDE_PX = 512
TEXT_SHARE, LEAST_TEXT_PX = 1 / 36, 9

UNKNOWN = np.full(3, np.nan)


@attrs.frozen
class ExperimentInference:
    """What an inference found.

    Args:
        folder: of its results; below it the files of each picture, in the tree of the pictures.
        pictures: that were looked at.
        objects: found in all of them.
        up_to_scale: objects whose lengths are known up to one common factor only.
        problems: a line for each picture that could not be used.
        seconds: this call took.
    """

    folder: Path
    pictures: int
    objects: int
    up_to_scale: int
    problems: tuple[str, ...]
    seconds: float


def infer_experiment(config: CenterPoseConfig, *, progress: Progress = SILENT) -> ExperimentInference:
    """Find objects in all pictures below ``dataset.inference_data``; labels are not needed.

    The camera is that of the JSON file beside a picture, else that of the experiment; no camera is assumed. For each
    picture a JSON file and a drawing are written, in a tree that mirrors that of the pictures. Pictures that cannot be
    used are left out and told.

    Args:
        config: the experiment; ``inference.checkpoint``, else ``inference.trt_engine``, names a checkpoint, an ONNX
            file or an engine.
        progress: shows pictures.

    Raises:
        ConfigError: the experiment does not fit together, or names no model or no folder of results.
        ArtifactError: the model cannot be used, or is of another family.
        DataError: there are no pictures, or none can be used.
        OutputError: something cannot be written, or results would be written among the pictures.
    """
    started = time.perf_counter()
    require_apart(config)
    with at_work(config, "inference") as (results, status):
        pictures = find_inference_pictures(config)
        with opened_model(config, "inference") as model:
            tally = _Verb(config, model, results.path).over(pictures, progress)
        kpi = {"pictures": tally.pictures, "objects": tally.objects, "unusable": len(tally.problems)}
        message = "the inference is done" + (", but not all pictures could be used" if tally.problems else "")
        status.write("SUCCESS", message, verbosity="WARNING" if tally.problems else "INFO", kpi=kpi)
    return ExperimentInference(
        folder=results.path,
        pictures=tally.pictures,
        objects=tally.objects,
        up_to_scale=tally.up_to_scale,
        problems=tuple(map(str, tally.problems)),
        seconds=time.perf_counter() - started,
    )


@attrs.define
class _Tally:
    problems: list[Problem]
    pictures: int = 0
    objects: int = 0
    up_to_scale: int = 0


@attrs.frozen(eq=False)
class _Verb:
    """An inference that lacks nothing but its pictures."""

    config: CenterPoseConfig
    model: OpenedModel
    folder: Path

    def over(self, pictures: Pictures, progress: Progress) -> _Tally:
        data, section = self.config.dataset, self.config.inference
        size = data.batch_size if section.batch_size < 1 else section.batch_size
        names = dict(zip((each.image for each in pictures.usable), result_names(pictures.usable), strict=True))
        tally = _Tally(list(pictures.problems))
        codec = self.model.task.codec
        assert isinstance(codec, CenterPoseCodec)
        groups = loaded_groups(pictures.usable, codec.view, size, data.workers)
        with progress.work("inference", len(pictures.usable)) as work:
            for group in groups:
                good = [each for each in group if isinstance(each, Loaded)]
                tally.problems += [each for each in group if isinstance(each, Problem)]
                for each, found in zip(good, self.found(good), strict=True):
                    self.write(each, found, names[each.record.image])
                    tally.pictures += 1
                    tally.objects += len(found)
                    tally.up_to_scale += int((~found.metric).sum()) if isinstance(found, ObjectPoses) else 0
                work.advance(len(group), objects=str(tally.objects))
        return tally

    def found(self, group: Sequence[Loaded]) -> Iterator[ObjectPoses | Detections]:
        """Find the objects of each picture of a group."""
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

    def write(self, picture: Loaded, found: ObjectPoses | Detections, name: str) -> None:
        """Write what was found in one picture."""
        section, path = self.config.inference, self.folder / name
        if section.save_json:
            write_json(path.with_name(f"{path.name}.json"), self.record(picture, found))
        if section.save_visualization:
            drawing = encode_image(_drawn(picture, self.outlines(picture, found)), DRAWING_SUFFIX)
            write_bytes(path.with_name(path.name + DRAWING_SUFFIX), drawing)

    def record(self, picture: Loaded, found: ObjectPoses | Detections) -> dict[str, Any]:
        data, name = self.config.dataset, picture.record.image.name
        if isinstance(found, Detections):
            return detection_record(name, found, data.category)
        axes = CameraFrame.OPENCV if self.config.inference.opencv else CameraFrame(data.camera_frame)
        return inference_record(name, found, data.category, axes)

    def outlines(self, picture: Loaded, found: ObjectPoses | Detections) -> list[Outline]:
        if isinstance(found, Detections):
            return detection_outlines(found)
        assert picture.record.K is not None
        return [pose_outline(pose, picture.record.K, self.config.inference.axis_size) for pose in found]


def _drawn(picture: Loaded, outlines: Sequence[Outline]) -> Picture:
    """Draw objects into their picture, which is enlarged where lines and letters would cover it."""
    tile, factor = enlarged_tile(picture.pixels, None, LEAST_SIDE_PX)
    text_px = max(LEAST_TEXT_PX, round(TEXT_SHARE * min(tile.shape[:2])))
    return draw_outlines(tile, outlines, factor=factor, text_px=text_px)
