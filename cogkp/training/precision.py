"""The device of a training, and the precision of its arithmetic."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from cogkp.errors import TrainingError

__all__ = ["Precision", "fastest_precision", "resolve_device", "resolve_precision"]

log = logging.getLogger("cogkp")

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@attrs.frozen
class Precision:
    """A device and the type its convolutions compute in; weights stay float32.

    Args:
        name: 'fp32', 'bf16' or 'fp16'.
        device: where tensors live.
    """

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


def resolve_device() -> torch.device:
    """Choose the GPU when there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def resolve_precision(name: str | None, device: torch.device | None = None) -> Precision:
    """Choose the precision: bf16 on CUDA and fp32 elsewhere, unless named.

    Raises:
        TrainingError: the name is unknown.
    """
    where = device or resolve_device()
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
