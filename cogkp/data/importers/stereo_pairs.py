"""Stereo pairs: a folder with ``pairs.jsonl``, one calibrated pair of pictures per line.

A line holds ``LL`` and ``LR``; each has ``image``, optionally ``mask`` (class indices), and points by name. ``split``,
if present, is ``train`` or ``val``. Calibration is read from ``calibration.config.json``, else from a file in units of
30 mm, else from one in mm; the world unit of the imported set is the unit of that file.

The source counts pixels from the left and top EDGE of the picture; we count from the centre of the top-left pixel. Half
a pixel is therefore taken from every point and from both coordinates of the principal point, which leaves every ray
where it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cogkp.data.images import read_grey
from cogkp.data.importers.base import Imported, ImportedLine, Part, located
from cogkp.errors import DataError, ImageError, Problem

__all__ = ["read_stereo_pairs"]

CAMERAS = ("LL", "LR")
PAIRS_FILE = "pairs.jsonl"
CALIBRATIONS = ("calibration.config.json", "calibration.s6.unit30mm.json", "calibration.s6.mm.json")
TRAINED = ("tip", "turn", "end")
PARTS: Mapping[Any, Part | None] = {None: None, "train": "train", "val": "validation", "validation": "validation"}
EDGE_TO_CENTRE = 0.5


def _is_point(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2  # noqa: PLR2004
        and all(isinstance(number, (int, float)) and not isinstance(number, bool) for number in value)
    )


def _from_edge(value: Any) -> Any:
    """Move a point, or a list of points, from edge to centre counting; leave anything else."""
    if _is_point(value):
        return [number - EDGE_TO_CENTRE for number in value]
    if isinstance(value, list) and value and all(_is_point(item) for item in value):
        return [_from_edge(item) for item in value]
    return value


def _picture(root: Path, name: Any) -> Path:
    if not isinstance(name, str):
        raise ImageError("a picture is missing", got=repr(name))
    path = root / name
    if Path(name).is_absolute() or ".." in Path(name).parts or not path.is_file():
        raise ImageError("no such picture within the folder", got=repr(name))
    read_grey(path)
    return path


def _view(root: Path, camera: str, view: Any) -> dict[str, Any]:
    """Make the record of one camera; DataError says what is wrong with it."""
    if not isinstance(view, dict):
        raise DataError("a camera is missing", expected=f"an object {camera!r}", got=repr(view))
    pictures = {key: _picture(root, view.get(key)) for key in ("image", "mask") if key == "image" or key in view}
    missing = [name for name in TRAINED if not _is_point(view.get(name))]
    if missing:
        raise DataError(f"{camera} lacks points", expected="[x, y]", got=", ".join(missing))
    return {**{key: _from_edge(value) for key, value in view.items()}, **pictures}


def _line_or_problem(root: Path, number: int, text: str) -> ImportedLine | Problem:
    where = f"{root / PAIRS_FILE}:{number}"
    try:
        return _line(root, where, text)
    except DataError as error:
        return located(error.problem, where)


def _line(root: Path, where: str, text: str) -> ImportedLine:
    try:
        pair = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError("broken JSON", got=str(error)) from error
    if not isinstance(pair, dict) or pair.get("split") not in PARTS:
        raise DataError("not a pair", expected="an object; split train or val", got=text[:60])
    views = {camera: _view(root, camera, pair.get(camera)) for camera in CAMERAS}
    rest = {key: value for key, value in pair.items() if key not in (*CAMERAS, "split")}
    return ImportedLine(record={**rest, **views}, where=where, part=PARTS[pair.get("split")])


def _calibration(root: Path) -> dict[str, Any] | None:
    """Read the calibration and count its principal points from pixel centres; None where there is none."""
    path = next((root / name for name in CALIBRATIONS if (root / name).is_file()), None)
    if path is None:
        return None
    try:
        cameras = json.loads(path.read_text(encoding="utf-8"))
        return {camera: {**cameras[camera], "intrinsic": _shifted(cameras[camera]["intrinsic"])} for camera in CAMERAS}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError("the calibration cannot be used", where=str(path), got=repr(error)) from error


def _shifted(K: list[list[float]]) -> list[list[float]]:
    (fx, skew, cx), (zero, fy, cy), last = K
    return [[fx, skew, cx - EDGE_TO_CENTRE], [zero, fy, cy - EDGE_TO_CENTRE], last]


def _config(masked: bool) -> dict[str, Any]:
    mappings: dict[str, Any] = {
        "x": [f"{camera}.image" for camera in CAMERAS],
        "y": [[f"{camera}.{name}" for name in TRAINED] for camera in CAMERAS],
    }
    if not masked:
        return {"data_mappings": mappings}
    return {
        "data_mappings": {**mappings, "mask": [f"{camera}.mask" for camera in CAMERAS]},
        "targets": {"keypoints": True, "segmentation": True},
        "num_segmentation_classes": 2,
    }


def read_stereo_pairs(source: Path) -> Imported:
    """Read a folder of stereo pairs.

    Args:
        source: folder that holds ``pairs.jsonl``.

    Returns:
        One line per pair: ``LL`` and ``LR``, each with ``image``, ``mask``, every named point, and all else the
        source says; the calibration; a configuration that trains ``tip``, ``turn`` and ``end``, and the mask where
        there is one.

    Raises:
        DataError: anything is wrong with the lines, the pictures or the calibration.
    """
    path = source / PAIRS_FILE
    try:
        texts = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("the pairs cannot be read", where=str(path), got=str(error)) from error
    results = [_line_or_problem(source, number, text) for number, text in enumerate(texts, start=1) if text.strip()]
    problems = [result for result in results if isinstance(result, Problem)]
    if problems:
        raise DataError.listing(problems)
    lines = tuple(result for result in results if isinstance(result, ImportedLine))
    if not lines:
        raise DataError("there are no pairs", where=str(path))
    masked = all("mask" in line.record[camera] for line in lines for camera in CAMERAS)
    return Imported(lines=lines, config=_config(masked), calibration=_calibration(source))
