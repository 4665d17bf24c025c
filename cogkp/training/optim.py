"""The optimiser, the learning rate schedule, and the exponential moving average (EMA) of the weights."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import attrs
import torch
from torch import Tensor, nn

WEIGHT_DECAY = 0.01
BETAS = (0.9, 0.999)
GAMMA = 0.33
WARMUP_STEPS = 100
PARTS = 5


class WeightAverage:
    """Keep the exponential moving average of a network.

    After step n, counted from 1, the average moves by ``1 - min(decay, n / (n + 9))`` towards the trained network: at
    first quickly, so that it forgets the random weights it began with, later by ``1 - decay``.

    Everything that is a floating-point number is averaged, the running means and variances of BatchNorm included. Those
    describe the activations of the weights they were gathered with. Averaged over the same steps as the weights they
    stay a fit to them, while the newest ones would belong to weights that the average has not reached yet. Whole
    numbers, as the count of batches that BatchNorm has seen, are copied.

    Args:
        model: the network as it is when averaging begins; not changed.
        decay: share of the average that one step leaves, 0 to 1, 1 excluded.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.steps = 0

    def follow(self, model: nn.Module) -> None:
        """Update the average after an optimiser step."""
        self.steps += 1
        kept = min(self.decay, self.steps / (self.steps + 9.0))
        mine, theirs = self.model.state_dict(), model.state_dict()
        moving = [name for name in mine if mine[name].is_floating_point()]
        with torch.no_grad():
            torch._foreach_lerp_([mine[name] for name in moving], [theirs[name] for name in moving], 1.0 - kept)
            for name in mine.keys() - set(moving):
                mine[name].copy_(theirs[name])

    def weights(self) -> dict[str, Tensor]:
        """Copy the average to the CPU; the names are those of the network."""
        return {name: tensor.cpu().clone() for name, tensor in self.model.state_dict().items()}


class Course(Protocol):
    """A learning rate schedule without state, so that resuming needs nothing but the position."""

    @property
    def first_epoch(self) -> int:
        """The epoch count at which it begins."""

    def rate(self, epoch: int, step: int, steps_per_epoch: int) -> float:
        """Return the rate of one step; the arguments are those of :meth:`Schedule.rate`."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""


@attrs.frozen
class MultiStep:
    """A rate that falls by one factor after each of some epochs, as torch's ``MultiStepLR`` stepped once per epoch.

    Args:
        base_rate: the rate at first.
        falls: epoch counts after which it falls.
        factor: of each fall.
        first_epoch: the epoch count at which this course begins.
    """

    base_rate: float
    falls: tuple[int, ...]
    factor: float
    first_epoch: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the course as plain values."""
        return attrs.asdict(self)

    def rate(self, epoch: int, step: int, steps_per_epoch: int) -> float:
        """Return the rate of one step, which depends on the epoch alone.

        Example:
            >>> [MultiStep(8.0, (1, 3), 0.5).rate(epoch, 0, 10) for epoch in range(4)]
            [8.0, 4.0, 4.0, 2.0]
        """
        done = epoch - self.first_epoch
        return self.base_rate * float(self.factor ** sum(done >= fall for fall in self.falls))


@attrs.frozen
class Schedule:
    """The default learning rate schedule: a short linear warm-up, then a factor after every fifth of the training.

    After the warm-up it equals torch's ``StepLR(gamma, step_size)`` that is stepped once per epoch. It has no state:
    a restored training needs these numbers and its position, nothing else.

    Args:
        first_epoch: the epoch count at which this course begins.
        step_size: epochs between two drops.
        gamma: the factor of a drop.
        warmup_steps: longest warm-up; it never lasts beyond the first epoch.
    """

    base_rate: float
    first_epoch: int
    step_size: int
    gamma: float = GAMMA
    warmup_steps: int = WARMUP_STEPS

    @classmethod
    def over(cls, base_rate: float, epochs: int, first_epoch: int = 0) -> Schedule:
        """Plan the course of a training of ``epochs`` epochs."""
        return cls(base_rate, first_epoch, epochs // PARTS if epochs >= PARTS else 1)

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Schedule:
        """Read the course back; the inverse of :meth:`to_dict`."""
        return cls(**saved)

    def to_dict(self) -> dict[str, Any]:
        """Return the course as plain values."""
        return attrs.asdict(self)

    def rate(self, epoch: int, step: int, steps_per_epoch: int) -> float:
        """Return the rate of one step after so many epochs, over the life of the run, and steps of its own."""
        done = epoch - self.first_epoch
        warmup = min(self.warmup_steps, steps_per_epoch)
        rise = min(1.0, (step + 1) / warmup) if done == 0 else 1.0
        return self.base_rate * rise * float(self.gamma ** (done // self.step_size))


def build_optimizer(model: nn.Module, rate: float, weight_decay: float = WEIGHT_DECAY) -> torch.optim.AdamW:
    """Build AdamW, which is Adam with a decay of 0; normalisation layers and biases are not decayed."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in trained if parameter.dim() > 1], "weight_decay": weight_decay},
        {"params": [parameter for parameter in trained if parameter.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=rate, betas=BETAS, fused=_fused(trained)
    )


def _fused(parameters: Iterable[Tensor]) -> bool:
    """Use the fused step where it exists; it is bit-reproducible and several times faster than the loop."""
    return all(parameter.device.type in {"cpu", "cuda"} and parameter.is_floating_point() for parameter in parameters)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = rate
