"""Write what a model found, as it comes: lines of JSON, tables, and drawings."""

from __future__ import annotations

import json
import queue
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TextIO

import attrs

from cogkp.errors import OutputError, counted, printable
from cogkp.files import LineFile
from cogkp.inference.exported import image_reading
from cogkp.inference.model import TRAINING_IMAGES
from cogkp.progress import SILENT, Progress
from cogkp.workflows.prediction.drawing import Drawings
from cogkp.workflows.prediction.labels import Labels
from cogkp.workflows.prediction.output import OutputPlan, planned, require_outside
from cogkp.workflows.prediction.stream import FramePrediction, Predictions
from cogkp.workflows.prediction.tables import CocoResults, DeepLabCutTable, PointsTable
from cogkp.workflows.prediction.tally import Tally
from cogkp.workflows.printing import Printable

KEYS = ("source", "name", "frame", "time_s")
"""What each line of JSON begins with."""
WAITING = 64
"""Frames that wait to be written."""
SURE = 0.3


class Writer(Protocol):
    """Something that writes predictions, one after the other."""

    def add(self, each: FramePrediction) -> None:
        """Write one; raises OutputError."""

    def finish(self) -> list[Path]:
        """End it, so that what was written is whole; returns the files."""


class JsonLines:
    """One JSON object a line: KEYS, and what the prediction says of itself.

    Args:
        output: the file, or a stream.
    """

    def __init__(self, output: Path | TextIO) -> None:
        self._file = LineFile(output, _is_ours) if isinstance(output, Path) else output
        self._path = output if isinstance(output, Path) else None

    def add(self, each: FramePrediction) -> None:
        """Write one line."""
        frame = each.frame
        record = {"source": frame.source, "name": frame.name, "frame": frame.number, "time_s": frame.time_s}
        self._file.write(json.dumps({**record, **each.found.to_dict()}, allow_nan=False) + "\n")

    def finish(self) -> list[Path]:
        """Close the file."""
        if self._path is None:
            self._file.flush()  # type: ignore[union-attr]
            return []
        self._file.close()
        return [self._path]


def _is_ours(path: Path) -> bool:
    """Say whether a file is empty, or its first line one of ours."""
    with path.open("rb") as file:
        first = file.readline(1 << 20)
    try:
        line = json.loads(first) if first else dict.fromkeys(KEYS)
    except (ValueError, RecursionError):
        return False
    return isinstance(line, dict) and set(KEYS) <= line.keys()


@attrs.frozen(repr=False)
class PredictionSummary(Printable):
    """What was found in all frames.

    Args:
        counts: of frames, points, those of them that are sure, and frames in which nothing is.
        dropped: frames of a live source that nobody had time for.
        problems: a line for each frame that could not be used.
        explanation: why little was found; empty where it was not little.
        files: that were written.
        seconds: this call took.
        signal: number of the signal that ended it early; None where it came to its end.
        least: confidence from which a point counts as sure.
    """

    counts: Mapping[str, int]
    dropped: int
    problems: tuple[str, ...]
    explanation: tuple[str, ...]
    files: tuple[Path, ...]
    seconds: float
    signal: int | None
    least: float

    def summary(self) -> str:
        """Say how much was found, why it was little, and where it lies."""
        frames, points = self.counts["frames"], self.counts["points"]
        rate = frames / self.seconds if self.seconds else 0.0
        lines = [
            f"{counted(frames, 'frame')} in {self.seconds:.1f} s ({rate:.1f} per second); "
            f"{self.counts['sure']} of {counted(points, 'point')} with a confidence of {self.least:g} or more"
        ]
        if self.dropped:
            lines.append(f"{counted(self.dropped, 'frame')} of the camera came too fast and were left out")
        lines += self.explanation
        if self.problems:
            lines.append(f"{counted(len(self.problems), 'frame')} could not be used; first: {self.problems[0]}")
        return "\n".join(map(printable, lines))


