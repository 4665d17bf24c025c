"""What a training of an experiment leaves in its folder: checkpoints by the documented names, and lines of status."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import attrs
from torch import Tensor, nn

from cogkp.artifacts.checkpoint import Checkpoint, Provenance, TrainingState
from cogkp.artifacts.status import StatusLog
from cogkp.config.centerpose.results import Results, checkpoint_name
from cogkp.config.centerpose.train import TrainSpec
from cogkp.files import share_file, write_verified
from cogkp.training.sinks import EpochEvent, StepEvent

__all__ = ["ExperimentCheckpointer", "StatusSink", "told_figures"]


@attrs.define
class ExperimentCheckpointer:
    """Keep the newest and the best state under their own names, and numbered ones as often as the experiment says.

    Args:
        results: where.
        train: says how often.
        provenance: what explains the files.
        steps_per_epoch: length of an epoch.
        last: the newest good file, at first the one that was restored.
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
            write_verified(self.results.latest, data)
        else:
            write_verified(self.results.folder / name, data)
            share_file(self.results.latest, self.results.folder / name)
        if best:
            share_file(self.results.best, self.results.latest)
        self.last = self.results.latest
        return self.last

    def _numbered(self, state: TrainingState) -> str | None:
        """Name a state that stays; None for one that only a resumed training needs."""
        every, last = self.train.checkpoint_interval, state.epoch == state.target_epochs
        if self.train.checkpoint_interval_unit == "step":
            steps = state.epoch * self.steps_per_epoch + state.step
            due = steps > 0 and (steps % every == 0 or last)
            return checkpoint_name(max(steps - 1, 0) // self.steps_per_epoch, steps) if due else None
        due = state.step == 0 and state.epoch > 0 and (state.epoch % every == 0 or last)
        return checkpoint_name(state.epoch - 1) if due else None


class StatusSink:
    """Add a line of status after each epoch.

    Args:
        log: the file.
        epochs: of the whole training.
        steps_per_epoch: length of an epoch.
    """

    def __init__(self, log: StatusLog, epochs: int, steps_per_epoch: int) -> None:
        self._log = log
        self._epochs, self._steps = epochs, steps_per_epoch
        self._begun = time.perf_counter()

    def start(self, model: nn.Module, example: Tensor) -> None:
        """Begin to measure time."""
        self._begun = time.perf_counter()

    def step(self, event: StepEvent) -> None:
        """Do nothing: lines are told by epochs."""

    def flush(self) -> None:
        """Do nothing: lines are written at once."""

    def close(self) -> None:
        """Do nothing: the last line is the workflow's."""

    def epoch(self, event: EpochEvent) -> None:
        """Tell of an epoch; figures of a validation have the published names."""
        seconds, self._begun = time.perf_counter() - self._begun, time.perf_counter()
        done = event.epoch + 1
        kpi = {**told_figures(event.scalars), "learning_rate": event.rate}
        facts = {
            "epoch": event.epoch,
            "step": event.step,
            "max_epoch": self._epochs,
            "max_step": self._epochs * self._steps,
            "time_per_epoch": _clock(seconds),
            "time_per_step": _clock(seconds / self._steps),
            "eta": _clock(seconds * (self._epochs - done)),
        }
        self._log.write("RUNNING", f"epoch {done} of {self._epochs} is done", kpi=kpi, facts=facts)


def told_figures(scalars: Mapping[str, float]) -> dict[str, float]:
    """Choose the figures of an epoch that a line of status tells, by their published names.

    Example:
        >>> told_figures({"loss": 2.0, "loss/hm": 1.5, "validation/3DIoU": 0.5})
        {'train_loss': 2.0, 'val_3DIoU': 0.5}
    """
    loss = {"train_loss": scalars["loss"]} if "loss" in scalars else {}
    prefix = "validation/"
    judged = {name.removeprefix(prefix): value for name, value in scalars.items() if name.startswith(prefix)}
    return {**loss, **{f"val_{name}": value for name, value in judged.items()}}


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=seconds))
