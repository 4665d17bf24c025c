"""Run the source network itself, as the reference that others are compared with."""

import copy
from collections.abc import Mapping

import torch
from torch import nn

from cogkp.artifacts.manifest import Signature
from cogkp.inference.runner import Array, Runner


class TorchRunner(Runner):
    """A torch module behind the runner interface; the reference that others are compared with.

    Args:
        module: in evaluation mode, returns a NamedTuple of tensors.
        signature: what goes in and what comes out.
        device: where it runs; a module that lies elsewhere is copied there, so that its owner keeps it in place.
    """

    name = "torch"

    def __init__(self, module: nn.Module, signature: Signature, *, device: str = "cpu") -> None:
        super().__init__(signature)
        self._module = module
        self.device = device
        self._placed: nn.Module | None = None

    def _load(self) -> None:
        tensors = (*self._module.parameters(), *self._module.buffers())
        in_place = all(tensor.device == torch.device(self.device) for tensor in tensors)
        self._placed = self._module if in_place else copy.deepcopy(self._module).to(self.device)

    def _unload(self) -> None:
        self._placed = None

    def _run(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        assert self._placed is not None
        with torch.inference_mode():
            outputs = self._placed(*(torch.from_numpy(array).to(self.device) for array in feed.values()))
        return {name: tensor.cpu().numpy().copy() for name, tensor in outputs._asdict().items()}
