"""Names of exported models, and the files beside them."""

import hashlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from cogkp.errors import ExportError
from cogkp.files import open_file

Clock = Callable[[], datetime]

ONNX_ENDINGS = (".release.onnx", ".onnx")
ENGINE_ENDING = ".trt"

_CHUNK_BYTES = 1 << 20


def timestamp(clock: Clock = datetime.now) -> str:
    """Name a moment, local time.

    Example:
        >>> timestamp(lambda: datetime(2026, 1, 31, 9, 5, 7))
        '20260131-090507'
    """
    return clock().strftime("%Y%m%d-%H%M%S")


def onnx_name(prefix: str, batch_size: int, moment: str, precision: str) -> str:
    """Name an exported model; batch 0 stands for any.

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


def manifest_path(model_path: Path) -> Path:
    """Say where the manifest of an ONNX file or of an engine lies.

    Example:
        >>> manifest_path(Path("tool.release.onnx")).name, manifest_path(Path("tool.trt")).name
        ('tool.release.manifest.json', 'tool.trt.manifest.json')
    """
    return model_path.with_name(f"{model_path.name.removesuffix('.onnx')}.manifest.json")


def unverified_path(onnx_path: Path) -> Path:
    """Say where an ONNX file waits until it has been compared with its source.

    Example:
        >>> unverified_path(Path("tool.release.onnx")).name
        'tool.unverified.onnx'
    """
    name = onnx_path.name
    ending = next((ending for ending in ONNX_ENDINGS if name.endswith(ending)), "")
    return onnx_path.with_name(f"{name.removesuffix(ending)}.unverified.onnx")


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    digest = hashlib.sha256()
    with open_file(path) as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
