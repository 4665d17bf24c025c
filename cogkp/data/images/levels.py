"""Find the black and white levels of 16-bit images that do not use the full range.

A camera of 12 bits fills a sixteenth of a file of 16 bits, a thermal camera a narrow band in the middle. Networks and
augmentation are sized for 0..1, so such images are stretched by levels that are found in the training data once and
kept with the model.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from cogkp.data.images.reading import FULL, Levels, image_bits, read_image
from cogkp.data.images.survey import SOME_IMAGES, spread
from cogkp.errors import ImageError, counted

MUCH = 4.0
"""Images whose range is so many times as wide, or as narrow, as that of the training do not fit it."""
FEW_IMAGES = 32
"""So many images of 8 bits are looked at."""
OUTLIERS = 1e-4
"""Share of the pixels at either end that may be defects of the sensor."""
BULK = 0.01
"""Share of the pixels at either end without which nearly all of an image is left."""
SHARE_TOLD = 0.1
"""Share of the images that may lie outside the levels without a word, such as frames with the lens covered."""

Counts = npt.NDArray[np.int64]

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
    # A band far from black, as thermal cameras give; an eighth of it is left on both sides.
    if 2 * low > white or (4 * low > white and 4 * (high - low) < white):
        room = (high - low) // 8
        return max(low - room, 0), min(high + room, FULL[1])
    return None if white == FULL[1] else (0, white)


def value_range(counts: Counts, outliers: float = OUTLIERS) -> tuple[int, int]:
    """Find the smallest and the largest value of images.

    Black, white and single pixels that lie far away are left out: defects, burned-in text, borders of rectified images.
    ``counts`` (V,) says how many pixels have each value, ``outliers`` which share at either end may lie far away.
    """
    whole = np.flatnonzero(counts)
    low, high = int(whole[0]), int(whole[-1])
    inner = counts.copy()
    inner[[0, -1]] = 0
    below = inner.cumsum()
    if not below[-1]:
        return low, high
    inner_low = int(np.searchsorted(below, outliers * below[-1], side="right"))
    inner_high = int(np.searchsorted(below, (1.0 - outliers) * below[-1]))
    return (inner_low, inner_high) if 0 < (inner_high - inner_low) * MUCH <= high - low else (low, high)


@attrs.frozen(eq=False)
class ImageValues:
    """The values of some images of a data set.

    Args:
        deep: (65536,) how many pixels have each value, over all images of 16 bits.
        ranges: smallest and largest value of each of these, and the same of nearly all of its pixels.
        plain: (256,) the same as ``deep``, over images of 8 bits.
        sizes: how many images have each width and height.
    """

    deep: Counts
    ranges: Sequence[tuple[tuple[int, int], tuple[int, int]]]
    plain: Counts
    sizes: Mapping[tuple[int, int], int]

    @classmethod
    def of(cls, images: Sequence[Path]) -> ImageValues:
        """Look at some files; those that cannot be used are passed over, since reading them later tells."""
        deep, plain = np.zeros(FULL[1] + 1, np.int64), np.zeros(256, np.int64)
        ranges = []
        some = spread(images, SOME_IMAGES)
        few = set(spread(some, FEW_IMAGES))
        sizes = Counter[tuple[int, int]]()
        for path in some:
            try:
                pixels = read_image(path) if path in few or image_bits(path) > 8 else None  # noqa: PLR2004
            except ImageError:
                continue
            if path in few and pixels is not None:
                sizes[pixels.shape[1], pixels.shape[0]] += 1
            if pixels is not None and pixels.dtype == np.uint16:
                counts = counted_values(pixels)
                deep += counts
                ranges.append((value_range(counts), value_range(counts, BULK)))
            elif pixels is not None and pixels.dtype == np.uint8:
                plain += np.bincount(pixels.ravel(), minlength=256)
        return cls(deep, ranges, plain, sizes)

    def summary(self, levels: Levels | None) -> dict[str, Any]:
        """Say what most of the images are like, ready for JSON: size, bits of a value, and mean brightness, 0 to 1.

        ``levels`` are those that images of 16 bits are spread by. Empty where no image could be read.
        """
        counts, span = (self.plain, (0, 255)) if self.plain.any() else (self.deep, levels or FULL)
        if not self.sizes or not counts.any():
            return {}
        values = ((np.arange(len(counts)) - span[0]) / max(span[1] - span[0], 1)).clip(0.0, 1.0)
        (width, height), _ = max(self.sizes.items(), key=lambda item: item[1])
        bits = 8 if self.plain.any() else 16
        mean = float((values * counts).sum() / counts.sum())
        return {"size_wh": [width, height], "bits": bits, "brightness": round(mean, 4)}

    @property
    def levels(self) -> Levels | None:
        """Levels for the images of 16 bits; None where there are none, or they fill their range."""
        return levels_of(*value_range(self.deep)) if self.ranges else None

    def tell(self, where: str, levels: Levels | None) -> None:
        """Warn of images, named by ``where``, whose range is not that of the training, or of 8 bits and hardly used.

        ``levels`` are those of the training; None where its images of 16 bits fill their range.
        """
        found = ((misfit(*whole, levels, MUCH), misfit(*bulk, levels, MUCH)) for whole, bulk in self.ranges)
        problems = [problem for problem, in_bulk in found if problem and in_bulk]
        if len(problems) > SHARE_TOLD * len(self.ranges):
            images = f"{len(problems)} of {counted(len(self.ranges), 'image')} of 16 bits"
            log.warning("%s, %s: %s. Bring images of several cameras to one range.", where, images, problems[0])
        elif self.ranges:
            (low, high), (black, white) = value_range(self.deep, BULK), levels or FULL
            if (high - low) * MUCH < white - black:
                said = "%s: of the values of 16 bits nearly all lie between %d and %d, where %d to %d are spread over"
                hint = "0..1. If the others are none of the scene, state images.levels_16bit."
                log.warning(f"{said} {hint}", where, low, high, black, white)
        if self.plain.any() and (problem := faint(*value_range(self.plain), MUCH)):
            hint = "Stretch them, all by the same values, also those of later predictions."
            log.warning("%s, images of 8 bits: %s, and training suffers. %s", where, problem, hint)


def counted_values(pixels: npt.NDArray[np.uint16]) -> Counts:
    """Count how many pixels of 16 bits have each value."""
    return np.bincount(pixels.ravel(), minlength=FULL[1] + 1)


def faint(low: int, high: int, darker: float) -> str:
    """Say that images of 8 bits fill little of their range, so that it is ``darker`` times as wide; else nothing."""
    if not 0 < (high - low) * darker <= 255:  # noqa: PLR2004
        return ""
    return f"values {low} to {high} of 255, that is nearly black or grey to the network"


def misfit(low: int, high: int, levels: Levels | None, darker: float) -> str:
    """Say how images of 16 bits lie far outside the range of the training; nothing where they do not.

    ``levels`` are those of the training, None where its images fill their range, which may be ``darker`` times as wide.
    """
    black, white = levels or FULL
    found = levels_of(low, high) or FULL
    if low == high:
        return ""
    if 2 * (min(high, white) - max(low, black)) < high - low:
        kind = f"most of that is taken as {'white' if high - white > black - low else 'black'}"
    elif (found[1] - found[0]) * darker <= white - black:
        kind = "that is nearly black to the network"
    else:
        return ""
    return f"values {low} to {high}, where the model was trained for {black} to {white}; {kind}"
