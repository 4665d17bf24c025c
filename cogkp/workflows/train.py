"""Train a model of any family, or take one step as a dry run."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch

from cogkp.artifacts.checkpoint import load_weights
from cogkp.artifacts.names import timestamp
from cogkp.artifacts.restore import Restored
from cogkp.artifacts.run_record import Session, record_session
from cogkp.config.converter import plain_hash
from cogkp.config.torchrun import Launch
from cogkp.config.train import TrainOptions
from cogkp.data.dataset import ImageDataset, Split
from cogkp.errors import CogkpError, DataError, printable
from cogkp.progress import SILENT, Progress
from cogkp.tasks.base import Task
from cogkp.tasks.registry import build_task
from cogkp.training.distributed import Ranks, together
from cogkp.training.evaluator import torch_predictor
from cogkp.training.learner import BatchResult
from cogkp.training.plan import Plan, with_other_data
from cogkp.training.precision import resolve_precision
from cogkp.training.seeding import seed_everything
from cogkp.training.sinks import Sink
from cogkp.training.stopwatch import TRACE_NAME, ProfileSink
from cogkp.training.trainer import FitResult, Loaders, fit, rehearse
from cogkp.workflows.adapter import EvaluationRequest, adapter_of
from cogkp.workflows.evaluate import evaluated
from cogkp.workflows.image_levels import tell_dataset, with_found_levels, with_trained_levels
from cogkp.workflows.printing import Printable
from cogkp.workflows.setup import open_loader
from cogkp.workflows.training_job import (
    CHECKPOINT_ROOT,
    LOG_DIR,
    RunPlace,
    TrainingJob,
    TrainingRequest,
    changed_data,
    tensorboard,
    usual_loggers,
    without_best,
)

log = logging.getLogger("cogkp")


@attrs.frozen(repr=False)
class DryRunResult(Printable):
    """What one optimiser step showed.

    Args:
        loss: total loss of the first batch.
        parts: each active term before its weight.
        parameters: size of the network.
        seconds: the whole of it took.
        log_dir: where the graph was logged, or None.
    """

    loss: float
    parts: Mapping[str, float]
    parameters: int
    seconds: float
    log_dir: Path | None

    def summary(self) -> str:
        """Say what the step showed."""
        parts = ", ".join(f"{name} {value:.4g}" for name, value in self.parts.items())
        return f"dry run: loss {self.loss:.4g} ({parts}), {self.parameters:,} parameters, {self.seconds:.1f} s"


@attrs.frozen(repr=False)
class TrainResult(Printable):
    """How a training ended.

    Args:
        run_dir: folder of the run, or of the experiment's results.
        checkpoint: its newest checkpoint; None after a dry run.
        best: that of the best validation, None where nothing was validated.
        mirror: the same as ``checkpoint``, where ``restore="latest"`` finds it; None for experiments.
        epochs: epochs completed over the life of the run.
        interrupted: whether a signal ended it early: Ctrl-C, SIGTERM or SIGHUP.
        signal: number of that signal, else 0.
        seconds: this call took.
        scalars: the last epoch's figures.
        plan: what was to be done, in one line.
        stopped: why it stopped early by itself; empty where it did not.
        report: the page that shows how good it became, None where none was written.
        to_evaluate: what to set in an experiment's ``experiment.yaml`` to evaluate the trained model; empty where
            nothing was kept, and for configurations that need nothing set.
    """

    run_dir: Path
    checkpoint: Path | None
    best: Path | None
    mirror: Path | None
    epochs: int
    interrupted: bool
    signal: int
    seconds: float
    scalars: Mapping[str, float]
    plan: str
    stopped: str = ""
    report: Path | None = None
    to_evaluate: tuple[str, ...] = ()

    def summary(self) -> str:
        """Say how far the training came, and which files it left."""
        figures = ", ".join(f"{name} {value:.4g}" for name, value in self.scalars.items())
        how = f"interrupted after {self.epochs} epochs" if self.interrupted else f"{self.epochs} epochs"
        files = {"checkpoint": self.checkpoint, "best": self.best, "report": self.report}
        lines = [f"{how}, {self.seconds:.0f} s; {self.plan}", *filter(None, [self.stopped, figures])]
        lines += (f"{name}: {path}" for name, path in files.items() if path is not None)
        return "\n".join(map(printable, lines))


def dry_run(config: Any, options: TrainOptions | None = None, *, log_dir: Path | None = LOG_DIR) -> DryRunResult:
    """Build data and network, log the graph, take one optimiser step and one validation step; nothing is kept.

    Args:
        config: what :func:`cogkp.load_config` returns.
        options: how it would be trained; None for the defaults, and for experiments, which say it themselves.
        log_dir: TensorBoard root; None logs nothing.

    Raises:
        ConfigError: configuration and options do not fit together.
        DataError: data cannot be used.
        TrainingError: a loss term cannot run, or the loss is NaN or infinite.
    """
    started = time.perf_counter()
    job = adapter_of(config).training(config, TrainingRequest(options=options), Ranks())
    plan = job.plan(None)
    seed_everything(plan.options.seed)
    task = build_task(config)
    job.adapter.start_weights(config, task, plan.options)
    run_log = None if log_dir is None else log_dir / timestamp()
    loaders = _loaders(_open_data(job, task, fresh=True), plan.options, job, Launch())
    result = _rehearsed(task, plan, loaders, tensorboard(task, plan.options, run_log), job.device)
    return DryRunResult(
        loss=result.scalars["loss"],
        parts={name: value for name, value in result.scalars.items() if name != "loss"},
        parameters=sum(parameter.numel() for parameter in task.model.parameters()),
        seconds=time.perf_counter() - started,
        log_dir=run_log,
    )


@together
def train(
    config: Any,
    options: TrainOptions | None = None,
    *,
    restore: str | None = None,
    given: frozenset[str] = frozenset(),
    allow_config_change: bool = False,
    checkpoint_root: Path = CHECKPOINT_ROOT,
    log_dir: Path | None = LOG_DIR,
    profile: bool = False,
    sinks: Sequence[Sink] = (),
    report: bool = True,
    progress: Progress = SILENT,
) -> TrainResult:
    """Train a model, from fresh weights or from a checkpoint.

    Started by ``torchrun``, all processes train one model together; the first one alone writes and shows progress.
    An experiment says itself where its results go and how it is trained, and goes on by itself where an earlier call
    ended.

    Args:
        config: what :func:`cogkp.load_config` returns: what is trained, on which data.
        options: how; with ``restore``, those not in ``given`` are taken from the checkpoint. None for the defaults,
            and for experiments.
        restore: None, 'latest', 'best' or a path.
        given: names of the options that were spelled out.
        allow_config_change: whether to go on with another configuration than that of the checkpoint.
        checkpoint_root: folder of all runs; not for experiments.
        log_dir: TensorBoard root; None logs nothing there. An experiment logs into its own results, unless another
            folder than the default is given.
        profile: whether to write a trace of a few steps into the run folder.
        sinks: further loggers, called after the run's own.
        report: whether a training that ends by itself and has validation data leaves the evaluation of its best
            checkpoint in the run folder.
        progress: shows epochs.

    Returns:
        Files and figures; ``print`` of it says the most important ones.

    Raises:
        ConfigError: configuration, options and request do not fit together.
        CheckpointError: it cannot be used, or was trained with another configuration.
        DataError: data cannot be used.
        OutputError: something cannot be written, or another training writes into the same run folder.
        TrainingError: the loss is NaN or infinite; or several GPUs are asked for in one process.
        RankError: another process of this training has ended.
    """
    started, ranks = time.perf_counter(), Ranks.here()
    asked = TrainingRequest(
        options=options,
        restore=restore,
        given=given,
        allow_config_change=allow_config_change,
        checkpoint_root=checkpoint_root,
        log_dir=log_dir,
    )
    job = adapter_of(config).training(config, asked, ranks)
    with job.held():
        run = _Run(job, ranks, profile, tuple(sinks), report, progress if ranks.first else SILENT)
        return attrs.evolve(run.trained(), seconds=time.perf_counter() - started)


@attrs.frozen(eq=False)
class _Run:
    """One call of ``train``."""

    job: TrainingJob
    ranks: Ranks
    profile: bool
    sinks: tuple[Sink, ...]
    report: bool
    progress: Progress

    def trained(self) -> TrainResult:
        """Train from the checkpoint, the data and the folder that the job names."""
        job, ranks = self.job, self.ranks
        restored = ranks.from_first(job.restored)
        if restored is not None:
            job.config = with_trained_levels(job.config, restored.checkpoint)
        changes = [] if restored is None else job.config_changes(restored)
        plan = job.plan(restored)
        seed_everything(plan.options.seed)
        task = build_task(job.config)
        # Weights come before the data, so that a misfit is reported early, with its file.
        if restored is None:
            job.adapter.start_weights(job.config, task, plan.options)
        else:
            load_weights(restored.checkpoint, task.model, str(restored.path))
        data = _open_data(job, task, fresh=restored is None)
        fingerprint: dict[str, Any] = {split: dataset.fingerprint for split, dataset in data.items()}
        ranks.require_same(fingerprint, "data")
        changed = [] if restored is None else changed_data(restored, fingerprint)
        plan = with_other_data(plan) if any(line.startswith("train") for line in changed) else plan
        restored = without_best(restored) if restored is not None and (changes or changed) else restored
        loaders = _loaders(data, plan.options, job, ranks.launch)
        log.info("%s", plan.line)
        log.info("%s", task.loss.describe())
        with job.place(restored) as place:
            if job.is_dry_run:
                scalars = _rehearsed(task, plan, loaders, [], job.device).scalars
                result = FitResult(0, 1, False, None, scalars)
            else:
                session = self._session(plan, fingerprint, restored, (*changes, *changed))
                result = self._fitted(task, plan, loaders, place, fingerprint, restored, session)
            job.finished(result)
            wanted = self.report and "validation" in data and not result.interrupted and result.steps > 0
            wanted = wanted and not job.is_dry_run
            page = ranks.from_first(lambda: self._reported(place, plan)) if wanted else None
            return self._result(place, result, plan, page)

    def _fitted(
        self,
        task: Task,
        plan: Plan,
        loaders: Loaders,
        place: RunPlace,
        fingerprint: Mapping[str, Any],
        restored: Restored | None,
        session: Session,
    ) -> FitResult:
        job, ranks, steps = self.job, self.ranks, len(loaders.train)
        if restored is not None and not job.goes_on(restored, place):
            restored = without_best(restored)
        loggers: list[Sink] = []
        if ranks.first:
            record_session(place.path, session)
            board = job.board(place)
            loggers = [
                *usual_loggers(task, plan, steps, place.path, board=board, restored=restored),
                *job.loggers(place, plan, steps),
                *([ProfileSink(place.path / TRACE_NAME)] if self.profile else []),
                *self.sinks,
            ]
        provenance = job.provenance(place, plan.options, fingerprint)
        keeper = job.checkpointer(place, provenance, plan, restored, steps)
        checkpoint, device = None if restored is None else restored.checkpoint, job.device
        return fit(task, plan, loaders, loggers, keeper, self.progress, restored=checkpoint, device=device, ranks=ranks)

    def _session(
        self, plan: Plan, fingerprint: Mapping[str, Any], restored: Restored | None, changes: Sequence[str]
    ) -> Session:
        return Session(
            plan=plan.line,
            options=attrs.asdict(plan.options),
            config_sha256=plain_hash(self.job.adapter.dump(self.job.config)),
            data=fingerprint,
            restored=None if restored is None else str(restored.path),
            changes=tuple(changes),
        )

    def _reported(self, place: RunPlace, plan: Plan) -> Path | None:
        """Evaluate the best checkpoint; a training is never lost for want of it."""
        source = place.best if place.best.is_file() else place.checkpoint
        try:
            asked = EvaluationRequest(
                model=str(source),
                split="validation",
                batch_size=plan.options.batch_size // self.ranks.launch.ranks,
                output_dir=self.job.report_folder(place),
                in_training=True,
            )
            found = evaluated(self.job.config, asked)
        except CogkpError as error:
            log.warning("no report was written: %s", error)
            return None
        return found.html_path

    def _result(self, place: RunPlace, result: FitResult, plan: Plan, page: Path | None) -> TrainResult:
        kept = None if self.job.is_dry_run else place.checkpoint
        best = place.best if kept is not None and place.best.is_file() else None
        model = best or kept
        return TrainResult(
            run_dir=place.path,
            checkpoint=kept,
            best=best,
            mirror=None if kept is None else place.mirror,
            epochs=result.epochs,
            interrupted=result.interrupted,
            signal=result.signal,
            seconds=0.0,
            scalars=result.scalars,
            plan=plan.line,
            stopped=result.stopped,
            report=page,
            to_evaluate=() if model is None else self.job.to_evaluate(model),
        )


def _open_data(job: TrainingJob, task: Task, *, fresh: bool) -> dict[Split, ImageDataset]:
    """Open the data sets by split, and say how much they hold; refuse one that teaches or checks nothing.

    The levels of the training images are found for a fresh network; a trained one keeps those it was trained with.
    """
    data: dict[Split, ImageDataset] = {}
    for split, key in job.adapter.splits(job.config).items():
        dataset = task.datasets(split)
        if fresh and split == "train":
            config, job.images = with_found_levels(job.config, dataset)
            if config is not job.config:
                job.config = task.config = config
                dataset = task.datasets(split)
        else:
            images = tell_dataset(job.config, dataset, split)
            job.images = images if split == "train" else job.images
        data[split] = dataset
        log.info("%s data: %s", split, dataset.size_report)
        if job.adapter.needs_labels(job.config) and not any(dataset.size_report.labelled.values()):
            raise DataError("no point is labelled", where=key, got=str(dataset.size_report))
    return data


def _loaders(data: Mapping[Split, ImageDataset], options: TrainOptions, job: TrainingJob, launch: Launch) -> Loaders:
    validation = None
    if "validation" in data:
        # A few images after each epoch: starting processes for them would cost more than it saves.
        alone = attrs.evolve(options, num_workers=0)
        validation = open_loader(data["validation"], alone, shuffle=False, launch=launch, pin=job.pins_memory)
    training = open_loader(data["train"], options, shuffle=True, launch=launch, pin=job.pins_memory)
    return Loaders(training, validation)


def _rehearsed(
    task: Task, plan: Plan, loaders: Loaders, sinks: Sequence[Sink], device: torch.device | None
) -> BatchResult:
    """Take one step of the training and of the validation."""
    result = rehearse(task, plan, loaders.train, sinks, device=device)
    if loaders.validation is not None:
        batch = next(iter(loaders.validation))
        predict = torch_predictor(task.model.eval(), resolve_precision(plan.options.precision, device))
        task.metrics().update(predict(batch.image), batch)
    return result
