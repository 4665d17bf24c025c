"""Labels of one image of boxes, as arrays.

Axes: S symmetries, M boxes. Nine points in the order of :mod:`cogkp.geometry.cuboid`.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
import numpy.typing as npt

from cogkp.data.boxes.frames import project
from cogkp.data.boxes.records import Ground, ImageRecord
from cogkp.geometry.cuboid import POINTS

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@attrs.frozen(eq=False, kw_only=True)
class ObjectLabels:
    """Labels of the boxes in one image; OpenCV axes, in the frame of the camera that took it.

    In a mirrored sample the pixels are numbered as the mirrored object's are; the places in space stay those of the
    object itself.

    Args:
        uv_source: (S, M, 9, 2) float64, pixels of the full frame, maybe outside; row 0 is the label, the others show
            the object after each of its equal turns. Zero where a row does not count.
        hypotheses: (S, M) bool, which rows count.
        xyz_camera: (M, 9, 3) float64, length unit of the data; zero where not known.
        cuboid_to_camera: (M, 4, 4) float64; identity where not known.
        located: (M,) bool, where both are known.
        size_xyz: (M, 3) float64, full side lengths; ones where not known.
        sized: (M,) bool, where they are known.
        visibility: (M,) float64, 0 hidden to 1 in full sight.
        categories: M words.
        K: (3, 3) float64 intrinsics, pixels of the full frame; None where nobody knows them.
        ground: what the boxes stand on; None where the file does not say.
        room: the most boxes of any image that may share a batch with this one, at least M.
    """

    uv_source: FloatArray
    hypotheses: BoolArray
    xyz_camera: FloatArray
    cuboid_to_camera: FloatArray
    located: BoolArray
    size_xyz: FloatArray
    sized: BoolArray
    visibility: FloatArray
    categories: tuple[str, ...]
    K: FloatArray | None
    ground: Ground | None
    room: int

    def numbered(self, order: npt.NDArray[np.int64]) -> ObjectLabels:
        """Say which recorded point stands at each place, by ``order`` (9,), as a mirror does."""
        return attrs.evolve(self, uv_source=self.uv_source[..., order, :])


def _stacked(values: Sequence[FloatArray | None], otherwise: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Stack arrays of one shape; with them, which of them were known."""
    known = np.array([value is not None for value in values], np.bool_)
    rows = [otherwise if value is None else value for value in values]
    return np.array(rows, np.float64).reshape(-1, *otherwise.shape), known


def labels_of(
    record: ImageRecord, num_symmetry: int = 1, rows: int | None = None, room: int | None = None
) -> ObjectLabels:
    """Make the labels of one image; a box whose place or camera is not known has row 0 only.

    ``num_symmetry`` counts for boxes whose file does not say it. ``rows`` is S, None for as many as these boxes need;
    ``room`` the most boxes of any image of the set, None for those of this one.
    """
    boxes = record.boxes
    xyz, known = _stacked([box.xyz_camera for box in boxes], np.zeros((POINTS, 3)))
    pose, posed = _stacked([box.cuboid_to_camera for box in boxes], np.eye(4))
    size, sized = _stacked([box.size_xyz for box in boxes], np.ones(3))
    turns = [box.turns(num_symmetry) for box in boxes]
    rows = max(turns, default=1) if rows is None else rows
    uv = np.zeros((rows, len(boxes), POINTS, 2))
    counted = np.zeros((rows, len(boxes)), np.bool_)
    for m, box in enumerate(boxes):
        projected = turned_pixels(box.uv_source, box.xyz_camera, box.cuboid_to_camera, record.K, turns[m])
        uv[: len(projected), m], counted[: len(projected), m] = projected, True
    return ObjectLabels(
        uv_source=uv,
        hypotheses=counted,
        xyz_camera=xyz,
        cuboid_to_camera=pose,
        located=known & posed,
        size_xyz=size,
        sized=sized,
        visibility=np.array([box.visibility for box in boxes], np.float64),
        categories=tuple(box.category for box in boxes),
        K=record.K,
        ground=record.ground,
        room=len(boxes) if room is None else room,
    )


def turned_pixels(
    uv: FloatArray, xyz: FloatArray | None, pose: FloatArray | None, K: FloatArray | None, turns: int
) -> FloatArray:
    """Return the pixels, (9, 2) as labelled, of an object's points after each of its equal turns about its own y axis.

    Returns:
        (turns, 9, 2), the label first; (1, 9, 2) where space or camera are not known or a turn goes behind the camera.
    """
    if turns == 1 or xyz is None or pose is None or K is None:
        return uv[None]
    angles = 2 * np.pi * np.arange(1, turns) / turns
    turned = np.zeros((turns - 1, 3, 3))
    turned[:, 0, 0] = turned[:, 2, 2] = np.cos(angles)
    turned[:, 0, 2], turned[:, 2, 0], turned[:, 1, 1] = np.sin(angles), -np.sin(angles), 1.0
    rotation, middle = pose[:3, :3], pose[:3, 3]
    moved = (xyz - middle) @ (rotation @ turned @ rotation.T).transpose(0, 2, 1) + middle
    projected = project(K, moved)
    return np.concatenate([uv[None], projected]) if np.isfinite(projected).all() else uv[None]