def write_predictions(
    predictions: Predictions,
    output: Path | str | TextIO | None = None,
    *,
    format: str | None = None,
    as_labels: float | None = None,
    draw: bool = False,
    least: float = SURE,
    progress: Progress = SILENT,
) -> PredictionSummary:
    """Write predictions as they come, in a thread of their own.

    Ctrl-C ends it early: what was found so far is written, and ``signal`` of the summary says so.

    Args:
        predictions: of :func:`cogkp.predict`; they are closed at the end.
        output: a file, a folder, or a stream for lines of JSON; None makes a file in the working directory. Of a part
            (``shard``) the name says which it is.
        format: one of :data:`FORMATS`; None takes that of the file's ending, else 'jsonl'.
        as_labels: writes a StructuredDataset into the folder ``output`` instead, whose labels are the points of at
            least this confidence.
        draw: whether drawings are written beside the results: an image for each image file, a video for each video.
        least: confidence from which a point counts as sure, in the summary.
        progress: shows frames.

    Returns:
        What was found, and why it was little.

    Raises:
        OutputError: something cannot be written, or would replace what this program did not write.
        DataError: a source ended before its time; what was found before is written.
    """
    with predictions:
        plan = planned(output, format, as_labels is not None, predictions.part)
        if draw:  # before older results are replaced
            require_outside(plan.drawings, predictions.places)
        writers = [_writer(plan, predictions, as_labels)]
        if draw:
            writers.append(Drawings(plan.drawings, predictions.rate))
        return _run(predictions, writers, least, progress)


def _writer(plan: OutputPlan, predictions: Predictions, as_labels: float | None) -> Writer:
    if as_labels is not None and isinstance(plan.output, Path):
        return Labels(plan.output, as_labels, predictions.facts.get("num_segmentation_classes"))
    if not isinstance(plan.output, Path) or plan.format == "jsonl":
        return JsonLines(plan.output)
    if plan.format == "coco":
        return CocoResults(plan.output)
    table = DeepLabCutTable if plan.format == "deeplabcut" else PointsTable
    return table(plan.output, first=plan.part[0] == 1)


def _run(predictions: Predictions, writers: list[Writer], least: float, progress: Progress) -> PredictionSummary:
    started = time.perf_counter()
    _, levels = image_reading(predictions.facts, "the model")
    tally = Tally(least, predictions.facts.get(TRAINING_IMAGES), levels)
    number: int | None = None
    files: list[Path] = []
    with progress.work("predict", predictions.total) as step:
        background = _Background(writers)
        try:
            for each in predictions:
                background.put(each)
                tally.add(each)
                step.advance(**_facts(tally, started))
        except KeyboardInterrupt as stop:
            number = getattr(stop, "number", signal.SIGINT)
        finally:
            files = background.finish()
    return PredictionSummary(
        counts=tally.counts(),
        dropped=predictions.dropped,
        problems=tuple(map(str, predictions.problems)),
        explanation=tuple(tally.explanation()),
        files=tuple(files),
        seconds=time.perf_counter() - started,
        signal=number,
        least=least,
    )


def _facts(tally: Tally, started: float) -> dict[str, Any]:
    seconds = time.perf_counter() - started
    rate = tally.frames / seconds if seconds else 0.0
    sure = tally.sure / tally.points if tally.points else 0.0
    return {"images/s": f"{rate:.1f}", "sure": f"{100 * sure:.0f} %"}


class _Background:
    """Writes in a thread of its own, so that the network need not wait; its errors come back at the next frame."""

    def __init__(self, writers: list[Writer]) -> None:
        self._writers = writers
        self._queue: queue.Queue[FramePrediction | None] = queue.Queue(WAITING)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="cogkp-write", daemon=True)
        self._thread.start()

    def put(self, each: FramePrediction) -> None:
        """Hand a prediction over; raises what went wrong before."""
        if self._error is not None:
            raise self._error
        self._queue.put(each)

    def finish(self) -> list[Path]:
        """Write what waits, and end all files; raises the first error there was."""
        self._queue.put(None)
        self._thread.join()
        files: list[Path] = []
        for writer in self._writers:
            try:
                files += writer.finish()
            except OutputError as error:  # noqa: PERF203 - the others are ended all the same
                self._error = self._error or error
        if self._error is not None:
            raise self._error
        return files

    def _work(self) -> None:
        while (each := self._queue.get()) is not None:
            if self._error is not None:
                continue  # the queue must not fill up
            try:
                for writer in self._writers:
                    writer.add(each)
            except BaseException as error:
                self._error = error
