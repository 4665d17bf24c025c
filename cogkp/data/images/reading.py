"""Read image and mask files, and write PNG files.

Pixels are taken as stored, since calibrations and most labels count stored pixels; an orientation noted in the metadata
(EXIF) is followed where ``oriented`` asks for it. Pixel rule: the centre of the top-left pixel is (0, 0).
Knows nothing of: torch, labels, augmentation.
"""

import io
import math
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import attrs
import cv2
import numpy as np
import numpy.typing as npt

from cogkp.data.images.decoding import decode
from cogkp.data.images.header import Header, read_header
from cogkp.data.images.orientation import UPRIGHT, orientation_tag, turned, turned_size
from cogkp.errors import ImageError, OutputError
from cogkp.files import marked, write_bytes

MISSING_MASK_IGNORE_INDEX = 255
"""Class id of a mask pixel nobody labelled."""

MAX_PIXELS = 64_000_000
"""Largest accepted image; beyond it a file is more likely a mistake than a frame."""

MAX_PIECES = 500_000
"""Most parts of a JPEG 2000 image; its decoder takes up to 1.5 kB for each before it looks at any pixel."""

BYTES_PER_PIXEL = 16
METADATA_BYTES = 1 << 26
"""The most bytes of a file: for each pixel, twice what four channels of 16 bits need; and for metadata."""

Pixels = npt.NDArray[Any]

Levels = tuple[int, int]
"""Values of black and white in images of 16 bits."""

FULL: Levels = (0, 65535)

SMALL_BYTES = 1 << 22

THIRDS = np.full(3, 1.0 / 3.0, np.float32)


def read_grey(
    path: Path, *, oriented: bool = False, levels: Levels | None = None, max_pixels: int = MAX_PIXELS
) -> npt.NDArray[np.float32]:
    """Read an image as the mean of its colour channels; transparency is dropped.

    Args:
        path: a file of 8 or 16 bits per channel.
        oriented: whether the image is turned as the file notes.
        levels: values of black and white in an image of 16 bits that does not state them; None for 0 and 65535.
        max_pixels: larger files are refused before they take any memory.

    Returns:
        (H, W) float32 in 0..1.

    Raises:
        ImageError: the file is missing, empty, no image, truncated, damaged or too large.
    """
    pixels, full = _channels(path, oriented, max_pixels)
    return _levelled(grey_of(pixels, full), pixels, full, levels)


def grey_of(pixels: Pixels, full: np.float32) -> npt.NDArray[np.float32]:
    """Average the channels of stored pixels (H, W, 1) or (H, W, 3) BGR; ``full`` is the factor that leads to 0..1."""
    if pixels.shape[2] == 1:
        return np.asarray(pixels[..., 0] * full, np.float32)
    # One matrix product is thirty times faster than ndarray.mean over so short an axis.
    return np.asarray(pixels @ (THIRDS * full), np.float32)


def read_colour(
    path: Path, *, oriented: bool = False, levels: Levels | None = None, max_pixels: int = MAX_PIXELS
) -> npt.NDArray[np.float32]:
    """Read an image with its colours; transparency is dropped, and a grey image has three equal channels.

    Arguments and errors are those of :func:`read_grey`. Returns (H, W, 3) float32 in 0..1, RGB.
    """
    pixels, full = _channels(path, oriented, max_pixels)
    return _levelled(colour_of(pixels, full), pixels, full, levels)


def colour_of(pixels: Pixels, full: np.float32) -> npt.NDArray[np.float32]:
    """Turn stored pixels (H, W, 1) or (H, W, 3) BGR into RGB; ``full`` is the factor that leads to 0..1."""
    how = cv2.COLOR_GRAY2RGB if pixels.shape[2] == 1 else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(pixels, how) * full, np.float32)


def read_image(
    path: Path, *, oriented: bool = False, levels: Levels | None = None, max_pixels: int = MAX_PIXELS
) -> Pixels:
    """Read an image as it is stored; transparency is dropped. Arguments and errors are those of :func:`read_grey`.

    Returns:
        (H, W) for a grey image, else (H, W, 3) RGB; uint8 or uint16, or float32 in 0..1 where the file states which
        value is white, or levels are given for its 16 bits.
    """
    pixels, full = _channels(path, oriented, max_pixels)
    image = pixels[..., 0] if pixels.shape[2] == 1 else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    if full != full_scale(pixels):
        return np.asarray(image * full, np.float32)
    return image if levels is None else stretched(image, levels)


