"""Read the tags of a TIFF file's first image; EXIF metadata has the same format.

Source: TIFF 6.0, section 2; the BigTIFF extension; CIPA DC-008 (EXIF), section 4.6.
"""

from __future__ import annotations

import struct
from typing import BinaryIO, NamedTuple

__all__ = [
    "BITS_PER_SAMPLE",
    "HEIGHT",
    "ORIENTATION",
    "SAMPLES_PER_PIXEL",
    "TILE_HEIGHT",
    "TILE_WIDTH",
    "WIDTH",
    "Tag",
    "tiff_tags",
]

WIDTH, HEIGHT, BITS_PER_SAMPLE, ORIENTATION, SAMPLES_PER_PIXEL = 256, 257, 258, 274, 277
TILE_WIDTH, TILE_HEIGHT = 322, 323
TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}
"""Whole numbers without sign: of 1, 2, 4 and 8 bytes."""


class Tag(NamedTuple):
    """The first value of a tag, where it stands in the file, and its form for ``struct``."""

    value: int
    place: int
    form: str


def tiff_tags(file: BinaryIO, start: int = 0) -> dict[int, Tag]:
    """Read the tags of the first image that hold whole numbers.

    Args:
        file: the whole file.
        start: where the TIFF header begins, which all its offsets count from.

    Raises:
        struct.error: the file ends too early.
        ValueError: this is no TIFF header.
    """
    file.seek(start)
    order = {b"II": "<", b"MM": ">"}.get(file.read(2))
    if order is None:
        raise ValueError
    (version,) = struct.unpack(f"{order}H", file.read(2))
    big = version == 43  # noqa: PLR2004
    offset, count, entry = ("HHQ", "Q", "HHQ8s") if big else ("I", "H", "HHI4s")
    *_, first = struct.unpack(order + offset, file.read(struct.calcsize(order + offset)))
    file.seek(start + first)
    (entries,) = struct.unpack(order + count, file.read(struct.calcsize(order + count)))
    size, inside = struct.calcsize(order + entry), 8 if big else 4
    tags: dict[int, Tag] = {}
    for number in range(min(entries, 4096)):
        place = start + first + struct.calcsize(order + count) + number * size
        file.seek(place)
        tag, kind, values, field = struct.unpack(order + entry, file.read(size))
        if kind not in TYPES or not values:
            continue
        form, place = order + TYPES[kind], place + size - inside
        if values * struct.calcsize(form) > inside:
            place = start + int(struct.unpack(order + ("Q" if big else "I"), field)[0])
        file.seek(place)
        tags.setdefault(tag, Tag(struct.unpack(form, file.read(struct.calcsize(form)))[0], place, form))
    return tags
