"""Import stereo pairs: a folder with ``pairs.jsonl``, one calibrated pair of images per line.

A line holds ``LL`` and ``LR``; each has ``image``, optionally ``mask`` (class indices), and points by name, which are
not labelled where they are null, NaN or (-1, -1). ``split``, if present, is ``train`` or ``val``. Calibration is read
from ``calibration.config.json``, else from a file in units of 30 mm, else from one in mm; the world unit of the
imported set is the unit of that file.

The source counts pixels from the left and top EDGE of the image; we count from the centre of the top-left pixel. Half
a pixel is therefore taken from every point and from both coordinates of the principal point, which leaves every ray
where it was.
"""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch

from cogkp.data.calibration import calibration_content, read_calibration
from cogkp.data.images import read_grey
from cogkp.data.importing import Imported, ImportedLine, Part, located
from cogkp.errors import DataError, ImageError, Problem
from cogkp.files import is_file, leads_out, read_whole
from cogkp.geometry.camera import PinholeCamera
from cogkp.geometry.rig import CameraRig

log = logging.getLogger("cogkp")

CAMERAS = ("LL", "LR")
PAIRS_FILE = "pairs.jsonl"
CALIBRATIONS = ("calibration.config.json", "calibration.s6.unit30mm.json", "calibration.s6.mm.json")
TRAINED = ("tip", "turn", "end")
PARTS: Mapping[Any, Part | None] = {None: None, "train": "train", "val": "validation", "validation": "validation"}
EDGE_TO_CENTRE = 0.5
MISSING_MARK = [-1, -1]
NOTHING = (None, [None, None])
LARGEST = 2**63
RIGID = 0.01
LENGTH_DIGITS = 4


def _is_point(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2  # noqa: PLR2004
        and all(
            isinstance(number, float)
            or (isinstance(number, int) and not isinstance(number, bool) and abs(number) < LARGEST)
            for number in value
        )
    )


def _from_edge(value: Any) -> Any:
    """Move a point, or a list of points, from edge to centre counting; null for a point that is marked as missing."""
    if _is_point(value):
        missing = value == MISSING_MARK or not all(map(math.isfinite, value))
        return None if missing else [number - EDGE_TO_CENTRE for number in value]
    if isinstance(value, list) and any(map(_is_point, value)) and all(_is_point(x) or x in NOTHING for x in value):
        return [None if item is None or None in item else _from_edge(item) for item in value]
    return value


def _image_path(root: Path, name: Any) -> Path:
    if not isinstance(name, str):
        raise ImageError("an image is missing", got=repr(name))
    path = root / name
    if leads_out(name) or not is_file(path):
        raise ImageError("no such image within the folder", got=repr(name))
    read_grey(path)
    return path


def _view(root: Path, camera: str, view: Any) -> dict[str, Any]:
    """Make the record of one camera; DataError says what is wrong with it."""
    if not isinstance(view, dict):
        raise DataError("a camera is missing", expected=f"an object {camera!r}", got=repr(view))
    images = {key: _image_path(root, view.get(key)) for key in ("image", "mask") if key == "image" or key in view}
    missing = [name for name in TRAINED if name not in view or not (view[name] is None or _is_point(view[name]))]
    if missing:
        hint = "A point that nobody labelled is null."
        raise DataError(f"{camera} lacks points", expected="[x, y]", got=", ".join(missing), hint=hint)
    return {**{key: _from_edge(value) for key, value in view.items()}, **images}


def _line_or_problem(root: Path, number: int, text: str) -> ImportedLine | Problem:
    where = f"{root / PAIRS_FILE}:{number}"
    try:
        return _line(root, where, text)
    except DataError as error:
        return located(error.problem, where)


def _line(root: Path, where: str, text: str) -> ImportedLine:
    try:
        pair = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError("broken JSON", got=str(error)) from error
    if not isinstance(pair, dict) or not isinstance(pair.get("split"), str | None) or pair.get("split") not in PARTS:
        raise DataError("not a pair", expected="an object; split train or val", got=text[:60])
    views = {camera: _view(root, camera, pair.get(camera)) for camera in CAMERAS}
    rest = {key: value for key, value in pair.items() if key not in (*CAMERAS, "split")}
    return ImportedLine(record={**rest, **views}, where=where, part=PARTS[pair.get("split")])


