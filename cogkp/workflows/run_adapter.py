"""The adapter that a family inherits: runs under a root of checkpoints, options from the caller.

A family whose configuration says nothing about where results go or how it is trained needs only the hooks at the top of
:class:`RunAdapter`; docs/architecture.md shows one from end to end.
"""

from __future__ import annotations

import logging
from collections import namedtuple
from collections.abc import Iterator, Mapping, Sequence
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
from cogkp.config.export import ExportOptions
from cogkp.config.plain import plain_hash
from cogkp.config.train import TrainOptions
from cogkp.data.dataset import Split
from cogkp.errors import ArtifactError, ConfigError, DataError, ExportError, Problem
from cogkp.export.engine_options import AS_THE_FILE_SAYS
from cogkp.families import family_of
from cogkp.files import make_folder, write_json
from cogkp.inference.exported import Exported, described_onnx
from cogkp.tasks.base import Report, Task
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

__all__ = ["RunAdapter", "RunTraining"]

BATCH_SIZE = 32
PARITY_SAMPLES = 8

log = logging.getLogger("cogkp")


class RunAdapter:
    """What a family answers above its task; see :class:`cogkp.workflows.adapter.Adapter`."""

    words = Words(
        column="point",
        curves="Uncertainty",
        worst="By the worst {measure} of any point. Rings are labels, crosses are predictions.",
        evaluation="main",
    )
    """What the page of an evaluation calls things."""

    def structure(self, plain: Mapping[str, Any]) -> Any:
        """Turn plain values of a checkpoint into a configuration; raises ConfigError."""
        raise NotImplementedError

    def dump(self, config: Any) -> dict[str, Any]:
        """Return a configuration as plain values."""
        raise NotImplementedError

    def check(self, config: Any, options: TrainOptions) -> Sequence[Problem]:
        """List what stands between a configuration and its training with these options."""
        return ()

    def splits(self, config: Any) -> Mapping[Split, str]:
        """Name the data that a training opens, each with the key of the configuration that names it."""
        raise NotImplementedError

    def points(self, config: Any) -> tuple[str, ...]:
        """Name what the network finds, in its order."""
        raise NotImplementedError

    def roots(self, config: Any) -> tuple[str, ...]:
        """Name the roots of the training data."""
        return ()

    def num_classes(self, config: Any) -> int | None:
        """Count the classes of the mask; None without one."""
        return None

    def network(self, config: Any) -> str:
        """Name the network in a few words, for messages."""
        return ""

    def subject(self, config: Any) -> str:
        """Name the model in a word: the title of pages, and the first part of file names."""
        return family_of(config).name

    def needs_labels(self, config: Any) -> bool:
        """Whether data without any label of a point is refused."""
        return True

    def start_weights(self, task: Any, options: TrainOptions) -> None:
        """Give a fresh network the weights that the options name."""

    def fitted(self, config: Any, found: Exported, path: Path) -> tuple[Task, type[Any]]:
        """Compare an exported model with the task of a configuration.

        Raises:
            ArtifactError: it takes other images, or finds something else.
        """
        task = build_task(config)
        spec, shape = task.export_spec(1), found.runner.signature.inputs[0].shape
        wanted = next(iter(spec.inputs.values())).shape[1:]
        if tuple(shape[1:]) != tuple(wanted):
            raise ArtifactError(
                "the model takes other images",
                where=str(path),
                expected=f"[B, {', '.join(map(str, wanted))}], as the configuration says",
                got=str(list(shape)),
            )
        names = found.facts.get("points", {}).get("names")
        if names is not None and len(names) != len(self.points(config)):
            raise ArtifactError(
                "the model finds other points",
                where=str(path),
                expected=", ".join(self.points(config)),
                got=", ".join(map(str, names)),
            )
        return task, namedtuple("Outputs", [output.name for output in spec.outputs])

    def check_preview(self, config: Any, options: TrainOptions) -> None:
        """Raise ConfigError where no training batch could be made."""
        if problems := self.check(config, options):
            raise ConfigError(problems)

    def training(self, config: Any, asked: TrainingRequest, ranks: Ranks) -> RunTraining:
        """Begin a training."""
        return RunTraining(self, config, asked, ranks)

    @contextmanager
    def evaluation(self, config: Any, asked: EvaluationRequest) -> Iterator[_RunEvaluation]:
        """Open a checkpoint or an exported model, and choose the validation data where there is some."""
        options = TrainOptions(batch_size=asked.batch_size or BATCH_SIZE, num_workers=asked.num_workers or 0)
        self.check_preview(config, options)
        with self._opened(config, asked.model or LATEST, asked.checkpoint_root) as model:
            yield _RunEvaluation(
                model=model,
                split=asked.split or self._plain_split(config),
                loading=options,
                output_dir=asked.output_dir,
                subject=self.subject(config),
                words=self.words,
            )

    def _plain_split(self, config: Any) -> Split:
        return "validation" if "validation" in self.splits(config) else "evaluation"

    @contextmanager
    def _opened(self, config: Any, model: str, root: Path) -> Iterator[OpenedModel]:
        if is_exported(Path(model)):
            with open_model(config, Path(model)) as opened:
                yield opened
            return
        restored = open_checkpoint(model, root)
        with open_model(config, restored) as opened:
            self._warn_of_names(restored, config)
            yield opened

    def _warn_of_names(self, restored: Restored, config: Any) -> None:
        trained, asked = restored.checkpoint.provenance.points, self.points(config)
        if trained != asked:
            said = "%s was trained for the points %s; the configuration calls them %s"
            log.warning(said, restored.path, ", ".join(trained), ", ".join(asked))

    @contextmanager
    def export(self, config: Any, asked: ExportRequest) -> Iterator[ExportJob]:
        """Choose the checkpoint and the name of the ONNX file."""
        options = asked.options or ExportOptions()
        task, origin = self._exported_task(config, asked)
        precision = resolve_precision(options.precision).name
        name = onnx_name(self.subject(config), options.batch_size, timestamp(), precision)
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
            samples=self._parity_samples(config, task),
        )

    def _exported_task(self, config: Any, asked: ExportRequest) -> tuple[Task, Origin]:
        sha256 = plain_hash(self.dump(config))
        if asked.checkpoint is not None:
            restored = open_checkpoint(asked.checkpoint, asked.checkpoint_root)
            task = restored_task(config, restored)
            self._warn_of_names(restored, config)
            path = own_name(restored.path, restored.home)
            return task, Origin(sha256, str(path), file_sha256(path))
        if not asked.untrained:
            raise ExportError(
                "no checkpoint to deploy",
                expected="--restore, or --train in the same call",
                hint="Add --deploy-untrained to export fresh weights.",
            )
        seed_everything(0)
        return build_task(config), Origin(sha256)

    def _parity_samples(self, config: Any, task: Task) -> dict[str, npt.NDArray[np.float32]]:
        """Take a few real inputs where the data is at hand; an export must not depend on it."""
        if not self.roots(config):
            return {}
        try:
            batch = spread(task.datasets(self._plain_split(config)), PARITY_SAMPLES)
        except DataError as error:
            log.warning("comparing on drawn inputs alone, since the data cannot be read: %s", error)
            return {}
        return {name: image.numpy() for name, image in zip(batch.ids, batch.image, strict=True)}

    @contextmanager
    def engine(self, config: Any, asked: EngineRequest) -> Iterator[EngineJob]:
        """Build from a named ONNX file, in the precision its manifest names."""
        if asked.onnx is None:
            raise ConfigError([Problem("there is no ONNX file", "onnx", "an exported model", "nothing")])
        signature, manifest = described_onnx(asked.onnx)
        family = family_of(config).name
        if manifest is None or manifest.facts.get("family") != family:
            got = ", ".join(entry.name for entry in signature.outputs)
            hint = "Export it with this library, which writes its manifest."
            raise ArtifactError("no model of this family", where=str(asked.onnx), expected=family, got=got, hint=hint)
        yield EngineJob(
            folder=asked.onnx.parent,
            onnx=asked.onnx,
            engine=asked.engine or engine_path(asked.onnx),
            manifest=manifest,
            builder=asked.builder,
            options=AS_THE_FILE_SAYS,
        )


