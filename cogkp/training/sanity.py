"""Sanity checks of a training: a constant loss, parameters without gradient, and overfitting one batch.

A loss that is no number is not warned of; it ends the training, see :func:`cogkp.training.learner.not_finite`.
"""

import logging
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from cogkp.data.sample import Batch
from cogkp.training.evaluator import Batches
from cogkp.training.sinks import EpochEvent, StepEvent

WATCHED_STEPS = 50
FEWEST_STEPS = 10  # a shorter training says nothing
STILL = 1e-6  # relative; float32 noise alone moves a loss by less
log = logging.getLogger("cogkp")


class EpochLoader(Batches, Protocol):
    """A loader whose order and augmentation are functions of its seed and the epoch, and of nothing global."""

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Choose the epoch of the next pass, and the batch it starts with."""


class OneBatch:
    """Give the first batch of the first epoch in place of every batch; it is read and augmented once.

    Epochs stay as long as they were, so that the learning rate's course and the positions of checkpoints do, too.
    """

    def __init__(self, loader: EpochLoader) -> None:
        self._loader = loader
        self._batch: Batch[Any] | None = None
        self._first = 0

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Choose how many steps of the next pass are already done; all epochs are the same."""
        self._first = start_batch

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Batch[Any]]:
        if self._batch is None:
            self._loader.set_epoch(0)
            self._batch = next(iter(self._loader))
        for _ in range(self._first, len(self)):
            yield self._batch


class Watchdog:
    """Watch the first steps of a training and warn once, in one line, of each problem.

    Parts of the network are its direct children; one is silent when no weight in it had a gradient in any step.

    Args:
        steps: how many are watched; a training that ends before is checked at its end.
    """

    def __init__(self, steps: int = WATCHED_STEPS) -> None:
        self.steps = steps
        self.losses: list[float] = []
        self.silent: dict[str, list[nn.Parameter]] = {}

    def start(self, model: nn.Module, example: Tensor) -> None:
        """Remember the parts that can be trained."""
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                self.silent.setdefault(name.split(".")[0], []).append(parameter)

    def step(self, event: StepEvent) -> None:
        """Look at a step's loss and gradients, and check after the last one that is watched."""
        if len(self.losses) >= self.steps:
            return
        self.losses.append(event.comparison.scalars["loss"])
        learning = set() if event.comparison.skipped else _with_gradient(self.silent)
        self.silent = {name: part for name, part in self.silent.items() if name not in learning}
        if len(self.losses) == self.steps:
            self._check()

    def epoch(self, event: EpochEvent) -> None:
        """Ignore epochs."""

    def flush(self) -> None:
        """Nothing is buffered."""

    def close(self) -> None:
        """Check a training that ended while it was watched."""
        if FEWEST_STEPS <= len(self.losses) < self.steps:
            self._check()

    def _check(self) -> None:
        count, low, high = len(self.losses), min(self.losses), max(self.losses)
        if high - low <= STILL * max(abs(high), abs(low)):
            hint = "check labels and learning rate, or look with --preview-data and --overfit-one-batch"
            log.warning("the loss was %.4g in each of the first %d steps: %s", high, count, hint)
        for name, part in self.silent.items():
            weights = sum(parameter.numel() for parameter in part)
            hint = "check the labels and the loss terms it is for"
            log.warning("no gradient reached %s (%d weights) in the first %d steps: %s", name, weights, count, hint)


def _with_gradient(parts: Mapping[str, list[nn.Parameter]]) -> set[str]:
    """Name the parts with a gradient that is not all zero; all numbers are fetched at once, and none where all did."""
    found = {
        name: torch.stack([gradient.count_nonzero() for gradient in gradients]).sum()
        for name, part in parts.items()
        if (gradients := [parameter.grad for parameter in part if parameter.grad is not None])
    }
    counts = torch.stack(list(found.values())).tolist() if found else []
    return {name for name, count in zip(found, counts, strict=True) if count}
