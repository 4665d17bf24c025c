"""Save and restore the state of a running training."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import attrs
import torch
from torch import Tensor, nn

from cogkp.artifacts.checkpoint import Checkpoint, Provenance, TrainingState, load_weights
from cogkp.artifacts.runs import RunFolder
from cogkp.config.torchrun import ALONE, Launch
from cogkp.errors import CheckpointError
from cogkp.training.optim import Course, WeightAverage
from cogkp.training.precision import LossScale
from cogkp.training.seeding import restore_rng, rng_of


class Checkpointer(Protocol):
    """Saves the state of a training."""

    @property
    def last(self) -> Path | None:
        """Where the newest good state lies, None before the first save."""

    def save(self, state: TrainingState, *, best: bool = False) -> Path:
        """Keep a state, also as the best where it is; raises OutputError and keeps the older one where that fails."""


@attrs.define
class RunCheckpointer:
    """Keep the state in a run folder and its mirror.

    Args:
        provenance: what explains the file; the run's name is filled in here.
        last: the newest good file, at first the one that was restored.
    """

    folder: RunFolder
    provenance: Provenance
    keep_last: int = 1
    last: Path | None = None

    def save(self, state: TrainingState, *, best: bool = False) -> Path:
        """Replace the run's checkpoint and the mirror, and the best one where this is better."""
        provenance = attrs.evolve(self.provenance, run=self.folder.path.name)
        checkpoint = Checkpoint(state=state, provenance=provenance)
        self.last = checkpoint.save(self.folder, keep_last=self.keep_last, best=best)
        return self.last


def capture_state(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: Course,
    average: WeightAverage | None = None,
    *,
    rng: Mapping[str, Any],
    epoch: int,
    step: int,
    target_epochs: int,
    means: Mapping[str, Any],
    best: Mapping[str, Any] | None,
    scaler: Mapping[str, Any] | None = None,
    steps_taken: int | None = None,
) -> TrainingState:
    """Copy everything that changes while training; later steps do not touch the copy."""
    return TrainingState(
        weights={name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()},
        optimizer=_on_cpu(optimizer.state_dict()),
        schedule=schedule.to_dict(),
        rng=rng,
        epoch=epoch,
        step=step,
        target_epochs=target_epochs,
        means=means,
        best=best,
        average=None if average is None else average.weights(),
        averaged_steps=0 if average is None else average.steps,
        scaler=scaler or {},
        steps_taken=steps_taken,
    )


def _on_cpu(value: Any) -> Any:
    """Copy nested containers, with their tensors on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, Mapping):
        return {key: _on_cpu(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_on_cpu(item) for item in value)
    return copy.copy(value)


def restore_state(
    checkpoint: Checkpoint,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    where: str,
    average: WeightAverage | None = None,
    launch: Launch = ALONE,
    *,
    scaling: LossScale | None = None,
) -> None:
    """Put the weights, their average, the optimiser's moments and the random streams back.

    The average, made of ``model`` before the restore, begins with the restored weights where the checkpoint has none.
    Random streams are those of the rank in ``launch``; they go on as they are where no state of them was kept.

    Raises:
        CheckpointError: something does not fit.
    """
    load_weights(checkpoint, model, where)
    if average is not None:
        load_weights(checkpoint, average.model, where, averaged=True)
        average.steps = checkpoint.state.averaged_steps
    try:
        optimizer.load_state_dict(copy.deepcopy(dict(checkpoint.state.optimizer)))
        streams = rng_of(checkpoint.state.rng, launch)
        if streams is not None:
            restore_rng(streams)
        if scaling is not None:
            scaling.restore(checkpoint.state.scaler)
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError, OverflowError) as error:
        raise CheckpointError("the optimiser or random state does not fit", where=where, got=str(error)) from error
