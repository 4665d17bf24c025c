"""Prepare images as an exported CenterPose network takes them, for comparison and calibration."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cogkp.config.centerpose.spec import CenterPoseConfig
from cogkp.data.boxes.augment import BoxInput
from cogkp.data.images import read_colour
from cogkp.data.images.finding import find_images
from cogkp.errors import DataError

__all__ = ["NetworkInput", "available_images"]

FloatImage = npt.NDArray[np.float32]

log = logging.getLogger("cogkp")


class NetworkInput:
    """How images become inputs of one network.

    Args:
        size_wh: width and height of the input, pixels.
        mean: of each colour on the scale 0..1, blue, green, red.
        std: of each colour, blue, green, red.
    """

    def __init__(self, size_wh: tuple[int, int], mean: Sequence[float], std: Sequence[float]) -> None:
        self.size_wh = size_wh
        self._view = BoxInput(size_wh=size_wh, mean=_triple(mean), std=_triple(std))

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> NetworkInput:
        """Read it from what an exported network's manifest says of its input."""
        width, height = facts["size_wh_px"]
        return cls((int(width), int(height)), facts["mean"], facts["std"])

    def __call__(self, path: Path) -> FloatImage:
        """Read an image: (3, H, W) float32.

        Raises:
            ImageError: the file cannot be used.
        """
        pixels = read_colour(path)
        height, width = pixels.shape[:2]
        return self._view.scaled(self._view.cut(pixels, self._view.plain_map((width, height))))


def _triple(values: Sequence[float]) -> tuple[float, float, float]:
    first, second, third = values
    return float(first), float(second), float(third)


def available_images(config: CenterPoseConfig) -> tuple[Path, ...]:
    """List the images of the first of an experiment's folders that has any; none where they cannot be had."""
    data = config.dataset
    for folder in (data.val_data, data.test_data, data.train_data, data.inference_data):
        if folder is None or not Path(folder).is_dir():
            continue
        try:
            return find_images(Path(folder))
        except DataError as error:
            log.warning("%s", error)
    return ()
