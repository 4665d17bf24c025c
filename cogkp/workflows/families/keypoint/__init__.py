"""The keypoint family's adapter: runs under a root of checkpoints, options from the caller."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import torch

from cogkp.artifacts.checkpoint import Provenance
from cogkp.artifacts.manifest import Origin
from cogkp.artifacts.model_files import file_sha256
from cogkp.artifacts.names import engine_path, onnx_name, timestamp
from cogkp.artifacts.restore import Restored, open_checkpoint
from cogkp.artifacts.runs import CONFIG_NAME, LATEST, RunFolder, in_use, own_name
from cogkp.artifacts.weight_file import find_weights, read_weights
from cogkp.config.export import ExportOptions
from cogkp.config.keypoint.io import config_hash, dump, structure
from cogkp.config.keypoint.rules import check_training
from cogkp.config.keypoint.spec import KeypointConfig
from cogkp.config.train import TrainOptions
from cogkp.data.dataset import Split
from cogkp.errors import ArtifactError, ConfigError, DataError, ExportError, Problem
from cogkp.export.engine_options import AS_THE_FILE_SAYS
from cogkp.files import make_folder, write_json
from cogkp.inference.exported import Exported, described_onnx
from cogkp.models.encoder_weights import LoadedEncoder, load_encoder
from cogkp.models.keypoint import KeypointMaskOutputs, KeypointOutputs
from cogkp.models.resnet import RESNET18_WEIGHTS
from cogkp.tasks.base import Report, Task
from cogkp.tasks.keypoint.task import KeypointTask
from cogkp.tasks.registry import build_task
from cogkp.training.checkpointer import RunCheckpointer
from cogkp.training.distributed import Ranks
from cogkp.training.plan import Plan, plan_training
from cogkp.training.precision import resolve_precision
from cogkp.training.seeding import seed_everything
from cogkp.training.sinks import Sink
from cogkp.training.trainer import FitResult
from cogkp.workflows.adapter import (
    EngineJob,
    EngineRequest,
    EvaluationRequest,
    ExportJob,
    ExportRequest,
    OpenedModel,
    RunPlace,
    TrainingRequest,
)
from cogkp.workflows.evaluation_page import Words
from cogkp.workflows.resume import changed_config, folder_for
from cogkp.workflows.setup import is_exported, open_model, restored_task, spread

__all__ = ["ADAPTER", "KeypointAdapter", "start_encoder"]

BATCH_SIZE = 32
PARITY_SAMPLES = 8
WORDS = Words(
    column="point",
    curves="Uncertainty",
    worst="By the worst {measure} of any point. Rings are labels, crosses are predictions.",
    evaluation="main",
)

log = logging.getLogger("cogkp")


def _require_runnable(config: KeypointConfig, options: TrainOptions) -> None:
    if problems := check_training(config, options):
        raise ConfigError(problems)


def start_encoder(task: KeypointTask, options: TrainOptions) -> LoadedEncoder | None:
    """Load the encoder that the options name, and log what was loaded and what was not; None where they name none.

    Raises:
        CheckpointError: there is no such file, or it holds no weights.
        ModelError: it holds those of another network; the task's network is then untouched.
    """
    if options.encoder_weights is None:
        return None
    found = read_weights(find_weights(options.encoder_weights, RESNET18_WEIGHTS))
    loaded = load_encoder(task.model, found.weights, str(found.path))
    passed = f"; not used from there: {', '.join(loaded.passed_over)}" if loaded.passed_over else ""
    log.info(
        "encoder from %s (%s): %d tensors, %s numbers%s; %s start from random weights",
        found.path,
        found.origin,
        loaded.tensors,
        f"{loaded.numbers:,}",
        passed,
        ", ".join(loaded.fresh),
    )
    return loaded


@attrs.frozen(eq=False)
class _Training:
    """A training of points; see :class:`cogkp.workflows.adapter.TrainingJob`."""

    config: KeypointConfig
    asked: TrainingRequest
    ranks: Ranks

    is_dry_run = False
    device: torch.device | None = None
    pins_memory = True

    def held(self) -> nullcontext[None]:
        return nullcontext()

    def restored(self) -> Restored | None:
        restore = self.asked.restore
        return None if restore is None else open_checkpoint(restore, self.asked.checkpoint_root)

    def config_changes(self, restored: Restored) -> list[str]:
        return changed_config(restored, self.config, allowed=self.asked.allow_config_change)

    def plan(self, restored: Restored | None) -> Plan:
        options = self.asked.options or TrainOptions()
        plan = plan_training(options, self.asked.given, None if restored is None else restored.checkpoint)
        _require_runnable(self.config, plan.options)
        return plan

    def start_weights(self, task: Task, options: TrainOptions) -> None:
        assert isinstance(task, KeypointTask)
        start_encoder(task, options)

    def splits(self) -> Mapping[Split, str]:
        held_out: dict[Split, str] = {"validation": "validation.base_dir"} if self.config.validation.base_dir else {}
        return {"train": "base_dir", **held_out}

    def needs_labels(self) -> bool:
        return not self.config.targets.segmentation

    @contextmanager
    def place(self, restored: Restored | None) -> Iterator[RunFolder]:
        """Let the first rank hold the run's folder; the others are told where it is."""
        root = self.asked.checkpoint_root
        with ExitStack() as stack:
            yield self.ranks.from_first(lambda: stack.enter_context(in_use(folder_for(restored, root))))

    def goes_on(self, restored: Restored, place: RunPlace) -> bool:
        home = restored.run(self.asked.checkpoint_root)
        return home is not None and home.path == place.path

    def board(self, place: RunPlace) -> Path | None:
        return None if self.asked.log_dir is None else self.asked.log_dir / place.path.name

    def provenance(self, place: RunPlace, options: TrainOptions, fingerprint: Mapping[str, Any]) -> Provenance:
        return Provenance(
            config=dump(self.config),
            options=attrs.asdict(options),
            points=self.config.point_names,
            num_classes=self.config.num_classes,
            data=self.config.base_dir,
            run=place.path.name,
            fingerprint=fingerprint,
            family="keypoint",
            network=f"the preset '{self.config.model.preset}'",
        )

    def checkpointer(
        self, place: RunPlace, provenance: Provenance, plan: Plan, restored: Restored | None, steps_per_epoch: int
    ) -> RunCheckpointer:
        last = None if restored is None else own_name(restored.path, place.path)
        folder = RunFolder(place.path, self.asked.checkpoint_root)
        return RunCheckpointer(folder, provenance, plan.options.keep_last, last)

    def loggers(self, place: RunPlace, plan: Plan, steps_per_epoch: int) -> list[Sink]:
        write_json(place.path / CONFIG_NAME, dump(self.config))
        return []

    def report_folder(self, place: RunPlace) -> Path:
        return place.path

    def finished(self, result: FitResult) -> None:
        """Do nothing: nobody watches."""

    def to_evaluate(self, model: Path) -> tuple[str, ...]:
        return ()


