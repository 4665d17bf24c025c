"""Fingerprint of folders of labelled images: counts and hashes, to notice changed data.

The form is that of :mod:`cogkp.data.dataset`, whose ``changes`` compares both kinds.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from cogkp.data.boxes.records import BoxRecord, ImageIndex, ImageRecord


def fingerprint(indices: Sequence[ImageIndex]) -> list[dict[str, Any]]:
    """Describe several folders, ready for JSON, one entry each; the same wherever they lie.

    Returns:
        For each its name, the count of images, and SHA-256 in hexadecimal of the images' names within the folder
        and sizes, and of the labels; both in the order of their paths. Numbers in a file may be written in another
        way without changing it.
    """
    return [_of(index) for index in indices]


def _of(index: ImageIndex) -> dict[str, Any]:
    files, labels = hashlib.sha256(), hashlib.sha256()
    for record in index.records:
        name = record.image.relative_to(index.root).as_posix()
        files.update(f"{len(name)} {name} {record.image.stat().st_size}\n".encode(errors="surrogatepass"))
        for part in _labels(record):
            labels.update(part)
    return {
        "root": index.root.name,
        "lines": len(index.records),
        "images": len(index.records),
        "files_sha256": files.hexdigest(),
        "labels_sha256": labels.hexdigest(),
    }


def _labels(record: ImageRecord) -> Iterator[bytes]:
    yield _bytes(record.K)
    for box in record.boxes:
        yield from _box(box)
    if record.ground is not None:
        yield record.ground.center.tobytes() + record.ground.normal.tobytes()


def _box(box: BoxRecord) -> Iterator[bytes]:
    yield f"{box.category} {box.symmetric} {box.num_symmetry} {box.visibility}\n".encode(errors="surrogatepass")
    for array in (box.uv_source, box.xyz_camera, box.cuboid_to_camera, box.size_xyz):
        yield _bytes(array)


def _bytes(array: np.ndarray[Any, np.dtype[np.float64]] | None) -> bytes:
    return b"none" if array is None else array.tobytes()
