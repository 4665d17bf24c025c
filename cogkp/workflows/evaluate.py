"""Evaluate a model of any family on labelled images."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from cogkp.artifacts.evaluations import evaluation_files, require_evaluation_folder
from cogkp.config.converter import plain_hash
from cogkp.data.dataset import ImageDataset, Split
from cogkp.files import make_folder
from cogkp.progress import SILENT, Progress
from cogkp.tasks.base import PCK_THRESHOLDS_PX, Metrics
from cogkp.training.distributed import Ranks, together
from cogkp.training.evaluator import measure, merged
from cogkp.workflows.adapter import EvaluationJob, EvaluationRequest, adapter_of
from cogkp.workflows.image_levels import tell_dataset
from cogkp.workflows.report_writer import EvaluationResult, metrics_in, surroundings, training_facts, write_report
from cogkp.workflows.setup import open_loader
from cogkp.workflows.training_job import CHECKPOINT_ROOT

WORST = 12


@together
def evaluate(
    config: Any,
    *,
    model: str | None = None,
    split: Split | None = None,
    thresholds_px: Sequence[float] = PCK_THRESHOLDS_PX,
    world_unit_mm: float | None = None,
    batch_size: int | None = None,
    num_workers: int | None = None,
    worst: int = WORST,
    output_dir: Path | None = None,
    checkpoint_root: Path = CHECKPOINT_ROOT,
    progress: Progress = SILENT,
) -> EvaluationResult:
    """Evaluate a checkpoint, an ONNX file or an engine on images without augmentation.

    Started by ``torchrun``, all processes evaluate together, each on its part of the batches; the figures are those of
    one process, and all return the same result. The first one alone writes and shows progress.

    Args:
        config: what :func:`cogkp.load_config` returns; it names the data.
        model: 'latest', 'best', a run folder, a checkpoint, an ONNX file or an engine. None takes the latest
            checkpoint, or what an experiment's ``evaluate`` section names.
        split: 'validation' or 'evaluation', the main or test data; None takes the validation data of a keypoint
            configuration where it has some, and the test data of an experiment.
        thresholds_px: distances for the share of hits, pixels of the full image.
        world_unit_mm: millimetres per world unit, to tell lengths in millimetres; None tells them in world units.
        batch_size: images at once, in each process; None for 32, or what an experiment says.
        num_workers: loader processes; None for none, or what an experiment says.
        worst: how many of the worst images the page shows.
        output_dir: where the results go; None makes a folder in that of the run, or takes the experiment's.
        checkpoint_root: folder of all runs.
        progress: shows batches.

    Returns:
        Figures and files; ``print(found.text)`` shows them as tables.

    Raises:
        ConfigError: the configuration does not fit together, or names no model.
        ArtifactError: the model cannot be used, or is of another family.
        DataError: data or calibration cannot be used.
        EvaluationError: nothing could be measured, or there are no lengths to report in millimetres.
        OutputError: something cannot be written.
        TrainingError: an experiment asks for several GPUs, and this is one process.
        RankError: another process of this evaluation has ended.
    """
    asked = EvaluationRequest(
        model=model,
        split=split,
        batch_size=batch_size,
        num_workers=num_workers,
        output_dir=output_dir,
        checkpoint_root=checkpoint_root,
        ranks=Ranks.here(),
    )
    return evaluated(
        config, asked, thresholds_px=thresholds_px, world_unit_mm=world_unit_mm, worst=worst, progress=progress
    )


def evaluated(
    config: Any,
    asked: EvaluationRequest,
    *,
    thresholds_px: Sequence[float] = PCK_THRESHOLDS_PX,
    world_unit_mm: float | None = None,
    worst: int = WORST,
    progress: Progress = SILENT,
) -> EvaluationResult:
    """Evaluate on the ranks that the request names, of which this process is one; see :func:`evaluate`."""
    ranks = asked.ranks
    with adapter_of(config).evaluation(config, asked) as job:
        started, opened = time.perf_counter(), job.model
        empty = metrics_in(opened.task.metrics(thresholds_px), world_unit_mm)
        dataset = opened.task.datasets(job.split)
        tell_dataset(opened.task.config, dataset, job.split)
        ranks.require_same(dataset.fingerprint, "data")
        loading = attrs.evolve(job.loading, batch_size=job.loading.batch_size * ranks.launch.ranks)
        loader = open_loader(dataset, loading, shuffle=False, launch=ranks.launch)
        if asked.output_dir is not None and ranks.first:
            require_evaluation_folder(make_folder(asked.output_dir))  # before the work, which would be lost

        def part() -> Metrics:
            measure(opened.predict, empty, loader, progress if ranks.first else SILENT)
            return empty

        def whole(parts: list[Metrics]) -> EvaluationResult:
            seconds = time.perf_counter() - started
            return _written(config, job, dataset, merged(parts), seconds=seconds, worst=worst)

        return ranks.joint(part, whole)


def _written(
    config: Any, job: EvaluationJob, dataset: ImageDataset, metrics: Metrics, *, seconds: float, worst: int
) -> EvaluationResult:
    """Compute the figures, and write all files."""
    report, folder = metrics.compute(), job.folder()
    with evaluation_files(folder) as staging:
        found = write_report(
            staging,
            job.model,
            dataset,
            metrics,
            report,
            circumstances=_circumstances(config, job, dataset.fingerprint, seconds),
            words=job.words,
            worst=worst,
        )
        found = job.finished(report, found)
    return found.moved_to(folder)


def _circumstances(
    config: Any, job: EvaluationJob, data: Sequence[Mapping[str, Any]], seconds: float
) -> dict[str, Any]:
    """Say what was evaluated, by whom and where."""
    plain, model = adapter_of(config).dump(config), job.model
    return {
        "checkpoint": str(model.path),
        "run": "" if model.checkpoint is None else model.checkpoint.provenance.run,
        "origin": model.origin,
        "model": {"kind": model.kind, "precision": model.precision},
        "split": job.split,
        "prefix": job.subject,
        "seconds": seconds,
        "config_sha256": plain_hash(plain),
        "config": plain,
        "training": training_facts(model.checkpoint),
        "data": data,
        **surroundings(),
    }