@attrs.frozen(eq=False, kw_only=True)
class _Evaluation:
    """An evaluation of points; see :class:`cogkp.workflows.adapter.EvaluationJob`."""

    model: OpenedModel
    split: Split
    loading: TrainOptions
    output_dir: Path | None
    subject: str
    words: Words = WORDS

    def folder(self) -> Path:
        return make_folder(self.output_dir or self.model.home / f"{self.split}-{timestamp()}")

    def finished(self, folder: Path, text: str, report: Report) -> Mapping[str, Path]:
        return {}

    def brief(self, report: Report, text: str) -> str:
        return text


class KeypointAdapter:
    """What the keypoint family answers above its task; see :class:`cogkp.workflows.adapter.Adapter`."""

    structure = staticmethod(structure)
    dump = staticmethod(dump)
    check_preview = staticmethod(_require_runnable)

    def training(self, config: KeypointConfig, asked: TrainingRequest, ranks: Ranks) -> _Training:
        """Begin a training."""
        if asked.restore is not None and "encoder_weights" in asked.given:
            problem = Problem(
                "encoder weights are for a fresh network, and a restored checkpoint brings all of its weights",
                "encoder_weights",
                expected="--encoder-weights or --restore, not both",
                hint="To train other points from that checkpoint's encoder, name it in --encoder-weights alone.",
            )
            raise ConfigError([problem])
        return _Training(config, asked, ranks)

    @contextmanager
    def evaluation(self, config: KeypointConfig, asked: EvaluationRequest) -> Iterator[_Evaluation]:
        """Open a checkpoint or an exported model, and choose the validation data where there is some."""
        options = TrainOptions(batch_size=asked.batch_size or BATCH_SIZE, num_workers=asked.num_workers or 0)
        _require_runnable(config, options)
        chosen: Split = asked.split or ("validation" if config.validation.base_dir else "evaluation")
        with self._opened(config, asked.model or LATEST, asked.checkpoint_root) as model:
            yield _Evaluation(
                model=model, split=chosen, loading=options, output_dir=asked.output_dir, subject=config.prefix
            )

    @contextmanager
    def _opened(self, config: KeypointConfig, model: str, root: Path) -> Iterator[OpenedModel]:
        if is_exported(Path(model)):
            with open_model(config, Path(model)) as opened:
                yield opened
            return
        restored = open_checkpoint(model, root)
        with open_model(config, restored) as opened:
            _warn_of_names(restored, config)
            yield opened

    def fitted(self, config: KeypointConfig, found: Exported, path: Path) -> tuple[KeypointTask, type[Any]]:
        """Compare an exported model with the configuration."""
        task, shape = KeypointTask(config), found.runner.signature.inputs[0].shape
        size = config.crop.output_size
        if tuple(shape[1:]) != (1, size, size):
            raise ArtifactError(
                "the model takes other images",
                where=str(path),
                expected=f"[B, 1, {size}, {size}], as crop.output_size says",
                got=str(list(shape)),
            )
        names = found.facts.get("points", {}).get("names")
        if names is not None and len(names) != config.num_keypoints:
            raise ArtifactError(
                "the model finds other points",
                where=str(path),
                expected=", ".join(config.point_names),
                got=", ".join(map(str, names)),
            )
        return task, KeypointMaskOutputs if config.targets.segmentation else KeypointOutputs

    @contextmanager
    def export(self, config: KeypointConfig, asked: ExportRequest) -> Iterator[ExportJob]:
        """Choose the checkpoint and the name of the ONNX file."""
        options = asked.options or ExportOptions()
        task, origin = _exported_task(config, asked)
        precision = resolve_precision(options.precision).name
        name = onnx_name(config.prefix, options.batch_size, timestamp(), precision)
        onnx = asked.models_root / name if options.path is None else Path(options.path)
        yield ExportJob(
            folder=onnx.parent,
            task=task,
            origin=origin,
            onnx=onnx,
            engine=engine_path(onnx) if options.engine else None,
            precision=precision,
            batch_size=options.batch_size,
            builder=options.builder,
            samples=_parity_samples(task),
        )

    @contextmanager
    def engine(self, config: KeypointConfig, asked: EngineRequest) -> Iterator[EngineJob]:
        """Build from a named ONNX file, in the precision its manifest names."""
        if asked.onnx is None:
            raise ConfigError([Problem("there is no ONNX file", "onnx", "an exported model", "nothing")])
        signature, manifest = described_onnx(asked.onnx)
        if manifest is None:
            got = ", ".join(entry.name for entry in signature.outputs)
            hint = "Export it with this library, which writes its manifest."
            raise ArtifactError("nobody says what this ONNX file is", where=str(asked.onnx), got=got, hint=hint)
        yield EngineJob(
            folder=asked.onnx.parent,
            onnx=asked.onnx,
            engine=asked.engine or engine_path(asked.onnx),
            manifest=manifest,
            builder=asked.builder,
            options=AS_THE_FILE_SAYS,
        )


