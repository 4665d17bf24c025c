"""Train a CenterPose network: options from the experiment, checkpoints and status in the results folder."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from cogkp.artifacts.checkpoint import Checkpoint, Provenance, TrainingState, load_weights
from cogkp.artifacts.restore import Restored
from cogkp.artifacts.status import StatusLog
from cogkp.artifacts.weight_file import IMAGENET, find_weights, read_weights
from cogkp.config.centerpose import rules
from cogkp.config.centerpose.results import Results, checkpoint_name, results_of, resume_checkpoint
from cogkp.config.centerpose.spec import BackboneSpec, CenterPoseConfig, TrainSpec
from cogkp.config.train import TrainOptions
from cogkp.errors import CheckpointError, ConfigError, Problem
from cogkp.files import share_file, write_verified
from cogkp.models.backbone_weights import DLA34_WEIGHTS, load_backbone
from cogkp.tasks.centerpose.task import CenterPoseTask
from cogkp.training.distributed import Ranks
from cogkp.training.optim import MultiStep
from cogkp.training.plan import Plan
from cogkp.training.sinks import EpochEvent, Sink, StepEvent
from cogkp.training.trainer import FitResult
from cogkp.workflows.families.centerpose.model import open_experiment_checkpoint
from cogkp.workflows.families.centerpose.results_folder import AtWork, first_at_work
from cogkp.workflows.families.centerpose.torchrun import require_started
from cogkp.workflows.training_job import CHECKPOINT_ROOT, LOG_DIR, RunPlace, TrainingJob, TrainingRequest

CORNER_NAMES = tuple(f"corner {number}" for number in range(1, 9))
HIGHEST_SEED = 2**31
BOARD_NAME = "tensorboard"
REPORT_FOLDER = "best"

log = logging.getLogger("cogkp")


def begin_training(adapter: Any, config: CenterPoseConfig, asked: TrainingRequest, ranks: Ranks) -> Training:
    """Check an experiment, and refuse what it says itself.

    Raises:
        ConfigError: it does not fit together, or something was asked for that it says itself.
        TrainingError: several GPUs are asked for in one process.
    """
    if problems := [*_said_twice(asked), *rules.check(config, "train")]:
        raise ConfigError(problems)
    require_started(config.train, "train")
    return Training(adapter, config, asked, ranks)


@attrs.define(eq=False)
class Training(TrainingJob):
    """A training of objects, as its experiment says; the first rank alone holds the folder of results."""

    work: AtWork | None = None

    @property
    def is_dry_run(self) -> bool:
        return bool(self.config.train.is_dry_run)

    @property
    def device(self) -> torch.device | None:
        """The named GPU; of several processes each has one already."""
        alone = self.ranks.alone and torch.cuda.is_available()
        return torch.device("cuda", self.config.train.gpus[0]) if alone else None

    @property
    def pins_memory(self) -> bool:
        return bool(self.config.dataset.pin_memory)

    @property
    def results(self) -> Results:
        """Where results go."""
        return results_of(self.config, "train")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let the first rank hold the folder of results and keep its file of status."""
        cudnn = self.config.train.cudnn
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = cudnn.benchmark, cudnn.deterministic
        with first_at_work(self.config, "train", self.ranks) as self.work:
            yield

    def restored(self) -> Restored | None:
        """Read the checkpoint to go on from: the one asked for, else what the experiment and its folder say."""
        source = self._source()
        return None if source is None else open_experiment_checkpoint(source, self.config)

    def _source(self) -> Path | None:
        named = {"latest": self.results.checkpoint, "best": self.results.best}
        if self.asked.restore is not None:
            return named.get(self.asked.restore, Path(self.asked.restore))
        present = [path.name for path in self.results.path.iterdir()]
        return resume_checkpoint(self.config, present)

    def config_changes(self, restored: Restored) -> list[str]:
        """Name nothing: the experiment holds, also for a resumed training."""
        return []

    def plan(self, restored: Restored | None) -> Plan:
        """Take everything but the position from the experiment."""
        options, optim = self._options(), self.config.train.optim
        schedule = MultiStep(optim.lr, optim.lr_steps, optim.lr_decay)
        ranks = self.ranks
        each = "" if ranks.alone else f" ({self.config.dataset.batch_size} on each of {ranks.launch.ranks} ranks)"
        line = f"train {options.epochs} epochs, batch {options.batch_size}{each}, learning rate {optim.lr:g}"
        epoch, step = 0, 0
        if restored is not None:
            epoch, step = restored.checkpoint.state.position
            if restored.checkpoint.provenance.options.get("batch_size") != options.batch_size:
                step = 0
            line = f"go on from {restored.path} after {epoch} of {options.epochs} epochs and {step} steps, {line}"
        every = self.config.train.validation_interval
        return Plan(options, schedule, epoch, step, options.epochs, line, weight_decay=0.0, validate_every=every)

    def _options(self) -> TrainOptions:
        train, data, ranks = self.config.train, self.config.dataset, self.ranks
        within = f"{train.checkpoint_interval}steps" if train.checkpoint_interval_unit == "step" else "10min"
        return TrainOptions(
            epochs=train.num_epochs,
            batch_size=data.batch_size * ranks.launch.ranks,
            learning_rate=train.optim.lr,
            clip_norm=train.clip_grad_val,
            precision=train.precision,
            num_workers=data.workers,
            seed=train.seed if train.seed >= 0 else ranks.from_first(lambda: secrets.randbelow(HIGHEST_SEED)),
            checkpoint_interval=within,
        )

    @contextmanager
    def place(self, restored: Restored | None) -> Iterator[RunPlace]:
        yield self.results

    def goes_on(self, restored: Restored, place: RunPlace) -> bool:
        newest = place.best.is_file() and place.checkpoint.is_file()
        return newest and restored.path.samefile(place.checkpoint)

    def board(self, place: RunPlace) -> Path | None:
        asked = self.asked.log_dir
        return place.path / BOARD_NAME if asked == LOG_DIR else asked and asked / place.path.name

    def checkpointer(
        self, place: RunPlace, provenance: Provenance, plan: Plan, restored: Restored | None, steps_per_epoch: int
    ) -> ExperimentCheckpointer:
        last = None if restored is None else restored.path
        return ExperimentCheckpointer(self.results, self.config.train, provenance, steps_per_epoch, last)

    def loggers(self, place: RunPlace, plan: Plan, steps_per_epoch: int) -> list[Sink]:
        assert self.work is not None
        return [StatusSink(self.work.status, plan.last_epoch, steps_per_epoch)]

    def report_folder(self, place: RunPlace) -> Path:
        return place.path / REPORT_FOLDER

    def finished(self, result: FitResult) -> None:
        """Write the last line of the status file."""
        if self.work is None:
            return
        status = self.work.status
        if self.is_dry_run:
            status.write("SUCCESS", "one step was taken, and nothing kept", kpi=status_figures(result.scalars))
        elif result.interrupted:
            status.write("FAILURE", "the training was interrupted; the next one goes on here", verbosity="WARNING")
        else:
            status.write("SUCCESS", "the training is done", kpi=status_figures(result.scalars))

    def to_evaluate(self, model: Path) -> tuple[str, ...]:
        data = self.config.dataset
        return (f"evaluate.checkpoint={model}", *([] if data.test_data else [f"dataset.test_data={data.val_data}"]))


