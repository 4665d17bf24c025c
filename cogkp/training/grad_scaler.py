"""Loss scaling for float16 training: gradients that would underflow are scaled up, overflowing steps are skipped."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from cogkp.training.precision import Precision

__all__ = ["MOST_SKIPPED", "LossScale"]

# Each skipped step halves the scale: this many bring the 65536 it begins with below 1.
MOST_SKIPPED = 20


class LossScale:
    """The adaptive loss scale; outside of fp16 it is one and does nothing.

    A gradient that float16 cannot hold leaves the weights, their average and the optimiser as they were and halves the
    factor; 2000 steps without one double it.

    Args:
        precision: the factor is used in fp16 only.
    """

    def __init__(self, precision: Precision) -> None:
        self._scaler = torch.amp.GradScaler(precision.device.type, enabled=precision.name == "fp16")
        self._skipped = 0
        self._fits = True

    def scale(self, loss: Tensor) -> Tensor:
        """Return the loss to run backward from."""
        return self._scaler.scale(loss)

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Bring the gradients to their true size, once per step and before they are clipped."""
        self._scaler.unscale_(optimizer)

    def check_step(self, scalars: Iterable[float], gradient_norm: float) -> int:
        """Skip a step whose loss is finite but whose gradient is not.

        Returns:
            Steps in a row that were left out, this one included; 0 where it is taken.
        """
        overflowed = self._scaler.is_enabled() and not math.isfinite(gradient_norm)
        self._fits = not (overflowed and all(map(math.isfinite, scalars)))
        return 0 if self._fits else self._skipped + 1

    def step(self, optimizer: torch.optim.Optimizer) -> bool:
        """Take the optimiser step unless it is left out, and adapt the factor; return whether it was taken."""
        if self._fits:
            self._scaler.step(optimizer)
        self._scaler.update()
        self._skipped = 0 if self._fits else self._skipped + 1
        return self._fits

    def state(self) -> dict[str, Any]:
        """Return the factor and its counters as plain values; empty outside of fp16."""
        found = self._scaler.state_dict()
        return {**found, "skipped": self._skipped} if found else {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`; a factor that nobody kept, or that is not needed, is left as it is.

        Raises:
            KeyError: this is no such state.
        """
        if not state or not self._scaler.is_enabled():
            return
        self._skipped = int(state["skipped"])
        self._scaler.load_state_dict({name: value for name, value in state.items() if name != "skipped"})
