"""Sample a camera and boxes on the ground before it; exact poses. OpenCV axes, lengths in metres."""

from __future__ import annotations

import attrs
import numpy as np
import numpy.typing as npt

from cogkp.errors import DataError
from cogkp.geometry.cuboid import UNIT_POINTS

__all__ = ["CORNERS", "SHAPES", "BoxWorld", "Placed", "sample_world"]

FloatArray = npt.NDArray[np.float64]

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


@attrs.frozen(eq=False)
class Placed:
    """A box that stands on the ground.

    Args:
        pose: (4, 4) its axes to the camera's.
        size_xyz: (3,) full side lengths.
    """

    pose: FloatArray
    size_xyz: FloatArray

    @property
    def reach(self) -> float:
        """Radius of the upright cylinder round the box."""
        return float(0.5 * np.hypot(self.size_xyz[0], self.size_xyz[2]))

    @property
    def foot(self) -> FloatArray:
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

    K: FloatArray
    boxes: tuple[Placed, ...]
    up: FloatArray

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
    """Sample a camera and boxes on the ground before it.

    Args:
        rng: the only source of randomness.
        size_wh: width and height of the image, pixels.
        shape: a key of ``SHAPES``.
        count: how many boxes are wanted; fewer where there is no room.
        turns: after how many equal turns they look alike.

    Returns:
        A world whose first box is wholly in the image.

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


def _camera(rng: np.random.Generator, size_wh: tuple[int, int]) -> FloatArray:
    focal = max(size_wh) * rng.uniform(0.9, 1.3)
    aspect = rng.uniform(0.99, 1.01)
    middle = 0.5 * np.subtract(size_wh, 1) + rng.uniform(-0.02, 0.02, 2) * size_wh
    return np.array([[focal, 0.0, middle[0]], [0.0, focal * aspect, middle[1]], [0.0, 0.0, 1.0]])


def _turn(axis: int, angle_rad: float) -> FloatArray:
    matrix = np.eye(3)
    first, second = ((1, 2), (2, 0), (0, 1))[axis]
    matrix[first, first] = matrix[second, second] = np.cos(angle_rad)
    matrix[first, second], matrix[second, first] = -np.sin(angle_rad), np.sin(angle_rad)
    return matrix


def _tilt(rng: np.random.Generator) -> FloatArray:
    """Turn level camera axes into those of a camera that looks down on the ground, a little askew."""
    return np.asarray(_turn(2, np.deg2rad(rng.uniform(-8, 8))) @ _turn(0, np.deg2rad(rng.uniform(12, 55))))


def _size(rng: np.random.Generator, shape: str, turns: int) -> FloatArray:
    size = np.array(SHAPES[shape]) * rng.uniform(1 - SPREAD, 1 + SPREAD, 3)
    if turns >= LEVEL_TURNS:
        size[2] = size[0]
    return size


def _standing(tilt: FloatArray, yaw_rad: float, location: FloatArray, size_xyz: FloatArray) -> Placed:
    pose = np.eye(4)
    pose[:3, :3] = tilt @ UPRIGHT @ _turn(1, yaw_rad)
    pose[:3, 3] = location
    return Placed(pose, size_xyz)


def _first(
    rng: np.random.Generator, K: FloatArray, tilt: FloatArray, shape: str, turns: int, size_wh: tuple[int, int]
) -> Placed:
    size = _size(rng, shape, turns)
    extent = rng.uniform(0.3, 0.75) * min(size_wh)
    depth = K[0, 0] * float(np.linalg.norm(size)) / extent
    pixel = np.append(0.5 * np.array(size_wh) + rng.uniform(-0.3, 0.3, 2) * size_wh, 1.0)
    return _standing(tilt, rng.uniform(-np.pi, np.pi), np.linalg.solve(K, pixel) * depth, size)


def _beside(rng: np.random.Generator, first: Placed, tilt: FloatArray, size_xyz: FloatArray) -> Placed:
    """Put a box on the ground of the first one, within a few of its lengths."""
    away = rng.uniform(-4, 4, 2) * first.reach
    foot = first.foot + tilt @ np.array([away[0], 0.0, away[1]])
    return _standing(tilt, rng.uniform(-np.pi, np.pi), foot - 0.5 * size_xyz[1] * tilt[:, 1], size_xyz)


def _projected(box: Placed, K: FloatArray) -> FloatArray | None:
    points = (box.size_xyz * CORNERS) @ box.pose[:3, :3].T + box.pose[:3, 3]
    if points[:, 2].min() < box.reach:
        return None
    return np.asarray((points @ K[:2].T) / points[:, 2:])


def _inside(box: Placed, K: FloatArray, size_wh: tuple[int, int]) -> bool:
    uv = _projected(box, K)
    return uv is not None and bool((uv >= 0).all() and (uv <= np.subtract(size_wh, 1)).all())


def _in_view(box: Placed, K: FloatArray, size_wh: tuple[int, int]) -> bool:
    """Tell whether at least the middle of a box is in the image."""
    uv = _projected(box, K)
    return uv is not None and bool((uv.mean(0) >= 0).all() and (uv.mean(0) <= np.subtract(size_wh, 1)).all())


def _clear(box: Placed, others: list[Placed]) -> bool:
    return all(float(np.linalg.norm(box.foot - other.foot)) > APART * (box.reach + other.reach) for other in others)
