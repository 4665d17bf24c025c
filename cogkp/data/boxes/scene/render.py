"""Render one image of textured boxes from a seed and an index, with exact poses, sizes and visibility."""

from functools import lru_cache

import attrs
import cv2
import numpy as np
import numpy.typing as npt

from cogkp.data.boxes.scene.bodies import coverage, paint_body, silhouette, upright_body
from cogkp.data.scene.backdrop import paint_backdrop
from cogkp.errors import DataError
from cogkp.geometry.cuboid import UNIT_POINTS

DoubleArray = npt.NDArray[np.float64]

SHAPES = {
    "carton": (0.30, 0.22, 0.22),
    "cereal_box": (0.19, 0.29, 0.07),
    "book": (0.16, 0.04, 0.24),
    "crate": (0.24, 0.24, 0.24),
    "can": (0.08, 0.12, 0.08),
}
"""Mean sizes of the categories: width, height, depth."""

SPREAD = 0.25
"""Sizes vary by up to this share either way, each side for itself."""

LEVEL_TURNS = 4
"""From so many equal turns on width and depth are the same."""

CORNERS = np.array(UNIT_POINTS)[1:]
UPRIGHT = np.diag([1.0, -1.0, -1.0])
TRIES = 200
APART = 1.05

FloatArray = npt.NDArray[np.floating]
Mask = npt.NDArray[np.float32]
ALIKE = (1, 2, 4, 6, 8, 12, 16, 24)
"""Numbers of equal turns that bodies can be made with."""

IMAGES_PER_BACKDROP = 16
SHADOW = 0.5
FULL = 255
SMALLEST_SIDE, LARGEST_SIDE = 16, 8192
MOST_BOXES = 100


@attrs.frozen(eq=False)
class Placed:
    """A box that stands on the ground: its pose (4, 4) in the camera's axes and full side lengths (3,)."""

    pose: DoubleArray
    size_xyz: DoubleArray

    @property
    def reach(self) -> float:
        """Radius of the upright cylinder round the box."""
        return float(0.5 * np.hypot(self.size_xyz[0], self.size_xyz[2]))

    @property
    def foot(self) -> DoubleArray:
        """(3,) middle of the face it stands on."""
        return np.asarray(self.pose[:3, 3] - 0.5 * self.size_xyz[1] * self.pose[:3, 1])


@attrs.frozen(eq=False)
class BoxWorld:
    """One moment.

    Args:
        K: (3, 3) intrinsics, pixels.
        boxes: in the order they were placed; all stand on one ground.
        up: (3,) unit vector against gravity, camera axes.
    """

    K: DoubleArray
    boxes: tuple[Placed, ...]
    up: DoubleArray

    @property
    def far_first(self) -> list[int]:
        """Order the boxes so that none hides one that comes later.

        Seen from above they stand in circles that do not meet; a circle can only hide one whose tangent from the
        camera is longer.
        """
        return sorted(range(len(self.boxes)), key=lambda index: -self._tangent(self.boxes[index]))

    def _tangent(self, box: Placed) -> float:
        flat = box.foot - self.up * (box.foot @ self.up)
        return float(flat @ flat - box.reach**2)


def sample_world(rng: np.random.Generator, size_wh: tuple[int, int], *, shape: str, count: int, turns: int) -> BoxWorld:
    """Sample a camera and boxes on the ground before it; the first box is wholly in the image.

    Of the ``count`` boxes there are fewer where there is no room; ``turns`` as in :class:`BoxScene`.

    Raises:
        DataError: there is no such shape.
    """
    if shape not in SHAPES:
        raise DataError("unknown shape of boxes", expected=f"one of {', '.join(SHAPES)}", got=repr(shape))
    K = _camera(rng, size_wh)
    tilt = _tilt(rng)
    first = _first(rng, K, tilt, shape, turns, size_wh)
    while not _inside(first, K, size_wh):
        first = _first(rng, K, tilt, shape, turns, size_wh)
    boxes = [first]
    for _ in range(TRIES):
        if len(boxes) >= count:
            break
        box = _beside(rng, first, tilt, _size(rng, shape, turns))
        if _clear(box, boxes) and _in_view(box, K, size_wh):
            boxes.append(box)
    return BoxWorld(K, tuple(boxes), -tilt[:, 1])


