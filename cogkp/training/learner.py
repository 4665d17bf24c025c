"""One network and its optimiser: compare with the truth, then update."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from cogkp.artifacts.checkpoint import Checkpoint, TrainingState
from cogkp.data.sample import Batch
from cogkp.errors import TrainingError
from cogkp.tasks.base import Loss, Task
from cogkp.training.average import WeightAverage
from cogkp.training.checkpointer import capture_state, restore_state
from cogkp.training.compiled import compiled
from cogkp.training.optim import build_optimizer, set_rate
from cogkp.training.plan import Plan
from cogkp.training.precision import Precision, resolve_precision
from cogkp.training.scaling import MOST_SKIPPED, LossScale

__all__ = ["Comparison", "Learner", "not_finite"]

NAMED_SAMPLES = 8


@attrs.frozen(eq=False)
class Comparison:
    """One batch after its backward pass, before the update.

    Args:
        outputs: what the network said.
        scalars: 'loss', each term before its weight, and the shares that terms could judge.
        gradient_norm: Euclidean norm of the gradient before it was clipped.
        skipped: steps in a row, this one included, that change no weight since float16 could not hold the gradient.
    """

    outputs: Any
    scalars: Mapping[str, float]
    gradient_norm: float
    skipped: int = 0

    @property
    def finite(self) -> bool:
        """Whether an update would leave the weights numbers."""
        return 0 < self.skipped <= MOST_SKIPPED or all(map(math.isfinite, (*self.scalars.values(), self.gradient_norm)))


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
    scaling: LossScale = attrs.Factory(lambda self: LossScale(self.precision), takes_self=True)
    network: Callable[[Tensor], Any] = attrs.Factory(lambda self: _network(self), takes_self=True)

    @classmethod
    def start(cls, task: Task, plan: Plan, restored: Checkpoint | None, device: torch.device | None) -> Learner:
        """Move the task's network to the device, build its optimiser, and restore both where asked."""
        precision = resolve_precision(plan.options.precision, device)
        loss = task.loss
        model = precision.place_model(task.model)
        optimizer = build_optimizer(model, plan.options.learning_rate)
        example = next(iter(task.export_spec(1).inputs.values()))
        average = WeightAverage(model, plan.options.ema_decay) if plan.options.ema_decay else None
        scaling = LossScale(precision)
        if restored is not None:
            restore_state(restored, model, optimizer, f"run {restored.provenance.run}", average, scaling=scaling)
        model.train()
        return cls(model, loss, optimizer, plan, precision, precision.place_image(example), average, scaling=scaling)

    @property
    def judged(self) -> nn.Module:
        """The network to validate: the average where there is one."""
        return self.model if self.average is None else self.average.model

    def compare(self, batch: Batch[Any]) -> Comparison:
        """Run forward and backward, part by part; the gradient is clipped and waits for :meth:`update`.

        Each part counts by its images. So the gradient is that of the whole batch wherever a term is a mean over the
        images. A term that is a mean over labelled points is then one over those of each part, and BatchNorm takes
        the statistics of each part.
        """
        self.optimizer.zero_grad(set_to_none=True)
        parts = batch.parts(self.plan.options.accumulate)
        shares = [len(part.ids) / len(batch.ids) for part in parts]
        passes = [self._pass(part, share) for part, share in zip(parts, shares, strict=True)]
        self.scaling.unscale(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.plan.options.clip_norm or math.inf)
        outputs, figures = zip(*passes, strict=True)
        scalars, length = _read(figures, shares, norm)
        return Comparison(_joined(outputs), scalars, length, self.scaling.judge(scalars.values(), length))

    def _pass(self, part: Batch[Any], share: float) -> tuple[Any, dict[str, Tensor]]:
        """Add one part's gradient; return the outputs, and the figures as tensors."""
        here = part.to(self.precision.device)
        with self.precision.autocast():
            outputs = self.network(self.precision.place_image(here.image))
        report = self.loss(outputs, here)
        self.scaling.scale(share * report.total).backward()  # type: ignore[no-untyped-call]
        figures = {"loss": report.total, **report.parts, **report.shares}
        return outputs, {name: value.detach() for name, value in figures.items()}

    def update(self, rate: float) -> None:
        """Take one optimiser step; one that is skipped leaves weights and average as they are."""
        set_rate(self.optimizer, rate)
        if self.scaling.step(self.optimizer) and self.average is not None:
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
            scaler=self.scaling.state(),
        )


def _network(learner: Learner) -> Callable[[Tensor], Any]:
    """Choose what the passes run through: the network itself, or its compiled form."""
    return compiled(learner.model) if learner.plan.options.compile else learner.model


def _joined(outputs: Sequence[Any]) -> Any:
    """Put the outputs of all parts together again."""
    if len(outputs) == 1:
        return outputs[0]
    return type(outputs[0])(*(torch.cat([field.detach() for field in fields]) for fields in zip(*outputs, strict=True)))


def _read(
    figures: Sequence[Mapping[str, Tensor]], shares: Sequence[float], norm: Tensor
) -> tuple[dict[str, float], float]:
    """Average over the parts and fetch all numbers at once: each fetch would make a GPU wait."""
    means = [
        torch.stack([share * part[name] for share, part in zip(shares, figures, strict=True)]).sum()
        for name in figures[0]
    ]
    values = torch.stack([*means, norm]).tolist()
    return dict(zip(figures[0], values, strict=False)), values[-1]


def not_finite(comparison: Comparison, batch: Batch[Any], where: str, last_good: Path | None) -> TrainingError:
    """Explain a loss or gradient that is no number, with the samples that made it."""
    bad = [f"{name} = {value}" for name, value in comparison.scalars.items() if not math.isfinite(value)]
    advice = "lower the learning rate"
    if comparison.skipped:
        bad, advice = [f"a gradient beyond float16 in each of {comparison.skipped} steps"], "train with bf16 or fp32"
    kept = f"The last good checkpoint is {last_good}." if last_good else "No checkpoint was saved yet."
    return TrainingError(
        "the training left the numbers",
        where=where,
        got=(", ".join(bad) or f"gradient norm = {comparison.gradient_norm}") + f" in {_suspects(comparison, batch)}",
        hint=f"{kept} Look at these samples, or {advice}.",
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
