"""The verb ``inference``: which images an experiment asks its model about, and how results are written."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch

from cogkp.config.centerpose.results import results_of
from cogkp.config.centerpose.spec import CenterPoseConfig
from cogkp.data.boxes.reader import ORIENTED, read_unlabelled, tell_slips
from cogkp.data.boxes.records import ImageRecord
from cogkp.data.images import tell_orientations
from cogkp.data.images.survey import find_images
from cogkp.errors import ConfigError, DataError, Problem
from cogkp.geometry.camera_frame import CameraFrame
from cogkp.inference.exported import open_exported
from cogkp.inference.model import Model, model_of_task
from cogkp.tasks.centerpose.poses import ObjectPoses
from cogkp.tasks.centerpose.prediction import CenterPosePrediction, detection_record, inference_record
from cogkp.tasks.centerpose.processor import processor_of
from cogkp.tasks.centerpose.task import needed_facts
from cogkp.training.distributed import SINGLE, Ranks
from cogkp.workflows.adapter import AskedImage, PredictionJob
from cogkp.workflows.families.centerpose.model import (
    FAMILY,
    input_size,
    model_path,
    open_experiment_checkpoint,
    require_colours,
    require_outputs,
)
from cogkp.workflows.families.centerpose.results_folder import AtWork
from cogkp.workflows.image_levels import with_exported_levels
from cogkp.workflows.predict import InferResult
from cogkp.workflows.result_files import names_of, require_apart
from cogkp.workflows.setup import gpu_of, is_exported, restored_task

CAMERA = (
    "intrinsics in the JSON file beside it, or all four numbers of the camera in the experiment's inference section"
)
NO_CAMERA = "the image's camera is not known"

log = logging.getLogger("cogkp")

LEAST_SIDE_PX = 512
TAKEN = ("status",)
"""Names in the folder of results whose JSON files are not an image's."""


@attrs.frozen
class InferenceImages:
    """What a folder offers: usable images in the order of their paths, and what is wrong with each of the others."""

    usable: tuple[ImageRecord, ...]
    problems: tuple[Problem, ...]


def find_inference_images(config: CenterPoseConfig) -> InferenceImages:
    """Find the images below ``dataset.inference_data``; DataError with all faults where none can be used."""
    root = Path(config.dataset.inference_data or "")
    slips = Counter[tuple[str, str]]()
    read = [_read(root, image, config, slips) for image in find_images(root)]
    tell_slips(root, slips)
    usable = tuple(each for each in read if isinstance(each, ImageRecord))
    problems = tuple(each for each in read if isinstance(each, Problem))
    if not usable:
        blind = [problem for problem in problems if problem.what == NO_CAMERA]
        raise _no_camera(root, len(blind)) if len(blind) == len(problems) else DataError.listing(problems)
    applied = config.dataset.images.apply_exif_orientation
    tell_orientations([each.image for each in usable], str(root), oriented=applied, switch=ORIENTED)
    _remark_camera(usable, config)
    return InferenceImages(usable, problems)


def _read(root: Path, image: Path, config: CenterPoseConfig, slips: Counter[tuple[str, str]]) -> ImageRecord | Problem:
    K = config.inference.K
    try:
        record = read_unlabelled(
            root,
            image,
            camera_frame=CameraFrame(config.dataset.camera_frame),
            intrinsics=None if K is None else np.array(K, np.float64),
            files=config.dataset.images,
            slips=slips,
        )
    except DataError as error:
        return error.problem
    if record.K is None and config.inference.use_pnp:
        return Problem(NO_CAMERA, str(image), CAMERA, "neither")
    return record


def _no_camera(root: Path, count: int) -> DataError:
    return DataError(
        "the camera is not known",
        where=str(root),
        expected=CAMERA,
        got=f"neither for any of {count} images",
        hint="Calibrate it, and set inference.focal_length_x, focal_length_y, principle_point_x and principle_point_y; "
        "inference.use_pnp=false finds corners without poses.",
    )


def _remark_camera(records: Sequence[ImageRecord], config: CenterPoseConfig) -> None:
    """Say what looks as if the experiment's camera had not taken the images."""
    K = config.inference.K
    if K is None:
        return
    given = np.array(K)
    ours = [record for record in records if record.K is not None and np.array_equal(record.K, given)]
    if len(ours) < len(records):
        own = len(records) - len(ours)
        log.info("%d of %d images bring their own camera; the experiment's is for the others", own, len(records))
    cx, cy = given[:2, 2]
    outside = [each for each in ours if not (0 < cx < each.size_wh[0] and 0 < cy < each.size_wh[1])]
    if outside:
        size = "{} x {}".format(*outside[0].size_wh)
        message = "%s: the principal point (%g, %g) of the experiment's camera lies outside this image of %s pixels"
        log.warning(message + "; is the camera calibrated at this size?", outside[0].image, cx, cy, size)


