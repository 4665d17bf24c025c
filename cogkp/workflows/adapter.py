"""What a family answers above its task, so that every verb is one function for all families.

:class:`cogkp.tasks.base.Task` says what a family is to a trainer; an :class:`Adapter` says how its configuration asks
for each verb: what to check, which options hold, where results go and how they are named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import attrs
import numpy as np
import numpy.typing as npt
import torch

from cogkp.artifacts.checkpoint import Checkpoint, Provenance
from cogkp.artifacts.manifest import Manifest, Origin
from cogkp.artifacts.restore import Restored
from cogkp.config.export import ExportOptions
from cogkp.config.train import TrainOptions
from cogkp.data.dataset import Split
from cogkp.export.engine_options import EngineOptions
from cogkp.export.onnx_export import OPSET
from cogkp.families import family_of
from cogkp.inference.exported import Exported
from cogkp.progress import Progress
from cogkp.tasks.base import Report, Task
from cogkp.training.checkpointer import Checkpointer
from cogkp.training.distributed import Ranks
from cogkp.training.evaluator import Predict
from cogkp.training.plan import Plan
from cogkp.training.sinks import Sink
from cogkp.training.trainer import FitResult
from cogkp.workflows.evaluation_page import Words

__all__ = [
    "CHECKPOINT_ROOT",
    "LOG_DIR",
    "MODELS_ROOT",
    "Adapter",
    "EngineJob",
    "EngineRequest",
    "EvaluationJob",
    "EvaluationRequest",
    "ExportJob",
    "ExportRequest",
    "OpenedModel",
    "RunPlace",
    "TrainingJob",
    "TrainingRequest",
    "adapter_of",
]

CHECKPOINT_ROOT = Path("checkpoints")
LOG_DIR = Path("logs/cog")
MODELS_ROOT = Path("assets/models")


def _nothing(_: Mapping[str, float]) -> None:
    """Do nothing."""


class RunPlace(Protocol):
    """The folder of a training."""

    @property
    def path(self) -> Path:
        """The folder."""

    @property
    def checkpoint(self) -> Path:
        """The newest checkpoint."""

    @property
    def best(self) -> Path:
        """The checkpoint of the best validation; there only where one was made."""

    @property
    def mirror(self) -> Path | None:
        """The newest checkpoint of any run, None where the family keeps none."""


@attrs.frozen(kw_only=True)
class TrainingRequest:
    """What a caller of ``train`` or ``dry_run`` asked for; see :func:`cogkp.train`."""

    options: TrainOptions | None = None
    restore: str | None = None
    given: frozenset[str] = frozenset()
    allow_config_change: bool = False
    checkpoint_root: Path = CHECKPOINT_ROOT
    log_dir: Path | None = LOG_DIR


class TrainingJob(Protocol):
    """One training as a family's configuration asks for it; its methods are called in the order they stand here."""

    @property
    def is_dry_run(self) -> bool:
        """Whether the configuration itself asks for one step of which nothing is kept."""

    @property
    def device(self) -> torch.device | None:
        """Where to train; None takes a GPU when there is one."""

    @property
    def pins_memory(self) -> bool:
        """Whether batches are page-locked where there is a GPU."""

    def held(self) -> AbstractContextManager[None]:
        """Hold what must be held before anything is read, as a folder that the configuration names."""

    def restored(self) -> Restored | None:
        """Read the checkpoint the training goes on from; None for a new one."""

    def config_changes(self, restored: Restored) -> list[str]:
        """List what changed in the configuration since; raises CheckpointError where that is refused."""

    def plan(self, restored: Restored | None) -> Plan:
        """Decide on options, schedule and position; raises ConfigError where they do not fit the configuration."""

    def start_weights(self, task: Task, options: TrainOptions) -> None:
        """Give a fresh network the published or earlier weights that are asked for."""

    def splits(self) -> Mapping[Split, str]:
        """Name the data that is opened, each with the key of the configuration that names it."""

    def needs_labels(self) -> bool:
        """Whether data without any label of a point or box is refused."""

    def place(self, restored: Restored | None) -> AbstractContextManager[RunPlace]:
        """Hold the folder that the training writes to."""

    def goes_on(self, restored: Restored, place: RunPlace) -> bool:
        """Whether the restored checkpoint is the newest state of that folder, so that its best one counts as well."""

    def board(self, place: RunPlace) -> Path | None:
        """Return the folder of TensorBoard's files, None for none."""

    def provenance(self, place: RunPlace, options: TrainOptions, fingerprint: Mapping[str, Any]) -> Provenance:
        """Say what explains the checkpoints."""

    def checkpointer(
        self, place: RunPlace, provenance: Provenance, plan: Plan, restored: Restored | None, steps_per_epoch: int
    ) -> Checkpointer:
        """Make what keeps the checkpoints under the family's names."""

    def loggers(self, place: RunPlace, plan: Plan, steps_per_epoch: int) -> list[Sink]:
        """Write what else lies in the folder, and make the loggers that only this family has."""

    def report_folder(self, place: RunPlace) -> Path:
        """Return where the evaluation of the best checkpoint goes."""

    def finished(self, result: FitResult) -> None:
        """Tell that the training, or the dry run, has ended."""

    def to_evaluate(self, model: Path) -> tuple[str, ...]:
        """List the overrides by which the configuration in the folder evaluates what was trained."""


