"""Paint synthetic images: a textured backdrop seen by each camera, and round bodies with exact edges.

A body is a tapered capsule: a disc that slides from a to b while its radius changes. Its coverage of a pixel is found
from the signed distance of the pixel's centre to the outline, so its edges are smooth and its place is exact to a small
fraction of a pixel. Canvas values are linear grey, 0 black and 1 white.
"""

from __future__ import annotations

import attrs
import cv2
import numpy as np
import numpy.typing as npt

from cogkp.geometry.camera import PinholeCamera

FloatArray = npt.NDArray[np.floating]

TEXELS_WH = (448, 352)
TEXEL = 1 / 26
"""Side of one texel, world units."""
OCTAVES = (3, 6, 12, 28, 64, 140)
SUBPIXEL_BITS = 4

MIN_LENGTH_PX2 = 1e-9


def _noise(rng: np.random.Generator) -> FloatArray:
    """Sum noise of several octaves; each is rougher and fainter than the one before."""
    fade = rng.uniform(0.45, 0.8)
    total = np.zeros(TEXELS_WH[::-1], np.float32)
    for level, cells in enumerate(OCTAVES):
        grid = rng.standard_normal((max(2, cells * 3 // 4), cells), dtype=np.float32)
        total += fade**level * cv2.resize(grid, TEXELS_WH, interpolation=cv2.INTER_CUBIC)
    return np.asarray(total / total.std())


def _fixed(texels: FloatArray) -> npt.NDArray[np.int32]:
    """Turn texels into the fixed-point numbers that OpenCV draws with."""
    return np.round(texels * (1 << SUBPIXEL_BITS)).astype(np.int32)


def _polygon(rng: np.random.Generator) -> npt.NDArray[np.int32]:
    """Draw the outline of a box, a plate or a shard, in fixed-point texels."""
    corners = int(rng.choice([3, 4, 4, 4, 5, 24]))
    angles = np.sort(rng.uniform(0, 2 * np.pi) + 2 * np.pi * (np.arange(corners) + rng.uniform(-0.15, 0.15)) / corners)
    half = rng.uniform(8, 55, 2)
    ring = np.stack([np.cos(angles) * half[0], np.sin(angles) * half[1]], -1)
    turn = rng.uniform(0, 2 * np.pi)
    turned = ring @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    placed = turned + rng.uniform((0, 0), TEXELS_WH)
    return _fixed(placed)


def _cable(rng: np.random.Generator) -> npt.NDArray[np.int32]:
    """Draw a cubic Bezier curve across the plane, in fixed-point texels."""
    knots = rng.uniform((-60, -60), np.array(TEXELS_WH) + 60, (4, 2))
    t = np.linspace(0, 1, 40)[:, None]
    weights = np.hstack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3])
    return _fixed(weights @ knots)


def _shaded_under(texture: FloatArray, outlines: list[npt.NDArray[np.int32]], light: FloatArray) -> FloatArray:
    """Darken the texture where things lying on it keep the light away."""
    shadow = np.zeros(texture.shape, np.uint8)
    away = _fixed(light[:2] * -14)
    for outline in outlines:
        cv2.fillPoly(shadow, [outline + away], 130, cv2.LINE_AA, SUBPIXEL_BITS)
    soft = cv2.blur(cv2.blur(shadow, (9, 9)), (9, 9))
    return texture * (1 - soft.astype(np.float32) / 255)


def _draw_cable(rng: np.random.Generator, grey: npt.NDArray[np.uint8], light: FloatArray) -> None:
    """Draw a round cable with a highlight on its lit side, in place."""
    curve, thickness, colour = _cable(rng), int(rng.integers(2, 9)), int(rng.integers(10, 160))
    lit_side = _fixed(light[:2] * thickness * 0.3)
    for shift, width, value in ((0, thickness, colour * 0.7), (lit_side, (thickness + 1) // 2, colour * 1.25)):
        cv2.polylines(grey, [curve + shift], False, float(value), width, cv2.LINE_AA, SUBPIXEL_BITS)


def _flat_clutter(rng: np.random.Generator, texture: FloatArray, light: FloatArray) -> FloatArray:
    """Lay plates, paper and cables over the texture; each plate keeps a trace of what it covers."""
    outlines = [_polygon(rng) for _ in range(rng.integers(2, 7))]
    shaded = _shaded_under(texture, outlines, light)
    grey = np.clip(shaded * 255, 0, 255).astype(np.uint8)
    for outline in outlines:
        layer = grey.copy()
        cv2.fillPoly(layer, [outline], int(rng.integers(15, 190)), cv2.LINE_AA, SUBPIXEL_BITS)
        trace = rng.uniform(0.1, 0.45)
        cv2.addWeighted(layer, 1 - trace, grey, trace, 0, dst=grey)
    for _ in range(rng.integers(0, 4)):
        _draw_cable(rng, grey, light)
    return grey.astype(np.float32) / 255


def _decoys(rng: np.random.Generator, texture: FloatArray, light: FloatArray) -> None:
    """Paint single rods that look somewhat like a link, in place."""
    for _ in range(rng.integers(0, 4)):
        start = rng.uniform((0, 0), TEXELS_WH)
        heading, length = rng.uniform(0, 2 * np.pi), rng.uniform(30, 90)
        stop = start + length * np.array([np.cos(heading), np.sin(heading)])
        radii = rng.uniform(2.0, 7.0, 2)
        patch = cover(Capsule((start[0], start[1]), (stop[0], stop[1]), radii[0], radii[1]), texture.shape)
        if patch is not None:
            blend(texture, patch, lit(patch, rng.uniform(0.1, 0.7), light, rng.uniform(0, 0.4)))


def paint_backdrop(rng: np.random.Generator, light: FloatArray) -> FloatArray:
    """Paint the plane, (H, W) float32 linear grey, once per frame; both cameras look at the same one."""
    texture = rng.uniform(0.12, 0.5) + rng.uniform(0.02, 0.11) * _noise(rng)
    texture = _flat_clutter(rng, texture, light)
    _decoys(rng, texture, light)
    grain = rng.standard_normal(texture.shape, dtype=np.float32)
    return np.clip(texture + rng.uniform(0.0, 0.03) * grain, 0.0, 1.0)


def view_backdrop(texture: FloatArray, camera: PinholeCamera, depth: float) -> FloatArray:
    """Look at the plane of :func:`paint_backdrop`, which stands upright at ``depth``, z of the world frame."""
    width, height = TEXELS_WH
    texel_to_world = np.array(
        [
            [TEXEL, 0, -TEXEL * (width - 1) / 2],
            [0, TEXEL, -TEXEL * (height - 1) / 2],
            [0, 0, depth],
            [0, 0, 1],
        ]
    )
    texel_to_uv = camera.K.numpy() @ camera.world_to_camera.numpy()[:3] @ texel_to_world
    view = cv2.warpPerspective(
        texture, texel_to_uv, camera.size_wh, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.asarray(view)


@attrs.frozen
class Capsule:
    """A tapered capsule in an image, from ``a_uv`` to ``b_uv``, all in pixels; a disc where both ends coincide."""

    a_uv: tuple[float, float]
    b_uv: tuple[float, float]
    radius_a: float
    radius_b: float

    @classmethod
    def disc(cls, center_uv: tuple[float, float], radius: float) -> Capsule:
        """Return the capsule of length zero."""
        return cls(center_uv, center_uv, radius, radius)


@attrs.frozen(eq=False)
class Patch:
    """The part of a canvas that a body touches.

    Args:
        window: rows and columns of the canvas.
        coverage: (h, w) share of each pixel that the body covers, 0..1.
        along: (h, w) place along the axis, 0 at a and 1 at b.
        normal_u: (h, w) surface normal to the right, of a round body seen from the front.
        normal_v: (h, w) surface normal downwards.
    """

    window: tuple[slice, slice]
    coverage: FloatArray
    along: FloatArray
    normal_u: FloatArray
    normal_v: FloatArray


def _window(capsule: Capsule, shape_hw: tuple[int, ...]) -> tuple[slice, slice] | None:
    reach = max(capsule.radius_a, capsule.radius_b) + 1.0
    spans = []
    for axis, size in ((1, shape_hw[0]), (0, shape_hw[1])):
        ends = (capsule.a_uv[axis], capsule.b_uv[axis])
        low = max(int(np.floor(min(ends) - reach)), 0)
        high = min(int(np.ceil(max(ends) + reach)) + 1, size)
        if low >= high:
            return None
        spans.append(slice(low, high))
    return spans[0], spans[1]


def cover(capsule: Capsule, shape_hw: tuple[int, ...]) -> Patch | None:
    """Find what a body covers of a canvas of shape (H, W); None where it lies wholly outside."""
    window = _window(capsule, shape_hw)
    if window is None:
        return None
    rows, columns = window
    v = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - np.float32(capsule.a_uv[1])
    u = np.arange(columns.start, columns.stop, dtype=np.float32)[None, :] - np.float32(capsule.a_uv[0])
    du, dv = capsule.b_uv[0] - capsule.a_uv[0], capsule.b_uv[1] - capsule.a_uv[1]
    along = np.clip((u * du + v * dv) / max(du * du + dv * dv, MIN_LENGTH_PX2), 0.0, 1.0)
    radius = capsule.radius_a + along * (capsule.radius_b - capsule.radius_a)
    off_u, off_v = u - along * du, v - along * dv
    coverage = np.clip(radius + 0.5 - np.hypot(off_u, off_v), 0.0, 1.0)
    return Patch(window, coverage, along, off_u / radius, off_v / radius)


def lit(patch: Patch, albedo: FloatArray | float, light: FloatArray, gloss: float) -> FloatArray:
    """Shade a round body: diffuse light, some ambient light and one highlight.

    Args:
        patch: what the body covers.
        albedo: () or (h, w), 0..1.
        light: (3,) unit vector towards the light, camera axes; z is negative for light from the camera's side.
        gloss: strength of the highlight.
    """
    facing = np.sqrt(np.clip(1.0 - patch.normal_u**2 - patch.normal_v**2, 0.0, 1.0))
    diffuse = np.clip(patch.normal_u * light[0] + patch.normal_v * light[1] - facing * light[2], 0.0, 1.0)
    halfway = light + np.array([0.0, 0.0, -1.0])
    halfway = halfway / np.linalg.norm(halfway)
    shine = np.clip(patch.normal_u * halfway[0] + patch.normal_v * halfway[1] - facing * halfway[2], 0.0, 1.0)
    shade: FloatArray = albedo * (0.3 + 0.7 * diffuse) + gloss * shine**24
    return shade


def blend(canvas: FloatArray, patch: Patch, shade: FloatArray | float) -> None:
    """Lay a shade over the canvas, in place, as far as the body covers each pixel."""
    under = canvas[patch.window]
    under += patch.coverage * (shade - under)