@attrs.frozen
class ImageFile:
    """An image file, and how :func:`read_image` reads it."""

    path: Path
    oriented: bool = False
    levels: Levels | None = None

    def read(self) -> Pixels:
        """Read it; raises ImageError where it cannot be used any more."""
        return read_image(self.path, oriented=self.oriented, levels=self.levels)


def stretched(image: Pixels, levels: Levels) -> Pixels:
    """Spread levels over 0..1, float32; an image of other than 16 bits is left as it is."""
    return _levelled(image * full_scale(image), image, full_scale(image), levels) if image.dtype == np.uint16 else image


def _levelled(
    unit: npt.NDArray[np.float32], pixels: Pixels, full: np.float32, levels: Levels | None
) -> npt.NDArray[np.float32]:
    """Spread levels over 0..1 where they are those of these pixels; ``unit`` is what the factor ``full`` led to."""
    if levels is None or levels == FULL or pixels.dtype != np.uint16 or full != full_scale(pixels):
        return unit
    black, span = levels[0], max(levels[1] - levels[0], 1)
    moved = unit * np.float32(FULL[1] / span) - np.float32(black / span)
    return np.asarray(np.clip(moved, np.float32(0.0), np.float32(1.0)), np.float32)


def full_scale(pixels: Pixels) -> np.float32:
    """Return the factor that leads from stored values of the full range of their type, or from 0..1, to 0..1."""
    factor: np.float32 = np.float32(1.0 if pixels.dtype == np.float32 else 1.0 / np.iinfo(pixels.dtype).max)
    return factor


def _channels(path: Path, oriented: bool, max_pixels: int) -> tuple[Pixels, np.float32]:
    """Read (H, W, 1) or (H, W, 3) BGR as stored, with the factor that leads to 0..1."""
    pixels, header, orientation = _stored(path, oriented, max_pixels)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ImageError(
            "the image cannot be used", where=str(path), expected="8 or 16 bits per channel", got=str(pixels.dtype)
        )
    channels = pixels.reshape(*pixels.shape[:2], -1)
    colours = channels[..., :3] if channels.shape[2] > 2 else channels[..., :1]  # noqa: PLR2004
    colours = turned(colours, orientation) if oriented else colours
    return np.ascontiguousarray(colours), np.float32(1.0 / (header.white or np.iinfo(pixels.dtype).max))


