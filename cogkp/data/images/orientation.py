"""The EXIF orientation of an image file, and how to rotate an image by it.

A phone held upright stores lying pixels and the note "turn me by 90 degrees" (EXIF). Whoever labels the image in a
viewer that follows the note labels other pixels than those stored.

Source: CIPA DC-008 (EXIF), tag 274; its numbers are those of TIFF 6.0.
"""

import io
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from cogkp.data.images.header import (
    ORIENTATION,
    Chunk,
    Header,
    Tag,
    jpeg_segments,
    png_chunks,
    riff_chunks,
    tiff_tags,
)

UPRIGHT = 1
QUARTER_TURNS = frozenset({5, 6, 7, 8})
EXIF_SEGMENT = b"\xe1"
EXIF_START = b"Exif\x00\x00"
LARGEST_PROFILE = 1 << 20


def orientation_tag(file: BinaryIO, header: Header) -> Tag | None:
    """Find the orientation noted in a file; None where there is none, or one that means upright or nothing."""
    try:
        tags = (tiff_tags(*found).get(ORIENTATION) for found in _exif(file, header))
        tag = next(filter(None, tags), None)
    except (
        struct.error,
        ValueError,
        OverflowError,
        IndexError,
        zlib.error,
    ):  # metadata that cannot be read note nothing
        return None
    return tag if tag is not None and UPRIGHT < tag.value <= max(QUARTER_TURNS) else None


def _exif(file: BinaryIO, header: Header) -> Iterator[tuple[BinaryIO, int]]:
    """Give a file and the place in it where a TIFF header may begin; some writers put a JPEG's prefix before it."""
    places: Iterable[int] = ()
    if header.format == "tiff":
        places = (0,)
    elif header.format == "png":
        chunks = list(png_chunks(file))
        places = (chunk.start for chunk in chunks if chunk.name == b"eXIf")
        yield from ((profile, 0) for chunk in chunks if (profile := _profile(file, chunk)) is not None)
    elif header.format == "webp":
        places = (chunk.start for chunk in riff_chunks(file) if chunk.name == b"EXIF")
    elif header.format == "jpeg":
        places = (segment.start for segment in jpeg_segments(file) if segment.name == EXIF_SEGMENT)
    for place in places:
        file.seek(place)
        prefixed = file.read(len(EXIF_START)) == EXIF_START
        if prefixed or header.format != "jpeg":
            yield file, place + len(EXIF_START) * prefixed


def _profile(file: BinaryIO, chunk: Chunk) -> BinaryIO | None:
    """Read EXIF metadata as ImageMagick wrote it before PNG had a chunk for it: a length, then hexadecimals."""
    if chunk.name not in (b"tEXt", b"zTXt") or chunk.size > LARGEST_PROFILE:
        return None
    file.seek(chunk.start)
    keyword, _, text = file.read(chunk.size).partition(b"\0")
    if keyword not in (b"Raw profile type exif", b"Raw profile type APP1"):
        return None
    if chunk.name == b"zTXt":
        text = zlib.decompressobj().decompress(text[1:], LARGEST_PROFILE)
    content = bytes.fromhex(text.decode("ascii").split(maxsplit=2)[2])
    return io.BytesIO(content.removeprefix(EXIF_START))


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
