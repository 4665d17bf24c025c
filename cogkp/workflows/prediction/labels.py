"""Write what a model is sure of as labels: a StructuredDataset to correct in a labelling tool, or to train on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cogkp.config.keypoint.io import starting_loss_terms
from cogkp.data.keypoint.structured import LINES_FILE, Recorder
from cogkp.data.sources import Frame
from cogkp.errors import OutputError
from cogkp.files import write_json
from cogkp.workflows.prediction.stream import FramePrediction

CONFIG_FILE = "keypoint.json"
PIPELINE_POINTS = ("tip", "turn", "end")
PIPELINE_VIEWS = {"LL", "LR"}
PIPELINE_SCOPE = "debug.training_targets.keypoint3_mask"


class Labels:
    """A StructuredDataset whose labels are the points that a model is sure of; the others are null.

    A pair LL, LR with the points tip, turn, end and a mask is written as a T1 pipeline records it, under
    ``debug.training_targets.keypoint3_mask``, else each view has ``image``, ``points`` and ``mask``. Confidences stand
    under ``debug.confidence``. A configuration that trains on it lies beside the lines.

    Args:
        folder: of the data set; new, or empty.
        least: confidence of a label.
        classes: of the mask; None without one.
    """

    def __init__(self, folder: Path, least: float, classes: int | None) -> None:
        self._recorder = Recorder(folder)
        self._folder, self._least, self._classes = folder, least, classes
        self._config: dict[str, Any] | None = None

    def add(self, each: FramePrediction) -> None:
        """Write one line, and its images."""
        views = getattr(each.found, "views", None)
        frames = each.frame.frames if views else {"": each.frame}  # type: ignore[attr-defined]
        found = views or {"": each.found}
        if not all(hasattr(view, "points") for view in found.values()):
            raise OutputError("only points can be written as labels", where=str(self._folder), got="objects")
        line = self._pipeline(frames, found) if _is_pipeline(found) else self._plain(frames, found)
        self._recorder.add_line(line if each.frame.time_s is None else {"time_s": each.frame.time_s, **line})
        self._config = self._config or _config(found, self._folder, self._classes)

    def finish(self) -> list[Path]:
        """Close the data set, and write its configuration."""
        self._recorder.close()
        if self._config is None:
            return []
        path = self._folder / CONFIG_FILE
        write_json(path, self._config)
        return [self._folder / LINES_FILE, path]

    def _labels(self, found: Any) -> dict[str, list[float] | None]:
        rows = zip(found.names, found.points.tolist(), found.confidence.tolist(), strict=True)
        return {name: uv if sure >= self._least else None for name, uv, sure in rows}

    def _plain(self, frames: Mapping[str, Frame], found: Mapping[str, Any]) -> dict[str, Any]:
        parts = {}
        for name, view in found.items():
            mask = {} if view.mask is None else {"mask": view.mask}
            parts[name] = {"image": _image(frames[name]), "points": self._labels(view), **mask}
        line = parts.get("", parts)
        return {**line, "debug": {"confidence": _confidences(found)}}

    def _pipeline(self, frames: Mapping[str, Frame], found: Mapping[str, Any]) -> dict[str, Any]:
        targets = {name: {**self._labels(view), "mask": view.mask} for name, view in found.items()}
        valid = all(uv is not None for each in targets.values() for uv in each.values())
        debug = {
            "training_targets": {"keypoint3_mask": {"valid": valid, **targets}},
            "confidence": _confidences(found),
        }
        return {**{name: {"image": _image(frame)} for name, frame in frames.items()}, "debug": debug}


def _is_pipeline(found: Mapping[str, Any]) -> bool:
    return set(found) == PIPELINE_VIEWS and all(
        view.names == PIPELINE_POINTS and view.mask is not None for view in found.values()
    )


def _confidences(found: Mapping[str, Any]) -> dict[str, Any]:
    each = {name: dict(zip(view.names, view.confidence.tolist(), strict=True)) for name, view in found.items()}
    return each.get("", each)


def _image(frame: Frame) -> Any:
    """Return an image file to copy, or pixels in the order that files are written in."""
    return frame.image if isinstance(frame.image, Path) else np.ascontiguousarray(frame.image[..., ::-1])


def _config(found: Mapping[str, Any], folder: Path, classes: int | None) -> dict[str, Any]:
    """Describe the data set to a training; its validation is left to the user."""
    pipeline = _is_pipeline(found)
    masked = all(view.mask is not None for view in found.values()) and classes is not None

    def key(view: str, *parts: str) -> str:
        return ".".join(part for part in (view, *parts) if part)

    def label(view: str, *parts: str) -> str:
        return f"{PIPELINE_SCOPE}.{view}.{parts[-1]}" if pipeline else key(view, *parts)

    mappings: dict[str, Any] = {
        "x": [key(view, "image") for view in found],
        "y": [[label(view, "points", name) for name in each.names] for view, each in found.items()],
    }
    if masked:
        mappings["mask"] = [label(view, "mask") for view in found]
    if pipeline:
        mappings["valid"] = f"{PIPELINE_SCOPE}.valid"
    return {
        "prefix": folder.name or "labels",
        "base_dir": [folder.as_posix()],
        "data_mappings": mappings,
        **({"targets": {"segmentation": True}, "num_segmentation_classes": classes} if masked else {}),
        "loss_terms": starting_loss_terms(segmentation=masked, segments=None),
    }
