"""Render textured boxes and cans: faces with exact maps from texels to pixels.

A body is convex, so the faces that look at the camera never hide each other. OpenCV axes; the pose of a body is that of
its box, object axes as in :mod:`cogkp.geometry.cuboid`.

Colours are drawn for each object; the motifs stay those of the category. A face is seen from outside, its rows from the
top down; the top is seen from above with the front below, the bottom from below with the front above.
Textures are (T, T, 3) float32, linear RGB in 0..1.
"""

from __future__ import annotations

import attrs
import cv2
import numpy as np
import numpy.typing as npt

Texture = npt.NDArray[np.float32]

PART_BITS = 6
TEXELS = 96
"""Side of a texture."""

RIGHT, LEFT, TOP, BOTTOM, FRONT, BACK = range(6)
"""Faces in the order of :data:`cogkp.geometry.cuboid.FACES`."""

FloatArray = npt.NDArray[np.floating]
SEGMENTS = 48
"""Flat strips of which a can's wall is made; a multiple of the number of equal turns it is labelled with."""

MOST_TURNS_OF_A_BOX = 4
SHORTEST_EDGE_PX = 1e-6
AMBIENT = 0.45
# Upper left corner of each face as seen from outside, its way right and its way down, in half sizes of a box.
FACE_FRAMES = (
    ((1, 1, 1), (0, 0, -2), (0, -2, 0)),
    ((-1, 1, -1), (0, 0, 2), (0, -2, 0)),
    ((-1, 1, -1), (2, 0, 0), (0, 0, 2)),
    ((-1, -1, 1), (2, 0, 0), (0, 0, -2)),
    ((-1, 1, 1), (2, 0, 0), (0, -2, 0)),
    ((1, 1, -1), (-2, 0, 0), (0, -2, 0)),
)


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
    """Paint the six faces of a box that looks alike after 1, 2 or 4 equal turns about its height.

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
    """Paint a can: its wall as a column (T, 1, 3) from the top down, the same all round, and its lid (T, T, 3)."""
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


@attrs.frozen(eq=False)
class Face:
    """A flat piece of a body, in the body's own axes.

    Args:
        corner: (3,) upper left corner of its texture.
        right: (3,) from there along the rows.
        down: (3,) from there along the columns.
        texture: (T, T, 3), or one column.
        outline: (N, 3) corners of what belongs to the body.
    """

    corner: FloatArray
    right: FloatArray
    down: FloatArray
    texture: Texture
    outline: FloatArray

    @property
    def normal(self) -> FloatArray:
        """(3,) of length one, out of the body."""
        across = np.cross(self.down, self.right)
        return np.asarray(across / np.linalg.norm(across))


@attrs.frozen(eq=False)
class Body:
    """A convex body made of faces."""

    faces: tuple[Face, ...]

    @property
    def vertices(self) -> FloatArray:
        """(N, 3) all corners, some of them several times."""
        return np.concatenate([face.outline for face in self.faces])


def _quad(corner: FloatArray, right: FloatArray, down: FloatArray, texture: Texture) -> Face:
    outline = np.stack([corner, corner + right, corner + right + down, corner + down])
    return Face(corner, right, down, texture, outline)


def _box(size_xyz: FloatArray, textures: tuple[Texture, ...]) -> Body:
    frames = 0.5 * size_xyz * np.array(FACE_FRAMES)
    return Body(
        tuple(_quad(frame[0], frame[1], frame[2], texture) for frame, texture in zip(frames, textures, strict=True))
    )


def _can(size_xyz: FloatArray, wall: Texture, lid: Texture) -> Body:
    """A prism of many sides; its wall touches the box in the middle of the box's sides."""
    angles = 2 * np.pi * (np.arange(SEGMENTS + 1) - 0.5) / SEGMENTS
    half = 0.5 * size_xyz
    ring = np.stack([half[0] * np.sin(angles), np.zeros_like(angles), half[2] * np.cos(angles)], -1)
    up, down = np.array([0.0, half[1], 0.0]), np.array([0.0, -size_xyz[1], 0.0])
    strips = [_quad(ring[k] + up, ring[k + 1] - ring[k], down, wall) for k in range(SEGMENTS)]
    caps = []
    for height, frame in ((up, FACE_FRAMES[2]), (-up, FACE_FRAMES[3])):
        corner, right, below = half * np.array(frame)
        caps.append(Face(corner, right, below, lid, ring[:-1] + height))
    return Body((*strips, *caps))


def upright_body(rng: np.random.Generator, size_xyz: FloatArray, turns: int) -> Body:
    """Make a body that fills its box and looks alike after so many turns about its height; above 4 it is a can."""
    if turns > MOST_TURNS_OF_A_BOX:
        return _can(size_xyz, *cylinder_textures(rng))
    return _box(size_xyz, face_textures(rng, turns))


def _projected(K: FloatArray, points: FloatArray) -> FloatArray:
    moved = points @ K.T
    return np.asarray(moved[:, :2] / moved[:, 2:])


