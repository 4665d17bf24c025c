"""Decode the bytes of an image file, listen to what the decoder says, and refuse incomplete files.

Decoders fill what is missing with grey and go on; what they tell of it on standard error is collected, which costs 20
microseconds an image.

Libraries of image formats tell of faults there and nowhere else. Threads decode at the same time; what was written
then cannot be distinguished, so that a caller that sees a message decodes once more, alone.
"""

import io
import math
import os
import re
import struct
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from cogkp.data.images.header import (
    JPEG_2000_STREAM,
    MOST_SCANS,
    Header,
    end_of_scans,
    png_chunks,
    scan_without_zeros,
    strip_fault,
)
from cogkp.errors import ImageError

STDERR = 2
LONGEST_S = 0.1
"""Lines of other threads are held back for at most about so long."""
# A decoder may write a line and its end apart, so that a line of another thread stands between the two.
OF_DECODERS = re.compile(
    r"(Corrupt JPEG data: (?:premature end of data segment|bad Huffman code|bad arithmetic code|bad ICC marker"
    r"|\d+ extraneous bytes before marker 0x[0-9a-f]{2}|found marker 0x[0-9a-f]{2} instead of RST\d)"
    r"|Premature end of JPEG file|Invalid SOS parameters for sequential JPEG|Unknown Adobe color transform code \d+"
    r"|Inconsistent progression sequence for component \d+ coefficient \d+|Application transferred too many scanlines"
    r"|Warning: unknown JFIF revision number \d+\.\d+|libpng (?:error|warning): .*|OpenCV TIFF: .*"
    r"|\[ ?(?:DEBUG|INFO|WARN|ERROR):.*(?:\n>.*)*)\n?"
)


SILENT, WARNINGS = 0, 5
"""Levels of OpenCV's log; at the second it passes on the warnings of libtiff, which version 4 takes for debugging."""

Pixels = npt.NDArray[Any]

# Version 4 of OpenCV calls everything a warning that libtiff tells; what it tells of tags alone is none of the pixels.
FAULT = re.compile(
    r"libpng error|TIFF_Error|OpenCV TIFF: (?!TIFF(Read(Custom)?Directory|Fetch))|premature end|lack of data"
    r"|bad (Huffman|arithmetic)|instead of RST|Inconsistent progression"
    r"|extraneous bytes before marker 0x(d[0-7]|c4|da)",
    re.IGNORECASE,
)
LEFT_OVER = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
# Any bytes that are no marker: they show in the pixels only where the decoder was still waiting for data.
MORE_DATA = bytes(range(1, 255)) * 16
SHORTEST_BMP = 34
JPEG_END = b"\xff\xd9"
FEW = 16
HOLE = bytes(64)
"""Compressed pixels hold no so long run of zeros, except those of flat areas in some formats."""


class Heard:
    """What one decoding made the decoders say.

    Args:
        lines: of the decoders; empty until they have ended, and where others decoded at the same time.
        quiet: whether nothing at all was written meanwhile.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.quiet = True


class _Redirection:
    """Standard error leads into a scratch file as long as anybody decodes."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.users = 0
        self.alone = False
        self.since = 0.0
        self.before = -1
        self.level = 0
        self.file: Any = None

    def enter(self, alone: bool, warnings: bool) -> int:
        """Begin to decode, once that is possible; returns how much was written before."""
        with self.changed:
            self.changed.wait_for(lambda: not self.users or not (alone or self.alone or self._is_long()))
            if not self.users:
                self._begin(WARNINGS if warnings else SILENT)
            self.users += 1
            self.alone = alone
            return self.written()

    def leave(self) -> list[str]:
        """End; the last one to leave gets what the decoders wrote."""
        with self.changed:
            self.users -= 1
            said = [] if self.users else self._end()
            self.changed.notify_all()
        return said

    def written(self) -> int:
        return os.fstat(self.file.fileno()).st_size

    def _is_long(self) -> bool:
        return time.monotonic() - self.since > LONGEST_S

    def _begin(self, level: int) -> None:
        memory = getattr(os, "memfd_create", None)
        if memory:
            import fcntl  # only where there is memfd_create, so not on Windows

            handle = memory("decoders")
            fcntl.fcntl(handle, fcntl.F_SETFL, os.O_APPEND)  # else two threads may write to one place
            self.file = os.fdopen(handle, "rb")
        else:
            self.file = tempfile.TemporaryFile("a+b")  # noqa: SIM115
        try:
            self.before = os.dup(STDERR)
        except OSError:  # closed
            self.before = -1
        os.dup2(self.file.fileno(), STDERR)
        self.level = set_log_level(level)
        self.since = time.monotonic()

    def restore(self) -> None:
        """Let standard error lead where it led before."""
        set_log_level(self.level)
        if self.before < 0:
            os.close(STDERR)
        else:
            os.dup2(self.before, STDERR)
            os.close(self.before)

    def _end(self) -> list[str]:
        self.restore()
        with self.file as file:  # somebody may still be writing at its end
            file.seek(0)
            text = file.read().decode("utf-8", "surrogateescape")
        said = [found[1] for found in OF_DECODERS.finditer(text)]
        others = re.sub("\n+", "\n", OF_DECODERS.sub("", text)).lstrip("\n") if said else text
        if others and self.before >= 0:
            os.write(STDERR, others.encode("utf-8", "surrogateescape"))
        return said


