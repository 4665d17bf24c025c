"""Decide what a training will do, from the options and the checkpoint alone.

The rules are explained in docs/decisions/0002-restore.md.
"""

from collections.abc import Mapping
from typing import Any

import attrs

from cogkp.artifacts.checkpoint import Checkpoint
from cogkp.config.train import TrainOptions
from cogkp.errors import CheckpointError, ConfigError
from cogkp.training.optim import WEIGHT_DECAY, Course, Schedule


@attrs.frozen
class Plan:
    """The course of one training.

    Args:
        options: what holds for this training; those that were not given come from the checkpoint.
        schedule: the learning rate's course.
        epoch: epochs completed before it starts.
        step: steps already done in the epoch under way.
        last_epoch: the epoch count at which it is finished.
        line: all this in one line for people.
        validate_every: epochs from one validation to the next; the last one is always validated.
    """

    options: TrainOptions
    schedule: Course
    epoch: int
    step: int
    last_epoch: int
    line: str
    weight_decay: float = WEIGHT_DECAY
    validate_every: int = 1

    def validates(self, epoch: int) -> bool:
        """Say whether a validation follows the epoch before which ``epoch`` were completed."""
        return (epoch + 1) % self.validate_every == 0 or epoch + 1 == self.last_epoch


def steps_before(plan: Plan, length: int, restored: Checkpoint | None) -> int:
    """Count the optimiser steps that a run took before this training, so that the axis of its logs only rises.

    Where the batch size changes, or an epoch starts again, that is another number than the position says.
    """
    position = plan.epoch * length + plan.step
    if restored is None:
        return position
    if restored.state.steps_taken is not None:
        return restored.state.steps_taken
    moments = restored.state.optimizer.get("state", {}).values()
    return max(position, *(int(each.get("step", 0)) for each in moments), 0)


def plan_training(options: TrainOptions, given: frozenset[str], checkpoint: Checkpoint | None) -> Plan:
    """Decide what a training will do; ``given`` options were spelled out. CheckpointError: its options are none."""
    if checkpoint is None:
        return _fresh(options)
    merged = _merge(options, given, checkpoint.provenance.options)
    if "epochs" in given or checkpoint.state.finished:
        return _further(attrs.evolve(merged, epochs=options.epochs), checkpoint)
    return _finish(merged, given, checkpoint)


def with_other_data(plan: Plan) -> Plan:
    """Start the epoch under way again, since its steps meant data that is not there any more."""
    if not plan.step:
        return plan
    return attrs.evolve(plan, step=0, line=f"{plan.line}; the data changed, so the epoch under way starts again")


def _fresh(options: TrainOptions) -> Plan:
    schedule = Schedule.over(options.learning_rate, options.epochs)
    source = f", encoder from {options.encoder_weights}" if options.encoder_weights else ""
    line = f"train {_epochs(options.epochs)}, {_shape(options)}{source}"
    return Plan(options, schedule, 0, 0, options.epochs, line)


def _further(options: TrainOptions, checkpoint: Checkpoint) -> Plan:
    """Train on with a new schedule; an epoch that was under way is not continued."""
    state = checkpoint.state
    last = state.epoch + options.epochs
    schedule = Schedule.over(options.learning_rate, options.epochs, first_epoch=state.epoch)
    more = _epochs(options.epochs, "further ")
    line = f"{_origin(checkpoint)}, train {more} to {last}, new schedule, {_shape(options)}"
    return Plan(options, schedule, state.epoch, 0, last, line)


def _finish(options: TrainOptions, given: frozenset[str], checkpoint: Checkpoint) -> Plan:
    """Finish what was interrupted, on its own schedule."""
    state = checkpoint.state
    schedule = Schedule.from_dict(state.schedule)
    if "learning_rate" in given:
        schedule = attrs.evolve(schedule, base_rate=options.learning_rate)
    same_steps = options.batch_size == checkpoint.provenance.options["batch_size"]
    step = state.step if same_steps else 0
    again = "" if same_steps else ", the epoch under way starts again with the new batch size"
    line = f"{_origin(checkpoint)}, finish its {_epochs(state.target_epochs)}{again}, {_shape(options)}"
    return Plan(options, schedule, state.epoch, step, state.target_epochs, line)


def _merge(options: TrainOptions, given: frozenset[str], saved: Mapping[str, Any]) -> TrainOptions:
    try:
        base = TrainOptions(**saved)
    except (ConfigError, TypeError, ValueError) as error:
        raise CheckpointError("the checkpoint's training options cannot be used", got=str(error)) from error
    return attrs.evolve(base, **{name: getattr(options, name) for name in given})


def _origin(checkpoint: Checkpoint) -> str:
    state = checkpoint.state
    within = f" and {state.step} step{'s' * (state.step > 1)}" if state.step else ""
    return f"resume run {checkpoint.provenance.run} after {state.epoch} of {_epochs(state.target_epochs)}{within}"


def _epochs(count: int, which: str = "") -> str:
    return f"{count} {which}epoch{'s' * (count > 1)}"


def _shape(options: TrainOptions) -> str:
    average = f", weights averaged with decay {options.ema_decay:g}" if options.ema_decay else ""
    waits = f", patience {options.patience}" if options.patience else ""
    alone = "; overfitting: every step sees the same first batch" if options.overfit_one_batch else ""
    parts = f" in {options.accumulate} parts" if options.accumulate > 1 else ""
    return f"batch {options.batch_size}{parts}, learning rate {options.learning_rate:g}{average}{waits}{alone}"
