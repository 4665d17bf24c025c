"""Pre- and postprocessing of a model: images to its input, its outputs back to the pixels of the images.

It works on NumPy arrays without torch. A family has one, used by its codec for training and evaluation and by
:func:`cogkp.load` for checkpoints, ONNX files and engines alike, so that the preparation of an image exists once.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from cogkp.errors import ArtifactError

FloatArray = npt.NDArray[np.floating[Any]]
Box = tuple[float, float, float, float]
Shapes = Mapping[str, tuple[int | str, ...]]
"""Lengths of the axes of each input or output, by name; a word stands for any length."""


class Readable(Protocol):
    """An image that is read when it is needed; see :class:`cogkp.data.images.ImageFile`."""

    def read(self) -> npt.NDArray[Any]:
        """Read it; raises ImageError where it cannot be used."""


class Prepared(NamedTuple):
    """An image as a network takes it.

    Args:
        input: (C, H, W) float32.
        source_to_crop: (3, 3) float64, from the pixels of the image to those of the input.
        size_wh: width and height of the image, pixels.
        image: what :meth:`Prediction.draw` draws over: the image, or the file it is read from again, so that a long
            list of files does not fill the memory. :class:`cogkp.inference.model.Model` fills it in.
    """

    input: npt.NDArray[np.float32]
    source_to_crop: npt.NDArray[np.float64]
    size_wh: tuple[int, int]
    image: npt.NDArray[Any] | Readable | None = None


class Prediction(Protocol):
    """What a model found in one image."""

    @property
    def confidence(self) -> FloatArray:
        """(N,) 0 to 1, of each point or object."""

    def box(self, names: Sequence[str], least: float) -> Box | None:
        """Return the smallest upright rectangle round what was found, (left, top, right, bottom) pixels of the image.

        Args:
            names: of the points it is to hold; where not all of them are known here, it holds all there are.
            least: confidence from which a point or an object counts; None is returned where too little counts.
        """

    def draw(self) -> npt.NDArray[np.uint8]:
        """Draw it over the image: (H, W, 3) uint8 RGB."""

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, ready for JSON."""


class Processor(Protocol):
    """How images become the input of one family's network, and its outputs become predictions.

    The keyword arguments of :meth:`prepare` and :meth:`predictions` are those that a model's call takes.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the points, or of the classes of objects."""

    @property
    def asks_where(self) -> bool:
        """Whether :meth:`prepare` needs a ``box``: the smallest upright rectangle round what is looked for."""

    def beside(self, image: Path) -> Mapping[str, Any]:
        """Read what files beside an image file say of it: keyword arguments of :meth:`predictions`.

        Raises:
            DataError: such a file cannot be used.
        """

    def check(self, takes: Shapes, gives: Shapes) -> None:
        """Compare a file's inputs and outputs with what its facts say.

        Raises:
            ArtifactError: they disagree.
        """

    def prepare(self, image: npt.NDArray[Any], **look: Any) -> Prepared:
        """Make the network's input of one image.

        Args:
            image: (H, W) or (H, W, 3) RGB; uint8 or uint16 of full range, or float32 in 0..1, as
                :func:`cogkp.data.images.as_image` gives it and ``to_grey`` and ``to_colour`` of that module take it.
            look: what a family needs to know about an image beside its pixels, as a box to look into.
        """

    def predictions(
        self, outputs: Mapping[str, FloatArray], prepared: Sequence[Prepared], **known: Any
    ) -> Sequence[Prediction]:
        """Take the outputs of B images back to their pixels.

        Args:
            outputs: the network's outputs by name, each (B, ...).
            prepared: B images.
            known: what a family can use about the images, as their cameras; a list has one value for each image, all
                else is the same for all of them.
        """


def shape_text(shape: tuple[int | str, ...]) -> str:
    """Write a shape for people."""
    return f"({', '.join(map(str, shape))})"


def disagreement(where: str, expected: str, found: Shapes) -> ArtifactError:
    """Say that the inputs or outputs of a file are not what its facts say."""
    return ArtifactError(
        "the model file and its facts disagree",
        where=where,
        expected=expected,
        got=", ".join(f"{name} {shape_text(shape)}" for name, shape in found.items()) or "none",
        hint="Export the model again, so that both are written together.",
    )


def unusable_facts(where: str, expected: str, got: str) -> ArtifactError:
    """Say that the facts of a file are missing or make no sense."""
    return ArtifactError(
        "the model file does not say what its network needs",
        where=where,
        expected=expected,
        got=got,
        hint="Export the model again.",
    )
