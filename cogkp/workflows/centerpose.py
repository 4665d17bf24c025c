"""The verbs of the object-pose family: an experiment in, files in its folder of results out."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import attrs
import torch

from cogkp.artifacts.checkpoint import Provenance, load_weights
from cogkp.artifacts.restore import Restored
from cogkp.artifacts.runs import METRICS_NAME
from cogkp.artifacts.status import StatusLog
from cogkp.config.centerpose import rules
from cogkp.config.centerpose.io import dump_experiment
from cogkp.config.centerpose.results import Results, results_of, resume_checkpoint
from cogkp.config.centerpose.spec import CenterPoseConfig
from cogkp.config.train import TrainOptions
from cogkp.errors import CogkpError, ConfigError
from cogkp.progress import SILENT, Progress
from cogkp.tasks.base import Task
from cogkp.tasks.registry import build_task
from cogkp.training.distributed import Ranks, together
from cogkp.training.evaluator import torch_predictor
from cogkp.training.optim import MultiStep
from cogkp.training.plan import Plan
from cogkp.training.precision import resolve_precision
from cogkp.training.seeding import seed_everything
from cogkp.training.sinks import Sink
from cogkp.training.trainer import FitResult, Loaders, fit, rehearse
from cogkp.workflows.centerpose_evaluation import evaluate_experiment
from cogkp.workflows.centerpose_results import ExperimentCheckpointer, StatusSink, told_figures
from cogkp.workflows.loggers import usual_sinks
from cogkp.workflows.pretrained import open_experiment_checkpoint, start_network
from cogkp.workflows.results_folder import AtWork, at_work
from cogkp.workflows.resume import changed_data, without_best
from cogkp.workflows.setup import open_loader
from cogkp.workflows.torchrun import require_started

__all__ = ["ExperimentResult", "train_experiment"]

CORNER_NAMES = tuple(f"corner {number}" for number in range(1, 9))
HIGHEST_SEED = 2**31
BOARD_NAME = "tensorboard"
REPORT_FOLDER = "best"

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
        best: the checkpoint of the best validation; None where there is none.
        report: the page that shows how good that one became; None where none was written.
        to_evaluate: what to set in the folder's ``experiment.yaml`` so that it judges what was trained; the pictures
            are those of the validation where it names no others. Empty where nothing was kept.
    """

    folder: Path
    checkpoint: Path | None
    epochs: int
    interrupted: bool
    seconds: float
    scalars: Mapping[str, float]
    plan: str
    best: Path | None = None
    report: Path | None = None
    to_evaluate: tuple[str, ...] = ()


@together
def train_experiment(
    config: CenterPoseConfig, *, report: bool = True, sinks: Sequence[Sink] = (), progress: Progress = SILENT
) -> ExperimentResult:
    """Train what an experiment describes, or go on where an earlier call ended.

    The folder of results gets ``experiment.yaml``, ``status.json``, the history and its table, a checkpoint as often as
    ``train.checkpoint_interval`` says, ``centerpose_model_best.pth``, and ``centerpose_model_latest.pth``, from which
    the next call goes on. Started by ``torchrun``, all processes train one network together, each with
    ``dataset.batch_size`` pictures a step; the first one alone writes and shows progress.

    Args:
        config: the experiment.
        report: whether a training that ends by itself leaves the evaluation of its best checkpoint, on the pictures it
            was validated with, in the folder ``best``.
        sinks: who else is told of steps and epochs.
        progress: shows epochs.

    Raises:
        ConfigError: the experiment does not fit together, or names no folder of results.
        TrainingError: it asks for something that cannot be done here, as for several GPUs in one process; the message
            says how to start them.
        CheckpointError: a checkpoint cannot be used.
        DataError: data cannot be used.
        OutputError: something cannot be written, or another training writes into the same folder.
        RankError: another process of this training has ended.
    """
    started, ranks = time.perf_counter(), Ranks.here()
    if problems := rules.check(config, "train"):
        raise ConfigError(problems)
    require_started(config.train)
    results = results_of(config, "train")
    with _held(config, ranks) as status:
        plan, result = _trained(config, results, ranks, status, sinks, progress if ranks.first else SILENT)
        wanted = report and result.steps > 0 and not result.interrupted and not config.train.is_dry_run
        page = ranks.from_first(lambda: _reported(config, results)) if wanted else None
    best = results.best if result.checkpoint is not None and results.best.is_file() else None
    return ExperimentResult(
        folder=results.folder,
        checkpoint=result.checkpoint,
        epochs=result.epochs,
        interrupted=result.interrupted,
        seconds=time.perf_counter() - started,
        scalars=result.scalars,
        plan=plan.line,
        best=best,
        report=page,
        to_evaluate=_judging(config, best or result.checkpoint),
    )


