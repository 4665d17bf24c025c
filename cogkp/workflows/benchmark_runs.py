"""Measure models on images: the steps of an answer in turns, and fresh processes until their first answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import cv2
import numpy as np

from cogkp.data.images import encode_image, image_size
from cogkp.data.images.survey import SOME_IMAGES, find_images, spread
from cogkp.errors import ModelError
from cogkp.inference.exported import image_reading
from cogkp.inference.model import Model
from cogkp.progress import Progress

STEPS = ("decode", "prepare", "network", "answer")
"""Read the file, make the network's input, run the network, and say what its outputs mean in pixels and in space."""
ANY_BATCHES = (1, 8)
"""Batches of a model that takes any, where nobody says which."""
SYNTHETIC = 8
"""So many images are drawn where none are given."""
BLOCK = 20
"""Pixels of the coarsest detail of a drawn image."""
FOCAL = 1.2
"""Focal length of a camera that nobody knows, as a share of the longer side."""
PATIENCE_S = 600.0


class Steps(NamedTuple):
    """Seconds of one batch, step by step."""

    decode: float
    prepare: float
    network: float
    answer: float


@attrs.frozen(eq=False)
class Asked:
    """A model, and what it is asked with.

    Args:
        name: what to call it, one of its own.
        model: open.
        look: arguments of :meth:`Model.prepare`.
        known: arguments of :meth:`Model.read`.
    """

    name: str
    model: Model
    look: Mapping[str, Any]
    known: Mapping[str, Any]


@attrs.frozen
class StartUp:
    """Fresh processes, one after the other; medians.

    Args:
        import_s: the library is imported.
        load_s: after that, the model is loaded.
        first_answer_s: after that, the first image is answered.
        imported_bytes: memory of the process before the model is loaded; this and all below None where the system
            does not say.
        first_answer_bytes: memory after the first answer.
        last_answer_bytes: memory after the last answer.
        peak_bytes: the most it has held.
    """

    import_s: float
    load_s: float
    first_answer_s: float
    imported_bytes: int | None
    first_answer_bytes: int | None
    last_answer_bytes: int | None
    peak_bytes: int | None


def batches_of(model: Model, wanted: Sequence[int] | None) -> tuple[int, ...]:
    """Choose the batches a model is measured with: those that are wanted, or those that it takes.

    Raises:
        ModelError: it does not take one that is wanted.
    """
    fewest, most = model.rows
    if wanted is None:
        return tuple(size for size in ANY_BATCHES if fewest <= size <= (most or size)) or (most or fewest,)
    for size in wanted:
        if not fewest <= size <= (most or size):
            takes = f"{fewest}" if most == fewest else f"{fewest} to {most}"
            hint = "Measure with a batch that it takes, or export it with another one."
            raise ModelError(
                "the model does not take this batch", where=str(model.path), expected=takes, got=str(size), hint=hint
            )
    return tuple(dict.fromkeys(wanted))


def images_of(place: Path) -> list[Path]:
    """Choose some images of a folder, looked into at any depth, or take one; raises DataError where there are none."""
    return [place] if place.is_file() else spread(find_images(place), SOME_IMAGES)


