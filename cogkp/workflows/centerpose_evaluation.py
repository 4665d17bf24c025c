"""The verb ``evaluate`` of an experiment: labelled pictures judge a checkpoint, an ONNX file or an engine."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from cogkp.artifacts.evaluations import is_evaluation_file
from cogkp.artifacts.runs import METRICS_NAME
from cogkp.config.centerpose.io import dump_experiment
from cogkp.config.centerpose.spec import CenterPoseConfig
from cogkp.config.plain import plain_hash
from cogkp.config.train import TrainOptions
from cogkp.data.dataset import Split
from cogkp.files import write_text
from cogkp.measures.evidence import Evidence
from cogkp.measures.text_table import table_lines
from cogkp.progress import SILENT, Progress
from cogkp.training.evaluator import evaluate as measure
from cogkp.workflows.centerpose_model import ExperimentModel, opened_model
from cogkp.workflows.evaluation_page import OBJECTS
from cogkp.workflows.report_parts import read_epochs
from cogkp.workflows.report_writer import Judged, surroundings, training_facts
from cogkp.workflows.results_folder import at_work
from cogkp.workflows.setup import open_loader

__all__ = ["ExperimentEvaluation", "evaluate_experiment", "rows_of"]

TEXT_NAME = "report.txt"
ROWS_NAME = "report.csv"
SHORT = {"validation": "val", "evaluation": "test"}
WORST = 12


@attrs.frozen
class ExperimentEvaluation:
    """What an evaluation found.

    Args:
        folder: of its results.
        report: everything, ready for JSON.
        text: the figures worth a look, as tables.
        headline: those worth a glance.
        text_path: tables of all figures.
        rows_path: errors object by object, CSV.
        json_path: the report.
        html_path: everything on one page, pictures included.
        picture_path: predictions drawn over pictures.
    """

    folder: Path
    report: Mapping[str, Any]
    text: str
    headline: str
    text_path: Path
    rows_path: Path
    json_path: Path
    html_path: Path
    picture_path: Path


def evaluate_experiment(
    config: CenterPoseConfig, *, split: Split = "evaluation", progress: Progress = SILENT
) -> ExperimentEvaluation:
    """Judge the model that an experiment names by labelled pictures.

    Args:
        config: the experiment; ``evaluate.checkpoint``, else ``evaluate.trt_engine``, names a checkpoint, an ONNX file
            or an engine.
        split: 'evaluation' for the pictures of ``dataset.test_data``, 'validation' for those of ``dataset.val_data``.
        progress: shows batches.

    Raises:
        ConfigError: the experiment does not fit together, or names no model or no folder of results.
        ArtifactError: the model cannot be used, or is of another family.
        DataError: data cannot be used.
        EvaluationError: no picture has an object that could be judged, or a camera is not known.
        OutputError: something cannot be written.
    """
    with at_work(config, "evaluate") as (results, status), opened_model(config, "evaluate") as model:
        judged = _judged(config, model, split, progress)
        found = judged.written(results.folder, WORST)
        text_path, rows_path = results.folder / TEXT_NAME, results.folder / ROWS_NAME
        write_text(text_path, f"{found.text}\n", is_evaluation_file)
        write_text(rows_path, rows_of(judged.report.evidence), is_evaluation_file)
        scalars = judged.report.scalars()
        kpi = {f"{SHORT.get(split, split)}_{name}": value for name, value in scalars.items()}
        status.write("SUCCESS", "the evaluation is done", kpi=kpi)
        return ExperimentEvaluation(
            folder=results.folder,
            report=found.report,
            text=_brief(judged),
            headline=judged.report.headline(),
            text_path=text_path,
            rows_path=rows_path,
            json_path=found.json_path,
            html_path=found.html_path,
            picture_path=found.picture_path,
        )


def _judged(config: CenterPoseConfig, model: ExperimentModel, split: Split, progress: Progress) -> Judged:
    started, section = time.perf_counter(), config.evaluate
    size = config.dataset.batch_size if section.batch_size < 1 else section.batch_size
    dataset = model.task.datasets(split)
    loader = open_loader(dataset, TrainOptions(batch_size=size, num_workers=config.dataset.workers), shuffle=False)
    metrics = model.task.metrics()
    report = measure(model.predict, model.task, loader, progress, metrics=metrics)
    plain = dump_experiment(config)
    return Judged(
        codec=model.task.codec,
        dataset=dataset,
        predict=model.predict,
        metrics=metrics,
        report=report,
        circumstances={
            "checkpoint": str(model.path),
            "run": "" if model.checkpoint is None else model.checkpoint.provenance.run,
            "origin": model.origin,
            "split": split,
            "prefix": config.dataset.category,
            "seconds": time.perf_counter() - started,
            "config_sha256": plain_hash(plain),
            "config": plain,
            "training": training_facts(model.checkpoint),
            "data": dataset.fingerprint,
            **surroundings(),
        },
        history=read_epochs(model.path.parent / METRICS_NAME) if model.checkpoint else [],
        words=OBJECTS,
    )


def _brief(judged: Judged) -> str:
    report, source, split = judged.report, judged.circumstances["checkpoint"], judged.circumstances["split"]
    tables = [line for table in report.tables() for line in ("", *table_lines(table))]
    return "\n".join([f"{source} on {judged.words.data(split)}", *tables, "", *report.notes()]).rstrip()


def rows_of(evidence: Evidence) -> str:
    """Write errors object by object as CSV; cells are empty where nothing was measured.

    Args:
        evidence: measures of the same rows and columns.
    """
    head = [each.key if each.key.endswith(each.unit) else f"{each.key}_{each.unit}" for each in evidence.measures]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["picture", "object", *head])
    first = evidence.measures[0]
    for row, column in np.argwhere(np.isfinite(first.values)).tolist():
        cells = [measure.values[row, column] for measure in evidence.measures]
        picture = evidence.frames[first.frame[row]]
        writer.writerow([picture, column + 1, *("" if np.isnan(cell) else f"{cell:.6g}" for cell in cells)])
    return stream.getvalue()
