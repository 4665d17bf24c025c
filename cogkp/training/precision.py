"""The device of a training, the precision of its arithmetic, loss scaling, and compilation."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from cogkp.errors import TrainingError

# Each skipped step halves the scale: this many bring the 65536 it begins with below 1.
MOST_SKIPPED = 20

log = logging.getLogger("cogkp")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def compiled(model: nn.Module) -> Callable[[Tensor], Any]:
    """Compile a network, in training mode on its device; the weights are those of the network itself.

    The network stays what it was: checkpoints, copies and evaluations neither change nor wait for a compiler.
    Compilation happens with the first batch, and again for a batch of another size; the function raises TrainingError
    where torch cannot compile the network.
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


class LossScale:
    """The adaptive loss scale; outside of fp16 it is one and does nothing.

    A gradient that float16 cannot hold leaves the weights, their average and the optimiser as they were and halves the
    factor; 2000 steps without one double it.
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
        """Skip a step whose loss is finite but whose gradient is not; returns how many were skipped in a row."""
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
        """Go on from :meth:`state`, else KeyError; a factor that nobody kept, or nobody needs, is left as it is."""
        if not state or not self._scaler.is_enabled():
            return
        self._skipped = int(state["skipped"])
        self._scaler.load_state_dict({name: value for name, value in state.items() if name != "skipped"})


@attrs.frozen
class Precision:
    """A device and the type its convolutions compute in, 'fp32', 'bf16' or 'fp16'; weights stay float32."""

    name: str
    device: torch.device

    def autocast(self) -> AbstractContextManager[Any]:
        """Enter the region where convolutions and matrix products use the type."""
        enabled = self.name != "fp32"
        return torch.autocast(self.device.type, dtype=DTYPES[self.name] if enabled else None, enabled=enabled)

    def place_model(self, model: nn.Module) -> nn.Module:
        """Move a network; channels-last is faster on CPU and GPU alike."""
        return model.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def place_image(self, image: Tensor) -> Tensor:
        """Move images, (B, C, H, W), without waiting where memory is pinned."""
        return image.to(self.device, non_blocking=True, memory_format=torch.channels_last)


def resolve_precision(name: str | None, device: torch.device | None = None) -> Precision:
    """Choose bf16 on CUDA and fp32 elsewhere, unless named; raises TrainingError where the name is unknown."""
    where = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    chosen = name or ("bf16" if where.type == "cuda" else "fp32")
    if chosen not in DTYPES:
        raise TrainingError("unknown precision", where="precision", expected=", ".join(DTYPES), got=repr(chosen))
    if chosen == "fp16" and where.type == "cpu" and not _computes_fp16():
        log.warning("this processor has no float16 arithmetic: fp16 is many times slower than fp32 here; try bf16")
    return Precision(chosen, where)


def _computes_fp16() -> bool:
    # torch tells this of the CPU only by a private name, which other releases may lack; then it is left unsaid.
    return bool(getattr(torch.ops.mkldnn, "_is_mkldnn_fp16_supported", lambda: True)())


def fastest_precision() -> str:
    """Name the precision this machine trains fastest in: bf16 where its arithmetic is built in."""
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    # torch tells this of the CPU only by a private name, which older releases lack.
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return "bf16" if supported() else "fp32"
