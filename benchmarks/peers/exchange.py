"""What contestants hand to each other: labelled frames, predictions, and one error for all. Needs nothing but numpy."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

__all__ = ["Errors", "Frame", "Frames", "errors", "imported_frames", "read_frames", "write_csv", "write_frames"]

HEADER = ("scorer", "bodyparts", "coords")


class Frame(NamedTuple):
    """One image and its labels.

    Args:
        image: where it lies.
        uv: (K, 2) pixels of the full frame; NaN where nothing was labelled.
    """

    image: Path
    uv: np.ndarray


class Frames(NamedTuple):
    """A set, split the same way for everybody.

    Args:
        points: their names.
        train: frames to learn from.
        held_out: frames to be judged on.
    """

    points: tuple[str, ...]
    train: tuple[Frame, ...]
    held_out: tuple[Frame, ...]


class Errors(NamedTuple):
    """How far predictions are from the labels, over all labelled points that were predicted.

    Args:
        mean_px: mean distance in pixels of the full frame.
        median_px: its median.
        p95_px: its 95th percentile.
        points: how many labelled points there are.
        missing: share of them for which nothing was predicted.
    """

    mean_px: float
    median_px: float
    p95_px: float
    points: int
    missing: float


def errors(found: np.ndarray, truth: np.ndarray) -> Errors:
    """Compare predictions with labels, both (F, K, 2); NaN is 'not predicted' and 'not labelled'."""
    if found.shape != truth.shape:
        raise ValueError(f"predictions are {found.shape}, labels are {truth.shape}")
    labelled = np.isfinite(truth).all(axis=-1)
    distances = np.linalg.norm(found - truth, axis=-1)[labelled]
    told = distances[np.isfinite(distances)]
    missing = 1.0 - len(told) / len(distances)
    if not len(told):
        return Errors(float("nan"), float("nan"), float("nan"), len(distances), missing)
    return Errors(float(told.mean()), float(np.median(told)), float(np.percentile(told, 95)), len(distances), missing)


def imported_frames(folder: Path) -> Frames:
    """Read what ``s6 cog import`` wrote: ``train`` and ``validation``, whose frames are the held-out ones."""
    parts = [_recorded(folder / name) for name in ("train", "validation")]
    names = {points for points, _ in parts}
    if len(names) != 1:
        raise ValueError(f"train and validation name other points: {names}")
    return Frames(names.pop(), parts[0][1], parts[1][1])


def _recorded(root: Path) -> tuple[tuple[str, ...], tuple[Frame, ...]]:
    lines = [json.loads(line) for line in (root / "data.jsonl").read_text(encoding="utf-8").splitlines()]
    points = tuple(lines[0]["points"])
    return points, tuple(_frame(root / line["image"], [line["points"][name] for name in points]) for line in lines)


def _frame(image: Path, uv: Sequence[Sequence[float] | None]) -> Frame:
    nothing = (np.nan, np.nan)
    return Frame(image, np.array([nothing if point is None else point for point in uv], np.float64))


def write_frames(path: Path, frames: Frames) -> None:
    """Write a set for a process in another environment."""

    def plain(frame: Frame) -> dict[str, object]:
        uv = [None if np.isnan(point).any() else point.tolist() for point in frame.uv]
        return {"image": str(frame.image.absolute()), "uv": uv}

    content = {
        "points": frames.points,
        "train": [plain(frame) for frame in frames.train],
        "held_out": [plain(frame) for frame in frames.held_out],
    }
    path.write_text(json.dumps(content), encoding="utf-8")


def read_frames(path: Path) -> Frames:
    """Read what :func:`write_frames` wrote."""
    content = json.loads(path.read_text(encoding="utf-8"))
    train, held_out = (
        tuple(_frame(Path(frame["image"]), frame["uv"]) for frame in content[part]) for part in ("train", "held_out")
    )
    return Frames(tuple(content["points"]), train, held_out)


def write_csv(folder: Path, frames: Frames) -> Path:
    """Write a set as Lightning Pose and DeepLabCut keep theirs: a table, training frames first, beside the images."""
    pictures = folder / "labeled-data"
    pictures.mkdir(parents=True, exist_ok=True)
    axes = len(frames.points)
    header = (["labels"] * 2 * axes, [name for name in frames.points for _ in "xy"], ["x", "y"] * axes)
    rows: list[list[object]] = [[word, *cells] for word, cells in zip(HEADER, header, strict=True)]
    for part, members in (("train", frames.train), ("held-out", frames.held_out)):
        for number, frame in enumerate(members):
            name = f"{part}-{number:06d}{frame.image.suffix}"
            shutil.copyfile(frame.image, pictures / name)
            values = frame.uv.ravel().tolist()
            rows.append([f"labeled-data/{name}", *("" if np.isnan(value) else value for value in values)])
    table = folder / "CollectedData.csv"
    with table.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)
    return table
