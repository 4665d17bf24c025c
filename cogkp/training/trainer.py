"""The training loop: epochs of steps, a validation where there is data for it, and a checkpoint after each epoch.

It knows a Task, never a family. Read downwards: ``fit``, then ``_Training.to_the_end``, then ``_Training.one_epoch``.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch

from cogkp.artifacts.checkpoint import Checkpoint
from cogkp.config.train import SaveInterval
from cogkp.data.sample import Batch
from cogkp.errors import CogkpError, NotFiniteError, TrainingError
from cogkp.progress import SILENT, Progress, Step
from cogkp.tasks.base import Metrics, Report, Task
from cogkp.training.allocator import keep_large_blocks
from cogkp.training.checkpointer import Checkpointer
from cogkp.training.distributed import SINGLE, Ranks
from cogkp.training.evaluator import Batches, evaluating, measure, merged, torch_predictor
from cogkp.training.history import EpochLines, Means
from cogkp.training.interrupt import Interrupt, Patience, SaveClock, listening
from cogkp.training.learner import BatchResult, Learner, kept, not_finite
from cogkp.training.plan import Plan, steps_before
from cogkp.training.sanity import EpochLoader, OneBatch
from cogkp.training.sinks import EpochEvent, Sink, StepEvent, opened
from cogkp.training.stopwatch import DATA, FORWARD_BACKWARD, UPDATE, VALIDATE_SAVE, DataAdvice, Stopwatch, share_text

log = logging.getLogger("cogkp")


@attrs.frozen
class Loaders:
    """What a training reads: batches to learn from and, optionally, to validate with after each epoch."""

    train: EpochLoader
    validation: Batches | None = None


@attrs.frozen
class FitResult:
    """How a training ended.

    Args:
        epochs: epochs completed over the whole life of the run.
        steps: optimiser steps of this call.
        interrupted: whether a signal ended it; the checkpoint then holds the exact position.
        checkpoint: the newest checkpoint.
        scalars: the last epoch's mean loss terms and validation figures.
        stopped: why it ended before its last epoch by itself; empty where it did not.
        signal: number of the signal that ended it; 0 where none did.
    """

    epochs: int
    steps: int
    interrupted: bool
    checkpoint: Path | None
    scalars: Mapping[str, float]
    stopped: str = ""
    signal: int = 0


def fit(
    task: Task,
    plan: Plan,
    loaders: Loaders,
    sinks: Sequence[Sink],
    checkpointer: Checkpointer,
    progress: Progress = SILENT,
    *,
    restored: Checkpoint | None = None,
    device: torch.device | None = None,
    ranks: Ranks = SINGLE,
) -> FitResult:
    """Train a task to the end of its plan, or until Ctrl-C, SIGTERM or SIGHUP.

    Several ranks call it together, each with loaders of its own part; the first one alone saves.

    Args:
        task: the family; its model is moved to the device, trained in place and left in evaluation mode, with the
            averaged weights where the options ask for an average.
        plan: made by :func:`cogkp.training.plan.plan_training`.
        loaders: what is read.
        sinks: loggers of steps and epochs.
        checkpointer: keeps the state after each epoch, within one as often as the options say, and when interrupted.
        progress: shows all steps that are left, as one piece of work.
        restored: the checkpoint the plan was made from.
        device: where to train; a GPU when there is one.
        ranks: the processes that train together.

    Raises:
        TrainingError: a loss term cannot run, there is no data, or the loss is no number any more.
        OutputError: a checkpoint could not be written; older ones stay valid.
    """
    _require_batches(loaders.train)
    _require_eager(plan, ranks)
    if plan.options.overfit_one_batch:
        loaders = attrs.evolve(loaders, train=OneBatch(loaders.train))
    learner = Learner.start(task, plan, restored, device, ranks)
    keep_large_blocks()
    steps = (plan.last_epoch - plan.epoch) * len(loaders.train) - plan.step
    with (
        listening() as interrupt,
        opened(sinks, learner.model, learner.example),
        progress.work("train", steps) as work,
    ):
        run = _Training.start(task, learner, loaders, sinks, checkpointer, work, interrupt, restored)
        result = run.to_the_end()
    learner.finish()
    return result


def rehearse(
    task: Task, plan: Plan, loader: EpochLoader, sinks: Sequence[Sink], *, device: torch.device | None = None
) -> BatchResult:
    """Take one step, save nothing: checks that data, network, loss and loggers work together; raises as :func:`fit`."""
    _require_batches(loader)
    learner = Learner.start(task, plan, None, device)
    with opened(sinks, learner.model, learner.example):
        batch = next(_batches(loader, 0, 0))
        comparison = learner.compare(batch)
        if not comparison.finite:
            raise not_finite(comparison, batch, "the first step", None)
        rate = plan.schedule.rate(0, 0, len(loader))
        learner.update(rate)
        event = StepEvent(0, 1, 1, rate, comparison, learner.model, batch)
        for sink in sinks:
            sink.step(event)
    return comparison


@attrs.frozen
class _Passed:
    """Where one pass over the data ended, early when somebody asked to stop, and the rate of its last step."""

    done: int
    rate: float


@attrs.define(eq=False)
class _Training:
    task: Task
    learner: Learner
    loaders: Loaders
    sinks: Sequence[Sink]
    checkpointer: Checkpointer
    work: Step
    interrupt: Interrupt
    lines: EpochLines
    clock: SaveClock
    means: Means
    best: Mapping[str, Any] | None
    patience: Patience
    ranks: Ranks
    watch: Stopwatch
    advice: DataAdvice
    shift: int
    """Steps of the whole run, less those that epochs and steps would make with today's batch size."""

    @classmethod
    def start(
        cls,
        task: Task,
        learner: Learner,
        loaders: Loaders,
        sinks: Sequence[Sink],
        checkpointer: Checkpointer,
        work: Step,
        interrupt: Interrupt,
        restored: Checkpoint | None,
    ) -> _Training:
        """Begin where the plan says; the figures of an epoch that was under way go on."""
        plan = learner.plan
        return cls(
            task,
            learner,
            loaders,
            sinks,
            checkpointer,
            work,
            interrupt,
            EpochLines(plan.last_epoch),
            SaveClock(SaveInterval.parse(plan.options.checkpoint_interval)),
            Means(restored.state.means if restored is not None and plan.step else None),
            None if restored is None else restored.state.best,
            Patience(plan.options.patience, plan.schedule.first_epoch),
            learner.ranks,
            Stopwatch(),
            DataAdvice(plan.options.num_workers),
            steps_before(plan, len(loaders.train), restored) - plan.epoch * len(loaders.train) - plan.step,
        )

    def steps_at(self, epoch: int, done: int) -> int:
        """Return the number of optimiser steps of the run at a position: what all logs are drawn over."""
        return self.shift + epoch * len(self.loaders.train) + done

    def to_the_end(self) -> FitResult:
        plan = self.learner.plan
        steps, scalars = 0, dict[str, float]()
        position = (plan.epoch, plan.step)
        stopped = self.out_of_patience(position)
        while position[0] < plan.last_epoch and not stopped and not self.ranks.any(self.interrupt.requested)[0]:
            started, (epoch, first) = time.perf_counter(), position
            passed = self.one_epoch(epoch, first)
            steps += passed.done - first
            scalars = self.means.values()
            whole = passed.done == len(self.loaders.train)
            closed = self.close_epoch(epoch, passed.rate, started) if whole else None
            if closed is None:
                position = (epoch, passed.done)
                self.save(position)
            else:
                position, scalars = (epoch + 1, 0), closed
                stopped = self.out_of_patience(position)
        if stopped and not steps:
            self.save(position)  # the folder may be a new one
        if steps:
            log.info("time: %s", share_text(self.watch.shares()))
        interrupted = position[0] < plan.last_epoch and not stopped
        # Where another rank was asked, the number is that of Ctrl-C.
        number = (self.interrupt.signal or signal.SIGINT) if interrupted else 0
        return FitResult(position[0], steps, interrupted, self.checkpointer.last, scalars, stopped, number)

    def out_of_patience(self, position: tuple[int, int]) -> str:
        """Say why the training ends before its last epoch, also to the log; empty while it goes on."""
        epoch = position[0]
        reason = self.patience.reason(epoch, self.best) if epoch < self.learner.plan.last_epoch else ""
        if reason:
            log.info("%s", reason)
        return reason

    def one_epoch(self, epoch: int, first: int) -> _Passed:
        """Train on the batches from ``first`` on; stop early when asked to."""
        length = len(self.loaders.train)
        done, rate = first, self.learner.plan.schedule.rate(epoch, max(first, 1) - 1, length)
        number = f"{epoch + 1}/{self.learner.plan.last_epoch}"
        for batch in _batches(self.loaders.train, epoch, first):
            self.watch.lap(DATA)
            rate = self.learner.plan.schedule.rate(epoch, done, length)
            comparison = self.one_step(batch, rate, epoch, done)
            done += 1
            self.means.add(comparison.scalars, comparison.images)
            self.work.advance(1, epoch=number, loss=comparison.scalars["loss"], lr=rate)
            self.watch.lap()
            stop, due = self.ranks.any(self.interrupt.requested, self.clock.due(self.steps_at(epoch, done)))
            if stop:
                break
            # The end of an epoch is saved anyway, but a validation that comes before can be long.
            if due and (done < length or self.loaders.validation is not None):
                self.save((epoch, done))
        return _Passed(done, rate)

    def save(self, position: tuple[int, int], *, best: bool = False) -> None:
        """Keep the state, after everything that was logged on the way to it; also where that cannot be written."""
        try:
            for sink in self.sinks:
                sink.flush()
        finally:
            taken = self.steps_at(*position)
            state = self.learner.state(*position, self.means.to_dict(), self.best, steps_taken=taken)
            if self.ranks.first:
                self.checkpointer.save(state, best=best)
        self.clock.saved()
        self.watch.lap(VALIDATE_SAVE)

    def one_step(self, batch: Batch[Any], rate: float, epoch: int, done: int) -> BatchResult:
        comparison = self.learner.compare(batch)
        self.watch.lap(FORWARD_BACKWARD)
        if not comparison.finite:
            where = f"epoch {epoch + 1}, step {done + 1}"
            raise not_finite(comparison, batch, where, self.checkpointer.last, self.ranks)
        self.learner.update(rate)
        self.watch.lap(UPDATE)
        event = StepEvent(epoch, done + 1, self.steps_at(epoch, done + 1), rate, comparison, self.learner.model, batch)
        for sink in self.sinks:
            sink.step(event)
        return comparison

    def close_epoch(self, epoch: int, rate: float, started: float) -> dict[str, float] | None:
        """Validate, log and save; return all metrics, or None where somebody stopped the validation."""
        validates = self.loaders.validation is not None and self.learner.plan.validates(epoch)
        report = self.validate(epoch) if validates else None
        self.watch.lap(VALIDATE_SAVE)
        if report is None and validates:
            return None
        scalars, headline, better = self.means.values(), "", False
        if report is not None:
            headline, better = f"validation {report.headline()}", self.is_better(report.error(), epoch)
            scalars |= {f"validation/{name}": value for name, value in report.scalars().items()}
            self.work.advance(0, validation=report.headline())
        shares = self.watch.split()
        self.lines.log_epoch(epoch, scalars["loss"], headline, time.perf_counter() - started, shares[DATA])
        self.advice.consider(self.watch.seconds, self.watch.shares())
        event = EpochEvent(epoch, self.steps_at(epoch + 1, 0), rate, scalars, shares)
        try:
            for sink in self.sinks:
                sink.epoch(event)
        finally:
            self.means = Means()
            self.save((epoch + 1, 0), best=better)
        return scalars

    def is_better(self, error: float | None, epoch: int) -> bool:
        """Compare with the best validation so far, and remember the better one."""
        if error is None or (self.best is not None and not error < self.best["error"]):
            return False
        self.best = {"error": error, "epoch": epoch + 1}
        return True

    def validate(self, epoch: int) -> Report | None:
        """Evaluate on data the training never sees, where there is some and nobody asks to stop."""
        if self.loaders.validation is None:
            return None
        own = self.evaluate(self.loaders.validation)
        results = self.ranks.gather(own)
        try:
            if any(isinstance(each, CogkpError) for each in results):
                raise own if isinstance(own, CogkpError) else self.ranks.reported_elsewhere()
            measured = [each for each in results if each is not None and not isinstance(each, CogkpError)]
            return merged(measured).compute() if len(measured) == len(results) else None
        except NotFiniteError as error:
            raise _not_finite_in_validation(error, epoch, self.checkpointer.last) from error
        except CogkpError:
            if not any(isinstance(each, NotFiniteError) for each in results):
                self.save((epoch, len(self.loaders.train)))  # the epoch's steps are not to blame
            raise

    def evaluate(self, batches: Batches) -> Metrics | CogkpError | None:
        """Evaluate this rank's part; None where somebody asks to stop."""
        model, metrics = self.learner.eval_model, self.task.metrics()
        predict = torch_predictor(model, self.learner.precision)
        try:
            with evaluating(model):
                measure(predict, metrics, _Stoppable(batches, self.interrupt))
        except _StoppedError:
            return None
        except CogkpError as error:
            return error
        return metrics


