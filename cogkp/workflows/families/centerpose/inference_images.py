"""The images of an inference: find them, and learn their cameras."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np

from cogkp.config.centerpose.spec import CenterPoseConfig
from cogkp.data.boxes.reader import ORIENTED, read_unlabelled
from cogkp.data.boxes.records import ImageRecord
from cogkp.data.images import tell_orientations
from cogkp.data.images.finding import find_images
from cogkp.errors import DataError, Problem
from cogkp.geometry.camera_frame import CameraFrame

__all__ = ["InferenceImages", "find_inference_images"]

CAMERA = (
    "intrinsics in the JSON file beside it, or all four numbers of the camera in the experiment's inference section"
)
NO_CAMERA = "the image's camera is not known"

log = logging.getLogger("cogkp")


@attrs.frozen
class InferenceImages:
    """What a folder offers.

    Args:
        usable: in the order of their paths.
        problems: what is wrong with each of the others.
    """

    usable: tuple[ImageRecord, ...]
    problems: tuple[Problem, ...]


def find_inference_images(config: CenterPoseConfig) -> InferenceImages:
    """Find the images below ``dataset.inference_data``.

    Args:
        config: with its ``inference`` section.

    Raises:
        DataError: there are no images, or none of them can be used; then all faults are listed.
    """
    root = Path(config.dataset.inference_data or "")
    read = [_read(root, image, config) for image in find_images(root)]
    usable = tuple(each for each in read if isinstance(each, ImageRecord))
    problems = tuple(each for each in read if isinstance(each, Problem))
    if not usable:
        blind = [problem for problem in problems if problem.what == NO_CAMERA]
        raise _no_camera(root, len(blind)) if len(blind) == len(problems) else DataError.listing(problems)
    applied = config.dataset.images.apply_exif_orientation
    tell_orientations([each.image for each in usable], str(root), oriented=applied, switch=ORIENTED)
    _remark_camera(usable, config)
    return InferenceImages(usable, problems)


def _read(root: Path, image: Path, config: CenterPoseConfig) -> ImageRecord | Problem:
    K = config.inference.K
    try:
        record = read_unlabelled(
            root,
            image,
            camera_frame=CameraFrame(config.dataset.camera_frame),
            intrinsics=None if K is None else np.array(K, np.float64),
            files=config.dataset.images,
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
    (cx, cy), outside = given[:2, 2], []
    outside = [each for each in ours if not (0 < cx < each.size_wh[0] and 0 < cy < each.size_wh[1])]
    if outside:
        size = "{} x {}".format(*outside[0].size_wh)
        message = "%s: the principal point (%g, %g) of the experiment's camera lies outside this image of %s pixels"
        log.warning(message + "; is the camera calibrated at this size?", outside[0].image, cx, cy, size)
