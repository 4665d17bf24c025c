"""The EXIF orientation of an image file, and how to rotate an image by it.

A phone held upright stores lying pixels and the note "turn me by 90 degrees" (EXIF). Whoever labels the image in a
viewer that follows the note labels other pixels than those stored.

Source: CIPA DC-008 (EXIF), tag 274; its numbers are those of TIFF 6.0.
"""

import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from cogkp.data.images.header import ORIENTATION, Header, Tag, jpeg_segments, png_chunks, tiff_tags

UPRIGHT = 1
QUARTER_TURNS = frozenset({5, 6, 7, 8})
EXIF_SEGMENT = b"\xe1"
EXIF_START = b"Exif\x00\x00"


def orientation_tag(file: BinaryIO, header: Header) -> Tag | None:
    """Find the orientation noted in a file; None where there is none, or one that means upright or nothing."""
    try:
        tags = (tiff_tags(file, start).get(ORIENTATION) for start in _exif_starts(file, header))
        tag = next(filter(None, tags), None)
    except (struct.error, ValueError, OverflowError, IndexError):  # metadata that cannot be read note nothing
        return None
    return tag if tag is not None and UPRIGHT < tag.value <= max(QUARTER_TURNS) else None


def _exif_starts(file: BinaryIO, header: Header) -> Iterator[int]:
    """Say where a TIFF header may begin."""
    if header.format == "tiff":
        yield 0
    elif header.format == "png":
        yield from (chunk.start for chunk in png_chunks(file) if chunk.name == b"eXIf")
    elif header.format == "webp":
        yield from _webp_exif(file)
    elif header.format == "jpeg":
        for segment in jpeg_segments(file):
            file.seek(segment.start)
            if segment.name == EXIF_SEGMENT and file.read(len(EXIF_START)) == EXIF_START:
                yield segment.start + len(EXIF_START)


def _webp_exif(file: BinaryIO) -> Iterator[int]:
    position = 12
    while True:
        file.seek(position)
        head = file.read(8 + len(EXIF_START))
        if len(head) < 8:  # noqa: PLR2004
            return
        name, size = struct.unpack("<4sI", head[:8])
        if name == b"EXIF":  # some writers keep the prefix that belongs to JPEG files
            yield position + 8 + len(EXIF_START) * (head[8:] == EXIF_START)
        position += 8 + size + size % 2


def turned_size(size_wh: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Give the width and height of an image after it was turned."""
    return (size_wh[1], size_wh[0]) if orientation in QUARTER_TURNS else size_wh


def turned(pixels: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Turn an image (H, W, ...) by its orientation, 1 to 8, as viewers show it; 6, say, by 90 degrees clockwise."""
    if orientation in QUARTER_TURNS:
        pixels = np.swapaxes(pixels, 0, 1)
    # Each number says where row 0 and column 0 of what is stored belong in what is seen.
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