def read_mask(
    path: Path,
    size_wh: tuple[int, int],
    *,
    num_classes: int | None = None,
    oriented: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> npt.NDArray[np.uint8]:
    """Read a mask of class ids.

    Args:
        path: a single-channel 8-bit PNG file.
        size_wh: width and height of the image it belongs to.
        num_classes: ids from here on are refused, except ``MISSING_MASK_IGNORE_INDEX``; None allows all.
        oriented: whether the mask is turned as its file notes; most masks of turned images note nothing.
        max_pixels: larger files are refused before they take any memory.

    Returns:
        (H, W) uint8.

    Raises:
        ImageError: as for images, or the file is not such a mask.
    """
    pixels, header, orientation = _stored(path, oriented, max_pixels)
    if header.format != "png" or not header.grey or header.bits != 8:  # noqa: PLR2004
        raise ImageError("the mask cannot be used", where=str(path), expected="a single-channel 8-bit PNG of class ids")
    pixels = np.ascontiguousarray(turned(pixels, orientation)) if oriented else pixels
    if pixels.shape[::-1] != tuple(size_wh):
        raise ImageError(
            "the mask does not fit its image",
            where=str(path),
            expected="{} x {} pixels".format(*size_wh),
            got="{} x {}".format(*pixels.shape[::-1]),
        )
    if num_classes is not None:
        _check_ids(pixels, num_classes, path)
    return pixels


def _check_ids(mask: Pixels, num_classes: int, path: Path) -> None:
    unknown = mask[(mask >= num_classes) & (mask != MISSING_MASK_IGNORE_INDEX)]
    if unknown.size:
        raise ImageError(
            "the mask holds unknown class ids",
            where=str(path),
            expected=f"0..{num_classes - 1}, or {MISSING_MASK_IGNORE_INDEX} for unlabelled pixels",
            got=", ".join(str(value) for value in np.unique(unknown)[:10]),
        )


def image_size(path: Path, *, oriented: bool = False, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Read the width and height of an image from its header alone; raises ImageError as :func:`read_grey`."""
    with _opened(path) as file:
        header = _checked_header(file, path, max_pixels)
        return turned_size(header.size_wh, _noted(file, header)) if oriented else header.size_wh


def image_bits(path: Path) -> int:
    """Read how many bits a channel has, from the header alone; raises ImageError as :func:`image_size`."""
    with _opened(path) as file:
        return _checked_header(file, path, MAX_PIXELS).bits


def noted_orientation(path: Path) -> int:
    """Read the orientation that a file notes, 1 to 8; 1 where it notes none; raises ImageError as :func:`read_grey`."""
    with _opened(path) as file:
        return _noted(file, _checked_header(file, path, MAX_PIXELS))


def _noted(file: BinaryIO, header: Header) -> int:
    tag = orientation_tag(file, header)
    return UPRIGHT if tag is None else tag.value


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for
            raise ImageError("the image file cannot be read", where=str(path), expected="a regular file")
        if not status.st_size:
            raise ImageError("the image file is empty", where=str(path), got="0 bytes")
        # Without a buffer, which would be filled anew at each place that is looked at.
        with Path(path).open("rb", buffering=0) as file:
            yield file
    except FileNotFoundError as error:
        raise ImageError("the image file does not exist", where=str(path)) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageError("the image file cannot be read", where=str(path), got=reason) from error


def _stored(path: Path, oriented: bool, max_pixels: int) -> tuple[Pixels, Header, int]:
    """Decode a file after its header has been found harmless; also give the orientation it notes, where wanted."""
    with _opened(path) as opened:
        # Dozens of reads of a few bytes each take longer than one of a small file.
        small = os.fstat(opened.fileno()).st_size <= SMALL_BYTES
        file = io.BytesIO(opened.read()) if small else opened
        header = _checked_header(file, path, max_pixels)
        most = math.prod(header.size_wh) * BYTES_PER_PIXEL + METADATA_BYTES
        if file.seek(0, os.SEEK_END) > most:
            expected = f"at most {most} bytes for its pixels"
            raise ImageError("the image file is too large", where=str(path), expected=expected)
        file.seek(0)
        data = file.read()
    needed = oriented or header.format == "tiff"
    tag = orientation_tag(io.BytesIO(data), header) if needed else None
    if tag is not None and header.format == "tiff":
        # OpenCV follows the note in TIFF files, and in no others that are read as they are stored.
        data = data[: tag.place] + struct.pack(tag.form, UPRIGHT) + data[tag.place + struct.calcsize(tag.form) :]
    pixels = decode(data, header, path)
    check_size((pixels.shape[1], pixels.shape[0]), max_pixels, path)
    return pixels, header, UPRIGHT if tag is None else tag.value


def _checked_header(file: BinaryIO, path: Path, max_pixels: int) -> Header:
    header = read_header(file, path)
    check_size(header.size_wh, max_pixels, path)
    if math.prod(header.tile_wh) > MAX_PIXELS:
        check_size(header.tile_wh, MAX_PIXELS, path)
    if header.pieces > MAX_PIECES:
        raise ImageError(
            "the image is stored in too many pieces",
            where=str(path),
            expected=f"at most {MAX_PIECES} code blocks, precincts and tiles",
            got=str(header.pieces),
            hint="Save it again, with code blocks of 64 x 64.",
        )
    return header


def check_size(size_wh: tuple[int, int], max_pixels: int, where: Path | str) -> None:
    """Refuse an image without pixels, or with more than ``max_pixels``; raises ImageError."""
    width, height = size_wh
    if not 0 < width * height <= max_pixels:
        raise ImageError(
            "the image has no pixels" if width * height == 0 else "the image is too large",
            where=str(where),
            expected=f"at most {max_pixels / 1e6:g} megapixels",
            got=f"{width} x {height} pixels",
        )


def encode_image(pixels: npt.NDArray[Any], suffix: str = ".png") -> bytes:
    """Encode (H, W) or (H, W, 3) RGB so that viewers show the same colours; OutputError if OpenCV cannot.

    uint8, and for PNG uint16, too.
    """
    stored = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)  # noqa: PLR2004
    try:
        done, data = cv2.imencode(suffix, stored)
    except cv2.error:
        done, data = False, np.empty(0, np.uint8)
    if not done:
        raise OutputError("the image cannot be encoded", expected="a format such as '.png'", got=repr(suffix))
    return data.tobytes()


def write_png(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    """Write an image, (H, W) or (H, W, 3) RGB uint8, as a PNG file atomically; missing folders are made.

    Raises:
        OutputError: the file cannot be written; an older file of that name is kept.
    """
    write_bytes(Path(path), marked(encode_image(pixels)))
