"""Draw boxes over an image: edges, numbered corners, axes, and one line of text each.

Red edges and green numbers, axes red, green and blue, as the drawings of object poses usually have them; truth beside a
prediction is white and thin.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import cv2
import numpy as np
import numpy.typing as npt

from cogkp.visual.canvas import RgbImage, enlarged_uv, text_width, write_text
from cogkp.visual.marks import Outline
from cogkp.visual.overlay import draw_curves
from cogkp.visual.palette import BLACK, WHITE, Colour

__all__ = ["RED", "draw_outlines"]

FloatArray = npt.NDArray[np.floating]

RED: Colour = (230, 40, 40)
GREEN: Colour = (40, 200, 60)
BLUE: Colour = (60, 90, 255)
LINE_COLOURS: dict[str, Colour] = {"edge": RED, "x": RED, "y": GREEN, "z": BLUE}
EDGE_WIDTH, AXIS_WIDTH, PLAIN_WIDTH = 2, 5, 1
TEXT_PAD_PX = 4


def draw_outlines(
    image: RgbImage, outlines: Sequence[Outline], *, factor: int = 1, plain: bool = False, text_px: int = 12
) -> RgbImage:
    """Draw objects over an image.

    Args:
        image: (H, W, 3) uint8 RGB.
        outlines: in pixels of the image before it was enlarged; lines to points that are NaN or far outside are left
            out.
        factor: by which ``image`` was enlarged.
        plain: thin white edges only, for the truth below a prediction.
        text_px: height of letters.

    Returns:
        A new image.
    """
    drawn: RgbImage = image.copy()
    for outline in (attrs.evolve(each, uv=enlarged_uv(each.uv, factor)) for each in outlines):
        drawn = _lines(drawn, outline, plain)
        if not plain:
            _names(drawn, outline, text_px)
            _text(drawn, outline, text_px)
    return drawn


def _lines(image: RgbImage, outline: Outline, plain: bool) -> RgbImage:
    kinds = ("edge",) if plain else tuple(dict.fromkeys(kind for _, _, kind in outline.lines))
    for kind in kinds:
        curves = outline.uv[np.array([line[:2] for line in outline.lines if line[2] == kind], int).reshape(-1, 2)]
        width = PLAIN_WIDTH if plain else EDGE_WIDTH if kind == "edge" else AXIS_WIDTH
        colour = WHITE if plain else LINE_COLOURS[kind]
        image = draw_curves(image, curves, [colour] * len(curves), width)
    return image


def _inside(image: RgbImage, uv: FloatArray) -> npt.NDArray[np.bool_]:
    height, width = image.shape[:2]
    with np.errstate(invalid="ignore"):
        return np.asarray(((uv >= 0) & (uv < (width, height))).all(-1))


def _names(image: RgbImage, outline: Outline, text_px: int) -> None:
    shown = _inside(image, outline.uv)
    for name, (u, v), visible in zip(outline.names, outline.uv, shown, strict=True):
        if name and visible:
            for colour, shift in ((BLACK, 3), (GREEN, 2)):
                write_text(image, name, (round(float(u)) + shift, round(float(v)) - 4 + shift), text_px, colour)


def _text(image: RgbImage, outline: Outline, text_px: int) -> None:
    """Write white on black at the object's top left, pushed back into the image where it would leave it."""
    if not outline.text or not _inside(image, outline.uv).any():
        return
    left, top = np.nanmin(outline.uv, 0)
    width, height = text_width(outline.text, text_px) + 2 * TEXT_PAD_PX, text_px + 2 * TEXT_PAD_PX
    u = int(np.clip(left, 0, max(image.shape[1] - width, 0)))
    v = int(np.clip(top - height, 0, max(image.shape[0] - height, 0)))
    cv2.rectangle(image, (u, v), (u + width, v + height), BLACK, cv2.FILLED)
    write_text(image, outline.text, (u + TEXT_PAD_PX, v + height - TEXT_PAD_PX), text_px)
