"""Pictures for a log, as PNG files in memory."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt

__all__ = ["encode_png"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
EIGHT_BIT_RGB = (8, 2, 0, 0, 0)


def encode_png(rgb: npt.NDArray[np.uint8]) -> bytes:
    """Encode a picture without loss.

    Args:
        rgb: (H, W, 3) uint8.

    Source: W3C, Portable Network Graphics Specification, sections 5.3 (chunks) and 9 (filter type 0).
    """
    height, width = rgb.shape[:2]
    rows = b"".join(b"\0" + row.tobytes() for row in rgb)
    header = struct.pack(">IIBBBBB", width, height, *EIGHT_BIT_RGB)
    return SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows, level=6)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