@attrs.frozen(eq=False, kw_only=True)
class OpenedModel:
    """A model ready to predict.

    Args:
        path: its file; a checkpoint by its name in the folder of its run.
        home: the folder of its run.
        task: what its predictions mean.
        predict: images (B, C, H, W) float32 to the task's outputs.
        checkpoint: the file's content; None for an exported model.
        origin: the checkpoint an exported model was made of; empty where nobody wrote it down.
    """

    path: Path
    home: Path
    task: Task
    predict: Predict
    checkpoint: Checkpoint | None = None
    origin: str = ""


@attrs.frozen(kw_only=True)
class EvaluationRequest:
    """What a caller of ``evaluate`` asked for; None takes what the configuration says. See :func:`cogkp.evaluate`."""

    model: str | None = None
    split: Split | None = None
    batch_size: int | None = None
    num_workers: int | None = None
    output_dir: Path | None = None
    checkpoint_root: Path = CHECKPOINT_ROOT


class EvaluationJob(Protocol):
    """One evaluation as a family's configuration asks for it."""

    @property
    def model(self) -> OpenedModel:
        """What is evaluated."""

    @property
    def split(self) -> Split:
        """The data it is evaluated on."""

    @property
    def loading(self) -> TrainOptions:
        """Batch size and loader processes."""

    @property
    def subject(self) -> str:
        """What the model finds, in a word: the title of the page."""

    @property
    def words(self) -> Words:
        """What the page calls things."""

    def folder(self) -> Path:
        """Make the folder of the results."""

    def finished(self, folder: Path, text: str, report: Report) -> Mapping[str, Path]:
        """Write what only this family leaves beside the report; returns these files by name."""

    def brief(self, report: Report, text: str) -> str:
        """Choose what is printed."""


@attrs.frozen(kw_only=True)
class ExportRequest:
    """What a caller of ``export`` asked for; see :func:`cogkp.export`."""

    options: ExportOptions | None = None
    checkpoint: str | None = None
    untrained: bool = False
    checkpoint_root: Path = CHECKPOINT_ROOT
    models_root: Path = MODELS_ROOT


@attrs.frozen(eq=False, kw_only=True)
class ExportJob:
    """One export as a family's configuration asks for it.

    Args:
        folder: of the results.
        task: with the weights to export.
        origin: where they come from.
        onnx: file to write.
        engine: engine to build beside it, or None.
        precision: word for the manifest.
        batch_size: fixed; None for any.
        builder: who builds the engine.
        samples: real inputs by name, to compare on.
        opset: ONNX operator set.
        fold: whether what depends on no input is computed while exporting.
        verbose: whether inputs, outputs and differences are logged.
        finished: is told the largest difference of each output.
    """

    folder: Path
    task: Task
    origin: Origin
    onnx: Path
    engine: Path | None
    precision: str
    batch_size: int | None
    builder: str
    samples: Mapping[str, npt.NDArray[np.float32]]
    opset: int = OPSET
    fold: bool = True
    verbose: bool = False
    finished: Callable[[Mapping[str, float]], None] = _nothing


@attrs.frozen(kw_only=True)
class EngineRequest:
    """What a caller of ``build_engine`` asked for; see :func:`cogkp.build_engine`."""

    onnx: Path | None = None
    engine: Path | None = None
    builder: str = "auto"
    progress: Progress


@attrs.frozen(eq=False, kw_only=True)
class EngineJob:
    """One engine as a family's configuration asks for it.

    Args:
        folder: of the results.
        onnx: the file it is built from.
        engine: file to write.
        manifest: of the ONNX file; its precision is the engine's.
        builder: who builds.
        options: what the engine is to be, beside its precision.
        source: a file with 8-bit layers that was made of the ONNX file, to build from instead.
        rounding: how far 8 bits move what is found, in numbers.
        finished: is told the rounding.
    """

    folder: Path
    onnx: Path
    engine: Path
    manifest: Manifest
    builder: str
    options: EngineOptions
    source: Path | None = None
    rounding: Mapping[str, float] = attrs.field(factory=dict)
    finished: Callable[[Mapping[str, float]], None] = _nothing


class Adapter(Protocol):
    """What one family answers above its task."""

    def structure(self, plain: Mapping[str, Any]) -> Any:
        """Turn plain values of a checkpoint into a configuration; raises ConfigError."""

    def dump(self, config: Any) -> dict[str, Any]:
        """Return a configuration as plain values."""

    def check_preview(self, config: Any, options: TrainOptions) -> None:
        """Raise ConfigError where no training batch could be made."""

    def training(self, config: Any, asked: TrainingRequest, ranks: Ranks) -> TrainingJob:
        """Begin a training; raises ConfigError where configuration and request do not fit."""

    def evaluation(self, config: Any, asked: EvaluationRequest) -> AbstractContextManager[EvaluationJob]:
        """Open a model and the folder of its evaluation."""

    def fitted(self, config: Any, found: Exported, path: Path) -> tuple[Task, type[Any]]:
        """Make the task of an exported model, and the NamedTuple of its outputs.

        Raises:
            ArtifactError: the model is of another family, or does not take what the configuration makes.
        """

    def export(self, config: Any, asked: ExportRequest) -> AbstractContextManager[ExportJob]:
        """Choose what is exported, and hold the folder of the results."""

    def engine(self, config: Any, asked: EngineRequest) -> AbstractContextManager[EngineJob]:
        """Choose what is built, and hold the folder of the results."""


def adapter_of(config: Any) -> Adapter:
    """Find the adapter of a configuration by its class.

    Raises:
        CogkpError: no family uses this class.
    """
    adapter: Adapter = family_of(config).part("adapter")
    return adapter
