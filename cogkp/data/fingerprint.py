"""What a data set is, in a few words that another day can be compared with: names, sizes and labels, no pixels.

A file whose pixels changed while its size did not goes unnoticed; reading every picture would cost minutes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cogkp.data.records import Index, Record, View
from cogkp.geometry.rig import CameraRig

__all__ = ["changes", "fingerprint"]

WORDS = {
    "lines": "lines",
    "images": "images",
    "files_sha256": "file names or sizes",
    "labels_sha256": "labels",
    "calibration_sha256": "calibration",
}

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


def changes(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say what changed between two fingerprints, one line per change.

    Args:
        saved: fingerprints by split; nothing is said of what was never recorded, be it a split or one of its entries.
        now: the same, today.

    Example:
        >>> day = {"root": "a", "lines": 8, "images": 8, "files_sha256": "x", "labels_sha256": "y"}
        >>> changes({"train": [day]}, {"train": [day | {"lines": 9, "labels_sha256": "z"}]})
        ["train data 'a': lines 8 -> 9, other labels"]
    """
    return [line for split in now if split in saved for line in _changes(split, saved[split], now[split])]


def _changes(split: str, saved: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if len(saved) != len(now):
        yield f"{split} data: {len(saved)} -> {len(now)} roots"
        return
    for before, after in zip(saved, now, strict=True):
        recorded = {key: word for key, word in WORDS.items() if key in before and key in after}
        said = [_change(key, word, before[key], after[key]) for key, word in recorded.items()]
        if different := ", ".join(filter(None, said)):
            yield f"{split} data {after['root']!r}: {different}"


def _change(key: str, word: str, before: Any, after: Any) -> str:
    if before == after:
        return ""
    return f"other {word}" if key.endswith("sha256") else f"{word} {before} -> {after}"


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
