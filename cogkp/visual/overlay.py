"""Draw points, errors, curves and masks over an image, at sub-pixel precision.

A hollow ring is truth, a filled cross is a prediction, and a thin line joins the two: shapes tell them apart, colours
only tell which point it is. All marks have a dark rim, so that they can be seen on any ground. Points that are not
finite, not shown, or far outside the image are left out.

Boxes have red edges and green numbers, axes red, green and blue, as the drawings of object poses usually have them;
truth beside a prediction is white and thin.
"""

from collections.abc import Sequence
from typing import Literal

import attrs
import cv2
import numpy as np
import numpy.typing as npt

from cogkp.visual.canvas import RgbImage, enlarged_uv, text_width, write_text
from cogkp.visual.marks import Outline
from cogkp.visual.palette import BLACK, WHITE, Colour, mask_colours, point_colours

FloatArray = npt.NDArray[np.floating]

RED: Colour = (230, 40, 40)
GREEN: Colour = (40, 200, 60)
BLUE: Colour = (60, 90, 255)
LINE_COLOURS: dict[str, Colour] = {"edge": RED, "x": RED, "y": GREEN, "z": BLUE}
EDGE_WIDTH, AXIS_WIDTH, PLAIN_WIDTH = 2, 5, 1
TEXT_PAD_PX = 4

Shape = Literal["ring", "cross", "dot"]
BoolArray = npt.NDArray[np.bool_]
SUBPIXEL_BITS = 6