def silhouette(body: Body, pose: FloatArray, K: FloatArray) -> FloatArray:
    """Outline a body in the image: (N, 2) pixels, convex."""
    projected = _projected(K, body.vertices @ pose[:3, :3].T + pose[:3, 3])
    return np.asarray(cv2.convexHull(projected.astype(np.float32))[:, 0], np.float64)


def coverage(outline: FloatArray, shape_hw: tuple[int, ...]) -> Texture:
    """Find what a convex outline, (N, 2) pixels in either sense, covers of an image.

    Returns:
        (H, W) float32, share of each pixel: exact along straight edges, and nearly so at corners.
    """
    height, width = shape_hw
    u, v = np.arange(width, dtype=np.float32)[None], np.arange(height, dtype=np.float32)[:, None]
    along = np.roll(outline, -1, axis=0) - outline
    length = np.hypot(along[:, 0], along[:, 1])
    inward = np.stack([-along[:, 1], along[:, 0]], -1)
    if (inward * (outline.mean(0) - outline)).sum() < 0:
        inward = -inward
    depth = np.full((height, width), np.inf, np.float32)
    kept = length > SHORTEST_EDGE_PX
    normals = inward[kept] / length[kept, None]
    offsets = -(outline[kept] * normals).sum(-1)
    for (across, down), offset in zip(normals.astype(np.float32), offsets.astype(np.float32), strict=True):
        np.minimum(depth, across * u + (down * v + offset), out=depth)
    return np.asarray(np.clip(depth + np.float32(0.5), 0.0, 1.0), np.float32)


def paint_body(canvas: FloatArray, body: Body, pose: FloatArray, K: FloatArray, light: FloatArray) -> Texture:
    """Paint a body over an image, (H, W, 3) float32 linear RGB, in place.

    ``pose`` (4, 4) leads from its axes to the camera's, ``light`` (3,) is a unit vector towards the light, camera axes.
    Returns the share of each pixel that it covers, (H, W) float32.
    """
    height, width = canvas.shape[:2]
    covered = np.zeros((height, width), np.float32)
    outline = silhouette(body, pose, K)
    low = np.clip(np.floor(outline.min(0)).astype(int) - 1, 0, (width, height))
    high = np.clip(np.ceil(outline.max(0)).astype(int) + 2, 0, (width, height))
    if (low >= high).any():
        return covered
    window = slice(low[1], high[1]), slice(low[0], high[0])
    shape_hw = (int(high[1] - low[1]), int(high[0] - low[0]))
    shift = np.array([[1.0, 0.0, -low[0]], [0.0, 1.0, -low[1]], [0.0, 0.0, 1.0]])
    covered[window] = coverage(outline - low, shape_hw)
    under = canvas[window]
    under += covered[window][..., None] * (_painted(body, pose, shift @ K, light, shape_hw) - under)
    return covered


def _painted(body: Body, pose: FloatArray, K: FloatArray, light: FloatArray, shape_hw: tuple[int, int]) -> Texture:
    """Lay the visible faces side by side, the one that is seen best first; it also fills what no other covers."""
    patch = np.zeros((*shape_hw, 3), np.float32)
    turned = [(pose[:3, :3] @ face.normal, face.outline @ pose[:3, :3].T + pose[:3, 3], face) for face in body.faces]
    towards = [float(-normal @ corners[0] / np.linalg.norm(corners[0])) for normal, corners, _ in turned]
    order = [index for index in np.argsort(towards)[::-1].tolist() if towards[index] > 0]
    for place, index in enumerate(order):
        normal, corners, face = turned[index]
        bright = AMBIENT + (1 - AMBIENT) * max(0.0, float(normal @ light))
        colours = _warped(face, pose, K, shape_hw) * np.float32(bright)
        share = coverage(_projected(K, corners), shape_hw)[..., None] if place else np.float32(1.0)
        patch += share * (colours - patch)
    return patch


def _warped(face: Face, pose: FloatArray, K: FloatArray, shape_hw: tuple[int, int]) -> Texture:
    """See the plane of a face through the camera; its rows and columns are first made as wide as they appear."""
    ends = np.stack([face.corner, face.corner + face.right, face.corner + face.down])
    projected = _projected(K, ends @ pose[:3, :3].T + pose[:3, 3])
    rows, columns = face.texture.shape[:2]
    (right_u, right_v), (down_u, down_v) = projected[1:] - projected[0]
    area = abs(right_u * down_v - right_v * down_u)
    apart = area / np.hypot(right_u, right_v), area / np.hypot(down_u, down_v)
    size = [max(2, min(count, round(float(length)))) for count, length in zip((rows, columns), apart, strict=True)]
    if columns == 1:
        size[1] = 1
    texels = cv2.resize(face.texture, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    to_face = np.array([[1 / size[1], 0.0, 0.5 / size[1]], [0.0, 1 / size[0], 0.5 / size[0]], [0.0, 0.0, 1.0]])
    plane = np.stack([face.right, face.down, face.corner], -1)
    to_camera = pose[:3, :3] @ plane
    to_camera[:, 2] += pose[:3, 3]
    return np.asarray(
        cv2.warpPerspective(
            texels, K @ to_camera @ to_face, shape_hw[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        ),
        np.float32,
    )
