"""Check images that are given as arrays, and convert them as the readers of image files do."""

import sys
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from cogkp.data.images.reading import MAX_PIXELS, check_size, colour_of, full_scale, grey_of
from cogkp.errors import ImageError

Pixels = npt.NDArray[Any]

KINDS = {("u", 1): np.uint8, ("u", 2): np.uint16, ("f", 2): np.float32, ("f", 4): np.float32, ("f", 8): np.float32}
"""What each kind of number, and its bytes, is brought to."""

TO_RGB = {(3, True): cv2.COLOR_BGR2RGB, (4, False): cv2.COLOR_RGBA2RGB, (4, True): cv2.COLOR_BGRA2RGB}
OVERSHOOT = 1e-3
"""How far beyond 0..1 a float image may reach, since resampling overshoots."""
CHANNELS = (1, 3, 4)
SHAPES = "(H, W), (H, W, 3) or (H, W, 4)"


def as_image(
    image: Any, *, bgr: bool = False, max_value: float | None = None, where: str = "image", max_pixels: int = MAX_PIXELS
) -> Pixels:
    """Check an array and convert it as the readers of image files do.

    Args:
        image: (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA; uint8, uint16, or float in 0..1; never written to.
        bgr: whether colours come in the order blue, green, red, as OpenCV reads them.
        max_value: the number that stands for white; None is the full range of the type, or 1 for floats.
        where: what to call the image in messages.
        max_pixels: larger images are refused.

    Returns:
        (H, W), or (H, W, 3) RGB; uint8, uint16, or float32 in 0..1, contiguous: the array itself where it is that.

    Raises:
        ImageError: it is no such array, has no pixels or too many, or holds NaN, infinity or values out of range.
    """
    if not isinstance(image, np.ndarray):
        raise ImageError("not an image", where=where, expected="a NumPy array or a path", got=type(image).__name__)
    _check_shape(image.shape, where)
    check_size((image.shape[1], image.shape[0]), max_pixels, where)
    dtype = KINDS.get((image.dtype.kind, image.dtype.itemsize))
    if dtype is None:
        hint = "Convert it, for example by image.astype(np.uint8) or image.astype(np.float32)."
        raise ImageError(
            "the image cannot be used", where=where, expected="uint8, uint16 or float", got=str(image.dtype), hint=hint
        )
    pixels: Pixels = np.ascontiguousarray(image, dtype)
    _check_range(pixels, max_value, where)
    if pixels.ndim == 3:  # noqa: PLR2004
        how = TO_RGB.get((pixels.shape[2], bgr))
        pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels if how is None else cv2.cvtColor(pixels, how)
    return pixels if max_value is None else np.asarray(pixels * np.float32(1.0 / max_value), np.float32)


def to_grey(image: Pixels) -> npt.NDArray[np.float32]:
    """Average the channels of an image of :func:`as_image` or :func:`read_image`, as :func:`read_grey` does of a file.

    Returns:
        (H, W) float32 in 0..1; the image itself where it is that.
    """
    if image.ndim == 2:  # noqa: PLR2004
        return image if image.dtype == np.float32 else grey_of(image[..., None], full_scale(image))
    # The sum of three floats depends on their order, which is that of stored pixels.
    return grey_of(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), full_scale(image))


def to_colour(image: Pixels) -> npt.NDArray[np.float32]:
    """Scale an image of :func:`as_image` or :func:`read_image` to 0..1, as :func:`read_colour` does of a file.

    Returns:
        (H, W, 3) float32 RGB in 0..1; the image itself where it is that.
    """
    if image.ndim == 2:  # noqa: PLR2004
        return colour_of(image[..., None], full_scale(image))
    return image if image.dtype == np.float32 else colour_of(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), full_scale(image))


def to_display(image: Any, size_wh: tuple[int, int]) -> Pixels:
    """Take an image of :func:`as_image`, a file, or None (black, of ``size_wh``) to what can be drawn over.

    Returns:
        (H, W) or (H, W, 3) uint8, or (H, W, 3) float32 RGB in 0..1.

    Raises:
        ImageError: the file cannot be read any more.
    """
    if image is None:
        return np.zeros(size_wh[::-1], np.uint8)
    pixels = image if isinstance(image, np.ndarray) else image.read()
    return pixels if pixels.dtype == np.uint8 else to_colour(pixels)


def _check_shape(shape: tuple[int, ...], where: str) -> None:
    if len(shape) == 2 or (len(shape) == 3 and shape[2] in CHANNELS):  # noqa: PLR2004
        return
    hint = ""
    if len(shape) == 3 and shape[0] in CHANNELS:  # noqa: PLR2004
        hint = "Channels come last: image.transpose(1, 2, 0)."
    elif len(shape) == 4:  # noqa: PLR2004
        hint = "Give several images as a list: list(images)."
    raise ImageError("the image has the wrong shape", where=where, expected=SHAPES, got=str(shape), hint=hint)


def _check_range(pixels: Pixels, max_value: float | None, where: str) -> None:
    """Refuse what is not a number, and what is darker than black or brighter than white."""
    if max_value is not None and not 0 < max_value <= sys.float_info.max:
        raise ImageError("max_value cannot stand for white", where=where, expected="a number > 0", got=str(max_value))
    if pixels.dtype != np.float32 and max_value is None:
        return
    white = 1.0 if max_value is None else float(max_value)
    low, high = float(pixels.min()), float(pixels.max())
    if -OVERSHOOT * white <= low and high <= (1.0 + OVERSHOOT) * white:
        return
    if not np.isfinite(low + high):
        got = "NaN" if np.isnan(low + high) and np.isnan(pixels).any() else "infinity"
        raise ImageError("the image holds values that are no numbers", where=where, expected="finite values", got=got)
    hint = "Say which value is white by max_value=..." if max_value is None else ""
    raise ImageError(
        "the image's values are out of range",
        where=where,
        expected=f"0..{white:g}",
        got=f"{low:g}..{high:g}",
        hint=hint,
    )
