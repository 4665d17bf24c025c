"""The CenterPose adapter: an experiment file holds all options, its results folder all results."""

import csv
import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from cogkp.artifacts.evaluations import require_evaluation_folder
from cogkp.artifacts.manifest import Origin
from cogkp.artifacts.names import file_sha256
from cogkp.config.centerpose import rules
from cogkp.config.centerpose.io import dump_experiment, structure_experiment
from cogkp.config.centerpose.results import onnx_path, results_of
from cogkp.config.centerpose.spec import CenterPoseConfig
from cogkp.config.converter import plain_hash
from cogkp.config.images import ImageFiles
from cogkp.config.train import TrainOptions
from cogkp.data.boxes.view import BoxInput
from cogkp.data.dataset import Split
from cogkp.data.images import read_colour
from cogkp.data.images.survey import evenly
from cogkp.errors import ConfigError, DataError, ExportError, Problem, printable
from cogkp.exporter.dynamo import LEGACY
from cogkp.files import write_text
from cogkp.inference.exported import Exported
from cogkp.measures.evidence import Evidence
from cogkp.measures.figures import table_lines
from cogkp.tasks.base import Report
from cogkp.tasks.centerpose.detections import DecodedObjects
from cogkp.tasks.centerpose.task import CenterPoseTask
from cogkp.training.distributed import Ranks
from cogkp.workflows.adapter import (
    Adapter,
    EngineJob,
    EngineRequest,
    EvaluationJob,
    EvaluationRequest,
    ExportJob,
    ExportRequest,
    PredictionJob,
    PredictionRequest,
)
from cogkp.workflows.evaluation_page import Words
from cogkp.workflows.families.centerpose.engine import available_images, engine_job
from cogkp.workflows.families.centerpose.inference import prediction_job, require_image_folder, to_ask
from cogkp.workflows.families.centerpose.model import (
    input_size,
    open_experiment_checkpoint,
    opened_model,
    require_colours,
    require_outputs,
)
from cogkp.workflows.families.centerpose.results_folder import AtWork, at_work, first_at_work
from cogkp.workflows.families.centerpose.torchrun import require_started
from cogkp.workflows.families.centerpose.training import CORNER_NAMES, Training, begin_training, start_network
from cogkp.workflows.image_levels import with_exported_levels
from cogkp.workflows.report_writer import EvaluationResult
from cogkp.workflows.setup import restored_task
from cogkp.workflows.training_job import TrainingRequest

__all__ = ["ADAPTER", "CenterPoseAdapter", "rows_of"]

PARITY_SAMPLES = 4
DYNAMO_OPSET = 18  # the oldest that torch's other exporter writes this network with
TEXT_NAME = "report.txt"
ROWS_NAME = "report.csv"
SHORT = {"validation": "val", "evaluation": "test"}

log = logging.getLogger("cogkp")