def set_log_level(level: int) -> int:
    """Set what OpenCV writes to the console; returns the level before. OpenCV 5 has moved the function."""
    change = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    return int(change(level))


_redirection = _Redirection()


def _renew() -> None:
    """Start afresh in a forked process, where the threads that were decoding do not live on."""
    global _redirection
    if _redirection.users:
        _redirection.restore()
    _redirection = _Redirection()


if hasattr(os, "register_at_fork"):  # where processes fork
    os.register_at_fork(after_in_child=_renew)


@contextmanager
def decoder_messages(*, alone: bool = False, warnings: bool = False) -> Iterator[Heard]:
    """Collect what decoders write while the block runs; lines of others are passed on after it.

    Args:
        alone: wait until nobody else decodes, and let nobody begin.
        warnings: whether OpenCV writes, too; it needs ``alone``.
    """
    heard = Heard()
    start = _redirection.enter(alone, warnings)
    try:
        yield heard
    finally:
        heard.quiet = _redirection.written() == start
        said = _redirection.leave()
        heard.lines = said if alone else []


def decode(data: bytes, header: Header, where: Path) -> Pixels:
    """Decode a whole file: (H, W) or (H, W, channels) as stored, BGR; ImageError where it is truncated or damaged."""
    end = None
    if header.format in CHECKS:
        CHECKS[header.format](data, header, where)
    elif header.format == "jpeg":
        end = end_of_scans(data)
        if end is None:
            raise _truncated(where, f"all scans, at most {MOST_SCANS}, and an end-of-image marker")
        if HOLE in data and data[:end].rstrip(b"\0").find(HOLE, scan_without_zeros(data)) >= 0:
            raise _truncated(where, "all of its pixels", "a hole of zeros")
    pixels, said = _decoded(data, tiff=header.format == "tiff")
    faults = [line for line in said if FAULT.search(line)]
    if pixels is None or faults:
        raise _truncated(where, "all of its pixels", "; ".join(faults[:1]))
    # libjpeg tells of the first fault alone, so a harmless one may hide another.
    if said and end is not None:
        scans = data[:end]
        used = scans[: len(scans.rstrip(scans[-1:])) + FEW]  # the rest is padding
        if _is_left_over(said, scans) or _differs(pixels, used + MORE_DATA + JPEG_END):
            raise _truncated(where, "all of its pixels", "a scan that ends early")
    return pixels


def _is_left_over(said: list[str], data: bytes) -> bool:
    """Tell whether data was left when the last pixel was decoded, as after a lost piece; equal bytes are padding."""
    found = (LEFT_OVER.search(line) for line in said)
    return any(int(each[1]) >= FEW and len({*data[-int(each[1]) :]}) > 1 for each in found if each)


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


def _check_png(data: bytes, _header: Header, where: Path) -> None:
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


def _check_bmp(data: bytes, _header: Header, where: Path) -> None:
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


def _check_jpeg_2000(data: bytes, header: Header, where: Path) -> None:
    """Look for the marker at the end, which cannot stand in compressed data, and for what was never written.

    Flat areas may take a byte of zeros for some 64 x 64 pixels.
    """
    stream = data[data.find(JPEG_2000_STREAM) :]
    if JPEG_END not in stream:
        raise _truncated(where, "an end-of-codestream marker")
    if HOLE + bytes(math.prod(header.size_wh) // 4096) in stream:
        raise _truncated(where, "all of its pixels", "a hole of zeros")


def _check_tiff(data: bytes, header: Header, where: Path) -> None:
    """Compare the places and sizes of all strips or tiles with the file's length, and with what their rows need."""
    try:
        fault = strip_fault(data, header)
    except (struct.error, ValueError, ArithmeticError):
        fault = "a list of strips that is not all there"
    if fault:
        raise _truncated(where, "all strips or tiles within the file", fault)


CHECKS: dict[str, Callable[[bytes, Header, Path], None]] = {
    "png": _check_png,
    "bmp": _check_bmp,
    "jpeg2000": _check_jpeg_2000,
    "tiff": _check_tiff,
}


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
