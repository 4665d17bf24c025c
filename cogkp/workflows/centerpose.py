"""The verbs of the object-pose family: an experiment in, files in its folder of results out."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import torch

from cogkp.artifacts.checkpoint import Checkpoint, Provenance, load_checkpoint, load_weights
from cogkp.artifacts.lock import locked
from cogkp.artifacts.status import StatusLog
from cogkp.config.centerpose import rules
from cogkp.config.centerpose.io import dump_experiment, write_experiment
from cogkp.config.centerpose.results import Results, results_of, resume_checkpoint
from cogkp.config.centerpose.spec import CenterPoseConfig
from cogkp.config.train import TrainOptions
from cogkp.data.fingerprint import changes
from cogkp.errors import CogkpError, ConfigError, TrainingError
from cogkp.files import make_folder
from cogkp.progress import SILENT, Progress
from cogkp.tasks.base import Task
from cogkp.tasks.registry import build_task
from cogkp.training.evaluator import torch_predictor
from cogkp.training.optim import MultiStep
from cogkp.training.plan import Plan
from cogkp.training.precision import resolve_precision
from cogkp.training.seeding import seed_everything
from cogkp.training.sinks import Sink
from cogkp.training.trainer import FitResult, Loaders, fit, rehearse
from cogkp.workflows.centerpose_results import ExperimentCheckpointer, StatusSink
from cogkp.workflows.opening import open_loader

__all__ = ["ExperimentResult", "train_experiment"]

CORNER_NAMES = tuple(f"corner {number}" for number in range(1, 9))
HIGHEST_SEED = 2**31

log = logging.getLogger("cogkp")


@attrs.frozen
class ExperimentResult:
    """How a training ended.

    Args:
        folder: of its results.
        checkpoint: the newest; None after a dry run.
        epochs: completed over the life of the training.
        interrupted: whether Ctrl-C ended it early.
        seconds: this call took.
        scalars: the last epoch's figures.
        plan: what was to be done, in one line.
    """

    folder: Path
    checkpoint: Path | None
    epochs: int
    interrupted: bool
    seconds: float
    scalars: Mapping[str, float]
    plan: str


def train_experiment(
    config: CenterPoseConfig, *, sinks: Sequence[Sink] = (), progress: Progress = SILENT
) -> ExperimentResult:
    """Train what an experiment describes, or go on where an earlier call ended.

    The folder of results gets ``experiment.yaml``, ``status.json``, a checkpoint as often as
    ``train.checkpoint_interval`` says, and ``centerpose_model_latest.pth``, from which the next call goes on.

    Args:
        config: the experiment.
        sinks: who else is told of steps and epochs.
        progress: shows epochs.

    Raises:
        ConfigError: the experiment does not fit together, or names no folder of results.
        TrainingError: it asks for something that cannot be done here.
        CheckpointError: a checkpoint cannot be used.
        DataError: data cannot be used.
        OutputError: something cannot be written, or another training writes into the same folder.
    """
    started = time.perf_counter()
    if problems := rules.check(config, "train"):
        raise ConfigError(problems)
    _require_possible(config)
    results = results_of(config, "train")
    make_folder(results.folder)
    with locked(results.folder):
        write_experiment(results.experiment, config)
        with _told(StatusLog(results.status)) as status:
            plan, result = _trained(config, results, status, sinks, progress)
    return ExperimentResult(
        folder=results.folder,
        checkpoint=result.checkpoint,
        epochs=result.epochs,
        interrupted=result.interrupted,
        seconds=time.perf_counter() - started,
        scalars=result.scalars,
        plan=plan.line,
    )


def _require_possible(config: CenterPoseConfig) -> None:
    if len(config.train.gpus) > 1 or config.train.num_nodes > 1:
        raise TrainingError(
            "an experiment is trained on one GPU", where="train.num_gpus, train.num_nodes", expected="1 of each"
        )
    if config.model.use_pretrained:
        raise TrainingError(
            "weights of a backbone alone cannot be read",
            where="model.use_pretrained",
            expected="false",
            hint="train.pretrained_model_path starts from the whole network of another training.",
        )


@contextmanager
def _told(status: StatusLog) -> Iterator[StatusLog]:
    """Begin and end the file of status, whatever happens in between."""
    status.write("STARTED", "the training begins")
    try:
        yield status
    except CogkpError as error:
        status.write("FAILURE", str(error), verbosity="ERROR")
        raise
    except BaseException as error:
        status.write("FAILURE", f"the training failed: {type(error).__name__}", verbosity="CRITICAL")
        raise


def _trained(
    config: CenterPoseConfig, results: Results, status: StatusLog, sinks: Sequence[Sink], progress: Progress
) -> tuple[Plan, FitResult]:
    train = config.train
    options = _options(config)
    torch.backends.cudnn.benchmark = train.cudnn.benchmark
    torch.backends.cudnn.deterministic = train.cudnn.deterministic
    source = resume_checkpoint(config, [path.name for path in results.folder.iterdir()])
    restored = None if source is None else load_checkpoint(source)
    seed_everything(options.seed)
    task = build_task(config)
    if restored is not None:
        load_weights(restored, task.model, str(source))
    elif train.pretrained_model_path:
        load_weights(load_checkpoint(Path(train.pretrained_model_path)), task.model, train.pretrained_model_path)
    data: dict[str, Any] = {"train": task.datasets("train"), "validation": task.datasets("validation")}
    fingerprint = {split: dataset.fingerprint for split, dataset in data.items()}
    plan = _plan(config, options, restored, fingerprint, source)
    log.info("%s", plan.line)
    loaders = Loaders(
        open_loader(data["train"], options, shuffle=True),
        open_loader(data["validation"], attrs.evolve(options, num_workers=0), shuffle=False),
    )
    if train.is_dry_run:
        return plan, _rehearsed(task, plan, loaders, status)
    provenance = Provenance(
        config=dump_experiment(config),
        options=attrs.asdict(options),
        points=CORNER_NAMES,
        num_classes=None,
        data=(str(config.dataset.train_data),),
        run=results.folder.name,
        fingerprint=fingerprint,
    )
    steps = len(loaders.train)
    keeper = ExperimentCheckpointer(results, train, provenance, steps, source)
    told = [StatusSink(status, plan.last_epoch, steps), *sinks]
    result = fit(task, plan, loaders, told, keeper, progress, restored=restored, device=_device(config))
    if result.interrupted:
        status.write("FAILURE", "the training was interrupted; the next one goes on here", verbosity="WARNING")
    else:
        status.write("SUCCESS", "the training is done", kpi=dict(result.scalars))
    return plan, result


def _options(config: CenterPoseConfig) -> TrainOptions:
    train, data = config.train, config.dataset
    within = f"{train.checkpoint_interval}steps" if train.checkpoint_interval_unit == "step" else "10min"
    return TrainOptions(
        epochs=train.num_epochs,
        batch_size=data.batch_size,
        learning_rate=train.optim.lr,
        clip_norm=train.clip_grad_val,
        precision=train.precision,
        num_workers=data.workers,
        seed=train.seed if train.seed >= 0 else secrets.randbelow(HIGHEST_SEED),
        checkpoint_interval=within,
    )


def _plan(
    config: CenterPoseConfig,
    options: TrainOptions,
    restored: Checkpoint | None,
    fingerprint: Mapping[str, Any],
    source: Path | None,
) -> Plan:
    """Decide what is done: the experiment holds, also for a resumed training; only the position is the checkpoint's."""
    optim = config.train.optim
    schedule = MultiStep(optim.lr, optim.lr_steps, optim.lr_decay)
    epoch, step, line = 0, 0, f"train {options.epochs} epochs, batch {options.batch_size}, learning rate {optim.lr:g}"
    if restored is not None:
        epoch, step = restored.state.position
        changed = changes(restored.provenance.fingerprint, fingerprint)
        for each in changed:
            log.warning("the data changed since %s was saved: %s", source, each)
        if changed or restored.provenance.options.get("batch_size") != options.batch_size:
            step = 0
        line = f"go on from {source} after {epoch} of {options.epochs} epochs and {step} steps, {line}"
    return Plan(
        options,
        schedule,
        epoch,
        step,
        options.epochs,
        line,
        weight_decay=0.0,
        validate_every=config.train.validation_interval,
    )


def _rehearsed(task: Task, plan: Plan, loaders: Loaders, status: StatusLog) -> FitResult:
    """Take one step of the training and of the validation, and write nothing but the line of status."""
    comparison = rehearse(task, plan, loaders.train, [])
    precision = resolve_precision(plan.options.precision)
    batch = next(iter(loaders.validation or ()))
    task.metrics().update(torch_predictor(task.model.eval(), precision)(batch.image), batch)
    status.write("SUCCESS", "one step was taken, and nothing kept", kpi=dict(comparison.scalars))
    return FitResult(0, 1, False, None, comparison.scalars)


def _device(config: CenterPoseConfig) -> torch.device | None:
    return torch.device("cuda", config.train.gpus[0]) if torch.cuda.is_available() else None
