"""Parts that the HTML pages of an evaluation and of a comparison share.

They know what a task offers, never a family.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cogkp.data.dataset import ImageDataset
from cogkp.data.images import encode_image
from cogkp.data.sample import collate
from cogkp.drawing import draw_single
from cogkp.files import text_lines
from cogkp.measures.evidence import Curve, Evidence, Line, Measure
from cogkp.tasks.base import Codec
from cogkp.training.evaluator import Predict
from cogkp.visual.canvas import RgbImage

WIDEST_PX = 1600
WIDEST_TILE_PX = 512
LARGEST = 1e12
"""No figure of a training is larger; beyond it, charts leave the numbers."""
NOT_FIGURES = {"event", "epoch", "step", "time"}
VALIDATION = "validation/"


def jpeg(image: RgbImage, widest_px: int = WIDEST_PX) -> bytes:
    """Make an image small enough for a page: at most so wide, as JPEG."""
    height, width = image.shape[:2]
    if width > widest_px:
        size = (widest_px, max(1, round(height * widest_px / width)))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return encode_image(image, ".jpg")


def read_epochs(history: Path) -> list[dict[str, Any]]:
    """Read the numbers of the epoch lines of a run's history; none where there is no such file."""
    found = []
    for line in text_lines(history):
        try:
            facts = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(facts, dict) and facts.get("event") == "epoch":
            found.append({name: value for name, value in facts.items() if _is_number(value)})
    return [facts for facts in found if "epoch" in facts]


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= LARGEST


def training_curves(histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Curve]:
    """Draw how trainings, by name, went: their loss, their validation errors, and what lies between 0 and 1."""
    curves = {name: epochs for name, epochs in histories.items() if epochs}
    names = list(dict.fromkeys(key for epochs in curves.values() for facts in epochs for key in facts))
    validation = [name for name in names if name.startswith(VALIDATION)]
    shares = [name for name in validation if all(_is_share(epochs, name) for epochs in curves.values())]
    errors = [name for name in validation if name not in shares]
    groups = (
        ("Loss", "mean of the epoch", [name for name in names if name == "loss"], True, False),
        ("Validation errors", "error, in the unit its name says", errors, True, False),
        ("Validation figures from 0 to 1", "of 1", shares, False, True),
    )
    return [
        Curve(title, "epoch", label, lines, log_y=log, percent_y=percent)
        for title, label, keys, log, percent in groups
        if (lines := [_line(name, epochs, key, curves) for key in keys for name, epochs in curves.items()])
    ]


def draw_worst(
    codec: Codec, predict: Predict, dataset: ImageDataset, evidence: Evidence, count: int
) -> list[tuple[bytes, str, str]]:
    """Draw the images with the worst points, worst first: for each a JPEG file, its errors and its name.

    The data set is what was evaluated, item by item in the order of ``evidence.frames``; the first measure has a row
    per image.
    """
    if not evidence.measures:
        return []
    measure = evidence.measures[0]
    worst = measure.worst()
    badness = np.where(np.isnan(worst), -np.inf, worst if measure.better == "lower" else -worst)
    rows = [row for row in np.argsort(-badness, kind="stable").tolist() if np.isfinite(badness[row])]
    drawn = []
    for row in rows[:count]:
        item = int(measure.frame[row])
        batch = collate([dataset[item]])
        view = row - int(np.flatnonzero(measure.frame == item)[0])
        image = draw_single(codec, predict, batch, view)
        drawn.append((jpeg(image, WIDEST_TILE_PX), _errors_of(measure, row), batch.ids[view]))
    return drawn


def words(facts: Mapping[str, Any]) -> str:
    """Write names and values in one line.

    Example:
        >>> words({"torch": "2.5", "gpus": []})
        'torch 2.5, gpus none'
    """
    return ", ".join(f"{name} {_plain(value)}" for name, value in facts.items())


def _line(run: str, epochs: Sequence[Mapping[str, Any]], key: str, runs: Mapping[str, Any]) -> Line:
    short = key.removeprefix(VALIDATION)
    x = np.array([float(facts["epoch"]) for facts in epochs])
    y = np.array([np.nan if facts.get(key) is None else float(facts[key]) for facts in epochs])
    return Line(f"{run}: {short}" if len(runs) > 1 else short, x, y)


def _errors_of(measure: Measure, row: int) -> str:
    values = measure.values[row]
    known = np.flatnonzero(np.isfinite(values))
    at = int(known[(np.argmax if measure.better == "lower" else np.argmin)(values[known])])
    unit, digits = f" {measure.unit}".rstrip(), 1 if measure.unit else 2
    worst, mean = (f"{value:.{digits}f}{unit}" for value in (values[at], values[known].mean()))
    return f"{worst} at {measure.columns[at]}, mean of {len(known)}: {mean}"


def _is_share(epochs: Sequence[Mapping[str, Any]], key: str) -> bool:
    values = [facts[key] for facts in epochs if facts.get(key) is not None]
    return all(0.0 <= value <= 1.0 for value in values)


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " + ".join(map(str, value)) or "none"
    return str(value)
