"""Ask a model about sources of one camera or several."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from cogkp.config.torchrun import launched
from cogkp.data.images.survey import SOME_IMAGES, spread
from cogkp.data.keypoint.recorded import recorded_sources
from cogkp.data.keypoint.structured.reader import LINES_FILE
from cogkp.data.sources import ImageFilesSource, Selection, Source, chosen, open_sources
from cogkp.errors import DataError, ModelError
from cogkp.inference.model import Model, ModelLike, opened
from cogkp.inference.views import LEAST_CONFIDENCE, LiftRules, ViewRig
from cogkp.workflows.prediction.asking import MOST, Asker, Direct, Located, Tracked, by_locator, whole_frame
from cogkp.workflows.prediction.boxes import boxes_of
from cogkp.workflows.prediction.stream import Predictions
from cogkp.workflows.prediction.views import AskViews, Pairing, paired

if TYPE_CHECKING:
    from cogkp.geometry.rig import CameraRig

Place = str | os.PathLike[str] | int
GivenBoxes = str | os.PathLike[str] | Sequence[float] | Mapping[Any, Sequence[float]]
WHERE = "boxes=..., locator=... or track=True; on the command line --boxes, --locator or --track"


def predict(
    model: ModelLike,
    source: Place | Sequence[Place] | Mapping[str, Place],
    *,
    calibration: CameraRig | str | os.PathLike[str] | None = None,
    pair: Pairing | None = None,
    boxes: GivenBoxes | None = None,
    locator: ModelLike | None = None,
    track: bool = False,
    datakeys: Sequence[str] = (),
    every: int = 1,
    start: int = 0,
    end: int | None = None,
    limit: int | None = None,
    shard: tuple[int, int] | None = None,
    batch_size: int = MOST,
    workers: int | None = None,
    threads: int = 0,
    min_confidence: float = LEAST_CONFIDENCE,
    max_reprojection_px: float | None = None,
    unit_mm: float | None = None,
    **known: Any,
) -> Predictions:
    """Ask a model about images, folders, videos, cameras, streams or recordings, frame by frame.

    Reading, preparing and the network overlap; results come in the order of the frames. Writing them is another step:
    :func:`cogkp.write_predictions`.

    Args:
        model: an open model, or its file: checkpoint, run folder, ONNX file or engine; see :func:`cogkp.load`.
        source: an image, a folder (looked into at any depth), a pattern such as ``"in/*.png"``, a video, the number of
            a camera, a URL, a StructuredDataset, or a list of these; for several cameras a mapping from their names.
        calibration: the cameras, or their file; gives points of space where ``source`` is a mapping or a recording of
            several cameras.
        pair: how frames of several cameras belong together: 'number', 'name' or 'time'; None chooses, and says what.
        boxes: where to look, for models that were trained on squares round the points: (left, top, right, bottom) in
            pixels for all frames, a mapping from names of images or numbers of frames, or a file of such.
        locator: another model that says where to look.
        track: look where points were found in the frame before.
        datakeys: of the images of a StructuredDataset; none takes those that end in ``image``.
        every: one of so many frames.
        start: first frame of each source, from 0.
        end: frame of each source before which to stop.
        limit: most frames in all.
        shard: (k, n), the k-th of n parts, from 1; None takes the rank that torchrun or srun gave this process.
        batch_size: frames that pass through the network together, where it takes so many.
        workers: threads that read and prepare; None takes one for each processor, at most four.
        threads: of ONNX Runtime; 0 leaves the choice to it.
        min_confidence: pixels of less do not count in space.
        max_reprojection_px: reprojection error from which a view disagrees; None takes 1 % of the image's width.
        unit_mm: millimetres of one world unit; None tells points in world units.
        known: further arguments of the model, as ``camera`` for CenterPose.

    Returns:
        An iterator of :class:`FramePrediction`, with the problems of frames that could not be used.

    Raises:
        ArtifactError: the model cannot be used.
        DataError: there is no such source, or nothing is left of it.
        ModelError: the model must be told where to look, or needs no telling.
        GeometryError: the calibration does not fit to the cameras or their images.

    Example of use::

        for each in cogkp.predict("tool.onnx", "video.mp4"):
            print(each.frame.number, each.found.points)
    """
    cameras = _opened(source, datakeys)
    selection = Selection(every=every, start=start, end=end, limit=limit, shard=shard or _rank())
    with ExitStack() as stack:
        asked = stack.enter_context(opened(model, threads=threads))
        coarse = None if locator is None else stack.enter_context(opened(locator, threads=threads))
        ask = partial(_asker, asked, coarse, boxes, track, batch_size)
        if calibration is not None and len(cameras) > 1:
            rig = ViewRig.of(calibration)
            rig.require(tuple(cameras))
            sources: list[Source] = [paired({name: _only(name, each) for name, each in cameras.items()}, pair)]
            rules = LiftRules(min_confidence, max_reprojection_px, unit_mm)
            asker: Asker = AskViews({name: ask(known) for name in cameras}, rig, rules)
        else:
            if isinstance(source, Mapping) or calibration is not None:
                known = {**_camera(asked, tuple(cameras), calibration), **known}
            sources, asker = [each for some in cameras.values() for each in some], ask(known)
        parts = chosen(sources, selection)
        _tell_orientations(asked, [each for some in cameras.values() for each in some])
        return Predictions(
            parts, asker, workers, stack.pop_all().close, asked.facts, _named_places(source), selection.shard
        )


def _opened(source: Place | Sequence[Place] | Mapping[str, Place], datakeys: Sequence[str]) -> dict[str, list[Source]]:
    """Open sources by camera; the name is empty where nobody says which camera it is."""
    if isinstance(source, Mapping):
        return {name: [*_places(place, datakeys).values()] for name, place in source.items()}
    places = [source] if isinstance(source, str | os.PathLike | int) else list(source)
    if len(places) == 1:
        found = _places(places[0], datakeys)
        return {name: [each] for name, each in found.items()} if _is_recording(places[0]) else {"": [*found.values()]}
    if not any(map(_is_recording, places)):
        return {"": open_sources(places)}
    return {"": [each for place in places for each in _places(place, datakeys).values()]}


def _places(place: Place, datakeys: Sequence[str]) -> dict[str, Source]:
    if _is_recording(place):
        return {**recorded_sources(Path(place), datakeys)}
    return {str(number): each for number, each in enumerate(open_sources(place))}


def _tell_orientations(model: Model, sources: Sequence[Source]) -> None:
    """Tell of images that note an orientation, by some of each folder, and not again of each one."""
    for source in sources:
        if isinstance(source, ImageFilesSource):
            model.tell_orientations(spread(source.paths, SOME_IMAGES), source.name)


def _named_places(source: Place | Sequence[Place] | Mapping[str, Place]) -> list[Path]:
    """List the files and folders among the sources."""
    if isinstance(source, str | os.PathLike | int):
        source = [source]
    places = source.values() if isinstance(source, Mapping) else source
    return [path for place in places if not isinstance(place, int) and (path := Path(place)).exists()]


def _is_recording(place: Place) -> TypeGuard[str | os.PathLike[str]]:
    return not isinstance(place, int) and (Path(place) / LINES_FILE).is_file()


def _only(name: str, sources: Sequence[Source]) -> Source:
    if len(sources) != 1:
        got = ", ".join(each.name for each in sources[:3])
        raise DataError("a camera needs one source", where=name, expected="images alone, or one video", got=got)
    return sources[0]


def _asker(
    model: Model,
    locator: Model | None,
    boxes: GivenBoxes | None,
    track: bool,
    batch_size: int,
    known: Mapping[str, Any],
) -> Asker:
    """Choose how to ask, and check that it is what the model needs."""
    told = [name for name, given in (("boxes", boxes), ("locator", locator), ("track", track or None)) if given]
    if bool(told) != model.asks_where:
        where, got = str(model.path), ", ".join(told) or "nothing"
        if told:
            raise ModelError("this model looks at whole images, and needs no telling where", where=where, got=got)
        hint = "It was trained on squares round the points (crop.region 'points')."
        raise ModelError("this model needs to know where to look", where=where, expected=WHERE, got=got, hint=hint)
    if locator is not None and locator.asks_where:
        raise ModelError("a locator must look at whole images", where=str(locator.path))
    given = None if boxes is None else boxes_of(boxes)
    if track:
        first = given or (by_locator(model, locator) if locator is not None else whole_frame(model))
        return Tracked(model, first, known)
    if given is not None or locator is None:
        return Direct(model, given, known, batch_size)
    return Located(model, locator, known, batch_size)


def _camera(model: Model, names: tuple[str, ...], calibration: Any) -> dict[str, Any]:
    """Return what one named camera tells a model; raises ModelError where it tells nothing."""
    if calibration is None:
        got = f"no calibration of {', '.join(names)}"
        raise ModelError("the cameras are not known", expected="calibration=..., or --calibration", got=got)
    if not model.takes("camera"):
        raise ModelError("points of space need two views", expected="NAME=SOURCE for two cameras or more", got="one")
    rig = ViewRig.of(calibration)
    name = names[0] or rig.only_name()
    rig.require([name])
    return {"camera": rig[name]}


def _rank() -> tuple[int, int]:
    """Return this process's part: its rank by torchrun or srun, the whole where it was started by itself."""
    launch = launched()
    if launch.ranks > 1:
        return launch.rank + 1, launch.ranks
    # srun sets both for each of its tasks; the variables of sbatch alone do not say that there are others.
    tasks, task = (os.environ.get(name, "") for name in ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"))
    if tasks.isdecimal() and task.isdecimal() and int(tasks) > int(task) and int(tasks) > 1:
        return int(task) + 1, int(tasks)
    return 1, 1
