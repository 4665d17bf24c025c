"""Fingerprint of keypoint recordings: counts, and hashes of file names, file sizes, labels and calibration."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cogkp.data.keypoint.records import Index, Record, View
from cogkp.geometry.rig import CameraRig

__all__ = ["fingerprint"]

CALIBRATION_DECIMALS = 9
"""Two computers that work out one calibration may differ in a number's last bits; no lens is known that well."""


def fingerprint(indices: Sequence[Index], rig: CameraRig | None = None) -> list[dict[str, Any]]:
    """Describe several data sets, ready for JSON, one entry each; the same wherever their folders lie.

    Args:
        indices: the data sets.
        rig: the cameras of their stereo pairs, None where there are none.

    Returns:
        For each its folder's name, the count of usable lines and images, and SHA-256 in hexadecimal of the files'
        names within the folder and sizes, and of the labels; both in the order of the lines. With a rig also that of
        its numbers, however the file writes them.
    """
    calibration = {} if rig is None else {"calibration_sha256": _calibration(rig)}
    return [_of(index) | calibration for index in indices]


def _of(index: Index) -> dict[str, Any]:
    files, labels = hashlib.sha256(), hashlib.sha256()
    for record in index.records:
        for path in _files(record):
            name = path.relative_to(record.root).as_posix()
            files.update(f"{len(name)} {name} {path.stat().st_size}\n".encode())
        labels.update(_labels(record))
    return {
        "root": index.root.name,
        "lines": len(index.records),
        "images": sum(len(record.views) for record in index.records),
        "files_sha256": files.hexdigest(),
        "labels_sha256": labels.hexdigest(),
    }


def _files(record: Record) -> Iterator[Path]:
    for view in record.views:
        yield view.image
        if view.mask is not None:
            yield view.mask


def _labels(record: Record) -> bytes:
    parts = [part for view in record.views for part in _label(view)]
    return b"".join([*parts, record.xyz_world.tobytes(), record.located.tobytes()])


def _label(view: View) -> tuple[bytes, ...]:
    return view.camera.encode(), view.uv_source.tobytes(), view.labelled.tobytes(), bytes([view.mask is not None])


def _calibration(rig: CameraRig) -> str:
    numbers = hashlib.sha256()
    for name, camera in zip(rig.names, rig.cameras, strict=True):
        numbers.update(f"{name} {camera.size_wh}\n".encode())
        for tensor in (camera.K, camera.world_to_camera, camera.distortion):
            rounded = np.round(tensor.double().numpy(), CALIBRATION_DECIMALS) + 0.0  # no -0.0
            numbers.update(f"{rounded.shape} ".encode() + rounded.tobytes())
    return numbers.hexdigest()