def _said_twice(asked: TrainingRequest) -> Iterator[Problem]:
    """List what an experiment says itself."""
    hint = "Change the experiment, or override its keys."
    if asked.options is not None:
        yield Problem("an experiment says itself how it is trained", "options", "None", "options", hint)
    if asked.checkpoint_root != CHECKPOINT_ROOT:
        got = str(asked.checkpoint_root)
        yield Problem("an experiment says itself where results go", "checkpoint_root", "results_dir", got, hint)


def start_network(task: CenterPoseTask, config: CenterPoseConfig) -> None:
    """Give a fresh network the weights its experiment names, and log it: a whole network's, else a backbone's.

    Raises:
        CheckpointError: there is no such file, or it holds no weights.
        ModelError: it holds those of another backbone; the task's network is then untouched.
    """
    whole = config.train.pretrained_model_path
    if whole:
        load_weights(open_experiment_checkpoint(Path(whole), config).checkpoint, task.model, whole)
        log.info("all weights from %s", whole)
    elif config.model.use_pretrained:
        found = read_weights(_backbone_file(config.model.backbone))
        tensors = load_backbone(task.model.backbone, found.weights, str(found.path))
        said = "backbone from %s (%s): %d tensors; neck and heads start from random weights"
        log.info(said, found.path, found.origin, tensors)


