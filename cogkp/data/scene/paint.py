"""Paint round bodies onto a grey canvas with anti-aliased, exact edges.

A body is a tapered capsule: a disc that slides from a to b while its radius changes. Its coverage of a pixel is found
from the signed distance of the pixel's centre to the outline, so its edges are smooth and its place is exact to a small
fraction of a pixel. Canvas values are linear grey, 0 black and 1 white.
"""

from __future__ import annotations

import attrs
import numpy as np
import numpy.typing as npt

__all__ = ["Capsule", "Patch", "blend", "cover", "lit"]

FloatArray = npt.NDArray[np.floating]
MIN_LENGTH_PX2 = 1e-9


@attrs.frozen
class Capsule:
    """A tapered capsule in an image; a disc where both ends coincide.

    Args:
        a_uv: (2,) one end, pixels.
        b_uv: (2,) the other end, pixels.
        radius_a: radius at a, pixels.
        radius_b: radius at b, pixels.
    """

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