ADAPTER = KeypointAdapter()


def _warn_of_names(restored: Restored, config: KeypointConfig) -> None:
    trained = restored.checkpoint.provenance.points
    if trained != config.point_names:
        said = "%s was trained for the points %s; the configuration calls them %s"
        log.warning(said, restored.path, ", ".join(trained), ", ".join(config.point_names))


def _exported_task(config: KeypointConfig, asked: ExportRequest) -> tuple[Task, Origin]:
    if asked.checkpoint is not None:
        restored = open_checkpoint(asked.checkpoint, asked.checkpoint_root)
        task = restored_task(config, restored)
        _warn_of_names(restored, config)
        path = own_name(restored.path, restored.home)
        return task, Origin(config_hash(config), str(path), file_sha256(path))
    if not asked.untrained:
        raise ExportError(
            "no checkpoint to deploy",
            expected="--restore, or --train in the same call",
            hint="Add --deploy-untrained to export fresh weights.",
        )
    seed_everything(0)
    return build_task(config), Origin(config_hash(config))


def _parity_samples(task: Task) -> dict[str, npt.NDArray[np.float32]]:
    """Take a few real inputs where the data is at hand; deployment must not depend on it."""
    config: KeypointConfig = task.config
    split: Split = "validation" if config.validation.base_dir else "evaluation"
    try:
        batch = spread(task.datasets(split), PARITY_SAMPLES) if config.base_dir else None
    except DataError as error:
        log.warning("comparing on drawn inputs alone, since the data cannot be read: %s", error)
        return {}
    if batch is None:
        return {}
    return {name: image.numpy() for name, image in zip(batch.ids, batch.image, strict=True)}
