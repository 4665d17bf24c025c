"""Render one image of textured boxes from a seed and an index, with exact poses, sizes and visibility."""

from __future__ import annotations

from functools import lru_cache

import attrs
import cv2
import numpy as np
import numpy.typing as npt

from cogkp.data.boxes.scene.bodies import coverage, paint_body, silhouette, upright_body
from cogkp.data.boxes.scene.world import CORNERS, BoxWorld, Placed, sample_world
from cogkp.data.scene.backdrop import paint_backdrop
from cogkp.errors import DataError

__all__ = ["BoxImage", "BoxScene", "render_box_image"]

FloatArray = npt.NDArray[np.floating]
Mask = npt.NDArray[np.float32]

ALIKE = (1, 2, 4, 6, 8, 12, 16, 24)
"""Numbers of equal turns that bodies can be made with."""

IMAGES_PER_BACKDROP = 16
SHADOW = 0.5
FULL = 255


SMALLEST_SIDE, LARGEST_SIDE = 16, 8192
MOST_BOXES = 100


@attrs.frozen(kw_only=True)
class BoxScene:
    """What is to be rendered.

    Args:
        size_wh: width and height of the images, pixels.
        shape: a key of :data:`cogkp.data.boxes.scene.world.SHAPES`.
        turns: after how many equal turns about its height each body looks alike: 1, 2, 4, or more for a can.
        most_boxes: each image has one to so many.
    """

    size_wh: tuple[int, int] = (320, 240)
    shape: str = "carton"
    turns: int = 1
    most_boxes: int = 1

    def __attrs_post_init__(self) -> None:
        if self.turns not in ALIKE or not 1 <= self.most_boxes <= MOST_BOXES:
            raise DataError(
                "such boxes cannot be rendered",
                expected=f"turns of {', '.join(map(str, ALIKE))}, and 1 to {MOST_BOXES} boxes",
                got=f"{self.turns} turns, {self.most_boxes} boxes",
            )
        if not all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in self.size_wh):
            raise DataError(
                "such images cannot be rendered",
                expected=f"sides of {SMALLEST_SIDE} to {LARGEST_SIDE} pixels",
                got="{} x {}".format(*self.size_wh),
            )


@attrs.frozen(eq=False)
class BoxImage:
    """One image.

    Args:
        image: (H, W, 3) uint8 RGB.
        world: the exact truth.
        visibility: of each box, the share of its outline that is in the image and not hidden.
    """

    image: npt.NDArray[np.uint8]
    world: BoxWorld
    visibility: tuple[float, ...]


def render_box_image(seed: int, index: int, scene: BoxScene) -> BoxImage:
    """Render one image of the series that belongs to a seed.

    Args:
        seed: names the series.
        index: names the image.
        scene: what is to be seen.

    Returns:
        The same image for the same arguments, always.
    """
    rng = np.random.default_rng([seed, index, 1])
    count = int(rng.integers(1, scene.most_boxes + 1))
    world = sample_world(rng, scene.size_wh, shape=scene.shape, count=count, turns=scene.turns)
    light = _light(rng, world.up)
    canvas = _backdrop(rng, seed, index // IMAGES_PER_BACKDROP, scene.size_wh)
    for box in world.boxes:
        _cast_shadow(canvas, box, world, light)
    visibility = _paint_boxes(rng, canvas, world, light, scene.turns)
    return BoxImage(_developed(rng, canvas), world, visibility)


def _paint_boxes(
    rng: np.random.Generator, canvas: FloatArray, world: BoxWorld, light: FloatArray, turns: int
) -> tuple[float, ...]:
    """Paint the boxes from the farthest on, in place; returns how much of each is left to see."""
    areas = np.ones(len(world.boxes))
    masks: dict[int, Mask] = {}
    for place in world.far_first:
        box = world.boxes[place]
        body = upright_body(rng, box.size_xyz, turns)
        areas[place] = cv2.contourArea(silhouette(body, box.pose, world.K).astype(np.float32))
        mask = paint_body(canvas, body, box.pose, world.K, light)
        masks = {other: before * (1 - mask) for other, before in masks.items()}
        masks[place] = mask
    visible_px = np.array([masks[place].sum() for place in range(len(areas))])
    return tuple(np.clip(visible_px / areas, 0.0, 1.0).tolist())


def _light(rng: np.random.Generator, up: FloatArray) -> FloatArray:
    """Draw a light above the ground, a little nearer than what the camera sees."""
    light = up + 0.5 * rng.uniform(-1, 1, 3) - np.array([0.0, 0.0, 0.3])
    return np.asarray(light / np.linalg.norm(light))


@lru_cache(maxsize=2)
def _texture(seed: int, group: int) -> npt.NDArray[np.float32]:
    """Paint a grey backdrop; several images show different parts of it in colours of their own."""
    grey = paint_backdrop(np.random.default_rng([seed, group, 2]), np.array([0.3, 0.3, -0.9]))
    return np.asarray(grey, np.float32)


def _backdrop(rng: np.random.Generator, seed: int, group: int, size_wh: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Cut a turned piece out of a backdrop and give it two colours."""
    texture = _texture(seed, group)
    height, width = texture.shape
    zoom = max(size_wh) / (width * rng.uniform(0.5, 1.0))
    turn = cv2.getRotationMatrix2D((0.5 * width, 0.5 * height), rng.uniform(0, 360), zoom)
    turn[:, 2] += 0.5 * np.array(size_wh) - (0.5 * width, 0.5 * height)
    grey = cv2.warpAffine(texture, turn, size_wh, borderMode=cv2.BORDER_REFLECT_101)[..., None]
    low, high = rng.uniform(0.0, 0.25, 3), rng.uniform(0.4, 1.3, 3)
    return np.asarray(low + grey * (high - low), np.float32)


def _cast_shadow(canvas: FloatArray, box: Placed, world: BoxWorld, light: FloatArray) -> None:
    """Darken the ground where the box keeps the light away, in place."""
    points = (box.size_xyz * CORNERS) @ box.pose[:3, :3].T + box.pose[:3, 3]
    height = (points - box.foot) @ world.up
    fallen = points - np.outer(height / (light @ world.up), light)
    if fallen[:, 2].min() <= 0:
        return
    outline = cv2.convexHull(((fallen @ world.K[:2].T) / fallen[:, 2:]).astype(np.float32))[:, 0]
    soft = np.asarray(cv2.blur(cv2.blur(coverage(outline, canvas.shape[:2]), (5, 5)), (5, 5)))
    canvas *= np.float32(1.0) - np.float32(SHADOW) * soft[..., None]


def _developed(rng: np.random.Generator, canvas: FloatArray) -> npt.NDArray[np.uint8]:
    """Turn linear colours into a photograph: exposure, white balance, soft focus, noise, tone curve, 8 bits."""
    gains = rng.uniform(0.8, 1.3) * rng.uniform(0.93, 1.07, 3)
    focused = cv2.GaussianBlur(np.clip(canvas * gains.astype(np.float32), 0.0, 1.2), (0, 0), rng.uniform(0.35, 0.8))
    exposed = rng.standard_normal(canvas.shape, dtype=np.float32)
    exposed *= np.float32(rng.uniform(0.003, 0.015))
    exposed += focused
    toned = cv2.pow(np.clip(exposed, 0.0, 1.0, out=exposed), rng.uniform(0.6, 0.85))
    return np.asarray(cv2.convertScaleAbs(toned, alpha=FULL), np.uint8)
