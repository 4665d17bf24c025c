"""Image files that note an orientation, as the cameras of phones write them."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

FORMATS = (".jpg", ".png", ".webp", ".tiff")


def exif(orientation: int, order: str = "<") -> bytes:
    """A TIFF header with one tag."""
    start = b"II" if order == "<" else b"MM"
    return start + struct.pack(order + "HIHHHIHHI", 42, 8, 1, 274, 3, 1, orientation, 0, 0)


def write_oriented(path: Path, pixels: np.ndarray, orientation: int, order: str = "<") -> Path:
    """Write pixels as they are, with a note that says how to turn them."""
    lossless = [cv2.IMWRITE_WEBP_QUALITY, 101] if path.suffix == ".webp" else []
    data = cv2.imencode(path.suffix, pixels, lossless)[1].tobytes()
    path.write_bytes(NOTING[path.suffix](data, orientation, order))
    return path


def _jpeg(data: bytes, orientation: int, order: str) -> bytes:
    note = b"Exif\x00\x00" + exif(orientation, order)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(note) + 2) + note + data[2:]


def _png(data: bytes, orientation: int, order: str) -> bytes:
    """The chunk stands behind the pixels, where some programs add it."""
    note = b"eXIf" + exif(orientation, order)
    chunk = struct.pack(">I", len(note) - 4) + note + struct.pack(">I", zlib.crc32(note))
    return data[:-12] + chunk + data[-12:]


def _webp(data: bytes, orientation: int, order: str) -> bytes:
    height, width = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED).shape[:2]
    note = exif(orientation, order)
    canvas = struct.pack("<B3x", 8) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = (
        b"WEBPVP8X"
        + struct.pack("<I", len(canvas))
        + canvas
        + data[12:]
        + b"EXIF"
        + struct.pack("<I", len(note))
        + note
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _tiff(data: bytes, orientation: int, _order: str) -> bytes:
    """OpenCV writes the tag itself, with 1 as its value, or not at all; the pixels stay where they are."""
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    entries = [data[start + 2 + 12 * n : start + 14 + 12 * n] for n in range(count)]
    entries = [entry for entry in entries if struct.unpack_from("<H", entry)[0] != 274]
    entries.append(struct.pack("<HHIHH", 274, 3, 1, orientation, 0))
    entries.sort(key=lambda entry: struct.unpack_from("<H", entry)[0])
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return data[:4] + struct.pack("<I", len(data)) + data[8:] + directory


NOTING = {".jpg": _jpeg, ".png": _png, ".webp": _webp, ".tiff": _tiff}
