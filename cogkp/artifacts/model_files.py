"""Names and hashes of the files beside an exported model."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cogkp.artifacts.names import ONNX_ENDINGS

__all__ = ["file_sha256", "manifest_path", "unverified_path"]

_CHUNK_BYTES = 1 << 20


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
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
