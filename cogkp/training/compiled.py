"""Compile the network with torch.compile, for training only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from cogkp.errors import TrainingError

__all__ = ["compiled"]


def compiled(model: nn.Module) -> Callable[[Tensor], Any]:
    """Compile a network; the weights are those of the network itself.

    The network stays what it was: checkpoints, copies and evaluations neither change nor wait for a compiler.
    Compilation happens with the first batch, and again for a batch of another size.

    Args:
        model: in training mode, on its device.

    Returns:
        A function from images to outputs; it raises TrainingError where torch cannot compile the network.
    """
    from torch._dynamo.exc import TorchDynamoException  # loads the compiler, which takes seconds

    try:
        network = torch.compile(model)
    except RuntimeError as error:  # a Python or a system that torch does not compile on
        raise _refusal(error) from error

    def forward(image: Tensor) -> Any:
        try:
            return network(image)
        except TorchDynamoException as error:
            raise _refusal(error) from error

    return forward


def _refusal(error: RuntimeError) -> TrainingError:
    message = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return TrainingError(
        "the network cannot be compiled",
        where="--compile",
        expected="a C++ compiler on a CPU, Triton on a GPU",
        got=message.rstrip("."),
        hint="Train without --compile, a restored run with --no-compile (compile=False); nothing is lost.",
    )
