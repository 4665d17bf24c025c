"""Preview, dry run and training as functions.

Each reads a configuration, joins the rooms, writes files where it says, and returns what it did as a frozen value.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from cogkp.artifacts.checkpoint import Provenance, load_weights
from cogkp.artifacts.names import timestamp
from cogkp.artifacts.restore import Restored, open_checkpoint
from cogkp.artifacts.run_record import Session, record_session
from cogkp.artifacts.runs import RunFolder, in_use, own_name
from cogkp.config.keypoint.io import config_hash, dump
from cogkp.config.keypoint.spec import KeypointConfig
from cogkp.config.torchrun import Launch
from cogkp.config.train import TrainOptions
from cogkp.data.dataset import ImageDataset, Split
from cogkp.drawing import draw_batch
from cogkp.errors import CogkpError, DataError
from cogkp.progress import SILENT, Progress
from cogkp.tasks.base import Task
from cogkp.tasks.registry import build_task
from cogkp.training.checkpointer import RunCheckpointer
from cogkp.training.distributed import Ranks, together
from cogkp.training.plan import Plan, plan_training, with_other_data
from cogkp.training.profiling import TRACE_NAME, ProfileSink
from cogkp.training.seeding import seed_everything
from cogkp.training.sinks import Sink
from cogkp.training.trainer import FitResult, Loaders, fit, rehearse
from cogkp.workflows.evaluation import evaluate
from cogkp.workflows.loggers import board_sinks, usual_sinks
from cogkp.workflows.pretrained import refuse_with_restore, start_encoder
from cogkp.workflows.resume import changed_config, changed_data, folder_for, without_best
from cogkp.workflows.setup import CHECKPOINT_ROOT, open_loader, require_runnable

__all__ = ["DryRunResult", "TrainResult", "dry_run", "preview_data", "train"]

LOG_DIR = Path("logs/cog")

log = logging.getLogger("cogkp")


@attrs.frozen
class DryRunResult:
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


@attrs.frozen
class TrainResult:
    """How a training ended.

    Args:
        run_dir: folder of the run.
        checkpoint: its newest checkpoint.
        best: that of the best validation, None where nothing was validated.
        mirror: the same, where ``--restore latest`` finds it.
        epochs: epochs completed over the life of the run.
        interrupted: whether Ctrl-C ended it early.
        seconds: this call took.
        scalars: the last epoch's figures.
        plan: what was to be done, in one line.
        stopped: why it stopped early by itself; empty where it did not.
        report: the page that shows how good it became, None where none was written.
    """

    run_dir: Path
    checkpoint: Path
    best: Path | None
    mirror: Path
    epochs: int
    interrupted: bool
    seconds: float
    scalars: Mapping[str, float]
    plan: str
    stopped: str = ""
    report: Path | None = None


def preview_data(
    config: KeypointConfig, *, batch_size: int = 32, num_workers: int = 0
) -> Iterator[npt.NDArray[np.uint8]]:
    """Render augmented samples batch by batch, in the order of the recording.

    Yields:
        Square grids, (H, W, 3) uint8 RGB.
    """
    options = TrainOptions(batch_size=batch_size, num_workers=num_workers)
    require_runnable(config, options)
    task = build_task(config)
    for batch in open_loader(task.datasets("preview"), options, shuffle=False):
        yield draw_batch(task.codec, batch)


def dry_run(config: KeypointConfig, options: TrainOptions, *, log_dir: Path | None = LOG_DIR) -> DryRunResult:
    """Build data and network, log the graph, and take one optimiser step; nothing is kept."""
    require_runnable(config, options)
    started = time.perf_counter()
    seed_everything(options.seed)
    task = build_task(config)
    start_encoder(task, options)
    run_log = None if log_dir is None else log_dir / timestamp()
    comparison = rehearse(
        task,
        plan_training(options, frozenset(), None),
        open_loader(task.datasets("train"), options, shuffle=True),
        board_sinks(task, options, run_log),
    )
    return DryRunResult(
        loss=comparison.scalars["loss"],
        parts={name: value for name, value in comparison.scalars.items() if name != "loss"},
        parameters=sum(parameter.numel() for parameter in task.model.parameters()),
        seconds=time.perf_counter() - started,
        log_dir=run_log,
    )


@together
def train(
    config: KeypointConfig,
    options: TrainOptions,
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

    Args:
        config: what is trained, on which data.
        options: how; with ``restore``, those not in ``given`` are taken from the checkpoint.
        restore: None, 'latest', 'best' or a path.
        given: names of the options that were spelled out.
        allow_config_change: whether to go on with another configuration than that of the checkpoint.
        checkpoint_root: folder of all runs.
        log_dir: TensorBoard root; None logs nothing there.
        profile: whether to write a trace of a few steps into the run folder.
        sinks: who else is told of steps and epochs, after the run's own.
        report: whether a training that ends by itself and has validation data leaves the evaluation of its best
            checkpoint in the run folder.
        progress: shows epochs.

    Raises:
        CheckpointError: it cannot be used, or was trained with another configuration.
        OutputError: something cannot be written, or another training writes into the same run folder.
        RankError: another process of this training has ended.
    """
    started, ranks = time.perf_counter(), Ranks.here()
    refuse_with_restore(restore, given)
    restored = None if restore is None else ranks.from_first(lambda: open_checkpoint(restore, checkpoint_root))
    changes = [] if restored is None else changed_config(restored, config, allowed=allow_config_change)
    plan = plan_training(options, given, None if restored is None else restored.checkpoint)
    require_runnable(config, plan.options)
    seed_everything(plan.options.seed)
    task = build_task(config)
    _fill(task, restored, plan.options)
    data = _open_data(task)
    fingerprint = {split: dataset.fingerprint for split, dataset in data.items()}
    ranks.require_same(fingerprint, "data")
    changed = [] if restored is None else changed_data(restored, fingerprint)
    plan = with_other_data(plan) if any(line.startswith("train") for line in changed) else plan
    restored = without_best(restored) if restored is not None and (changes or changed) else restored
    told = (*changes, *changed)
    loaders = _loaders(data, plan.options, ranks.launch)
    with _held(ranks, restored, checkpoint_root) as folder:
        run = _Prepared(config, task, plan, loaders, fingerprint, restored, told, ranks, profile, tuple(sinks))
        result = run.run_in(folder, log_dir, progress)
        wanted = report and _is_judged(data, result)
        page = ranks.from_first(lambda: _reported(config, plan.options, folder)) if wanted else None
    return _result(folder, result, plan, page, time.perf_counter() - started)


