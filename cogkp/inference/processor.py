"""Pre- and postprocessing of a model: images to its input, its outputs back to the pixels of the images.

It works on NumPy arrays without torch. A family has one, used by its codec for training and evaluation and by
:func:`cogkp.load` for checkpoints, ONNX files and engines alike, so that the preparation of an image exists once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["Prediction", "Prepared", "Processor"]

FloatArray = npt.NDArray[np.floating[Any]]


class Prepared(NamedTuple):
    """An image as a network takes it.

    Args:
        input: (C, H, W) float32.
        source_to_crop: (3, 3) float64, from the pixels of the image to those of the input.
        size_wh: width and height of the image, pixels.
    """

    input: npt.NDArray[np.float32]
    source_to_crop: npt.NDArray[np.float64]
    size_wh: tuple[int, int]


class Prediction(Protocol):
    """What a model found in one image."""

    def draw(self) -> npt.NDArray[np.uint8]:
        """Draw it over the image: (H, W, 3) uint8 RGB."""

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, ready for JSON."""


class Processor(Protocol):
    """How images become the input of one family's network, and its outputs become predictions."""

    def prepare(self, image: npt.NDArray[Any], **look: Any) -> Prepared:
        """Make the network's input of one image.

        Args:
            image: as the readers of :mod:`cogkp.data.images` give it.
            look: what a family needs to know about an image beside its pixels, as a box to look into.
        """

    def predictions(
        self, outputs: Mapping[str, FloatArray], prepared: Sequence[Prepared], **known: Any
    ) -> list[Prediction]:
        """Take the outputs of B images back to their pixels.

        Args:
            outputs: the network's outputs by name, each (B, ...).
            prepared: B images.
            known: what a family can use about the images, as their cameras.
        """
