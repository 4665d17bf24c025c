"""Run the source module itself."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from cogkp.artifacts.manifest import Signature
from cogkp.inference.runner import Array, Runner

__all__ = ["TorchRunner"]


class TorchRunner(Runner):
    """A torch module behind the runner interface; the reference that others are compared with.

    Args:
        module: in evaluation mode, returns a NamedTuple of tensors.
        signature: what goes in and what comes out.
        device: where it runs; the module itself stays where it is only if that is the same place.
    """

    name = "torch"

    def __init__(self, module: nn.Module, signature: Signature, *, device: str = "cpu") -> None:
        super().__init__(signature)
        self._module = module
        self._device = device

    def _load(self) -> None:
        self._module.to(self._device)

    def _unload(self) -> None:
        pass

    def _run(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        with torch.inference_mode():
            outputs = self._module(*(torch.from_numpy(array).to(self._device) for array in feed.values()))
        return {name: tensor.cpu().numpy().copy() for name, tensor in outputs._asdict().items()}