def _result(folder: RunFolder, result: FitResult, plan: Plan, page: Path | None, seconds: float) -> TrainResult:
    return TrainResult(
        run_dir=folder.path,
        checkpoint=folder.checkpoint,
        best=folder.best if folder.best.is_file() else None,
        mirror=folder.mirror,
        epochs=result.epochs,
        interrupted=result.interrupted,
        seconds=seconds,
        scalars=result.scalars,
        plan=plan.line,
        stopped=result.stopped,
        report=page,
    )


@contextmanager
def _held(ranks: Ranks, restored: Restored | None, root: Path) -> Iterator[RunFolder]:
    """Let the first rank hold the run's folder; the others are told where it is."""
    with ExitStack() as stack:
        yield ranks.from_first(lambda: stack.enter_context(in_use(folder_for(restored, root))))


def _is_judged(data: Mapping[str, Any], result: FitResult) -> bool:
    return "validation" in data and not result.interrupted and result.steps > 0


def _reported(config: KeypointConfig, options: TrainOptions, folder: RunFolder) -> Path | None:
    """Leave an evaluation of the best checkpoint in the run folder; a training is never lost for want of it."""
    source = folder.best if folder.best.is_file() else folder.checkpoint
    try:
        found = evaluate(
            config,
            restore=str(source),
            split="validation",
            batch_size=options.batch_size,
            output_dir=folder.path,
            checkpoint_root=folder.root,
        )
    except CogkpError as error:
        log.warning("no report was written: %s", error)
        return None
    return found.html_path


