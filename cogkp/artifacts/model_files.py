"""How the files of a deployed model are called, and how they find each other."""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = ["engine_path", "file_sha256", "manifest_path", "release_name", "unverified_path"]

_RELEASE = ".release.onnx"
_ONNX = ".onnx"
_CHUNK_BYTES = 1 << 20


def release_name(prefix: str, batch_size: int, stamp: str, precision: str) -> str:
    """Name an exported model, for example ``model_b1_20260131-120000_fp32.release.onnx``."""
    return f"{prefix}_b{batch_size}_{stamp}_{precision}{_RELEASE}"


def engine_path(onnx_path: Path) -> Path:
    """Say where the engine of an ONNX file lies: ``.release.onnx`` or ``.onnx`` becomes ``.trt``.

    Example:
        >>> engine_path(Path("models/tool_b1.release.onnx")).as_posix()
        'models/tool_b1.trt'
    """
    return onnx_path.with_name(f"{_stem(onnx_path)}.trt")


def manifest_path(model_path: Path) -> Path:
    """Say where the manifest of an ONNX file or of an engine lies.

    Example:
        >>> manifest_path(Path("tool.release.onnx")).name, manifest_path(Path("tool.trt")).name
        ('tool.release.manifest.json', 'tool.trt.manifest.json')
    """
    return model_path.with_name(f"{model_path.name.removesuffix(_ONNX)}.manifest.json")


def unverified_path(onnx_path: Path) -> Path:
    """Say where an ONNX file waits until it has been compared with its source."""
    return onnx_path.with_name(f"{_stem(onnx_path)}.unverified{_ONNX}")


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _stem(onnx_path: Path) -> str:
    name = onnx_path.name
    return name.removesuffix(_RELEASE if name.endswith(_RELEASE) else _ONNX)
