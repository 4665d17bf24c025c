"""Count what a model is sure of, and say why it found little."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cogkp.data.images import Levels, image_bits, read_image, to_grey
from cogkp.errors import ImageError, counted
from cogkp.geometry.plane_map import inverse_map, map_points
from cogkp.workflows.prediction.stream import FramePrediction

LITTLE = 0.25
"""Share of sure points below which it is said why."""
LOOKED_AT = 16
"""So many frames in which nothing is sure are looked at."""
DARKER = 4.0
LARGER = 1.5
CUT_AWAY = 0.5
BINS = 100


class _Look(NamedTuple):
    """What a frame in which nothing is sure is like; ``seen_share`` is how much of it the network looks at."""

    size_wh: tuple[int, int]
    bits: int
    brightness: float
    seen_share: float


class Tally:
    """Counts of a prediction.

    Args:
        least: confidence from which a point or an object counts as sure.
        trained_on: what the model file says of its training images: ``size_wh``, ``bits``, ``brightness``.
        levels: values of black and white in images of 16 bits, as the training had them.
    """

    def __init__(self, least: float, trained_on: Mapping[str, Any] | None = None, levels: Levels | None = None) -> None:
        self._levels = levels
        self.least = least
        self.frames = self.points = self.sure = self.without = 0
        self._histogram = np.zeros(BINS + 1, np.int64)
        self._trained_on = trained_on or {}
        self._looks: list[_Look] = []

    def add(self, each: FramePrediction) -> None:
        """Count one frame."""
        confidence = np.asarray(each.found.confidence)
        sure = int((confidence >= self.least).sum())
        self.frames += 1
        self.points += len(confidence)
        self.sure += sure
        self.without += not sure
        self._histogram += np.bincount((confidence * BINS).astype(int).clip(0, BINS), minlength=BINS + 1)
        if not sure and len(self._looks) < LOOKED_AT:
            self._looks += _looks(each, self._levels)

    def counts(self) -> dict[str, int]:
        """Return what was counted, by name."""
        return {"frames": self.frames, "points": self.points, "sure": self.sure, "frames_without": self.without}

    def explanation(self) -> list[str]:
        """Say why little was found; nothing where it was not little."""
        if not self.frames or (self.points and self.sure >= LITTLE * self.points):
            return []
        if not self.points:
            lines = [f"nothing was found in any of {counted(self.frames, 'frame')}"]
        else:
            below, half = self.points - self.sure, np.searchsorted(self._histogram.cumsum(), self.points / 2) / BINS
            unsure = f"{below} of {counted(self.points, 'point')} have a confidence below {self.least:g}"
            without = f"nothing is sure in {self.without} of {counted(self.frames, 'frame')}"
            lines = [f"{unsure}, half of all about {half:.2f} or less; {without}"]
        return lines + [text for text in (self._size(), self._bits(), self._brightness(), self._cut()) if text]

    def _many(self, count: int) -> str:
        return f"{count} of {counted(len(self._looks), 'such frame')} looked at"

    def _size(self) -> str:
        trained = self._trained_on.get("size_wh")
        if not trained or not self._looks:
            return ""
        odd = [look for look in self._looks if not 1 / LARGER <= max(look.size_wh) / max(trained) <= LARGER]
        if not odd:
            return ""
        sizes = "{} x {} pixels, where most training images had {} x {}".format(*odd[0].size_wh, *trained)
        return f"images of another size ({self._many(len(odd))}): {sizes}"

    def _bits(self) -> str:
        trained = self._trained_on.get("bits")
        odd = [look for look in self._looks if trained and (look.bits > 8) != (trained > 8)]  # noqa: PLR2004
        return (
            f"images of {odd[0].bits} bits ({self._many(len(odd))}); those of the training had {trained}" if odd else ""
        )

    def _brightness(self) -> str:
        trained = self._trained_on.get("brightness")
        if not trained:
            return ""
        for word, odd in (
            ("darker", [look for look in self._looks if look.brightness * DARKER < trained]),
            ("brighter", [look for look in self._looks if look.brightness > trained * DARKER]),
        ):
            if odd:
                mean = float(np.median([look.brightness for look in odd]))
                many = self._many(len(odd))
                return f"much {word} images ({many}): mean {mean:.3f} of 1, in training {trained:.3f}"
        return ""

    def _cut(self) -> str:
        odd = [look for look in self._looks if look.seen_share < CUT_AWAY]
        if not odd:
            return ""
        share = float(np.median([look.seen_share for look in odd]))
        return f"most of the image is cut away ({self._many(len(odd))}): the network looks at {100 * share:.0f} % of it"


def _looks(each: FramePrediction, levels: Levels | None) -> list[_Look]:
    """Look at a frame, or at the frames of a moment."""
    frames = getattr(each.frame, "frames", None)
    if frames is not None:
        found = each.found.views  # type: ignore[attr-defined]
        return [_look(frame.image, found[name], levels) for name, frame in frames.items() if name in found]
    return [_look(each.frame.image, each.found, levels)]


def _look(image: Any, found: Any, levels: Levels | None) -> _Look:
    seen = found.seen
    bits = 8
    try:
        if isinstance(image, Path):
            bits, pixels = image_bits(image), read_image(image, levels=levels)
        else:
            pixels = image
        brightness = float(to_grey(pixels).mean())
    except ImageError:
        brightness = float("nan")
    return _Look(seen.size_wh, bits, brightness, _seen_share(seen))


def _seen_share(seen: Any) -> float:
    """Return the part of the image that the network's input shows, as the rectangle round it."""
    height, width = seen.input.shape[-2:]
    corners = np.array([(-0.5, -0.5), (width - 0.5, height - 0.5)])
    ends = map_points(inverse_map(seen.source_to_crop)[None], corners[None])[0]
    low, high = np.clip(np.sort(ends, 0), -0.5, np.subtract(seen.size_wh, 0.5))
    return float(np.prod(high - low) / np.prod(seen.size_wh))