def _judging(config: CenterPoseConfig, model: Path | None) -> tuple[str, ...]:
    """List the overrides by which an evaluation judges a model."""
    if model is None:
        return ()
    data = config.dataset
    return (f"evaluate.checkpoint={model}", *([] if data.test_data else [f"dataset.test_data={data.val_data}"]))


def _reported(config: CenterPoseConfig, results: Results) -> Path | None:
    """Judge the best checkpoint; a training is never lost for want of it."""
    source = results.best if results.best.is_file() else results.latest
    judged = attrs.evolve(
        config,
        evaluate=attrs.evolve(
            config.evaluate, checkpoint=str(source), trt_engine=None, results_dir=str(results.folder / REPORT_FOLDER)
        ),
    )
    try:
        return evaluate_experiment(judged, split="validation").html_path
    except CogkpError as error:
        log.warning("no report was written: %s", error)
        return None


@contextmanager
def _held(config: CenterPoseConfig, ranks: Ranks) -> Iterator[StatusLog | None]:
    """Let the first rank hold the folder and keep its file of status; the others have none."""
    with ExitStack() as stack:
        held: list[AtWork] = []
        ranks.from_first(lambda: held.append(stack.enter_context(at_work(config, "train"))))
        yield held[0].status if held else None


def _trained(
    config: CenterPoseConfig,
    results: Results,
    ranks: Ranks,
    status: StatusLog | None,
    sinks: Sequence[Sink],
    progress: Progress,
) -> tuple[Plan, FitResult]:
    options = _options(config, ranks)
    torch.backends.cudnn.benchmark = config.train.cudnn.benchmark
    torch.backends.cudnn.deterministic = config.train.cudnn.deterministic
    restored = ranks.from_first(lambda: _restored(config, results))
    seed_everything(options.seed)
    task = build_task(config)
    if restored is None:
        start_network(task, config)
    else:
        load_weights(restored.checkpoint, task.model, str(restored.path))
    data = _opened(task)
    fingerprint = {split: dataset.fingerprint for split, dataset in data.items()}
    ranks.require_same(fingerprint, "data")
    changed = [] if restored is None else changed_data(restored, fingerprint)
    plan = _plan(config, options, restored, ranks, again=bool(changed))
    log.info("%s", plan.line)
    restored = without_best(restored) if restored is not None and changed else restored
    loaders = _loaders(config, options, data, ranks)
    if config.train.is_dry_run:
        return plan, _rehearsed(task, plan, loaders, status, _device(config, ranks))
    keeper = ExperimentCheckpointer(
        results,
        config.train,
        _provenance(config, results, options, fingerprint),
        len(loaders.train),
        None if restored is None else restored.path,
    )
    told = [] if status is None else [*_sinks(task, plan, loaders, results, restored, status), *sinks]
    result = fit(
        task,
        plan,
        loaders,
        told,
        keeper,
        progress,
        restored=None if restored is None else restored.checkpoint,
        device=_device(config, ranks),
        ranks=ranks,
    )
    if status is not None:
        _close(status, result)
    return plan, result


def _opened(task: Task) -> dict[str, Any]:
    """Open both data sets, and say how much they hold."""
    data: dict[str, Any] = {"train": task.datasets("train"), "validation": task.datasets("validation")}
    for split, dataset in data.items():
        log.info("%s data: %s", split, dataset.size_report)
    return data


def _close(status: StatusLog, result: FitResult) -> None:
    if result.interrupted:
        status.write("FAILURE", "the training was interrupted; the next one goes on here", verbosity="WARNING")
    else:
        status.write("SUCCESS", "the training is done", kpi=told_figures(result.scalars))