def _backbone_file(backbone: BackboneSpec) -> Path:
    """Find the file of weights; without a name, DLA34's published one, where torch would have put it."""
    source = backbone.pretrained_backbone_path
    if backbone.model_type == "DLA34":
        return find_weights(source or IMAGENET, DLA34_WEIGHTS)
    if source and Path(source).is_file():
        return Path(source)
    raise CheckpointError(
        "there is no such file of weights" if source else "model.use_pretrained is on, and no file is named",
        where=source or "model.backbone.pretrained_backbone_path",
        expected=f"a checkpoint of this library with the backbone {backbone.model_type}",
        hint="Nothing is downloaded. Without one give model.use_pretrained=false.",
    )


@attrs.define
class ExperimentCheckpointer:
    """Keep the newest and the best checkpoint by name, and numbered ones as often as the experiment asks for.

    ``last`` is the newest good file, at first the one that was restored.
    """

    results: Results
    train: TrainSpec
    provenance: Provenance
    steps_per_epoch: int
    last: Path | None = None

    def save(self, state: TrainingState, *, best: bool = False) -> Path:
        """Keep a state, also as the best where it is."""
        data = Checkpoint(state=state, provenance=self.provenance).to_bytes()
        name = self._numbered(state)
        if name is None:
            write_verified(self.results.checkpoint, data)
        else:
            write_verified(self.results.path / name, data)
            share_file(self.results.checkpoint, self.results.path / name)
        if best:
            share_file(self.results.best, self.results.checkpoint)
        self.last = self.results.checkpoint
        return self.last

    def _numbered(self, state: TrainingState) -> str | None:
        """Name a state that stays; None for one that only a resumed training needs."""
        every, last = self.train.checkpoint_interval, state.epoch == state.target_epochs
        if self.train.checkpoint_interval_unit == "step":
            steps = state.steps_taken
            if steps is None:
                steps = state.epoch * self.steps_per_epoch + state.step
            due = steps > 0 and (steps % every == 0 or last)
            return checkpoint_name(state.epoch if state.step else state.epoch - 1, steps) if due else None
        due = state.step == 0 and state.epoch > 0 and (state.epoch % every == 0 or last)
        return checkpoint_name(state.epoch - 1) if due else None


class StatusSink:
    """Add a line of status after each epoch."""

    def __init__(self, log: StatusLog, epochs: int, steps_per_epoch: int) -> None:
        self._log = log
        self._epochs, self._steps = epochs, steps_per_epoch
        self._begun = time.perf_counter()

    def start(self, model: nn.Module, example: Tensor) -> None:
        """Begin to measure time."""
        self._begun = time.perf_counter()

    def step(self, event: StepEvent) -> None:
        """Do nothing: there is one line per epoch."""

    def flush(self) -> None:
        """Do nothing: lines are written at once."""

    def close(self) -> None:
        """Do nothing: the last line is the workflow's."""

    def epoch(self, event: EpochEvent) -> None:
        """Tell of an epoch; figures of a validation have the published names."""
        seconds, self._begun = time.perf_counter() - self._begun, time.perf_counter()
        done = event.epoch + 1
        kpi = {**status_figures(event.scalars), "learning_rate": event.rate}
        facts = {
            "epoch": event.epoch,
            "step": event.step,
            "max_epoch": self._epochs,
            "max_step": event.step + (self._epochs - done) * self._steps,
            "time_per_epoch": _clock(seconds),
            "time_per_step": _clock(seconds / self._steps),
            "eta": _clock(seconds * (self._epochs - done)),
        }
        self._log.write("RUNNING", f"epoch {done} of {self._epochs} is done", kpi=kpi, facts=facts)


def status_figures(scalars: Mapping[str, float]) -> dict[str, float]:
    """Choose the figures of an epoch that a line of status tells, by their published names.

    Example:
        >>> status_figures({"loss": 2.0, "loss/hm": 1.5, "validation/3DIoU": 0.5})
        {'train_loss': 2.0, 'val_3DIoU': 0.5}
    """
    loss = {"train_loss": scalars["loss"]} if "loss" in scalars else {}
    prefix = "validation/"
    validation = {name.removeprefix(prefix): value for name, value in scalars.items() if name.startswith(prefix)}
    return {**loss, **{f"val_{name}": value for name, value in validation.items()}}


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=seconds))
