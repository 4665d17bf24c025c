"""One optimiser step: forward, loss, backward, gradient clipping and update."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from cogkp.artifacts.checkpoint import Checkpoint, TrainingState
from cogkp.artifacts.restore import older_saves
from cogkp.data.sample import Batch
from cogkp.errors import TrainingError, first_few
from cogkp.tasks.base import Loss, Task
from cogkp.training.checkpointer import capture_state, restore_state
from cogkp.training.distributed import SINGLE, Ranks, normalise_over_ranks
from cogkp.training.optim import WeightAverage, build_optimizer, set_rate
from cogkp.training.plan import Plan
from cogkp.training.precision import MOST_SKIPPED, LossScale, Precision, compiled, resolve_precision
from cogkp.training.seeding import capture_rng, joint_rng, seed_rank

NAMED_SAMPLES = 8
NAMED_SAVES = 3


@attrs.frozen(eq=False)
class BatchResult:
    """Loss and gradient norm of one batch, before the update.

    Args:
        outputs: what the network said, about the images of this rank.
        scalars: 'loss', each term before its weight, and the shares of items that terms could use; of all ranks.
        gradient_norm: Euclidean norm of the gradient before it was clipped.
        images: of the step, on all ranks; counts in the means of an epoch.
        skipped: steps in a row, this one included, that change no weight since float16 could not hold the gradient.
    """

    outputs: Any
    scalars: Mapping[str, float]
    gradient_norm: float
    images: int = 0
    skipped: int = 0

    @property
    def finite(self) -> bool:
        """Whether loss and gradient are finite."""
        return 0 < self.skipped <= MOST_SKIPPED or all(map(math.isfinite, (*self.scalars.values(), self.gradient_norm)))


@attrs.frozen(eq=False)
class Learner:
    """The network, its loss and its optimiser."""

    model: nn.Module
    loss: Loss
    optimizer: torch.optim.Optimizer
    plan: Plan
    precision: Precision
    example: Tensor
    average: WeightAverage | None = None
    ranks: Ranks = SINGLE
    scaling: LossScale = attrs.Factory(lambda self: LossScale(self.precision), takes_self=True)
    network: Callable[[Tensor], Any] = attrs.Factory(
        lambda self: compiled(self.model) if self.plan.options.compile else self.model, takes_self=True
    )
    """What the passes run through: the network itself, or its compiled form."""

    @classmethod
    def start(
        cls,
        task: Task,
        plan: Plan,
        restored: Checkpoint | None,
        device: torch.device | None,
        ranks: Ranks = SINGLE,
    ) -> Learner:
        """Move the task's network to the device, build its optimiser, and restore both where asked.

        All ranks begin with the weights of the first; their random streams differ, so that dropout does, too.
        """
        precision = resolve_precision(plan.options.precision, device)
        loss = task.loss
        model = precision.place_model(task.model)
        optimizer = build_optimizer(model, plan.options.learning_rate, plan.weight_decay)
        example = next(iter(task.export_spec(1).inputs.values()))
        ranks.copy_first(model)
        seed_rank(plan.options.seed, ranks.launch)
        average = WeightAverage(model, plan.options.ema_decay) if plan.options.ema_decay else None
        scaling = LossScale(precision)
        if restored is not None:
            name = f"run {restored.provenance.run}"
            restore_state(restored, model, optimizer, name, average, ranks.launch, scaling=scaling)
        model.train()
        shown = precision.place_image(example)
        return cls(model, loss, optimizer, plan, precision, shown, average, ranks, scaling)

    @property
    def eval_model(self) -> nn.Module:
        """The network to validate: the average where there is one."""
        return self.model if self.average is None else self.average.model

    def compare(self, batch: Batch[Any]) -> BatchResult:
        """Run forward and backward, part by part; the gradient is clipped and waits for :meth:`update`.

        Each part counts by its images. So the gradient is that of the whole batch wherever a term is a mean over the
        images. A term that is a mean over labelled points is then one over those of each part, and BatchNorm takes
        the statistics of each part.

        Where several ranks share a batch, a part is that of all of them together, and so are its labelled points and
        its statistics; they find the same figures and the same gradient. With a batch that each of them has whole,
        each takes the step alone.
        """
        ranks = SINGLE if batch.repeated else self.ranks
        if not self.ranks.alone:
            normalise_over_ranks(self.model, not ranks.alone)
        self.optimizer.zero_grad(set_to_none=True)
        parts = attrs.evolve(batch, over_step=ranks.sum).parts(ranks.least(self._most_parts(batch)))
        images = ranks.sum(torch.tensor([len(part.ids) for part in parts])).tolist()
        copies = self.ranks.launch.ranks if batch.repeated else 1
        shares = [count / sum(images) / copies for count in images]
        passes = [self._pass(part, share) for part, share in zip(parts, shares, strict=True)]
        self.ranks.sum_gradients(self.model.parameters())
        self.scaling.unscale(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.plan.options.clip_norm or math.inf)
        outputs, figures = zip(*passes, strict=True)
        scalars, length = _read(figures, shares, norm, self.ranks)
        skipped = self.scaling.check_step(scalars.values(), length)
        return BatchResult(_joined(outputs), scalars, length, sum(images), skipped)

    def _most_parts(self, batch: Batch[Any]) -> int:
        """Return how many parts a batch can be passed in, a pair in one."""
        return min(self.plan.options.accumulate, len(batch.ids) - len(batch.pairs))

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
        self.model.load_state_dict(self.eval_model.state_dict())
        self.model.eval()
        normalise_over_ranks(self.model, False)

    def state(
        self, epoch: int, step: int, means: Mapping[str, Any], best: Mapping[str, Any] | None, *, steps_taken: int
    ) -> TrainingState:
        """Copy everything that changes while training, at this position."""
        return capture_state(
            self.model,
            self.optimizer,
            self.plan.schedule,
            self.average,
            rng=joint_rng(self.ranks.gather(capture_rng())),
            epoch=epoch,
            step=step,
            target_epochs=self.plan.last_epoch,
            means=means,
            best=best,
            scaler=self.scaling.state(),
            steps_taken=steps_taken,
        )


def _joined(outputs: Sequence[Any]) -> Any:
    """Put the outputs of all parts together again."""
    if len(outputs) == 1:
        return outputs[0]
    return type(outputs[0])(*(torch.cat([field.detach() for field in fields]) for fields in zip(*outputs, strict=True)))


def _read(
    figures: Sequence[Mapping[str, Tensor]], shares: Sequence[float], norm: Tensor, ranks: Ranks
) -> tuple[dict[str, float], float]:
    """Average over the parts, add up over the ranks, fetch all numbers at once: each fetch would make a GPU wait."""
    means = [
        torch.stack([share * part[name] for share, part in zip(shares, figures, strict=True)]).sum()
        for name in figures[0]
    ]
    values = torch.cat([ranks.sum(torch.stack(means)), norm[None]]).tolist()
    return dict(zip(figures[0], values, strict=False)), values[-1]


def not_finite(
    comparison: BatchResult, batch: Batch[Any], where: str, last_good: Path | None, ranks: Ranks = SINGLE
) -> Exception:
    """Explain a loss or gradient that is NaN or infinite, with the samples that caused it, on any rank."""
    bad = [f"{name} = {value}" for name, value in comparison.scalars.items() if not math.isfinite(value)]
    advice = "lower the learning rate"
    if comparison.skipped:
        bad, advice = [f"a gradient beyond float16 in each of {comparison.skipped} steps"], "train with bf16 or fp32"
    suspects = _suspects(SINGLE if batch.repeated else ranks, comparison, batch)
    error = TrainingError(
        "the loss became NaN or infinite",
        where=where,
        got=(", ".join(bad) or f"gradient norm = {comparison.gradient_norm}") + f" in {suspects}",
        hint=f"{kept(last_good)} Check these samples, or {advice}.",
    )
    return ranks.only_first(error)


def kept(last_good: Path | None) -> str:
    """Name the newest checkpoint and some before it: an update may have been bad although its loss was still finite."""
    if last_good is None:
        return "No checkpoint was saved yet."
    earlier = ", ".join(map(str, older_saves(last_good)[:NAMED_SAVES]))
    further = f"; where it fails again at once, go back to an earlier one: {earlier}" if earlier else ""
    return f"The last good checkpoint is {last_good}{further}."


def _suspects(ranks: Ranks, comparison: BatchResult, batch: Batch[Any]) -> str:
    """Name the samples whose image or prediction is not finite, or the whole batch where none stands out."""
    tensors = (batch.image, *(field.detach().cpu() for field in comparison.outputs))
    found = ranks.gather([_not_finite_rows(tensor, batch.ids) for tensor in tensors])
    for blocks in zip(*found, strict=True):
        names = [name for block in blocks for name in block]
        if 0 < len(names) < comparison.images:
            return f"samples {first_few(names, NAMED_SAMPLES)}"
    return f"samples {first_few((name for ids in ranks.gather(batch.ids) for name in ids), NAMED_SAMPLES)}"


def _not_finite_rows(tensor: Tensor, ids: Sequence[str]) -> list[str]:
    rows = (~tensor.isfinite().flatten(1).all(dim=1)).nonzero().flatten().tolist()
    return [ids[row] for row in rows]
