"""Decode the bytes of an image file, and refuse what is only half there.

Decoders fill what is missing with grey and go on. libjpeg, libpng and libtiff tell of it on the standard error of the
process and nowhere else, so that is collected while they work: 20 microseconds an image, and one image at a time.
"""

from __future__ import annotations

import io
import os
import re
import struct
import tempfile
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from cogkp.data.images.header import Header, png_chunks
from cogkp.data.images.jpeg import end_of_scans
from cogkp.errors import ImageError

__all__ = ["decode"]

Pixels = npt.NDArray[Any]

STDERR = 2
SILENT, WARNINGS = 0, 3
"""Levels of OpenCV's log; at the second it passes on the warnings of libtiff."""

OF_DECODERS = re.compile(
    r"\[ ?(WARN|ERROR):|libpng |.*JPEG|.*\bSOS\b|.*JFIF|Inconsistent progression|Unknown Adobe|\s*$"
)
FAULT = re.compile(
    r"libpng error|TIFF_Error|premature end|lack of data|bad (Huffman|arithmetic)|instead of RST"
    r"|Inconsistent progression|extraneous bytes before marker 0xd[0-7]",
    re.IGNORECASE,
)
# Any bytes that are no marker: they show in the pixels only where the decoder was still waiting for data.
MORE_DATA = bytes(range(1, 255)) * 16
SHORTEST_BMP = 34
JPEG_END = b"\xff\xd9"

_lock = threading.Lock()


def _new_lock() -> None:
    global _lock  # the thread that may hold it does not live on in a forked process
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_new_lock)


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
    pixels, said = _decoded(data, WARNINGS if header.format == "tiff" else SILENT)
    faults = [line for line in said if FAULT.search(line)]
    if pixels is None or faults:
        raise _truncated(where, "all of its pixels", "; ".join(faults[:1]))
    # libjpeg tells of the first fault alone, so a harmless one may hide another.
    if said and end is not None and _differs(pixels, data[:end] + MORE_DATA + JPEG_END):
        raise _truncated(where, "all of its pixels", "a scan that ends early")
    return pixels


def _differs(pixels: Pixels, data: bytes) -> bool:
    others, _ = _decoded(data, SILENT)
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


def _decoded(data: bytes, log_level: int) -> tuple[Pixels | None, list[str]]:
    """Decode with OpenCV; also give the lines that the decoders wrote."""
    with _lock, _collected_stderr() as said:
        before = _set_log_level(log_level)
        try:
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error:
            pixels = None
        finally:
            _set_log_level(before)
    return pixels, said


@contextmanager
def _collected_stderr() -> Iterator[list[str]]:
    """Collect what decoders write to standard error; what other threads write meanwhile is passed on."""
    said: list[str] = []
    with _scratch_file() as file:
        try:
            before = os.dup(STDERR)
        except OSError:  # closed
            before = -1
        os.dup2(file.fileno(), STDERR)
        try:
            yield said
        finally:
            if before < 0:
                os.close(STDERR)
            else:
                os.dup2(before, STDERR)
                os.close(before)
        if file.tell():
            file.seek(0)
            _sort(file.read(), said)


def _scratch_file() -> Any:
    """Open a file in memory where the system has such, else on disk."""
    memory = getattr(os, "memfd_create", None)
    return os.fdopen(memory("decoders"), "w+b") if memory else tempfile.TemporaryFile()


def _sort(text: bytes, said: list[str]) -> None:
    for line in text.splitlines(keepends=True):
        words = line.decode(errors="replace")
        if OF_DECODERS.match(words):
            said.append(words.strip())
        else:
            os.write(STDERR, line)


def _set_log_level(level: int) -> int:
    """Set what OpenCV writes to the console; returns the level before. OpenCV 5 has moved the function."""
    change = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    return int(change(level))
