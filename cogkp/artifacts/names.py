"""File names of exported models and engines."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from cogkp.errors import ExportError

__all__ = ["Clock", "engine_path", "onnx_name", "timestamp"]

Clock = Callable[[], datetime]

ONNX_ENDINGS = (".release.onnx", ".onnx")
ENGINE_ENDING = ".trt"


def timestamp(clock: Clock = datetime.now) -> str:
    """Name a moment, local time.

    Example:
        >>> timestamp(lambda: datetime(2026, 1, 31, 9, 5, 7))
        '20260131-090507'
    """
    return clock().strftime("%Y%m%d-%H%M%S")


def onnx_name(prefix: str, batch_size: int, moment: str, precision: str) -> str:
    """Name an exported model.

    Example:
        >>> onnx_name("tool", 2, "20260131-090507", "bf16")
        'tool_b2_20260131-090507_bf16.release.onnx'
    """
    return f"{prefix}_b{batch_size}_{moment}_{precision}{ONNX_ENDINGS[0]}"


def engine_path(onnx: Path) -> Path:
    """Place the engine beside its ONNX file.

    Raises:
        ExportError: the name does not end in .onnx.

    Example:
        >>> engine_path(Path("tool.release.onnx")).name, engine_path(Path("tool.onnx")).name
        ('tool.trt', 'tool.trt')
    """
    for ending in ONNX_ENDINGS:
        if onnx.name.endswith(ending) and onnx.name != ending:
            return onnx.with_name(onnx.name.removesuffix(ending) + ENGINE_ENDING)
    raise ExportError("not the name of an ONNX file", where=str(onnx), expected="a name that ends in .onnx")
