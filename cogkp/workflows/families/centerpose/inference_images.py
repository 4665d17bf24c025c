"""The images of an inference: find and read them, know their cameras, and name their results."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import attrs
import numpy as np
import numpy.typing as npt
from torch import Tensor

from cogkp.config.centerpose.results import results_of
from cogkp.config.centerpose.spec import CenterPoseConfig
from cogkp.data.boxes.augment import BoxInput
from cogkp.data.boxes.reader import read_unlabelled
from cogkp.data.boxes.records import ImageRecord
from cogkp.data.images import read_colour
from cogkp.data.images.finding import find_images
from cogkp.errors import ConfigError, DataError, OutputError, Problem
from cogkp.geometry.camera_frame import CameraFrame

__all__ = ["InferenceImages", "Loaded", "find_inference_images", "loaded_groups", "require_apart", "result_names"]

CAMERA = (
    "intrinsics in the JSON file beside it, or all four numbers of the camera in the experiment's inference section"
)
NO_CAMERA = "the image's camera is not known"
TAKEN = "status"
"""A name in the folder of results whose JSON file is not an image's."""

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


class Loaded(NamedTuple):
    """One image as it is and as the network takes it.

    Args:
        record: what is known of it.
        pixels: (H, W, 3) float32 RGB, 0..1.
        image: (3, S, S) float32.
        source_to_crop: (3, 3) float64.
    """

    record: ImageRecord
    pixels: npt.NDArray[np.float32]
    image: npt.NDArray[np.float32]
    source_to_crop: Tensor


def require_apart(config: CenterPoseConfig) -> None:
    """Refuse a folder of results that lies among the images or holds them, before anything is written.

    Raises:
        OutputError: it does.
        ConfigError: one of both folders is not given.
    """
    results, records = results_of(config, "inference").path, config.dataset.inference_data
    if not records:
        raise ConfigError([Problem("missing value", "dataset.inference_data", "a folder of images", "nothing")])
    ends = results.resolve(), Path(records).resolve()
    if any(one in (other, *other.parents) for one, other in (ends, ends[::-1])):
        raise OutputError(
            "results would be written among the images",
            where=str(results),
            expected="a folder that neither holds dataset.inference_data nor lies in it",
            hint="Give another results_dir, or inference.results_dir.",
        )


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


def loaded_groups(
    records: Sequence[ImageRecord], view: BoxInput, size: int, workers: int
) -> Iterator[list[Loaded | Problem]]:
    """Read images in groups, in order; one that cannot be read is its problem.

    Args:
        records: which.
        view: what the network takes.
        size: images of a group.
        workers: threads that read.
    """

    def load(record: ImageRecord) -> Loaded | Problem:
        try:
            pixels = read_colour(record.image)
        except DataError as error:
            return error.problem
        warp = view.plain_map(record.size_wh)
        return Loaded(record, pixels, view.scaled(view.cut(pixels, warp)), warp.matrix)

    with ThreadPoolExecutor(max(1, min(workers, size))) as pool:
        for start in range(0, len(records), size):
            yield list(pool.map(load, records[start : start + size]))


def result_names(records: Sequence[ImageRecord]) -> list[str]:
    """Choose the path of each image's results below their folder, without the last suffix; they mirror the images.

    Where two images of one folder share a stem, or one has a name that is taken, the results of that folder keep the
    whole names: ``a.png.json`` beside ``a.jpg.json``.

    Example:
        >>> from cogkp.data.boxes.records import ImageRecord
        >>> from cogkp.geometry.camera_frame import CameraFrame
        >>> def at(name):
        ...     path = Path("in") / name
        ...     return ImageRecord(root=Path("in"), image=path, annotation=path, size_wh=(1, 1), K=None,
        ...                          camera_frame=CameraFrame.OPENCV, boxes=(), ground=None)
        >>> result_names([at("a/0.jpg"), at("b/0.jpg"), at("b/0.png")])
        ['a/0', 'b/0.jpg', 'b/0.png']
    """
    stems = Counter((record.image.parent, record.image.stem.lower()) for record in records)
    crowded = {folder for (folder, stem), count in stems.items() if count > 1}
    crowded |= {record.root for record in records if record.name.lower() == TAKEN}
    return [
        record.image.relative_to(record.root).as_posix() if record.image.parent in crowded else record.name
        for record in records
    ]
