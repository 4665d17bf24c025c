"""Predictions of points in the formats of other programs: tables that grow by whole rows, and COCO's results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cogkp.data.keypoint.exporters import (
    coco_dataset,
    coco_image,
    coco_result,
    deeplabcut_header,
    deeplabcut_row,
    json_array,
    points_table_header,
    points_table_rows,
)
from cogkp.errors import OutputError
from cogkp.files import LineFile, is_json_with, require_replaceable, write_json, write_text
from cogkp.workflows.prediction.stream import FramePrediction

SCORER = "cogkp"


def views_of(each: FramePrediction, where: Path) -> Iterator[tuple[str, Any, Any]]:
    """Go through the views of a frame: camera, frame and points; raises OutputError where objects were found."""
    views = getattr(each.found, "views", None)
    found = {"": each.found} if views is None else views
    frames = {"": each.frame} if views is None else each.frame.frames  # type: ignore[attr-defined]
    for camera, view in found.items():
        if not hasattr(view, "points"):
            hint = "Lines of JSON hold them."
            raise OutputError("this format holds points alone", where=str(where), got="objects", hint=hint)
        yield camera, frames[camera], view


class PointsTable:
    """A long CSV table: a row for each point of each view of each frame.

    Args:
        path: the file.
        first: whether it begins with the header: of several parts that are joined only the first one does.
    """

    def __init__(self, path: Path, *, first: bool) -> None:
        self._path, self._file = path, LineFile(path, _begins_with(points_table_header()))
        if first:
            self._file.write(points_table_header())

    def add(self, each: FramePrediction) -> None:
        """Write the rows of one frame."""
        for camera, frame, view in views_of(each, self._path):
            rows = points_table_rows(
                view.names,
                view.points,
                view.confidence,
                frame=frame.number,
                image=frame.name,
                camera=camera,
                time_s=frame.time_s,
                covariance=view.covariance,
            )
            self._file.write(rows)

    def finish(self) -> list[Path]:
        """Close the file."""
        self._file.close()
        return [self._path]


class DeepLabCutTable:
    """The table of DeepLabCut and Lightning Pose; of several cameras a file for each, whose name ends in its name.

    Args:
        path: the file.
        first: whether it begins with the header.
    """

    def __init__(self, path: Path, *, first: bool) -> None:
        self._path, self._first = path, first
        self._files: dict[Path, LineFile] = {}

    def add(self, each: FramePrediction) -> None:
        """Write a row for each view."""
        for camera, frame, view in views_of(each, self._path):
            path = self._path.with_name(f"{self._path.stem}_{camera}{self._path.suffix}") if camera else self._path
            if path not in self._files:
                header = deeplabcut_header(view.names, SCORER)
                self._files[path] = LineFile(path, _begins_with(header))
                if self._first:
                    self._files[path].write(header)
            index = frame.name if frame.time_s is None else frame.number
            self._files[path].write(deeplabcut_row(index, view.points, view.confidence))

    def finish(self) -> list[Path]:
        """Close the files."""
        for file in self._files.values():
            file.close()
        return [*self._files]


class CocoResults:
    """COCO's results, and beside them the images and the category they refer to; both are written at the end.

    Args:
        path: the file of the results; ``-images`` in its name makes that of the images.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._images_path = path, path.with_name(f"{path.stem}-images{path.suffix}")
        require_replaceable([path], _is_result_file)
        require_replaceable([self._images_path], _is_image_file)
        self._results: list[dict[str, Any]] = []
        self._images: list[dict[str, Any]] = []
        self._names: tuple[str, ...] = ()

    def add(self, each: FramePrediction) -> None:
        """Keep the result of each view."""
        for camera, frame, view in views_of(each, self._path):
            number, self._names = len(self._images) + 1, view.names
            name = f"{camera}/{frame.name}" if camera else frame.name
            self._images.append(coco_image(number, name, view.size_wh))
            self._results.append(coco_result(number, view.points, view.confidence))

    def finish(self) -> list[Path]:
        """Write both files."""
        write_text(self._path, "".join(json_array(self._results)), _is_result_file)
        write_json(self._images_path, coco_dataset(self._names, self._images), _is_image_file)
        return [self._path, self._images_path]


def _is_image_file(path: Path) -> bool:
    return is_json_with(path, "images", "categories", "annotations")


def _is_result_file(path: Path) -> bool:
    """Say whether a file begins as our results do: a list whose first line is one."""
    with path.open("rb") as file:
        return file.readline(8).strip() == b"[" and b'"image_id"' in file.readline(200)


def _begins_with(header: str) -> Callable[[Path], bool]:
    """Make the test of a table: it is empty, or has this header."""
    start = header.encode()

    def ours(path: Path) -> bool:
        with path.open("rb") as file:
            return file.read(len(start)) in (b"", start)

    return ours
