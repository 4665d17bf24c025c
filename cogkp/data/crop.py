"""The crop: which rectangle of an image the network's input shows, and the map to it; without torch.

Training moves the rectangle a little and turns it; evaluation and deployed models take it as it is.
Pixel rule: the centre of the top-left pixel is (0, 0).
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cogkp.config.augment import Crop
from cogkp.errors import ConfigError, Problem
from cogkp.geometry.plane_map import fit_map

Pair = npt.NDArray[np.float64]

BOX_RULES = {
    "frame": "the whole image",
    "box": "the rectangle crop.box of every image: outer left edge + 0.5, outer top edge + 0.5, width, height",
    "points": (
        "a square round the points, which is not in the image: whoever runs the model gives left, top, right, bottom "
        "of the smallest upright rectangle round the points; same centre, side = max(width, height) (1 + 2 margin), "
        "at least min_size_px"
    ),
}
"""Which rectangle each region shows, for manifests."""


class Bounds(NamedTuple):
    """The smallest upright rectangle round points: (left, top) and (right, bottom), each (2,) float64 pixels."""

    low: Pair
    high: Pair


def crop_map(
    stage: Crop, size_wh: tuple[int, int], bounds: Bounds | None = None, shift: Pair | None = None
) -> npt.NDArray[np.float64]:
    """Say where the crop of a stage lies in an image of ``size_wh`` pixels: the map (3, 3) float64 from it to the crop.

    ``bounds`` are of the points that region 'points' shows; None where there are none, and the whole image is shown.
    ``shift``, (2,) float64 in fractions of its side, moves the square round them.

    Raises:
        ConfigError: region 'box' without a box.
        GeometryError: the rectangle has no area.
    """
    if stage.region == "box":
        if stage.box is None:
            raise ConfigError([Problem("crop region 'box' needs a box", expected="[left, top, width, height]")])
        left, top, width, height = stage.box
        return fit_map((left - 0.5, top - 0.5), (width, height), stage.output_size)
    if stage.region == "points" and bounds is not None:
        (left, top), side = _square_round(stage, bounds, np.zeros(2) if shift is None else shift)
        return fit_map((left, top), (side, side), stage.output_size)
    return fit_map((-0.5, -0.5), size_wh, stage.output_size)


def _square_round(stage: Crop, bounds: Bounds, shift: Pair) -> tuple[tuple[float, float], float]:
    """Put a square round points, with room on each side: its outer top-left corner and its side."""
    low, high = bounds
    side = max(float((high - low).max()) * (1.0 + 2.0 * stage.margin), stage.min_size_px)
    left, top = 0.5 * (low + high) + shift * side - 0.5 * side
    return (float(left), float(top)), side