def _rig(root: Path) -> CameraRig | None:
    """Read the calibration and count its principal points from pixel centres; None where there is none."""
    path = next((root / name for name in CALIBRATIONS if (root / name).is_file()), None)
    if path is None:
        return None
    pair = read_calibration(path, cameras=CAMERAS)
    return CameraRig(pair.names, tuple(_counted_from_centres(camera) for camera in pair.cameras))


def _counted_from_centres(camera: PinholeCamera) -> PinholeCamera:
    K = camera.K.clone()
    K[:2, 2] -= EDGE_TO_CENTRE
    return attrs.evolve(camera, K=K)


def _rigid_segments(lines: Sequence[ImportedLine], rig: CameraRig) -> tuple[tuple[int, int, float], ...]:
    """Measure the distances between neighbouring points in space, and keep those that are the same in every line."""
    pairs = [[[line.record[camera][name] for name in TRAINED] for camera in CAMERAS] for line in lines]
    uv = [pair for pair in pairs if all(point is not None for view in pair for point in view)]
    if not uv:
        return ()
    found = rig.triangulate(torch.tensor(uv, dtype=torch.float64))
    if not bool(found.valid.all()):
        return ()
    lengths = found.xyz_world.diff(dim=-2).norm(dim=-1)
    means, spreads = lengths.mean(0).tolist(), (lengths - lengths.mean(0)).abs().amax(0).tolist()
    return tuple(
        (k, k + 1, round(mean, LENGTH_DIGITS))
        for k, (mean, spread) in enumerate(zip(means, spreads, strict=True))
        if spread <= RIGID * mean
    )


def _config(masked: bool, paired: bool) -> dict[str, Any]:
    mappings: dict[str, Any] = {
        "x": [f"{camera}.image" for camera in CAMERAS],
        "y": [[f"{camera}.{name}" for name in TRAINED] for camera in CAMERAS],
    }
    pairing = {"stereo_pairing": {"enabled": True}} if paired else {}
    if not masked:
        return {"data_mappings": mappings, **pairing}
    return {
        **pairing,
        "data_mappings": {**mappings, "mask": [f"{camera}.mask" for camera in CAMERAS]},
        "targets": {"keypoints": True, "segmentation": True},
        "num_segmentation_classes": 2,
    }


def read_stereo_pairs(source: Path) -> Imported:
    """Read a folder of stereo pairs, which holds ``pairs.jsonl``.

    Returns:
        One line per pair: ``LL`` and ``LR``, each with ``image``, ``mask``, every named point, and all else the
        source says; the calibration; a configuration that trains ``tip``, ``turn`` and ``end``, and the mask where
        there is one. With a calibration lines are trained as stereo pairs, and distances between points that are the
        same in all of them, to one percent, are known lengths.

    Raises:
        DataError: anything is wrong with the lines, the images or the calibration.
    """
    path = source / PAIRS_FILE
    try:
        texts = read_whole(path, None).decode("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("the pairs cannot be read", where=str(path), got=str(error)) from error
    results = [_line_or_problem(source, number, text) for number, text in enumerate(texts, start=1) if text.strip()]
    problems = [result for result in results if isinstance(result, Problem)]
    if problems:
        raise DataError.listing(problems)
    lines = tuple(result for result in results if isinstance(result, ImportedLine))
    if not lines:
        raise DataError("there are no pairs", where=str(path))
    masks, views = sum("mask" in line.record[camera] for line in lines for camera in CAMERAS), len(lines) * len(CAMERAS)
    masked = masks == views
    if 0 < masks < views:
        log.warning("%s: only %d of %d images have a mask, so none is trained", path, masks, views)
    rig = _rig(source)
    return Imported(
        lines=lines,
        config=_config(masked, rig is not None),
        calibration=None if rig is None else calibration_content(rig),
        segments=None if rig is None else _rigid_segments(lines, rig),
    )