def draw_images(folder: Path, size_wh: tuple[int, int]) -> list[Path]:
    """Write images of smooth noise as JPEG files, the same each time."""
    rng, paths = np.random.default_rng(0), []
    for number in range(SYNTHETIC):
        coarse = rng.integers(0, 256, (max(2, size_wh[1] // BLOCK), max(2, size_wh[0] // BLOCK), 3), np.uint8)
        path = folder / f"{number}.jpg"
        path.write_bytes(encode_image(cv2.resize(coarse, size_wh, interpolation=cv2.INTER_CUBIC), ".jpg"))
        paths.append(path)
    return paths


def assumed(model: Model, image: Path, ask: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in what a model must be told and nobody did: a box of the whole image, and a camera of some focal length."""
    oriented, _ = image_reading(model.facts, str(model.path))
    width, height = image_size(image, oriented=oriented)
    useful = (name for name in ask if model.takes(name) and (name != "box" or model.asks_where))
    filled = {name: ask[name] for name in useful}
    if model.asks_where:
        filled.setdefault("box", [0.0, 0.0, width - 1.0, height - 1.0])
    if model.takes("camera"):
        focal = FOCAL * max(width, height)
        camera = [[focal, 0.0, 0.5 * (width - 1)], [0.0, focal, 0.5 * (height - 1)], [0.0, 0.0, 1.0]]
        filled.setdefault("camera", np.array(camera))
    return filled


def in_turns(
    cells: Sequence[tuple[Asked, int]], images: Sequence[Path], *, warmup: int, runs: int, progress: Progress
) -> list[list[Steps]]:
    """Time each pair of a model and a batch in turn, round after round, so that a busy moment hits all alike.

    Every second round goes backwards, so that none always follows the same other.

    Returns:
        For each cell its ``runs`` batches.
    """
    times: list[list[Steps]] = [[] for _ in cells]
    with progress.work("benchmark", warmup + runs) as work:
        for turn in range(warmup + runs):
            order = range(len(cells)) if turn % 2 == 0 else reversed(range(len(cells)))
            for number in order:
                asked, batch = cells[number]
                chosen = [images[(turn * batch + row) % len(images)] for row in range(batch)]
                taken = one_batch(asked, chosen)
                if turn >= warmup:
                    times[number].append(taken)
            work.advance(1)
    return times


def one_batch(asked: Asked, images: Sequence[Path]) -> Steps:
    """Answer one batch of image files, and time its steps."""
    model = asked.model
    moments = [time.perf_counter()]
    pixels = [model.pixels(path) for path in images]
    moments.append(time.perf_counter())
    prepared = [model.prepare(each, **asked.look) for each in pixels]
    moments.append(time.perf_counter())
    outputs = model.network(prepared)
    moments.append(time.perf_counter())
    for found in model.read(outputs, prepared, **asked.known):
        found.to_dict()
    moments.append(time.perf_counter())
    return Steps(*np.diff(moments).tolist())


@contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """Let OpenCV and torch use so many threads inside the block; 0 leaves them as they are."""
    if not threads:
        yield
        return
    import torch

    before = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(threads)
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        cv2.setNumThreads(before[0])
        torch.set_num_threads(before[1])


def start_ups(
    asked: Sequence[Asked], images: Sequence[Path], *, threads: int, fixed_buffers: bool, starts: int, answers: int
) -> list[StartUp | None]:
    """Start fresh processes in turn, ``starts`` for each model, which answers so many images; None without a file."""
    orders = [
        {
            "model": str(each.model.path.resolve()),
            "threads": threads,
            "fixed_buffers": fixed_buffers,
            "images": [str(images[row % len(images)].resolve()) for row in range(answers)],
            "ask": {**each.look, **{name: _plain(value) for name, value in each.known.items()}},
        }
        if each.model.path.is_file()
        else None
        for each in asked
    ]
    taken: list[list[dict[str, Any]]] = [[] for _ in asked]
    for _ in range(starts):
        for order, records in zip(orders, taken, strict=True):
            if order is not None:
                records.append(_fresh_process(order, threads))
    return [_median(records) if records else None for records in taken]


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _fresh_process(order: Mapping[str, Any], threads: int) -> dict[str, Any]:
    # Where this library lies, so that the fresh process finds it too, and nothing that lies where the caller works.
    home = Path(__file__).parents[2]
    limit = {"OMP_NUM_THREADS": str(threads)} if threads else {}
    words = [sys.executable, "-m", "cogkp.inference.first_answer", json.dumps(order)]
    env = {**os.environ, **limit}
    try:
        done = subprocess.run(words, cwd=home, env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise _unanswered(order, f"no answer within {PATIENCE_S:g} s") from error
    if done.returncode:
        raise _unanswered(order, (done.stderr.strip().splitlines() or ["no output"])[-1])
    record: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return record


def _unanswered(order: Mapping[str, Any], got: str) -> ModelError:
    return ModelError("the model does not answer in a fresh process", where=str(order["model"]), got=got)


def _median(records: Sequence[Mapping[str, Any]]) -> StartUp:
    def middle(name: str) -> Any:
        values = [record[name] for record in records]
        return None if None in values else type(values[0])(np.median(values))

    return StartUp(**{field.name: middle(field.name) for field in attrs.fields(StartUp)})
