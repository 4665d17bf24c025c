"""Measure how long models take until they answer, and what they take it for, side by side."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from cogkp.errors import ModelError, counted, printable
from cogkp.files import is_json_with, write_json
from cogkp.inference.model import Model, ModelLike, opened
from cogkp.progress import SILENT, Progress
from cogkp.workflows.benchmark_runs import (
    STEPS,
    Asked,
    StartUp,
    Steps,
    assumed,
    batches_of,
    draw_images,
    images_of,
    in_turns,
    limited_threads,
    start_ups,
)
from cogkp.workflows.printing import Printable

PERCENTILES = (50, 90, 95, 99)
MANY_RUNS = 100
"""From so many runs on, the 99th percentile is not just the slowest one."""
MEMORY_ANSWERS = 50
"""After so many answers at most, the memory of a fresh process is looked at again."""
MILLI, MEGA = 1e3, 1e-6
MORE_RUNTIMES = ("onnxruntime", "onnxruntime-gpu", "tensorrt", "tensorrt_rtx")
FORMAT_VERSION = 1


@attrs.frozen
class BatchTimes:
    """How long one model takes for batches of one size.

    Args:
        model: its name.
        batch: images that are asked about together.
        runs: batches that were timed.
        latency_ms: from the files of a batch to its answers, milliseconds by percentile: 'p50', 'p90', 'p95', 'p99'.
        images_per_s: images over the time of all runs, one batch after the other.
        step_ms: medians of the steps, milliseconds: 'decode', 'prepare', 'network', 'answer'.
        share: of each step in the time of all runs; they add to 1.
        ratio: the median over that of the first model with this batch; None where that has none.
        ratio_quartiles: the middle half of the ratios round by round.
    """

    model: str
    batch: int
    runs: int
    latency_ms: Mapping[str, float]
    images_per_s: float
    step_ms: Mapping[str, float]
    share: Mapping[str, float]
    ratio: float | None = None
    ratio_quartiles: tuple[float, float] | None = None


@attrs.frozen
class MeasuredModel:
    """A model that was measured.

    Args:
        name: short, one of its own.
        path: its file.
        family: the word for its family.
        runs_on: what ran it, and where.
        start_up: of fresh processes; None where nobody asked for it, or there is no file.
    """

    name: str
    path: Path
    family: str
    runs_on: str
    start_up: StartUp | None


@attrs.frozen(repr=False)
class BenchmarkResult(Printable):
    """What was measured; ``repr`` shows it as tables.

    Args:
        models: in the order given; the first is the measure of the others.
        times: of each model and batch, in the order of models.
        settings: images, threads, warm-up, runs and starts.
        machine: processor, cores, GPUs, system.
        versions: of the libraries.
        notes: what to keep in mind when reading the figures.
    """

    models: tuple[MeasuredModel, ...]
    times: tuple[BatchTimes, ...]
    settings: Mapping[str, Any]
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def report(self) -> dict[str, Any]:
        """Everything as plain values, ready for JSON."""
        content = attrs.asdict(self, value_serializer=lambda _, __, value: str(value) if _is_path(value) else value)
        return {"format_version": FORMAT_VERSION, **content}

    def write(self, path: Path) -> None:
        """Write the report as a JSON file; OutputError where it cannot be written, or is none of ours."""
        write_json(path, self.report, lambda file: is_json_with(file, "format_version", "models", "times"))

    def summary(self) -> str:
        """Show what was measured as tables."""
        blocks = [self._latency_table(), self._step_table(), self._start_table(), self._origin()]
        return "\n\n".join("\n".join(map(printable, block)) for block in blocks if block)

    def _latency_table(self) -> list[str]:
        head = ("model", "batch", *(f"p{each} ms" for each in PERCENTILES), "images/s", "ratio (quartiles)")
        rows = [
            (
                each.model,
                str(each.batch),
                *(f"{value:.2f}" for value in each.latency_ms.values()),
                f"{each.images_per_s:.1f}",
                _ratio_text(each),
            )
            for each in self.times
        ]
        return _table("from image file to answer", head, rows)

    def _step_table(self) -> list[str]:
        head = ("model", "batch", *(f"{step} ms" for step in STEPS), *(f"{step} %" for step in STEPS))
        rows = [
            (
                each.model,
                str(each.batch),
                *(f"{value:.2f}" for value in each.step_ms.values()),
                *(f"{100 * value:.0f}" for value in each.share.values()),
            )
            for each in self.times
        ]
        return _table("steps: medians, and shares of the whole time", head, rows)

    def _start_table(self) -> list[str]:
        head = ("model", "import s", "load s", "first answer s", "MB imported", "MB held", "MB grown", "MB at most")
        rows = [(each.name, *_start_cells(each.start_up)) for each in self.models if each.start_up is not None]
        return _table("a fresh process", head, rows) if rows else []

    def _origin(self) -> list[str]:
        lines = [f"{each.name}: {each.path}, {each.family}, {each.runs_on}" for each in self.models]
        lines += [
            f"{name.replace('_', ' ')}: {_words(value)}"
            for name, value in (*self.settings.items(), *self.machine.items())
        ]
        lines.append(", ".join(f"{name} {value}" for name, value in self.versions.items()))
        return [*lines, *(f"note: {note}" for note in self.notes)]


def benchmark(
    *models: ModelLike,
    batches: Sequence[int] | None = None,
    images: Path | str | None = None,
    size_wh: tuple[int, int] = (640, 480),
    threads: int = 0,
    fixed_buffers: bool = False,
    warmup: int = 10,
    runs: int = 100,
    starts: int = 3,
    progress: Progress = SILENT,
    **ask: Any,
) -> BenchmarkResult:
    """Measure how long models take from an image file to its answer, step by step, and until their first answer.

    Models take turns, batch by batch, so that a busy moment of the machine hits all of them alike. Start-up and memory
    are those of fresh processes.

    Args:
        models: checkpoints, run folders, ONNX files or engines of any family, or models that are open; the first is
            the measure of the others.
        batches: images that are asked about together; None takes 1 and 8 for a model of any batch, else its own.
        images: a folder of images, or one; None draws some.
        size_wh: of drawn images, pixels.
        threads: of ONNX Runtime, torch and OpenCV; 0 leaves the choice to them. A model that is open keeps its own.
        fixed_buffers: see :func:`cogkp.load`; a model that is open keeps its own.
        warmup: batches that are not timed.
        runs: batches that are timed, of each model and size of batch.
        starts: fresh processes of each model; 0 measures no start-up and no memory.
        progress: shows rounds.
        ask: what a model must know beside an image, as ``box`` or ``camera``. Where nothing is said, a box of the whole
            image and a camera of some focal length are taken.

    Returns:
        Percentiles of the latency, throughput, shares of the steps, start-up, memory, machine and versions.

    Raises:
        ModelError: there is no model, one is closed, does not take a batch, or none has a use for an argument.
        ArtifactError: a model cannot be used.
        DataError: there are no images, or one cannot be used.
    """
    if not models:
        raise ModelError("there is no model", expected="one model file or more", got="none")
    for name, value, least in (
        ("runs", runs, 1),
        ("warmup", warmup, 0),
        ("starts", starts, 0),
        ("threads", threads, 0),
    ):
        if value < least:
            raise ModelError(f"cannot measure with {name} = {value}", expected=f">= {least}")
    with limited_threads(threads), ExitStack() as held:
        ours = [held.enter_context(opened(each, threads=threads, fixed_buffers=fixed_buffers)) for each in models]
        files = _images(images, size_wh, held)
        asked = [_asked(name, model, files[0], ask) for name, model in zip(_names(ours), ours, strict=True)]
        _require_use(asked, ask)
        cells = [(each, batch) for each in asked for batch in batches_of(each.model, batches)]
        times = in_turns(cells, files, warmup=warmup, runs=runs, progress=progress)
        answers = 1 + min(runs, MEMORY_ANSWERS)
        fresh = start_ups(asked, files, threads=threads, fixed_buffers=fixed_buffers, starts=starts, answers=answers)
        measured = tuple(
            MeasuredModel(each.name, each.model.path, each.model.family, each.model.runs_on, start_up)
            for each, start_up in zip(asked, fresh, strict=True)
        )
        drawn = "drawn, {} x {} pixels".format(*size_wh)
        return BenchmarkResult(
            models=measured,
            times=_compared([(each.name, batch) for each, batch in cells], times),
            settings={
                "images": drawn if images is None else f"{counted(len(files), 'image')} of {images}",
                "threads": threads or "as the libraries choose",
                "fixed_buffers": fixed_buffers,
                "warmup": warmup,
                "runs": runs,
                "starts": starts,
            },
            machine=_machine(),
            versions=_versions(),
            notes=tuple(_notes(asked, ask, images is None, runs, fixed_buffers)),
        )


def _images(place: Path | str | None, size_wh: tuple[int, int], held: ExitStack) -> list[Path]:
    if place is not None:
        return images_of(Path(place))
    return draw_images(Path(held.enter_context(tempfile.TemporaryDirectory())), size_wh)


def _names(models: Sequence[Model]) -> list[str]:
    """Name each model by its file, and by its path where two files have one name; the same file twice is counted."""
    short = Counter(path.name for path in {model.path for model in models})
    names = [model.path.name if short[model.path.name] == 1 else str(model.path) for model in models]
    again = [names[:place].count(name) for place, name in enumerate(names)]
    return [name if not number else f"{name} ({number + 1})" for name, number in zip(names, again, strict=True)]


def _asked(name: str, model: Model, image: Path, ask: Mapping[str, Any]) -> Asked:
    filled = assumed(model, image, ask)
    look = {key: value for key, value in filled.items() if model.looks_with(key)}
    return Asked(name, model, look, {key: value for key, value in filled.items() if key not in look})


def _require_use(asked: Sequence[Asked], ask: Mapping[str, Any]) -> None:
    """Refuse what no model has a use for; what only some of them have a use for is for these."""
    useful = {name for each in asked for name in (*each.look, *each.known)}
    for name in ask:
        if name not in useful:
            raise ModelError(f"no model has a use for {name!r}", where=", ".join(each.name for each in asked))


def _compared(cells: Sequence[tuple[str, int]], times: Sequence[Sequence[Steps]]) -> tuple[BatchTimes, ...]:
    """Sum up what was timed; ratios are to the first model with the same batch."""
    whole = [np.array(each).sum(axis=1) for each in times]
    first = {batch: row for row, (name, batch) in reversed(list(enumerate(cells))) if name == cells[0][0]}
    return tuple(
        _batch_times(name, batch, np.array(times[row]), whole[first[batch]] if batch in first else None)
        for row, (name, batch) in enumerate(cells)
    )


def _batch_times(name: str, batch: int, steps: Any, reference: Any) -> BatchTimes:
    """Sum up one model and batch: ``steps`` (runs, 4) seconds, ``reference`` (runs,) seconds of the first model."""
    whole = steps.sum(axis=1)
    ratio = quartiles = None
    if reference is not None:
        ratio = float(np.median(whole) / np.median(reference))
        low, high = np.percentile(whole / reference, (25, 75))
        quartiles = (float(low), float(high))
    medians, sums = MILLI * np.median(steps, axis=0), steps.sum(axis=0) / whole.sum()
    latencies = MILLI * np.percentile(whole, PERCENTILES)
    return BatchTimes(
        model=name,
        batch=batch,
        runs=len(steps),
        latency_ms={f"p{each}": float(value) for each, value in zip(PERCENTILES, latencies, strict=True)},
        images_per_s=float(batch * len(steps) / whole.sum()),
        step_ms=dict(zip(STEPS, medians.tolist(), strict=True)),
        share=dict(zip(STEPS, sums.tolist(), strict=True)),
        ratio=ratio,
        ratio_quartiles=quartiles,
    )


def _notes(
    asked: Sequence[Asked], ask: Mapping[str, Any], drawn: bool, runs: int, fixed_buffers: bool
) -> Iterator[str]:
    families = sorted({each.model.family for each in asked})
    if len(families) > 1:
        yield (
            f"models of {' and '.join(families)} answer different questions; what is compared is the time of each for "
            "its own answer, from the same files"
        )
    if drawn:
        yield "drawn images: decoding, and answers that depend on what is found, may take another time on real ones"
    for name in ("box", "camera"):
        unsaid = [each.name for each in asked if name in {**each.look, **each.known} and name not in ask]
        if unsaid:
            what = "the whole image" if name == "box" else "some focal length"
            yield f"no {name} was given; {', '.join(unsaid)}: a {name} of {what} was taken"
    if fixed_buffers and (without := [each.name for each in asked if each.model.runs_on.startswith("torch")]):
        yield f"a checkpoint has no fixed buffers: {', '.join(without)}"
    if runs < MANY_RUNS:
        yield f"of {counted(runs, 'run')} p99 is little else than the slowest"


def _machine() -> dict[str, Any]:
    from cogkp.artifacts.run_record import describe_machine

    return {name: value for name, value in describe_machine().items() if name != "threads"}


def _versions() -> dict[str, str]:
    from cogkp.artifacts.run_record import installed_version, library_versions

    more = {name: found for name in MORE_RUNTIMES if (found := installed_version(name))}
    return {**library_versions(), **more}


def _is_path(value: Any) -> bool:
    return isinstance(value, Path)


def _words(value: Any) -> str:
    return (", ".join(map(str, value)) or "none") if isinstance(value, list) else str(value)


def _ratio_text(each: BatchTimes) -> str:
    if each.ratio is None or each.ratio_quartiles is None:
        return "-"
    return "{:.2f} ({:.2f}-{:.2f})".format(each.ratio, *each.ratio_quartiles)


def _start_cells(start: StartUp) -> tuple[str, ...]:
    seconds = (f"{value:.2f}" for value in (start.import_s, start.load_s, start.first_answer_s))
    grown = None
    if start.last_answer_bytes is not None and start.first_answer_bytes is not None:
        grown = start.last_answer_bytes - start.first_answer_bytes
    held = (start.imported_bytes, start.first_answer_bytes, grown, start.peak_bytes)
    return (*seconds, *("-" if value is None else f"{MEGA * value:.1f}" for value in held))


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lay out rows below a head, the first column to the left and all others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) if not place else cell.rjust(width) for place, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(row, widths, strict=True)) for row in (head, *rows))
    )
    return [title, *lines]
