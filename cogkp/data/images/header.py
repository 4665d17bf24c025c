"""Check size and completeness of an image file without decoding it.

Decoders hand out half an image where a file ends early, and reserve memory for whatever size a file claims. So size
and completeness are settled here first.

Source: PNG specification (W3C, third edition), section 5; ITU-T T.81 (JPEG), annex B; the BMP headers of Windows.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import attrs

from cogkp.errors import ImageError

__all__ = ["Header", "check_complete", "read_header"]

PNG_START = b"\x89PNG\r\n\x1a\n"
JPEG_START = b"\xff\xd8\xff"
JPEG_END = b"\xff\xd9"
BMP_START = b"BM"

START_OF_SCAN = 0xDA
STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@attrs.frozen
class Header:
    """The plain facts of an image file.

    Args:
        format: 'png', 'jpeg' or 'bmp'.
        size_wh: width and height as stored, pixels.
        bits: bits per channel.
        grey: whether the file holds one channel, neither colours nor a palette nor alpha.
    """

    format: str
    size_wh: tuple[int, int]
    bits: int
    grey: bool


def read_header(file: BinaryIO, where: Path) -> Header | None:
    """Read the header of a PNG, JPEG or BMP file from its first byte on; None for any other content.

    Raises:
        ImageError: the file ends within its header.
    """
    start = file.read(8)
    try:
        if start == PNG_START:
            return _png_header(file)
        if start.startswith(JPEG_START):
            return _jpeg_header(file)
        return _bmp_header(file) if start.startswith(BMP_START) else None
    except (struct.error, IndexError) as error:
        raise ImageError("the image file is truncated", where=str(where), got="an incomplete header") from error


def _png_header(file: BinaryIO) -> Header:
    _length, _name, width, height, bits, colour = struct.unpack(">I4sIIBB", file.read(18))
    return Header("png", (width, height), bits, grey=colour == 0)


def _jpeg_header(file: BinaryIO) -> Header:
    file.seek(2)
    while True:
        marker = _next_marker(file)
        if marker in STANDALONE:
            continue
        (length,) = struct.unpack(">H", file.read(2))
        if marker in START_OF_FRAME:
            bits, height, width, channels = struct.unpack(">BHHB", file.read(6))
            return Header("jpeg", (width, height), bits, grey=channels == 1)
        file.seek(length - 2, 1)


def _next_marker(file: BinaryIO) -> int:
    """Read up to the next marker; any number of fill bytes may stand before it."""
    byte = file.read(1)[0]
    while byte != 0xFF:  # noqa: PLR2004
        byte = file.read(1)[0]
    while byte == 0xFF:  # noqa: PLR2004
        byte = file.read(1)[0]
    return byte


def _bmp_header(file: BinaryIO) -> Header:
    file.seek(14)
    size, width, height, _planes, bits = struct.unpack("<IiiHH", file.read(16))
    if size < 40:  # noqa: PLR2004
        raise struct.error
    return Header("bmp", (abs(width), abs(height)), min(bits, 8), grey=False)


def check_complete(data: bytes, header: Header, where: Path) -> None:
    """Refuse a file that ends early or whose bytes were changed.

    Args:
        data: the whole file.
        header: of that file.
        where: its name, for the message.

    Raises:
        ImageError: the file is truncated or damaged.
    """
    {"png": _check_png, "jpeg": _check_jpeg, "bmp": _check_bmp}[header.format](data, where)


def _truncated(where: Path, wanted: str) -> ImageError:
    return ImageError(
        "the image file is truncated", where=str(where), expected=wanted, hint="Copy or export the file again."
    )


def _check_png(data: bytes, where: Path) -> None:
    """Walk the chunks: a wrong check sum would make the decoder write to the console."""
    view, position = memoryview(data), len(PNG_START)
    while position + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            break
        if zlib.crc32(view[position + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise ImageError(
                "the image file is damaged", where=str(where), got=f"a wrong check sum in its {name!r} chunk"
            )
        if name == b"IEND":
            return
        position = end + 4
    raise _truncated(where, "an IEND chunk at its end")


def _check_jpeg(data: bytes, where: Path) -> None:
    """Look for the end marker behind the first scan: a preview image in the metadata has an end marker of its own."""
    if data.endswith(JPEG_END) or data.find(JPEG_END, _first_scan(data)) >= 0:
        return
    raise _truncated(where, "an end-of-image marker")


def _first_scan(data: bytes) -> int:
    position = 2
    while position + 4 <= len(data) and data[position + 1] != START_OF_SCAN:
        marker = data[position + 1]
        filled = marker == 0xFF  # noqa: PLR2004
        position += 1 if filled else 2 if marker in STANDALONE else 2 + struct.unpack_from(">H", data, position + 2)[0]
    return position


def _check_bmp(data: bytes, where: Path) -> None:
    """Compare with the size that uncompressed rows need."""
    (offset,) = struct.unpack_from("<I", data, 10)
    width, height, _planes, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    row = (abs(width) * bits + 31) // 32 * 4
    if compression in (0, 3) and len(data) < offset + row * abs(height):
        raise _truncated(where, f"at least {offset + row * abs(height)} bytes")
