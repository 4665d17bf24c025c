"""Decode the bytes of an image file, and refuse incomplete ones.

Decoders fill what is missing with grey and go on; what they tell of it on standard error is collected, which costs 20
microseconds an image. OpenCV before version 5 hides what libtiff tells.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from cogkp.data.images.decoder_messages import decoder_messages
from cogkp.data.images.header import Header, png_chunks
from cogkp.data.images.jpeg import end_of_scans
from cogkp.errors import ImageError

__all__ = ["decode"]

Pixels = npt.NDArray[Any]

FAULT = re.compile(
    r"libpng error|TIFF_Error|premature end|lack of data|bad (Huffman|arithmetic)|instead of RST"
    r"|Inconsistent progression|extraneous bytes before marker 0xd[0-7]",
    re.IGNORECASE,
)
# Any bytes that are no marker: they show in the pixels only where the decoder was still waiting for data.
MORE_DATA = bytes(range(1, 255)) * 16
SHORTEST_BMP = 34
JPEG_END = b"\xff\xd9"


def decode(data: bytes, header: Header, where: Path) -> Pixels:
    """Decode a whole file.

    Args:
        data: all its bytes.
        header: what they begin with.
        where: its name, for the message.

    Returns:
        (H, W) or (H, W, channels) as stored, blue before green before red.

    Raises:
        ImageError: the file is truncated or damaged.
    """
    end = None
    if header.format == "png":
        _check_png(data, where)
    elif header.format == "bmp":
        _check_bmp(data, where)
    elif header.format == "jpeg":
        end = end_of_scans(data)
        if end is None:
            raise _truncated(where, "all scans and an end-of-image marker")
    pixels, said = _decoded(data, tiff=header.format == "tiff")
    faults = [line for line in said if FAULT.search(line)]
    if pixels is None or faults:
        raise _truncated(where, "all of its pixels", "; ".join(faults[:1]))
    # libjpeg tells of the first fault alone, so a harmless one may hide another.
    if said and end is not None and _differs(pixels, data[:end] + MORE_DATA + JPEG_END):
        raise _truncated(where, "all of its pixels", "a scan that ends early")
    return pixels


def _differs(pixels: Pixels, data: bytes) -> bool:
    others, _ = _decoded(data)
    return others is None or not np.array_equal(pixels, others)


def _truncated(where: Path, wanted: str, got: str = "") -> ImageError:
    return ImageError(
        "the image file is truncated or damaged",
        where=str(where),
        expected=wanted,
        got=got,
        hint="Copy or export the file again.",
    )


def _check_png(data: bytes, where: Path) -> None:
    """Compare the check sum of each chunk, and look for the last one."""
    view = memoryview(data)
    for name, start, size in png_chunks(io.BytesIO(data)):
        end = start + size
        if end + 4 > len(data):
            break
        if zlib.crc32(view[start - 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise _truncated(where, "", f"a wrong check sum in its {name!r} chunk")
        if name == b"IEND":
            return
    raise _truncated(where, "an IEND chunk at its end")


def _check_bmp(data: bytes, where: Path) -> None:
    """Compare with the size that uncompressed rows need."""
    if len(data) < SHORTEST_BMP:
        raise _truncated(where, f"at least {SHORTEST_BMP} bytes")
    offset, header = struct.unpack_from("<II", data, 10)
    if header == 12:  # noqa: PLR2004 - the header of OS/2, which knows no compression
        (width, height, _planes, bits), compression = struct.unpack_from("<HHHH", data, 18), 0
    else:
        width, height, _planes, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    if compression in (1, 2):
        # Pixels that such a file leaves out are black, so nobody can tell that some are missing.
        raise ImageError("the image cannot be used", where=str(where), expected="a BMP file without run lengths")
    row = (abs(width) * bits + 31) // 32 * 4
    if len(data) < offset + row * abs(height):
        raise _truncated(where, f"at least {offset + row * abs(height)} bytes")


def _decoded(data: bytes, tiff: bool = False) -> tuple[Pixels | None, list[str]]:
    """Decode with OpenCV; also give the lines that the decoders wrote."""
    if not tiff:
        with decoder_messages() as heard:
            pixels = _with_opencv(data)
        if heard.quiet:
            return pixels, []
    with decoder_messages(alone=True, warnings=tiff) as heard:
        pixels = _with_opencv(data)
    return pixels, heard.lines


def _with_opencv(data: bytes) -> Pixels | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