class CenterPoseAdapter(Adapter):
    """The adapter of the CenterPose family: an experiment holds all options."""

    words = Words(
        column="",
        curves="Average precision",
        worst="By the worst {measure} of any object. Thin white edges are labels, red ones predictions.",
        evaluation="test",
    )

    def structure(self, plain: Mapping[str, Any]) -> CenterPoseConfig:
        return structure_experiment(plain)

    def dump(self, config: CenterPoseConfig) -> dict[str, Any]:
        return dump_experiment(config)

    def check(self, config: CenterPoseConfig, options: TrainOptions) -> Sequence[Problem]:
        return rules.check(config, "train")

    def check_loading(self, config: CenterPoseConfig, options: TrainOptions) -> Sequence[Problem]:
        return rules.check(config, "train")

    def splits(self, config: CenterPoseConfig) -> Mapping[Split, str]:
        return {"train": "dataset.train_data", "validation": "dataset.val_data"}

    def points(self, config: CenterPoseConfig) -> tuple[str, ...]:
        return CORNER_NAMES

    def roots(self, config: CenterPoseConfig) -> tuple[str, ...]:
        return (str(config.dataset.train_data),)

    def network(self, config: CenterPoseConfig) -> str:
        model = config.model
        width, heads = model.backbone.width, model.head_conv
        return f"the backbone '{model.backbone.model_type}' of width {width} and {heads} channels in each head"

    def subject(self, config: CenterPoseConfig) -> str:
        return config.dataset.category

    def needs_labels(self, config: CenterPoseConfig) -> bool:
        return False

    def start_weights(self, config: CenterPoseConfig, task: CenterPoseTask, options: TrainOptions) -> None:
        start_network(task, config)

    def training(self, config: CenterPoseConfig, asked: TrainingRequest, ranks: Ranks) -> Training:
        """Begin a training."""
        return begin_training(self, config, asked, ranks)

    @contextmanager
    def evaluation(self, config: CenterPoseConfig, asked: EvaluationRequest) -> Iterator[EvaluationJob]:
        """Hold the results folder, and open what the ``evaluate`` section names."""
        changed: dict[str, Any] = {} if asked.output_dir is None else {"results_dir": str(asked.output_dir)}
        if asked.model is not None:
            changed |= {"checkpoint": str(asked.model), "trt_engine": None}
        config = attrs.evolve(config, evaluate=attrs.evolve(config.evaluate, **changed))
        data, section = config.dataset, config.evaluate
        size = asked.batch_size or (data.batch_size if section.batch_size < 1 else section.batch_size)
        workers = data.workers if asked.num_workers is None else asked.num_workers
        if not asked.in_training:
            require_started(section, "evaluate")
        folder, split = results_of(config, "evaluate").path, asked.split or "evaluation"
        with first_at_work(config, "evaluate", asked.ranks) as work, opened_model(config, asked.ranks) as model:
            if work is not None:
                require_evaluation_folder(folder)  # before the work, which would be lost
            yield EvaluationJob(
                model=model,
                split=split,
                loading=TrainOptions(batch_size=size, num_workers=workers),
                folder=lambda: folder,
                subject=data.category,
                words=self.words,
                finished=partial(_evaluated, work, split),
            )

    def image_files(self, config: CenterPoseConfig) -> ImageFiles:
        return config.dataset.images

    def with_image_files(self, config: CenterPoseConfig, files: ImageFiles) -> CenterPoseConfig:
        return attrs.evolve(config, dataset=attrs.evolve(config.dataset, images=files))

    def fitted(self, config: CenterPoseConfig, found: Exported, path: Path) -> tuple[CenterPoseTask, type[Any]]:
        """Compare an exported model with the experiment, and take its input size."""
        require_outputs(found.runner.signature, found.facts, path)
        require_colours(found, path, config)
        config = with_exported_levels(config, found.facts, str(path))
        return CenterPoseTask(config, size_wh=input_size(found, path, config)), DecodedObjects

    @contextmanager
    def export(self, config: CenterPoseConfig, asked: ExportRequest) -> Iterator[ExportJob]:
        """Hold the results folder; the ``export`` section says what and how."""
        if problems := list(_said_twice(asked)):
            raise ConfigError(problems)
        if asked.checkpoint is not None:
            config = attrs.evolve(config, export=attrs.evolve(config.export, checkpoint=asked.checkpoint))
        section = config.export
        with at_work(config, "export") as work:
            path, checkpoint = onnx_path(section), Path(str(section.checkpoint))
            _require_new(path)
            restored = open_experiment_checkpoint(checkpoint, config)
            task, sha256 = restored_task(config, restored), plain_hash(dump_experiment(config))

            def finished(parity: Mapping[str, float]) -> None:
                kpi = {f"parity_{name}": off for name, off in parity.items()}
                work.status.write("SUCCESS", f"{path.name} is exported", kpi=kpi)

            yield ExportJob(
                folder=work.results.path,
                task=task,
                origin=Origin(sha256, str(checkpoint), file_sha256(checkpoint), restored.checkpoint.images),
                onnx=path,
                engine=None,
                precision="fp32",
                batch_size=None if section.batch_size < 1 else section.batch_size,
                builder="auto",
                samples=_samples(task.config),
                opset=_opset(section.opset_version, asked.exporter),
                fold=section.do_constant_folding,
                verbose=section.verbose,
                finished=finished,
            )

    @contextmanager
    def prediction(self, config: CenterPoseConfig, asked: PredictionRequest) -> Iterator[PredictionJob]:
        """Hold the results folder; the ``inference`` section says what is asked."""
        section, data = config.inference, config.dataset
        if asked.output_dir is not None:
            section = attrs.evolve(section, results_dir=str(asked.output_dir))
        if asked.model is not None:
            section = attrs.evolve(section, checkpoint=asked.model, trt_engine=None)
        if asked.source is not None:
            data = attrs.evolve(data, inference_data=str(asked.source))
        config = attrs.evolve(config, inference=section, dataset=data)
        require_image_folder(config)
        require_started(section, "inference")
        with (
            first_at_work(config, "inference", asked.ranks) as work,
            prediction_job(config, work, asked.ranks) as job,
        ):
            yield job

    def to_ask(self, config: CenterPoseConfig) -> CenterPoseConfig:
        return to_ask(config)

    @contextmanager
    def engine(self, config: CenterPoseConfig, asked: EngineRequest) -> Iterator[EngineJob]:
        """Hold the results folder; the ``gen_trt_engine`` section says what is built."""
        given = {"onnx_file": asked.onnx, "trt_engine": asked.engine}
        changed: dict[str, Any] = {name: str(path) for name, path in given.items() if path is not None}
        config = attrs.evolve(config, gen_trt_engine=attrs.evolve(config.gen_trt_engine, **changed))
        with at_work(config, "gen_trt_engine") as work, engine_job(config, asked, work) as job:
            yield job