def _not_finite_in_validation(error: NotFiniteError, epoch: int, last_good: Path | None) -> TrainingError:
    return TrainingError(
        "predictions became NaN or infinite",
        where=f"the validation after epoch {epoch + 1}",
        got=f"such points in {error.problem.where}",
        hint=f"{kept(last_good)} Lower the learning rate.",
    )


class _StoppedError(Exception):
    """Somebody asked to stop."""


@attrs.frozen
class _Stoppable:
    """Batches that end with an error as soon as somebody asks to stop: a validation can be long."""

    batches: Batches
    interrupt: Interrupt

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch[Any]]:
        for batch in self.batches:
            if self.interrupt.requested:
                raise _StoppedError
            yield batch


def _batches(loader: EpochLoader, epoch: int, first: int) -> Iterator[Batch[Any]]:
    """Open one epoch behind the batches that were trained on before an interruption."""
    loader.set_epoch(epoch, first)
    return iter(loader) if first < len(loader) else iter(())


def _require_batches(loader: EpochLoader) -> None:
    if not len(loader):
        raise TrainingError("there is nothing to train on", got="no batch")


def _require_eager(plan: Plan, ranks: Ranks) -> None:
    if plan.options.compile and not ranks.alone:
        raise TrainingError(
            "several ranks cannot train a compiled network",
            where="--compile",
            hint="Train without --compile, a restored run with --no-compile (compile=False).",
        )
