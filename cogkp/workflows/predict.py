"""Ask a model of any family about images, and write what it finds: a JSON file and a drawing of each."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs

from cogkp.data.images import encode_image
from cogkp.data.loader import share_of
from cogkp.errors import DataError, Problem, counted, printable
from cogkp.files import is_json_with, marked, write_bytes, write_json
from cogkp.inference.processor import Prepared
from cogkp.progress import SILENT, Progress
from cogkp.training.distributed import Ranks, together
from cogkp.workflows.adapter import AskedImage, PredictionJob, PredictionRequest, adapter_of
from cogkp.workflows.printing import Printable
from cogkp.workflows.training_job import CHECKPOINT_ROOT

DRAWING_SUFFIX = ".jpg"


@attrs.frozen(repr=False)
class InferResult(Printable):
    """What was found in a set of images.

    Args:
        folder: of the results; in it the files of each image, in the tree of the images.
        images: that were looked at.
        counts: of what was found in all of them, as 'points' or 'objects'.
        problems: a line for each image that could not be used.
        seconds: this call took.
    """

    folder: Path
    images: int
    counts: Mapping[str, int]
    problems: tuple[str, ...]
    seconds: float

    def summary(self) -> str:
        """Say how much was found, and where it lies."""
        found = ", ".join(f"{name}: {count}" for name, count in self.counts.items())
        lines = [f"{counted(self.images, 'image')} in {self.seconds:.1f} s; {found}; results: {self.folder}"]
        return "\n".join(map(printable, [*lines, *self.problems]))


@together
def infer(
    config: Any,
    source: Path | str | None = None,
    *,
    model: str | None = None,
    output_dir: Path | None = None,
    checkpoint_root: Path = CHECKPOINT_ROOT,
    progress: Progress = SILENT,
) -> InferResult:
    """Find points or objects in images without labels; to ask about single images, see :func:`cogkp.load`.

    Started by ``torchrun``, each process takes its part of the images; the files are those of one process, and all
    return the same result. The first one alone shows progress.

    Args:
        config: what :func:`cogkp.load_config` returns.
        source: an image, or a folder of images, looked into at any depth; None takes what an experiment names.
        model: 'latest', 'best', a run folder, a checkpoint, an ONNX file or an engine; None takes the latest
            checkpoint, or what an experiment names.
        output_dir: where the results go; None makes a folder in that of the run, or takes the experiment's.
        checkpoint_root: folder of all runs.
        progress: shows images.

    Returns:
        How much was found; each image has a JSON file and a drawing in ``folder``. Images that cannot be used are left
        out and named.

    Raises:
        ConfigError: the configuration does not fit together, or names no model or no images.
        ArtifactError: the model cannot be used, or is of another family.
        DataError: there are no images, or none can be used.
        OutputError: something cannot be written, or results would be written among the images.
        TrainingError: an experiment asks for several GPUs, and this is one process.
        RankError: another process of this prediction has ended.
    """
    started = time.perf_counter()
    asked = PredictionRequest(
        source=None if source is None else Path(source),
        model=model,
        output_dir=output_dir,
        checkpoint_root=checkpoint_root,
        ranks=Ranks.here(),
    )
    ranks = asked.ranks
    with adapter_of(config).prediction(config, asked) as job:
        ranks.require_same([image.name for image in job.images], "images")

        def whole(parts: list[_Part]) -> InferResult:
            result = InferResult(
                folder=job.folder,
                images=sum(part.images for part in parts),
                counts=sum((part.counts for part in parts), Counter[str]()),
                problems=tuple(map(str, [*job.problems, *(each for part in parts for each in part.problems)])),
                seconds=time.perf_counter() - started,
            )
            job.finished(result)
            return result

        return ranks.joint(lambda: _predicted(job, ranks, progress if ranks.first else SILENT), whole)


@attrs.frozen
class _Part:
    """What one rank found: images looked at, counts, and what is wrong with images that cannot be used."""

    images: int
    counts: Counter[str]
    problems: list[Problem]


def _predicted(job: PredictionJob, ranks: Ranks, progress: Progress) -> _Part:
    """Ask about this rank's images, and write what is found."""
    looked_at, counts, problems = 0, Counter[str](), list[Problem]()
    size = min(job.batch_size, job.model.most_rows)
    starts = share_of(range(0, len(job.images), size), ranks.launch)
    with progress.work("predict", sum(len(job.images[start : start + size]) for start in starts)) as work:
        for group in _groups(job, starts, size):
            good = [(image, seen) for image, seen in group if isinstance(seen, Prepared)]
            problems += [seen for _, seen in group if isinstance(seen, Problem)]
            for image, found in zip([image for image, _ in good], _answers(job, good), strict=True):
                _write(job, image, found)
                counts.update(job.count(found))
            looked_at += len(good)
            work.advance(len(group), **{name: str(count) for name, count in counts.items()})
    return _Part(looked_at, counts, problems)


def _groups(
    job: PredictionJob, starts: Sequence[int], size: int
) -> Iterator[list[tuple[AskedImage, Prepared | Problem]]]:
    """Read groups of images, in order; one that cannot be read is its problem."""

    def read(image: AskedImage) -> tuple[AskedImage, Prepared | Problem]:
        try:
            return image, job.model.prepare(image.path)
        except DataError as error:
            return image, error.problem

    with ThreadPoolExecutor(max(1, min(job.workers, size))) as pool:
        for start in starts:
            yield list(pool.map(read, job.images[start : start + size]))


def _answers(job: PredictionJob, group: Sequence[tuple[AskedImage, Prepared]]) -> Sequence[Any]:
    if not group:
        return []
    names = dict.fromkeys(name for image, _ in group for name in image.known)
    known = {name: [image.known.get(name) for image, _ in group] for name in names}
    return job.model.answer([seen for _, seen in group], **known)


def _write(job: PredictionJob, image: AskedImage, found: Any) -> None:
    path = job.folder / image.name
    if job.save_json:
        record = job.record(image, found)
        write_json(path.with_name(f"{path.name}.json"), record, lambda file: is_json_with(file, *record))
    if job.save_drawings:
        drawing = marked(encode_image(job.draw(found), DRAWING_SUFFIX))
        write_bytes(path.with_name(path.name + DRAWING_SUFFIX), drawing)