@attrs.frozen(eq=False)
class RunTraining:
    """A training into a run folder; see :class:`cogkp.workflows.adapter.TrainingJob`."""

    adapter: RunAdapter
    config: Any
    asked: TrainingRequest
    ranks: Ranks

    is_dry_run = False
    device: torch.device | None = None
    pins_memory = True

    def held(self) -> nullcontext[None]:
        """Hold nothing yet: the folder depends on what is restored."""
        return nullcontext()

    def restored(self) -> Restored | None:
        """Read the checkpoint that the caller names."""
        restore = self.asked.restore
        return None if restore is None else open_checkpoint(restore, self.asked.checkpoint_root)

    def config_changes(self, restored: Restored) -> list[str]:
        """List what changed, and refuse it unless the caller allows it."""
        return changed_config(restored, self.config, allowed=self.asked.allow_config_change)

    def plan(self, restored: Restored | None) -> Plan:
        """Take the options of the caller, and of the checkpoint those that were not given."""
        options = self.asked.options or TrainOptions()
        plan = plan_training(options, self.asked.given, None if restored is None else restored.checkpoint)
        self.adapter.check_preview(self.config, plan.options)
        return plan

    def start_weights(self, task: Task, options: TrainOptions) -> None:
        """Give a fresh network the weights that the options name."""
        self.adapter.start_weights(task, options)

    def splits(self) -> Mapping[Split, str]:
        """Name the data that is opened."""
        return self.adapter.splits(self.config)

    def needs_labels(self) -> bool:
        """Whether data without any label of a point is refused."""
        return self.adapter.needs_labels(self.config)

    @contextmanager
    def place(self, restored: Restored | None) -> Iterator[RunFolder]:
        """Let the first rank hold the run's folder; the others are told where it is."""
        root = self.asked.checkpoint_root
        with ExitStack() as stack:
            yield self.ranks.from_first(lambda: stack.enter_context(in_use(folder_for(restored, root))))

    def goes_on(self, restored: Restored, place: RunPlace) -> bool:
        """Whether the run is the one that is gone on with."""
        home = restored.run(self.asked.checkpoint_root)
        return home is not None and home.path == place.path

    def board(self, place: RunPlace) -> Path | None:
        """Name the folder of TensorBoard's files after the run."""
        return None if self.asked.log_dir is None else self.asked.log_dir / place.path.name

    def provenance(self, place: RunPlace, options: TrainOptions, fingerprint: Mapping[str, Any]) -> Provenance:
        """Say what explains the checkpoints."""
        adapter, config = self.adapter, self.config
        return Provenance(
            config=adapter.dump(config),
            options=attrs.asdict(options),
            points=adapter.points(config),
            num_classes=adapter.num_classes(config),
            data=adapter.roots(config),
            run=place.path.name,
            fingerprint=fingerprint,
            family=family_of(config).name,
            network=adapter.network(config),
        )

    def checkpointer(
        self, place: RunPlace, provenance: Provenance, plan: Plan, restored: Restored | None, steps_per_epoch: int
    ) -> RunCheckpointer:
        """Keep checkpoints in the run's folder, and the newest one where 'latest' finds it."""
        last = None if restored is None else own_name(restored.path, place.path)
        folder = RunFolder(place.path, self.asked.checkpoint_root)
        return RunCheckpointer(folder, provenance, plan.options.keep_last, last)

    def loggers(self, place: RunPlace, plan: Plan, steps_per_epoch: int) -> list[Sink]:
        """Write the configuration into the run's folder."""
        write_json(place.path / CONFIG_NAME, self.adapter.dump(self.config))
        return []

    def report_folder(self, place: RunPlace) -> Path:
        """Leave the report beside the checkpoints."""
        return place.path

    def finished(self, result: FitResult) -> None:
        """Do nothing: there is no file of status."""

    def to_evaluate(self, model: Path) -> tuple[str, ...]:
        """List nothing: the configuration evaluates as it is."""
        return ()


@attrs.frozen(eq=False, kw_only=True)
class _RunEvaluation:
    """An evaluation into the folder of a run; see :class:`cogkp.workflows.adapter.EvaluationJob`."""

    model: OpenedModel
    split: Split
    loading: TrainOptions
    output_dir: Path | None
    subject: str
    words: Words

    def folder(self) -> Path:
        """Make the folder that was asked for, else one in that of the run."""
        return make_folder(self.output_dir or self.model.home / f"{self.split}-{timestamp()}")

    def finished(self, folder: Path, text: str, report: Report) -> Mapping[str, Path]:
        """Write nothing more."""
        return {}

    def brief(self, report: Report, text: str) -> str:
        """Print everything."""
        return text
