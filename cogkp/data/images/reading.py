"""Read image and mask files, and write PNG files.

Pixels are taken as stored: an orientation noted in the metadata (EXIF) is ignored on purpose, because labels and
calibrations count stored pixels. Pixel rule: the centre of the top-left pixel is (0, 0).
Knows nothing of: torch, labels, augmentation.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from cogkp.data.images.header import Header, check_complete, read_header
from cogkp.errors import ImageError, OutputError
from cogkp.files import marked, write_bytes

__all__ = [
    "MAX_PIXELS",
    "MISSING_MASK_IGNORE_INDEX",
    "encode_image",
    "image_size",
    "read_colour",
    "read_grey",
    "read_image",
    "read_mask",
    "write_png",
]

MISSING_MASK_IGNORE_INDEX = 255
"""Class id of a mask pixel nobody labelled."""

MAX_PIXELS = 64_000_000
"""Largest accepted image; beyond it a file is more likely a mistake than a frame."""

Pixels = npt.NDArray[Any]

THIRDS = np.full(3, 1.0 / 3.0, np.float32)


def read_grey(path: Path, *, max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.float32]:
    """Read an image as the mean of its colour channels; transparency is dropped.

    Args:
        path: a file of 8 or 16 bits per channel.
        max_pixels: larger files are refused before they take any memory.

    Returns:
        (H, W) float32 in 0..1.

    Raises:
        ImageError: the file is missing, empty, no image, truncated, damaged or too large.
    """
    pixels, full = _stored(path, max_pixels)
    return grey_of(pixels, full)


def grey_of(pixels: Pixels, full: np.float32) -> npt.NDArray[np.float32]:
    """Average the channels of stored pixels (H, W, 1) or (H, W, 3) BGR; ``full`` is the factor that leads to 0..1."""
    if pixels.shape[2] == 1:
        return np.asarray(pixels[..., 0] * full, np.float32)
    # One matrix product is thirty times faster than ndarray.mean over so short an axis.
    return np.asarray(pixels @ (THIRDS * full), np.float32)


def read_colour(path: Path, *, max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.float32]:
    """Read an image with its colours; transparency is dropped, and a grey image has three equal channels.

    Args:
        path: a file of 8 or 16 bits per channel.
        max_pixels: larger files are refused before they take any memory.

    Returns:
        (H, W, 3) float32 in 0..1, RGB.

    Raises:
        ImageError: the file is missing, empty, no image, truncated, damaged or too large.
    """
    pixels, full = _stored(path, max_pixels)
    return colour_of(pixels, full)


def colour_of(pixels: Pixels, full: np.float32) -> npt.NDArray[np.float32]:
    """Turn stored pixels (H, W, 1) or (H, W, 3) BGR into RGB; ``full`` is the factor that leads to 0..1."""
    how = cv2.COLOR_GRAY2RGB if pixels.shape[2] == 1 else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(pixels, how) * full, np.float32)


def read_image(path: Path, *, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Read an image as it is stored; transparency is dropped.

    Args:
        path: a file of 8 or 16 bits per channel.
        max_pixels: larger files are refused before they take any memory.

    Returns:
        (H, W) for a grey image, else (H, W, 3) RGB; uint8 or uint16.

    Raises:
        ImageError: the file is missing, empty, no image, truncated, damaged or too large.
    """
    pixels, _full = _stored(path, max_pixels)
    return pixels[..., 0] if pixels.shape[2] == 1 else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def _stored(path: Path, max_pixels: int) -> tuple[Pixels, np.float32]:
    """Decode to (H, W, 1) or (H, W, 3) BGR as stored, with the factor that leads to 0..1."""
    pixels, _header = _decode(path, max_pixels)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ImageError(
            "the image cannot be used", where=str(path), expected="8 or 16 bits per channel", got=str(pixels.dtype)
        )
    channels = pixels.reshape(*pixels.shape[:2], -1)
    colours = channels[..., :3] if channels.shape[2] > 2 else channels[..., :1]  # noqa: PLR2004
    return np.ascontiguousarray(colours), np.float32(1.0 / np.iinfo(pixels.dtype).max)