@attrs.frozen(eq=False)
class _Prepared:
    """A training that lacks nothing but its folder."""

    config: KeypointConfig
    task: Task
    plan: Plan
    loaders: Loaders
    fingerprint: Mapping[str, Any]
    restored: Restored | None
    changes: tuple[str, ...]
    ranks: Ranks
    profile: bool = False
    others: tuple[Sink, ...] = ()

    def run_in(self, folder: RunFolder, log_dir: Path | None, progress: Progress) -> FitResult:
        log.info("%s", self.plan.line)
        log.info("%s", self.task.loss.describe())
        progress = progress if self.ranks.first else SILENT
        home = None if self.restored is None else self.restored.run(folder.root)
        restored = self.restored
        if restored is not None and (home is None or home.path != folder.path):
            restored = without_best(restored)
        sinks = self.sinks(folder, None if home is None else home.metrics, log_dir) if self.ranks.first else []
        if self.ranks.first:
            record_session(folder, dump(self.config), self.session())
        keeper = RunCheckpointer(
            folder,
            self.provenance(),
            self.plan.options.keep_last,
            None if restored is None else own_name(restored.path, folder.path),
        )
        checkpoint = None if restored is None else restored.checkpoint
        return fit(self.task, self.plan, self.loaders, sinks, keeper, progress, restored=checkpoint, ranks=self.ranks)

    def sinks(self, folder: RunFolder, history: Path | None, log_dir: Path | None) -> list[Sink]:
        board = None if log_dir is None else log_dir / folder.path.name
        usual = usual_sinks(
            self.task,
            self.plan,
            len(self.loaders.train),
            folder.path,
            board=board,
            restored=self.restored is not None,
            earlier=history,
        )
        return [
            *usual,
            *([ProfileSink(folder.path / TRACE_NAME)] if self.profile else []),
            *self.others,
        ]

    def session(self) -> Session:
        return Session(
            plan=self.plan.line,
            options=attrs.asdict(self.plan.options),
            config_sha256=config_hash(self.config),
            data=self.fingerprint,
            restored=None if self.restored is None else str(self.restored.path),
            changes=self.changes,
        )

    def provenance(self) -> Provenance:
        return Provenance(
            config=dump(self.config),
            options=attrs.asdict(self.plan.options),
            points=self.config.point_names,
            num_classes=self.config.num_classes,
            data=self.config.base_dir,
            fingerprint=self.fingerprint,
        )


def _fill(task: Task, restored: Restored | None, options: TrainOptions) -> None:
    """Give the network its first weights before any data is read, so that a misfit is told early, with its file."""
    if restored is None:
        start_encoder(task, options)
    else:
        load_weights(restored.checkpoint, task.model, str(restored.path))


def _open_data(task: Task) -> dict[str, Any]:
    """Open the data sets by split."""
    data = {"train": _labelled_data(task, "train", "base_dir")}
    if task.config.validation.base_dir:
        data["validation"] = _labelled_data(task, "validation", "validation.base_dir")
    return data


def _loaders(data: Mapping[str, Any], options: TrainOptions, launch: Launch) -> Loaders:
    validation = None
    if "validation" in data:
        # A few frames after each epoch: starting processes for them would cost more than it saves.
        validation = open_loader(data["validation"], attrs.evolve(options, num_workers=0), shuffle=False, launch=launch)
    return Loaders(open_loader(data["train"], options, shuffle=True, launch=launch), validation)


def _labelled_data(task: Task, split: Split, key: str) -> ImageDataset:
    """Open one split, say how much it holds, and refuse it where a training could learn or check nothing."""
    dataset = task.datasets(split)
    log.info("%s data: %s", split, dataset.size_report)
    if not any(dataset.size_report.labelled.values()) and not task.config.targets.segmentation:
        raise DataError("no point is labelled", where=key, got=str(dataset.size_report))
    return dataset
