"""Textures of boxes and cans: each side has its own motif, so that a network can tell front from back.

Colours are drawn for each object; the motifs stay those of the category. A face is seen from outside, its rows from the
top down; the top is seen from above with the front below, the bottom from below with the front above.
Textures are (T, T, 3) float32, linear RGB in 0..1.
"""

from __future__ import annotations

import attrs
import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["TEXELS", "Colours", "cylinder_textures", "face_textures"]

Texture = npt.NDArray[np.float32]

TEXELS = 96
PART_BITS = 6
"""Side of a texture."""

RIGHT, LEFT, TOP, BOTTOM, FRONT, BACK = range(6)
"""Faces in the order of :data:`cogkp.geometry.cuboid.FACES`."""


@attrs.frozen(eq=False)
class Colours:
    """The inks of one object, RGB in 0..1.

    Args:
        board: (3,) of the box itself.
        ink: (3,) of dark marks.
        paper: (3,) of labels.
        accent: (3,) of the front's sign.
        grain: strength of the board's texture.
    """

    board: npt.NDArray[np.float64]
    ink: npt.NDArray[np.float64]
    paper: npt.NDArray[np.float64]
    accent: npt.NDArray[np.float64]
    grain: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Colours:
        """Draw inks that stand apart in lightness."""
        board = rng.uniform(0.3, 0.6) * (1.0 + rng.uniform(-0.4, 0.4, 3))
        accent = rng.uniform(0.1, 0.9, 3)
        accent[rng.integers(3)] = 0.95
        return cls(board, rng.uniform(0.0, 0.15, 3), rng.uniform(0.75, 1.0, 3), accent, rng.uniform(0.01, 0.05))


def _board(colours: Colours, rng: np.random.Generator) -> Texture:
    """Make an empty side: plain colour with soft fibres."""
    fibres = cv2.resize(rng.standard_normal((24, 8), dtype=np.float32), (TEXELS, TEXELS))
    return np.asarray(colours.board + colours.grain * fibres[..., None], np.float32)


def _rectangle(texture: Texture, ink: npt.NDArray[np.float64], *sides: float) -> None:
    """Fill left, top, right, bottom, given in shares of the texture, in place."""
    left, top, right, bottom = (round(side * TEXELS) for side in sides)
    texture[top:bottom, left:right] = ink


def _disc(texture: Texture, ink: npt.NDArray[np.float64], u: float, v: float, radius: float) -> None:
    # OpenCV counts from the centre of the first texel, and here in parts of one.
    numbers = (u * TEXELS - 0.5, v * TEXELS - 0.5, radius * TEXELS)
    across, down, reach = (round(number * (1 << PART_BITS)) for number in numbers)
    cv2.circle(texture, (across, down), reach, ink.tolist(), cv2.FILLED, cv2.LINE_AA, PART_BITS)


def _front(colours: Colours, rng: np.random.Generator) -> Texture:
    """A label with a sign in its upper left and lines of print below."""
    face = _board(colours, rng)
    _rectangle(face, colours.paper, 0.1, 0.1, 0.9, 0.9)
    _disc(face, colours.accent, 0.34, 0.36, 0.2)
    for row in range(3):
        _rectangle(face, colours.ink, 0.2, 0.66 + 0.08 * row, rng.uniform(0.5, 0.82), 0.70 + 0.08 * row)
    return face


def _back(colours: Colours, rng: np.random.Generator) -> Texture:
    """A code of bars at the lower right."""
    face = _board(colours, rng)
    _rectangle(face, colours.paper, 0.45, 0.55, 0.92, 0.9)
    edges = 0.5 + 0.37 * np.sort(rng.random(12))
    for start, stop in edges.reshape(-1, 2):
        _rectangle(face, colours.ink, start, 0.6, stop, 0.84)
    return face


def _right(colours: Colours, rng: np.random.Generator) -> Texture:
    """Two dark bands across."""
    face = _board(colours, rng)
    for top in (0.25, 0.6):
        _rectangle(face, colours.ink, 0.0, top, 1.0, top + 0.14)
    return face


def _left(colours: Colours, rng: np.random.Generator) -> Texture:
    """A large sign in its middle."""
    face = _board(colours, rng)
    _disc(face, colours.paper, 0.5, 0.5, 0.34)
    _disc(face, colours.ink, 0.5, 0.5, 0.2)
    return face


def _top(colours: Colours, rng: np.random.Generator) -> Texture:
    """A tape from back to front, and an arrow on it that points to the front."""
    face = _board(colours, rng)
    _rectangle(face, colours.paper, 0.38, 0.0, 0.62, 1.0)
    tip = np.array([[0.5, 0.92], [0.26, 0.56], [0.74, 0.56]]) * TEXELS
    cv2.fillPoly(face, [np.round(tip).astype(np.int32)], colours.accent.tolist(), cv2.LINE_AA)
    return face


def _round_top(colours: Colours, rng: np.random.Generator, turns: int) -> Texture:
    """A lid that looks alike after each of its turns, to the texel."""
    face = _board(colours, rng)
    if turns == 2:  # noqa: PLR2004
        _rectangle(face, colours.paper, 0.38, 0.0, 0.62, 1.0)
        half = face[: TEXELS // 2]
        return np.ascontiguousarray(np.concatenate([half, half[::-1, ::-1]]))
    _rectangle(face, colours.accent, 0.08, 0.08, 0.36, 0.2)
    _disc(face, colours.ink, 0.5, 0.5, 0.3)
    corner = face[: TEXELS // 2, : TEXELS // 2]
    upper = np.concatenate([corner, np.rot90(corner, -1)], 1)
    return np.ascontiguousarray(np.concatenate([upper, upper[::-1, ::-1]]))


def face_textures(rng: np.random.Generator, turns: int) -> tuple[Texture, ...]:
    """Paint the six faces of a box.

    Args:
        rng: draws colours and prints.
        turns: after how many equal turns about its height it looks alike: 1, 2 or 4.

    Returns:
        In the order of :data:`cogkp.geometry.cuboid.FACES`: +x, -x, top, bottom, front, back.
    """
    colours = Colours.sample(rng)
    front, bottom = _front(colours, rng), _board(colours, rng)
    if turns == 1:
        return _right(colours, rng), _left(colours, rng), _top(colours, rng), bottom, front, _back(colours, rng)
    side = front if turns == 4 else _right(colours, rng)  # noqa: PLR2004
    return side, side, _round_top(colours, rng, turns), bottom, front, front


def cylinder_textures(rng: np.random.Generator) -> tuple[Texture, Texture]:
    """Paint a can: its wall, the same all the way round, and its lid.

    Returns:
        The wall as a column (T, 1, 3) from the top down, and the lid (T, T, 3).
    """
    colours = Colours.sample(rng)
    wall = np.full((TEXELS, 1, 3), colours.board, np.float32)
    wall[: TEXELS // 10] = colours.paper
    wall[TEXELS // 3 : TEXELS // 2] = colours.accent
    wall[TEXELS // 2 : TEXELS // 2 + 6] = colours.ink
    wall[-TEXELS // 10 :] = colours.ink
    lid = np.full((TEXELS, TEXELS, 3), colours.paper, np.float32)
    for radius, ink in ((0.44, colours.board), (0.38, colours.paper), (0.12, colours.ink)):
        _disc(lid, ink, 0.5, 0.5, radius)
    return wall, lid
