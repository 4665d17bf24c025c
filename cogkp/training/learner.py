"""One network and its optimiser: compare with the truth, then update."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from cogkp.artifacts.checkpoint import Checkpoint, TrainingState
from cogkp.data.sample import Batch
from cogkp.errors import TrainingError
from cogkp.tasks.base import Loss, LossReport, Task
from cogkp.training.average import WeightAverage
from cogkp.training.checkpointer import capture_state, restore_state
from cogkp.training.optim import CLIP_NORM, build_optimizer, set_rate
from cogkp.training.plan import Plan
from cogkp.training.precision import Precision, resolve_precision

__all__ = ["Comparison", "Learner", "not_finite"]

NAMED_SAMPLES = 8


@attrs.frozen(eq=False)
class Comparison:
    """One batch after its backward pass, before the update.

    Args:
        outputs: what the network said.
        scalars: 'loss', each term before its weight, and the shares that terms could judge.
        gradient_norm: Euclidean norm of the gradient before it was clipped.
    """

    outputs: Any
    scalars: Mapping[str, float]
    gradient_norm: float

    @property
    def finite(self) -> bool:
        """Whether an update would leave the weights numbers."""
        return all(map(math.isfinite, (*self.scalars.values(), self.gradient_norm)))


@attrs.frozen(eq=False)
class Learner:
    """What is trained, and with what."""

    model: nn.Module
    loss: Loss
    optimizer: torch.optim.Optimizer
    plan: Plan
    precision: Precision
    example: Tensor
    average: WeightAverage | None = None

    @classmethod
    def start(cls, task: Task, plan: Plan, restored: Checkpoint | None, device: torch.device | None) -> Learner:
        """Move the task's network to the device, build its optimiser, and restore both where asked."""
        precision = resolve_precision(plan.options.precision, device)
        loss = task.loss
        model = precision.place_model(task.model)
        optimizer = build_optimizer(model, plan.options.learning_rate)
        example = next(iter(task.export_spec(1).inputs.values()))
        average = WeightAverage(model, plan.options.ema_decay) if plan.options.ema_decay else None
        if restored is not None:
            restore_state(restored, model, optimizer, f"run {restored.provenance.run}", average)
        model.train()
        return cls(model, loss, optimizer, plan, precision, precision.place_image(example), average)

    @property
    def judged(self) -> nn.Module:
        """The network to validate: the average where there is one."""
        return self.model if self.average is None else self.average.model

    def compare(self, batch: Batch[Any]) -> Comparison:
        """Run forward and backward; the gradient is clipped and waits for :meth:`update`."""
        here = batch.to(self.precision.device)
        self.optimizer.zero_grad(set_to_none=True)
        with self.precision.autocast():
            outputs = self.model(self.precision.place_image(here.image))
        report = self.loss(outputs, here)
        report.total.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), CLIP_NORM)
        return Comparison(outputs, *_read(report, norm))

    def update(self, rate: float) -> None:
        """Take one optimiser step."""
        set_rate(self.optimizer, rate)
        self.optimizer.step()
        if self.average is not None:
            self.average.follow(self.model)

    def finish(self) -> None:
        """Leave the network in evaluation mode, with the averaged weights where there are some."""
        self.model.load_state_dict(self.judged.state_dict())
        self.model.eval()

    def state(self, epoch: int, step: int, means: Mapping[str, Any], best: Mapping[str, Any] | None) -> TrainingState:
        """Copy everything that changes while training, at this position."""
        return capture_state(
            self.model,
            self.optimizer,
            self.plan.schedule,
            self.average,
            epoch=epoch,
            step=step,
            target_epochs=self.plan.last_epoch,
            means=means,
            best=best,
        )


def _read(report: LossReport, norm: Tensor) -> tuple[dict[str, float], float]:
    """Fetch all numbers at once: each fetch would make a GPU wait."""
    named = {"loss": report.total, **report.parts, **report.shares}
    values = torch.stack([*named.values(), norm]).tolist()
    return dict(zip(named, values, strict=False)), values[-1]


def not_finite(comparison: Comparison, batch: Batch[Any], where: str, last_good: Path | None) -> TrainingError:
    """Explain a loss or gradient that is no number, with the samples that made it."""
    bad = [f"{name} = {value}" for name, value in comparison.scalars.items() if not math.isfinite(value)]
    kept = f"The last good checkpoint is {last_good}." if last_good else "No checkpoint was saved yet."
    return TrainingError(
        "the training left the numbers",
        where=where,
        got=(", ".join(bad) or f"gradient norm = {comparison.gradient_norm}") + f" in {_suspects(comparison, batch)}",
        hint=f"{kept} Look at these samples, or lower the learning rate.",
    )


def _suspects(comparison: Comparison, batch: Batch[Any]) -> str:
    """Name the samples whose image or prediction is not finite, or the whole batch where none stands out."""
    tensors = (batch.image, *(field.detach().cpu() for field in comparison.outputs))
    for tensor in tensors:
        rows = (~tensor.isfinite().flatten(1).all(dim=1)).nonzero().flatten().tolist()
        if 0 < len(rows) < len(batch.ids):
            return _listed([batch.ids[row] for row in rows])
    return _listed(list(batch.ids))


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - NAMED_SAMPLES} more" if len(names) > NAMED_SAMPLES else ""
    return "samples " + ", ".join(names[:NAMED_SAMPLES]) + more
