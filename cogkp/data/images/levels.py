"""Find the black and white levels of 16-bit images that do not use the full range.

A camera of 12 bits fills a sixteenth of a file of 16 bits, a thermal camera a narrow band in the middle. Networks and
augmentation are sized for 0..1, so such images are stretched by levels that are found in the training data once and
kept with the model.
"""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from cogkp.data.images.reading import FULL, Levels, image_bits, read_image
from cogkp.data.images.survey import SOME_IMAGES, spread
from cogkp.errors import ImageError, counted

MUCH = 4.0
"""Images whose range is so many times as wide, or as narrow, as that of the training do not fit it."""

log = logging.getLogger("cogkp")


def levels_of(low: int, high: int) -> Levels | None:
    """Choose levels for the extremes of 16-bit images; None where they reach over half the range or show nothing.

    Example:
        >>> levels_of(12, 3900), levels_of(29300, 31300), levels_of(100, 60000)
        ((0, 4095), (29050, 31550), None)
    """
    if high == low or high - low > FULL[1] // 2:
        return None
    white = (1 << max(high.bit_length(), 8)) - 1
    if 2 * low > white:  # a band far from black, as thermal cameras give; an eighth of it is left on both sides
        room = (high - low) // 8
        return max(low - room, 0), min(high + room, FULL[1])
    return None if white == FULL[1] else (0, white)


def find_levels(images: Sequence[Path]) -> Levels | None:
    """Find the levels of a data set's images of 16 bits; None where it has none, or they fill their range.

    Files that cannot be used are passed over, since reading them later tells.
    """
    ends = list(_ends(spread(images, SOME_IMAGES)))
    return levels_of(min(low for low, _ in ends), max(high for _, high in ends)) if ends else None


def _ends(images: Iterable[Path]) -> Iterable[tuple[int, int]]:
    for path in images:
        try:
            pixels = read_image(path) if image_bits(path) > 8 else None  # noqa: PLR2004
        except ImageError:
            continue
        if pixels is not None and pixels.dtype == np.uint16:
            yield int(pixels.min()), int(pixels.max())


def tell_levels(images: Sequence[Path], where: str, levels: Levels | None) -> None:
    """Warn of a data set, named by ``where``, whose images of 16 bits have another range than those of the training.

    ``levels`` are those of the training; None where its images fill their range.
    """
    ends = list(_ends(spread(images, SOME_IMAGES)))
    if ends and (problem := misfit(min(low for low, _ in ends), max(high for _, high in ends), levels, MUCH)):
        log.warning("%s, %s of 16 bits: %s", where, counted(len(ends), "image"), problem)


def misfit(low: int, high: int, levels: Levels | None, darker: float) -> str:
    """Say how images of 16 bits lie far outside the range of the training; nothing where they do not.

    ``levels`` are those of the training, None where its images fill their range, which may be ``darker`` times as wide.
    """
    black, white = levels or FULL
    found = levels_of(low, high) or FULL
    span = white - black
    if low == high:
        return ""
    if high > white + span:
        kind = "most of that is taken as white"
    elif high < black or (found[1] - found[0]) * darker <= span:
        kind = "that is nearly black to the network"
    else:
        return ""
    return f"values {low} to {high}, where the model was trained for {black} to {white}; {kind}"