def require_image_folder(config: CenterPoseConfig) -> None:
    """Refuse an experiment without a folder of images, or whose results would lie among them.

    Raises:
        OutputError: they would.
        ConfigError: one of both folders is not given.
    """
    images = config.dataset.inference_data
    if not images:
        raise ConfigError([Problem("missing value", "dataset.inference_data", "a folder of images", "nothing")])
    hint = "Give another results_dir, or inference.results_dir."
    require_apart(results_of(config, "inference").path, Path(images), hint)


def to_ask(config: CenterPoseConfig) -> CenterPoseConfig:
    """Let an experiment export what its training and inference sections describe."""
    side, many = config.dataset.input_res, config.inference.num_select
    export = attrs.evolve(config.export, input_width=side, input_height=side, num_select=many)
    return attrs.evolve(config, export=export)


@contextmanager
def prediction_job(config: CenterPoseConfig, work: AtWork | None, ranks: Ranks = SINGLE) -> Iterator[PredictionJob]:
    """Find the images below ``dataset.inference_data``, and open the model that the ``inference`` section names.

    ``work`` is None on all ranks but the first.

    The camera is that of the JSON file beside an image, else that of the experiment; no camera is assumed.

    Raises:
        ConfigError: the experiment names no model.
        ArtifactError: the model cannot be used, or is of another family.
        DataError: there are no images, or none can be used.
    """
    images, section, data = find_inference_images(config), config.inference, config.dataset
    axes = CameraFrame.OPENCV if section.opencv else CameraFrame(data.camera_frame)
    named = names_of([record.image for record in images.usable], Path(data.inference_data or ""), TAKEN)

    def record(image: AskedImage, found: CenterPosePrediction) -> dict[str, Any]:
        if isinstance(found.found, ObjectPoses):
            return inference_record(image.path.name, found.found, data.category, axes)
        return detection_record(image.path.name, found.found, data.category)

    def count(found: CenterPosePrediction) -> dict[str, int]:
        posed = found.found
        return {
            "objects": len(found),
            "up_to_scale": int((~posed.metric).sum()) if isinstance(posed, ObjectPoses) else 0,
        }

    def finished(result: InferResult) -> None:
        assert work is not None  # only the first rank tells
        kpi = {"pictures": result.images, "objects": result.counts["objects"], "unusable": len(result.problems)}
        message = "the inference is done" + (", but not all images could be used" if result.problems else "")
        work.status.write("SUCCESS", message, verbosity="WARNING" if result.problems else "INFO", kpi=kpi)

    device = torch.device("cuda", section.gpus[0]) if ranks.alone else None
    with _opened(config, device) as model:
        yield PredictionJob(
            model=model,
            images=[
                AskedImage(path=path, name=name, known=_known(each, config))
                for each, (path, name) in zip(images.usable, named, strict=True)
            ],
            folder=results_of(config, "inference").path,
            count=count,
            record=record,
            draw=lambda found: found.draw(axis_size=section.axis_size, least_side_px=LEAST_SIDE_PX),
            problems=images.problems,
            batch_size=data.batch_size if section.batch_size < 1 else section.batch_size,
            workers=data.workers,
            save_json=section.save_json,
            save_drawings=section.save_visualization,
            finished=finished,
        )


def _known(record: ImageRecord, config: CenterPoseConfig) -> dict[str, Any]:
    """Say what is known of an image: nothing where no pose is asked for."""
    if not config.inference.use_pnp:
        return {}
    ground = None if record.ground is None else (record.ground.center, record.ground.normal)
    height = record.object_height or config.inference.object_height
    return {"camera": record.K, "height": height, "ground": ground}


def _opened(config: CenterPoseConfig, device: torch.device | None) -> Model:
    path, threshold = model_path(config, "inference"), config.inference.visualization_threshold
    if not is_exported(path) and config.inference.checkpoint is not None:
        task = restored_task(to_ask(config), open_experiment_checkpoint(path, config))
        return model_of_task(task, path, threshold=threshold)
    found = open_exported(path, gpu=gpu_of(device))
    require_outputs(found.runner.signature, found.facts, path)
    require_colours(found, path, config)
    config = with_exported_levels(config, found.facts, str(path))
    facts = needed_facts(config, input_size(found, path, config))
    processor: Any = processor_of(facts, str(path), threshold=threshold)
    return Model(path, FAMILY, found.runner, processor, facts)