def draw_outlines(
    image: RgbImage, outlines: Sequence[Outline], *, factor: int = 1, plain: bool = False, text_px: int = 12
) -> RgbImage:
    """Draw objects over a copy of an image, which was enlarged by ``factor``; ``outlines`` are in pixels from before.

    Lines to points that are NaN or far outside are left out. ``plain`` draws thin white edges only, for the truth below
    a prediction; ``text_px`` is the height of letters.
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


def _fixed(uv: npt.ArrayLike) -> tuple[int, int]:
    u, v = np.round(np.asarray(uv, np.float64) * (1 << SUBPIXEL_BITS)).astype(int).tolist()
    return u, v


def _visible(image: RgbImage, uv: FloatArray, shown: BoolArray | None, reach: float) -> BoolArray:
    """Tell which points can be drawn at all."""
    height, width = image.shape[:2]
    with np.errstate(invalid="ignore"):
        inside = ((uv > -0.5 - reach) & (uv < np.array([width, height]) - 0.5 + reach)).all(-1)
    return np.asarray(inside if shown is None else inside & shown)


def _ring(image: RgbImage, uv: FloatArray, radius: float, colour: Colour, width: int) -> None:
    size = round(radius * (1 << SUBPIXEL_BITS))
    cv2.circle(image, _fixed(uv), size, colour, width, cv2.LINE_AA, SUBPIXEL_BITS)


def _cross(image: RgbImage, uv: FloatArray, radius: float, colour: Colour, width: int) -> None:
    for arm in (np.array([radius, radius]), np.array([radius, -radius])):
        cv2.line(image, _fixed(uv - arm), _fixed(uv + arm), colour, width, cv2.LINE_AA, SUBPIXEL_BITS)


def draw_mark(image: RgbImage, uv: FloatArray, shape: Shape, colour: Colour, radius: float) -> None:
    """Draw one mark with its dark rim, in place, at ``uv``, (2,) finite pixels of the image; radius in pixels."""
    stroke = max(1, round(radius / 4))
    if shape == "cross":
        for ink, width in ((BLACK, stroke + 2), (colour, stroke)):
            _cross(image, uv, 0.8 * radius, ink, width)
    elif shape == "ring":
        for ink, width in ((BLACK, stroke + 2), (colour, stroke)):
            _ring(image, uv, radius, ink, width)
    else:
        for ink, size in ((BLACK, radius + 1.5), (colour, radius)):
            _ring(image, uv, size, ink, cv2.FILLED)


def draw_points(
    image: RgbImage,
    uv: FloatArray,
    *,
    shown: BoolArray | None = None,
    shape: Shape = "dot",
    colours: Sequence[Colour] | None = None,
    radius: float = 5.0,
) -> RgbImage:
    """Draw points (N, 2), maybe NaN, over a copy of an image (H, W, 3) uint8 RGB.

    The shape is 'ring' for truth, 'cross' for predictions, 'dot' where there is only one of them. ``shown`` None means
    all; ``colours`` None takes the palette's.
    """
    drawn: RgbImage = image.copy()
    colours = colours or point_colours(len(uv))
    for index in np.flatnonzero(_visible(image, uv, shown, radius)).tolist():
        draw_mark(drawn, uv[index], shape, colours[index], radius)
    return drawn


def draw_errors(
    image: RgbImage,
    truth_uv: FloatArray,
    predicted_uv: FloatArray,
    *,
    truth_visible: BoolArray | None = None,
    predicted_visible: BoolArray | None = None,
    colours: Sequence[Colour] | None = None,
    radius: float = 5.0,
) -> RgbImage:
    """Draw truth as rings, predictions as crosses, and a line from each to each, over a copy of an image.

    Points are (N, 2), pixels; those that count, (N,), are all where None, and colours those of the palette.
    """
    drawn: RgbImage = image.copy()
    colours = colours or point_colours(len(truth_uv))
    far = float(max(image.shape[:2]))
    both = _visible(image, truth_uv, truth_visible, far) & _visible(image, predicted_uv, predicted_visible, far)
    for index in np.flatnonzero(both).tolist():
        start, stop = _fixed(truth_uv[index]), _fixed(predicted_uv[index])
        for ink, width in ((BLACK, 3), (colours[index], 1)):
            cv2.line(drawn, start, stop, ink, width, cv2.LINE_AA, SUBPIXEL_BITS)
    drawn = draw_points(drawn, truth_uv, shown=truth_visible, shape="ring", colours=colours, radius=radius)
    return draw_points(drawn, predicted_uv, shown=predicted_visible, shape="cross", colours=colours, radius=radius)


def draw_curves(image: RgbImage, curves_uv: FloatArray, colours: Sequence[Colour], width: int = 1) -> RgbImage:
    """Draw curves, (N, K, 2) pixels, over a copy of an image; they break where a sample is NaN or far outside."""
    drawn: RgbImage = image.copy()
    reach = float(max(image.shape[:2]))
    for curve, colour in zip(curves_uv, colours, strict=True):
        near = np.flatnonzero(_visible(image, curve, None, reach))
        for run in np.split(near, np.flatnonzero(np.diff(near) > 1) + 1):
            fixed = np.round(curve[run] * (1 << SUBPIXEL_BITS)).astype(np.int32)
            cv2.polylines(drawn, [fixed[:, None]], False, colour, width, cv2.LINE_AA, SUBPIXEL_BITS)
    return drawn


def tint_mask(
    image: RgbImage,
    mask: npt.NDArray[np.uint8],
    *,
    colours: Sequence[Colour | None] | None = None,
    opacity: float = 0.3,
    contour_px: int = 1,
) -> RgbImage:
    """Tint each class of a mask, resized to the image, and draw its outline, over a copy of the image.

    ``colours`` go by class id, None for no tint; ids without one are left alone. None takes the palette's, background
    clear. ``opacity`` is in 0..1; a ``contour_px`` of 0 draws no outline.
    """
    drawn: RgbImage = image.copy()
    height, width = image.shape[:2]
    full = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
    known = int(full[full != 255].max(initial=0)) + 1  # noqa: PLR2004
    for class_id, colour in enumerate(colours or mask_colours(known)):
        area = (full == class_id).astype(np.uint8)
        if colour is None or not area.any():
            continue
        tinted = (1 - opacity) * drawn[area > 0] + opacity * np.array(colour)
        drawn[area > 0] = np.round(tinted).astype(np.uint8)
        if contour_px:
            outlines, _ = cv2.findContours(area, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(drawn, outlines, -1, colour, contour_px, cv2.LINE_AA)
    return drawn
