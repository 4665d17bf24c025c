"""Fingerprint of keypoint recordings: counts, and hashes of file names, file sizes, labels and calibration."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from cogkp.data.keypoint.records import Index
from cogkp.geometry.rig import CameraRig

__all__ = ["fingerprint"]

CALIBRATION_DECIMALS = 9
"""Two computers that work out one calibration may differ in a number's last bits; no lens is known that well."""

LINES_AT_ONCE = 8192


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
    return {
        "root": index.root.name,
        "lines": len(index),
        "images": len(index.images.ends),
        "files_sha256": _files(index),
        "labels_sha256": _labels(index),
    }


def _files(index: Index) -> str:
    """Hash name and size of each image, and of its mask where there is one."""
    digest = hashlib.sha256()
    kinds = [index.images] if index.masks is None else [index.images, index.masks]
    for place in range(len(index.images.ends)):
        for files in kinds:
            if name := files.encoded(place):
                letters = len(name.decode("utf-8", "surrogateescape"))
                digest.update(b"%d %b %d\n" % (letters, name, files.sizes[place]))
    return digest.hexdigest()


def _labels(index: Index) -> str:
    """Hash what each line says, view by view: camera, points, which are labelled, whether there is a mask; places."""
    digest, views, points = hashlib.sha256(), len(index.cameras), index.labelled.shape[-1]
    masked = (
        np.zeros((len(index), views), np.bool_) if index.masks is None else index.masks.sizes.reshape(-1, views) > 0
    )
    layout: list[tuple[str, str, tuple[int, ...]]] = [
        field
        for view, camera in enumerate(index.cameras)
        for field in (
            (f"camera{view}", f"S{len(camera.encode())}", ()),
            (f"uv{view}", "<f8", (points, 2)),
            (f"labelled{view}", "?", (points,)),
            (f"mask{view}", "?", ()),
        )
    ]
    layout += [("xyz", "<f8", (points, 3)), ("located", "?", (points,))]
    for start in range(0, len(index), LINES_AT_ONCE):
        part = slice(start, start + LINES_AT_ONCE)
        rows = np.empty(len(index.lines[part]), np.dtype(layout))
        for view, camera in enumerate(index.cameras):
            rows[f"camera{view}"] = camera.encode()
            rows[f"uv{view}"] = index.uv_source[part, view]
            rows[f"labelled{view}"] = index.labelled[part, view]
            rows[f"mask{view}"] = masked[part, view]
        rows["xyz"], rows["located"] = index.xyz_world[part], index.located[part]
        digest.update(rows.tobytes())
    return digest.hexdigest()


def _calibration(rig: CameraRig) -> str:
    numbers = hashlib.sha256()
    for name, camera in zip(rig.names, rig.cameras, strict=True):
        numbers.update(f"{name} {camera.size_wh}\n".encode())
        for tensor in (camera.K, camera.world_to_camera, camera.distortion):
            rounded = np.round(tensor.double().numpy(), CALIBRATION_DECIMALS) + 0.0  # no -0.0
            numbers.update(f"{rounded.shape} ".encode() + rounded.tobytes())
    return numbers.hexdigest()