def _camera(rng: np.random.Generator, size_wh: tuple[int, int]) -> DoubleArray:
    focal = max(size_wh) * rng.uniform(0.9, 1.3)
    aspect = rng.uniform(0.99, 1.01)
    middle = 0.5 * np.subtract(size_wh, 1) + rng.uniform(-0.02, 0.02, 2) * size_wh
    return np.array([[focal, 0.0, middle[0]], [0.0, focal * aspect, middle[1]], [0.0, 0.0, 1.0]])


def _turn(axis: int, angle_rad: float) -> DoubleArray:
    matrix = np.eye(3)
    first, second = ((1, 2), (2, 0), (0, 1))[axis]
    matrix[first, first] = matrix[second, second] = np.cos(angle_rad)
    matrix[first, second], matrix[second, first] = -np.sin(angle_rad), np.sin(angle_rad)
    return matrix


def _tilt(rng: np.random.Generator) -> DoubleArray:
    """Turn level camera axes into those of a camera that looks down on the ground, a little askew."""
    return np.asarray(_turn(2, np.deg2rad(rng.uniform(-8, 8))) @ _turn(0, np.deg2rad(rng.uniform(12, 55))))


def _size(rng: np.random.Generator, shape: str, turns: int) -> DoubleArray:
    size = np.array(SHAPES[shape]) * rng.uniform(1 - SPREAD, 1 + SPREAD, 3)
    if turns >= LEVEL_TURNS:
        size[2] = size[0]
    return size


def _standing(tilt: DoubleArray, yaw_rad: float, location: DoubleArray, size_xyz: DoubleArray) -> Placed:
    pose = np.eye(4)
    pose[:3, :3] = tilt @ UPRIGHT @ _turn(1, yaw_rad)
    pose[:3, 3] = location
    return Placed(pose, size_xyz)


def _first(
    rng: np.random.Generator, K: DoubleArray, tilt: DoubleArray, shape: str, turns: int, size_wh: tuple[int, int]
) -> Placed:
    size = _size(rng, shape, turns)
    extent = rng.uniform(0.3, 0.75) * min(size_wh)
    depth = K[0, 0] * float(np.linalg.norm(size)) / extent
    pixel = np.append(0.5 * np.array(size_wh) + rng.uniform(-0.3, 0.3, 2) * size_wh, 1.0)
    return _standing(tilt, rng.uniform(-np.pi, np.pi), np.linalg.solve(K, pixel) * depth, size)


def _beside(rng: np.random.Generator, first: Placed, tilt: DoubleArray, size_xyz: DoubleArray) -> Placed:
    """Put a box on the ground of the first one, within a few of its lengths."""
    away = rng.uniform(-4, 4, 2) * first.reach
    foot = first.foot + tilt @ np.array([away[0], 0.0, away[1]])
    return _standing(tilt, rng.uniform(-np.pi, np.pi), foot - 0.5 * size_xyz[1] * tilt[:, 1], size_xyz)


def _projected(box: Placed, K: DoubleArray) -> DoubleArray | None:
    points = (box.size_xyz * CORNERS) @ box.pose[:3, :3].T + box.pose[:3, 3]
    if points[:, 2].min() < box.reach:
        return None
    return np.asarray((points @ K[:2].T) / points[:, 2:])


def _inside(box: Placed, K: DoubleArray, size_wh: tuple[int, int]) -> bool:
    uv = _projected(box, K)
    return uv is not None and bool((uv >= 0).all() and (uv <= np.subtract(size_wh, 1)).all())


def _in_view(box: Placed, K: DoubleArray, size_wh: tuple[int, int]) -> bool:
    """Tell whether at least the middle of a box is in the image."""
    uv = _projected(box, K)
    return uv is not None and bool((uv.mean(0) >= 0).all() and (uv.mean(0) <= np.subtract(size_wh, 1)).all())


def _clear(box: Placed, others: list[Placed]) -> bool:
    return all(float(np.linalg.norm(box.foot - other.foot)) > APART * (box.reach + other.reach) for other in others)


@attrs.frozen(kw_only=True)
class BoxScene:
    """What is to be rendered.

    Args:
        size_wh: width and height of the images, pixels.
        shape: a key of :data:`cogkp.data.boxes.scene.render.SHAPES`.
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
    """Render image ``index`` of the series that a seed names; always the same for the same arguments."""
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
