"""The pictures of an inference: which there are, what is known of them, how they are read, where their results go."""

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
from cogkp.data.boxes.folders import find_pictures
from cogkp.data.boxes.reader import read_unlabelled
from cogkp.data.boxes.records import PictureRecord
from cogkp.data.images import read_colour
from cogkp.errors import ConfigError, DataError, OutputError, Problem
from cogkp.geometry.camera_frame import CameraFrame

__all__ = ["Loaded", "Pictures", "find_inference_pictures", "loaded_groups", "require_apart", "result_names"]

CAMERA = (
    "intrinsics in the JSON file beside it, or all four numbers of the camera in the experiment's inference section"
)
NO_CAMERA = "the picture's camera is not known"
TAKEN = "status"
"""A name in the folder of results whose JSON file is not a picture's."""

log = logging.getLogger("cogkp")


@attrs.frozen
class Pictures:
    """What a folder offers.

    Args:
        usable: in the order of their paths.
        problems: what is wrong with each of the others.
    """

    usable: tuple[PictureRecord, ...]
    problems: tuple[Problem, ...]


class Loaded(NamedTuple):
    """One picture as it is and as the network takes it.

    Args:
        record: what is known of it.
        pixels: (H, W, 3) float32 RGB, 0..1.
        image: (3, S, S) float32.
        source_to_crop: (3, 3) float64.
    """

    record: PictureRecord
    pixels: npt.NDArray[np.float32]
    image: npt.NDArray[np.float32]
    source_to_crop: Tensor


def require_apart(config: CenterPoseConfig) -> None:
    """Refuse a folder of results that lies among the pictures or holds them, before anything is written.

    Raises:
        OutputError: it does.
        ConfigError: one of both folders is not given.
    """
    results, pictures = results_of(config, "inference").path, config.dataset.inference_data
    if not pictures:
        raise ConfigError([Problem("missing value", "dataset.inference_data", "a folder of pictures", "nothing")])
    ends = results.resolve(), Path(pictures).resolve()
    if any(one in (other, *other.parents) for one, other in (ends, ends[::-1])):
        raise OutputError(
            "results would be written among the pictures",
            where=str(results),
            expected="a folder that neither holds dataset.inference_data nor lies in it",
            hint="Give another results_dir, or inference.results_dir.",
        )


def find_inference_pictures(config: CenterPoseConfig) -> Pictures:
    """Find the pictures below ``dataset.inference_data``.

    Args:
        config: with its ``inference`` section.

    Raises:
        DataError: there are no pictures, or none of them can be used; then all faults are listed.
    """
    root = Path(config.dataset.inference_data or "")
    read = [_read(root, image, config) for image in find_pictures(root)]
    usable = tuple(each for each in read if isinstance(each, PictureRecord))
    problems = tuple(each for each in read if isinstance(each, Problem))
    if not usable:
        blind = [problem for problem in problems if problem.what == NO_CAMERA]
        raise _no_camera(root, len(blind)) if len(blind) == len(problems) else DataError.listing(problems)
    _remark_camera(usable, config)
    return Pictures(usable, problems)


def _read(root: Path, image: Path, config: CenterPoseConfig) -> PictureRecord | Problem:
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
        got=f"neither for any of {count} pictures",
        hint="Calibrate it, and set inference.focal_length_x, focal_length_y, principle_point_x and principle_point_y; "
        "inference.use_pnp=false finds corners without poses.",
    )


def _remark_camera(pictures: Sequence[PictureRecord], config: CenterPoseConfig) -> None:
    """Say what looks as if the experiment's camera had not taken the pictures."""
    K = config.inference.K
    if K is None:
        return
    given = np.array(K)
    ours = [picture for picture in pictures if picture.K is not None and np.array_equal(picture.K, given)]
    if len(ours) < len(pictures):
        own = len(pictures) - len(ours)
        log.info("%d of %d pictures bring their own camera; the experiment's is for the others", own, len(pictures))
    (cx, cy), outside = given[:2, 2], []
    outside = [each for each in ours if not (0 < cx < each.size_wh[0] and 0 < cy < each.size_wh[1])]
    if outside:
        size = "{} x {}".format(*outside[0].size_wh)
        told = "%s: the principal point (%g, %g) of the experiment's camera lies outside this picture of %s pixels"
        log.warning(told + "; is the camera calibrated at this size?", outside[0].image, cx, cy, size)


def loaded_groups(
    pictures: Sequence[PictureRecord], view: BoxInput, size: int, workers: int
) -> Iterator[list[Loaded | Problem]]:
    """Read pictures in groups, in order; one that cannot be read is its problem.

    Args:
        pictures: which.
        view: what the network takes.
        size: pictures of a group.
        workers: threads that read.
    """

    def load(record: PictureRecord) -> Loaded | Problem:
        try:
            pixels = read_colour(record.image)
        except DataError as error:
            return error.problem
        warp = view.plain_map(record.size_wh)
        return Loaded(record, pixels, view.scaled(view.cut(pixels, warp)), warp.matrix)

    with ThreadPoolExecutor(max(1, min(workers, size))) as pool:
        for start in range(0, len(pictures), size):
            yield list(pool.map(load, pictures[start : start + size]))


def result_names(pictures: Sequence[PictureRecord]) -> list[str]:
    """Choose the path of each picture's results below their folder, without the last suffix; they mirror the pictures.

    Where two pictures of one folder share a stem, or one has a name that is taken, the results of that folder keep the
    whole names: ``a.png.json`` beside ``a.jpg.json``.

    Example:
        >>> from cogkp.data.boxes.records import PictureRecord
        >>> from cogkp.geometry.camera_frame import CameraFrame
        >>> def at(name):
        ...     path = Path("in") / name
        ...     return PictureRecord(root=Path("in"), image=path, annotation=path, size_wh=(1, 1), K=None,
        ...                          camera_frame=CameraFrame.OPENCV, boxes=(), ground=None)
        >>> result_names([at("a/0.jpg"), at("b/0.jpg"), at("b/0.png")])
        ['a/0', 'b/0.jpg', 'b/0.png']
    """
    stems = Counter((picture.image.parent, picture.image.stem.lower()) for picture in pictures)
    crowded = {folder for (folder, stem), count in stems.items() if count > 1}
    crowded |= {picture.root for picture in pictures if picture.name.lower() == TAKEN}
    return [
        picture.image.relative_to(picture.root).as_posix() if picture.image.parent in crowded else picture.name
        for picture in pictures
    ]
