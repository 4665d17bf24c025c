"""Marks to draw over images: points, masks and outlines as plain arrays, in pixels of the image."""

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]
BoolArray = npt.NDArray[np.bool_]


@attrs.frozen(eq=False)
class Outline:
    """One object as points and lines over an image, in its pixels.

    Args:
        uv: (N, 2) float; NaN where a point cannot be drawn.
        names: N words, written beside their points; nothing is written for an empty one.
        lines: pairs of indices of points, with the kind of line: 'edge', 'x', 'y' or 'z'.
        text: one line about the object.
    """

    uv: FloatArray
    names: tuple[str, ...]
    lines: tuple[tuple[int, int, str], ...]
    text: str = ""


@attrs.frozen(eq=False)
class Marks:
    """What to draw over one network input, in pixels of the input.

    Args:
        uv_crop: (N, 2) float.
        shown: (N,) bool, points worth drawing.
        names: N words.
        mask: (S, S) class ids, or None.
        outlines: whole objects.
    """

    uv_crop: FloatArray
    shown: BoolArray
    names: tuple[str, ...]
    mask: npt.NDArray[np.uint8] | None = None
    outlines: tuple[Outline, ...] = ()


@attrs.frozen(eq=False, kw_only=True)
class ViewMarks:
    """What to draw over one view of a stereo pair, in pixels of the network's input.

    Args:
        row: of the batch.
        truth_uv: (N, 2) float.
        truth_visible: (N,) bool.
        predicted_uv: (N, 2) float.
        predicted_visible: (N,) bool.
        lines_uv: (N, K, 2) float, where this camera sees the ray of the other camera's prediction; NaN where it does
            not, and for points not shown.
    """

    row: int
    truth_uv: FloatArray
    truth_visible: BoolArray
    predicted_uv: FloatArray
    predicted_visible: BoolArray
    lines_uv: FloatArray


@attrs.frozen(eq=False, kw_only=True)
class SpaceMarks:
    """What to draw of one stereo pair: both views, and space.

    Args:
        name: of the pair, for people.
        point_names: N words.
        views: left and right; none where space alone is drawn.
        xyz_true: (N, 3) float, in ``unit``.
        known: (N,) bool, where the truth is known.
        xyz_found: (N, 3) float, in ``unit``.
        found: (N,) bool, known points that the prediction triangulates.
        region: (N, 3, 3) float, square of ``unit``; the prediction says that nine tenths of all truths lie where
            d^T region^-1 d <= 1, d their offset from ``xyz_found``. Zero where unknown.
        segments: pairs of indices of points that belong together.
        world_to_view: (3, 3) float, turns the world's axes to those of the left camera: x right, y down, z forward.
        unit: of all lengths.
    """

    name: str
    point_names: tuple[str, ...]
    views: tuple[ViewMarks, ...]
    xyz_true: FloatArray
    known: BoolArray
    xyz_found: FloatArray
    found: BoolArray
    region: FloatArray
    segments: tuple[tuple[int, int], ...]
    world_to_view: FloatArray
    unit: str