def _options(config: CenterPoseConfig, ranks: Ranks) -> TrainOptions:
    train, data = config.train, config.dataset
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


def _restored(config: CenterPoseConfig, results: Results) -> Restored | None:
    """Read the checkpoint to go on from; one from elsewhere, or an older one, begins to look for the best anew."""
    source = resume_checkpoint(config, [path.name for path in results.folder.iterdir()])
    if source is None:
        return None
    found = open_experiment_checkpoint(source)
    latest = results.best.is_file() and results.latest.is_file() and source.samefile(results.latest)
    return found if latest else without_best(found)


def _plan(
    config: CenterPoseConfig, options: TrainOptions, restored: Restored | None, ranks: Ranks, *, again: bool
) -> Plan:
    """Decide what is done: the experiment holds, also for a resumed training; only the position is the checkpoint's.

    Args:
        config: the experiment.
        options: made of it.
        restored: what is gone on from.
        ranks: that train together.
        again: whether the epoch under way begins again, since the data is another.
    """
    optim = config.train.optim
    schedule = MultiStep(optim.lr, optim.lr_steps, optim.lr_decay)
    each = "" if ranks.alone else f" ({config.dataset.batch_size} on each of {ranks.launch.ranks} ranks)"
    line = f"train {options.epochs} epochs, batch {options.batch_size}{each}, learning rate {optim.lr:g}"
    epoch, step = 0, 0
    if restored is not None:
        epoch, step = restored.checkpoint.state.position
        if again or restored.checkpoint.provenance.options.get("batch_size") != options.batch_size:
            step = 0
        line = f"go on from {restored.path} after {epoch} of {options.epochs} epochs and {step} steps, {line}"
    every = config.train.validation_interval
    return Plan(options, schedule, epoch, step, options.epochs, line, weight_decay=0.0, validate_every=every)


def _loaders(config: CenterPoseConfig, options: TrainOptions, data: Mapping[str, Any], ranks: Ranks) -> Loaders:
    pin, launch = config.dataset.pin_memory, ranks.launch
    alone = attrs.evolve(options, num_workers=0)
    return Loaders(
        open_loader(data["train"], options, shuffle=True, launch=launch, pin=pin),
        open_loader(data["validation"], alone, shuffle=False, launch=launch, pin=pin),
    )


def _provenance(
    config: CenterPoseConfig, results: Results, options: TrainOptions, fingerprint: Mapping[str, Any]
) -> Provenance:
    return Provenance(
        config=dump_experiment(config),
        options=attrs.asdict(options),
        points=CORNER_NAMES,
        num_classes=None,
        data=(str(config.dataset.train_data),),
        run=results.folder.name,
        fingerprint=fingerprint,
    )


def _sinks(
    task: Task, plan: Plan, loaders: Loaders, results: Results, restored: Restored | None, status: StatusLog
) -> list[Sink]:
    steps = len(loaders.train)
    usual = usual_sinks(
        task,
        plan,
        steps,
        results.folder,
        board=results.folder / BOARD_NAME,
        restored=restored is not None,
        earlier=None if restored is None else restored.path.with_name(METRICS_NAME),
    )
    return [*usual, StatusSink(status, plan.last_epoch, steps)]


def _rehearsed(
    task: Task, plan: Plan, loaders: Loaders, status: StatusLog | None, device: torch.device | None
) -> FitResult:
    """Take one step of the training and of the validation, and write nothing but the line of status."""
    comparison = rehearse(task, plan, loaders.train, [], device=device)
    precision = resolve_precision(plan.options.precision, device)
    batch = next(iter(loaders.validation or ()))
    task.metrics().update(torch_predictor(task.model.eval(), precision)(batch.image), batch)
    if status is not None:
        status.write("SUCCESS", "one step was taken, and nothing kept", kpi=told_figures(comparison.scalars))
    return FitResult(0, 1, False, None, comparison.scalars)


def _device(config: CenterPoseConfig, ranks: Ranks) -> torch.device | None:
    """Take the named GPU; of several processes each has one already."""
    return torch.device("cuda", config.train.gpus[0]) if ranks.alone and torch.cuda.is_available() else None