ADAPTER = CenterPoseAdapter()


def _evaluated(work: AtWork | None, split: Split, report: Report, found: EvaluationResult) -> EvaluationResult:
    """Write tables and rows, and the last line of the status file; what is printed leaves the rows to the files."""
    assert work is not None  # only the first rank writes
    text_path, rows_path = found.folder / TEXT_NAME, found.folder / ROWS_NAME
    write_text(text_path, f"{found.text}\n")
    write_text(rows_path, rows_of(report.evidence))
    kpi = {f"{SHORT.get(split, split)}_{name}": value for name, value in report.scalars().items()}
    work.status.write("SUCCESS", "the evaluation is done", kpi=kpi)
    tables = [line for table in report.tables() for line in ("", *table_lines(table))]
    brief = "\n".join([found.text.partition("\n")[0], *tables, "", *report.notes()]).rstrip()
    return attrs.evolve(found, text=brief, text_path=text_path, rows_path=rows_path)


def _said_twice(asked: ExportRequest) -> Iterator[Problem]:
    """List what an experiment says itself."""
    if asked.options is not None:
        hint = "Change the experiment, or override its keys."
        yield Problem("an experiment says itself how it is exported", "options", "None", "options", hint)
    if asked.untrained:
        yield Problem("an experiment exports a checkpoint", "untrained", "False", "True")


def _opset(stated: int, exporter: str) -> int:
    if exporter == LEGACY or stated >= DYNAMO_OPSET:
        return stated
    said = "the exporter '%s' writes this network with ONNX operator set %d, not export.opset_version %d"
    log.warning(said, exporter, DYNAMO_OPSET, stated)
    return DYNAMO_OPSET


def _require_new(path: Path) -> None:
    if path.exists():
        raise ExportError(
            "there is such a file already",
            where=str(path),
            hint="Remove it, or give another name as export.onnx_file.",
        )


def _samples(config: CenterPoseConfig) -> dict[str, npt.NDArray[np.float32]]:
    """Take a few real images where they are at hand; exporting must not depend on them."""
    export, data = config.export, config.dataset
    files = data.images
    view = BoxInput(size_wh=(export.input_width, export.input_height), mean=data.mean, std=data.std)
    try:
        paths = available_images(config)
        chosen = [paths[row] for row in evenly(len(paths), PARITY_SAMPLES)]
        read = partial(read_colour, oriented=files.apply_exif_orientation, levels=files.levels_16bit)
        return {path.name: view.of(read(path))[0] for path in chosen}
    except DataError as error:
        log.warning("comparing on synthetic inputs alone, since an image cannot be read: %s", error)
        return {}


def rows_of(evidence: Evidence) -> str:
    """Write errors object by object as CSV; cells are empty where nothing was measured."""
    head = [each.key if each.key.endswith(each.unit) else f"{each.key}_{each.unit}" for each in evidence.measures]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["picture", "object", *head])
    first = evidence.measures[0]
    for row, column in np.argwhere(np.isfinite(first.values)).tolist():
        cells = [measure.values[row, column] for measure in evidence.measures]
        image = evidence.frames[first.frame[row]]
        writer.writerow([printable(image), column + 1, *("" if np.isnan(cell) else f"{cell:.6g}" for cell in cells)])
    return stream.getvalue()
