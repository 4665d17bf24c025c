"""Colours that can be told apart with any kind of colour vision.

Colours are RGB, 0..255. Up to eight points take the hues of Okabe and Ito; more take even steps of a ramp from dark
violet to yellow whose lightness rises all the way, so that order can be seen even in grey.

Source: M. Okabe and K. Ito, Color Universal Design, 2008; the ramp follows matplotlib's 'viridis' at nine nodes.
"""

from collections.abc import Sequence

import numpy as np

Colour = tuple[int, int, int]

WHITE: Colour = (255, 255, 255)
GREY: Colour = (150, 150, 150)
BLACK: Colour = (0, 0, 0)

HUES: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (204, 121, 167),
    (0, 114, 178),
    (213, 94, 0),
    (200, 200, 200),
)
RAMP: tuple[Colour, ...] = (
    (106, 70, 160),
    (90, 90, 180),
    (65, 115, 190),
    (45, 140, 175),
    (35, 165, 145),
    (75, 190, 110),
    (140, 210, 80),
    (200, 225, 60),
    (253, 231, 37),
)


# (1 + 0.05) / (luminance + 0.05) >= 3
MOST_LUMINANCE_ON_WHITE = 0.3


def point_colours(count: int) -> tuple[Colour, ...]:
    """Give each of so many points its colour.

    Example:
        >>> point_colours(2)
        ((230, 159, 0), (86, 180, 233))
    """
    if count <= len(HUES):
        return HUES[:count]
    places = np.linspace(0, len(RAMP) - 1, count)
    channels = [np.interp(places, range(len(RAMP)), [node[i] for node in RAMP]) for i in range(3)]
    return tuple((int(r), int(g), int(b)) for r, g, b in zip(*channels, strict=True))


def mask_colours(classes: int) -> Sequence[Colour | None]:
    """Give each class its tint; the background has none, and the first tints differ from those of the first points."""
    tints = HUES[4], HUES[3], HUES[5], HUES[6], HUES[7], *HUES[:3]
    return [None, *(tints[(index - 1) % len(tints)] for index in range(1, classes))]


def on_light(colour: Colour) -> Colour:
    """Darken a colour until it can be seen on white, at a contrast of 3 to 1; the hue stays.

    Source: Web Content Accessibility Guidelines 2.2, success criterion 1.4.11 and its definition of luminance.

    Example:
        >>> on_light((240, 228, 66)), on_light((0, 114, 178))
        ((157, 149, 43), (0, 114, 178))
    """
    red, green, blue = colour
    darker, share = colour, 1.0
    while _luminance(darker) > MOST_LUMINANCE_ON_WHITE:
        share *= 0.98
        darker = (round(share * red), round(share * green), round(share * blue))
    return darker


def _luminance(colour: Colour) -> float:
    parts = [channel / 255 for channel in colour]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)  # noqa: PLR2004
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