def read_mask(
    path: Path, size_wh: tuple[int, int], *, num_classes: int | None = None, max_pixels: int = MAX_PIXELS
) -> npt.NDArray[np.uint8]:
    """Read a mask of class ids.

    Args:
        path: a single-channel 8-bit PNG file.
        size_wh: width and height of the image it belongs to.
        num_classes: ids from here on are refused, except ``MISSING_MASK_IGNORE_INDEX``; None allows all.
        max_pixels: larger files are refused before they take any memory.

    Returns:
        (H, W) uint8.

    Raises:
        ImageError: as for images, or the file is not such a mask.
    """
    pixels, header = _decode(path, max_pixels)
    if header is None or header.format != "png" or not header.grey or header.bits != 8:  # noqa: PLR2004
        raise ImageError("the mask cannot be used", where=str(path), expected="a single-channel 8-bit PNG of class ids")
    if header.size_wh != tuple(size_wh):
        raise ImageError(
            "the mask does not fit its image",
            where=str(path),
            expected="{} x {} pixels".format(*size_wh),
            got="{} x {}".format(*header.size_wh),
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


def image_size(path: Path, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Read the width and height of an image, from the header alone where the format is PNG, JPEG or BMP.

    Raises:
        ImageError: the file is missing, empty, no image or too large.
    """
    with _opened(path) as file:
        header = read_header(file, path)
    if header is not None:
        check_size(header.size_wh, max_pixels, path)
        return header.size_wh
    height, width = _decode(path, max_pixels)[0].shape[:2]
    return (width, height)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):  # a pipe or a device may have no end
            raise ImageError("this is no image file", where=str(path), expected="a file")
        with Path(path).open("rb") as file:
            if not file.peek(1):
                raise ImageError("the image file is empty", where=str(path), got="0 bytes")
            yield file
    except FileNotFoundError as error:
        raise ImageError("the image file does not exist", where=str(path)) from error
    except OSError as error:
        raise ImageError("the image file cannot be read", where=str(path), got=error.strerror or str(error)) from error


def _decode(path: Path, max_pixels: int) -> tuple[Pixels, Header | None]:
    """Decode a file after its header has been found harmless and its end has been found present."""
    with _opened(path) as file:
        header = read_header(file, path)
        if header is not None:
            check_size(header.size_wh, max_pixels, path)
        file.seek(0)
        data = file.read()
    if header is not None:
        check_complete(data, header, path)
    pixels = _decoded(data)
    if pixels is None:
        raise ImageError("the file is not an image that can be read", where=str(path), expected="PNG, JPEG or BMP")
    check_size((pixels.shape[1], pixels.shape[0]), max_pixels, path)
    return pixels, header


def _decoded(data: bytes) -> Pixels | None:
    """Decode silently; the caller raises our own error for a failure."""
    level = _set_log_level(0)
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    finally:
        _set_log_level(level)


def _set_log_level(level: int) -> int:
    """Set what OpenCV writes to the console; returns the level before. OpenCV 5 has moved the function."""
    change = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    return int(change(level))


def check_size(size_wh: tuple[int, int], max_pixels: int, where: Path | str) -> None:
    """Refuse an image without pixels, or with too many.

    Raises:
        ImageError: width times height is 0, or more than ``max_pixels``.
    """
    width, height = size_wh
    if not 0 < width * height <= max_pixels:
        raise ImageError(
            "the image has no pixels" if width * height == 0 else "the image is too large",
            where=str(where),
            expected=f"at most {max_pixels / 1e6:g} megapixels",
            got=f"{width} x {height} pixels",
        )


def encode_image(pixels: npt.NDArray[np.uint8], suffix: str = ".png") -> bytes:
    """Encode an image so that OpenCV and every viewer show the same colours.

    Args:
        pixels: (H, W) or (H, W, 3) RGB, uint8.
        suffix: of the file format, for example '.png'.

    Raises:
        OutputError: OpenCV cannot write such a file.
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
    """Write a PNG file atomically.

    Args:
        path: the file; missing folders are made.
        pixels: (H, W) or (H, W, 3) RGB, uint8.

    Raises:
        OutputError: the file cannot be written; an older file of that name is kept.
    """
    write_bytes(Path(path), marked(encode_image(pixels)))
