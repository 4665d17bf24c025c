"""Sample poses of the synthetic tool, and render it: links, marks and their mask classes."""

from __future__ import annotations

import math
from collections.abc import Mapping

import attrs
import numpy as np
import numpy.typing as npt
import torch

from cogkp.data.scene.backdrop import Capsule, Patch, blend, cover, lit
from cogkp.errors import GeometryError
from cogkp.geometry.camera import PinholeCamera

POINTS = ("tip", "turn", "end")
TIP_TURN = 1.5
TURN_END = 2.0
"""Lengths of the two links, world units."""

MAX_TRIES = 1000

DoubleArray = npt.NDArray[np.float64]

FloatArray = npt.NDArray[np.floating]
Mask = npt.NDArray[np.uint8]
CLASSES = ("background", "pointer", "handle")
POINTER, HANDLE = 1, 2
RADII = {"tip": 0.065, "turn": 0.2, "hinge": 0.21, "end": 0.27}
"""Radii of the links at their points, world units."""


@attrs.frozen(kw_only=True)
class PoseRange:
    """How the tool may stand before the cameras; all angles in degrees, lengths in world units.

    Args:
        depth: distance of the tool's middle along the head's axis.
        heading_deg: direction from turn to end in the image plane, 0 to the right, 90 down.
        tilt_deg: largest lean of each link out of the image plane.
        hinge_deg: angle between the links; 180 is a straight tool.
        margin_px: distance every point keeps from every frame's border.
    """

    depth: tuple[float, float] = (5.6, 7.4)
    heading_deg: tuple[float, float] = (-50.0, 50.0)
    tilt_deg: float = 30.0
    hinge_deg: tuple[float, float] = (60.0, 155.0)
    margin_px: float = 14.0


def _direction(heading_rad: float, tilt_rad: float) -> DoubleArray:
    flat = math.cos(tilt_rad)
    return np.array([flat * math.cos(heading_rad), flat * math.sin(heading_rad), math.sin(tilt_rad)])


def _bent_from(axis: DoubleArray, angle_rad: float, roll_rad: float) -> DoubleArray:
    """Return the unit vector at an angle to a unit axis, turned about it by a roll; roll 0 stays in the image plane."""
    side = np.cross(axis, [0.0, 0.0, 1.0])
    side /= np.linalg.norm(side)
    lateral = math.cos(roll_rad) * side + math.sin(roll_rad) * np.cross(axis, side)
    bent: DoubleArray = math.cos(angle_rad) * axis + math.sin(angle_rad) * lateral
    return bent


def _propose(rng: np.random.Generator, pose: PoseRange) -> DoubleArray:
    heading = math.radians(rng.uniform(*pose.heading_deg))
    tilt, roll = np.radians(rng.uniform(-pose.tilt_deg, pose.tilt_deg, 2))
    to_end = _direction(heading, tilt)
    to_tip = _bent_from(to_end, math.radians(rng.uniform(*pose.hinge_deg)), roll)
    shape = np.stack([TIP_TURN * to_tip, np.zeros(3), TURN_END * to_end])
    depth = rng.uniform(*pose.depth)
    middle = np.array([*rng.uniform(-0.36, 0.36, 2) * depth * (1.0, 0.8), depth])
    placed: DoubleArray = shape - shape.mean(0) + middle
    return placed


def sample_tool(
    rng: np.random.Generator, cameras: Mapping[str, PinholeCamera], pose: PoseRange | None = None
) -> DoubleArray:
    """Sample a tool that every camera sees whole: (3, 3) float64, rows tip, turn, end, world frame and unit.

    Raises:
        GeometryError: no such pose was found; the cameras do not look at the same place.
    """
    pose = pose or PoseRange()
    for _ in range(MAX_TRIES):
        xyz_world = _propose(rng, pose)
        points = torch.from_numpy(xyz_world)
        views = [(camera, camera.project(points)) for camera in cameras.values()]
        if all(
            bool((projected.valid & camera.contains(projected.uv, pose.margin_px)).all()) for camera, projected in views
        ):
            return xyz_world
    raise GeometryError("the cameras share no view of the tool", hint="Check poses and the depth range.")


@attrs.frozen(eq=False)
class Look:
    """Materials and light of one frame."""

    light: FloatArray
    pointer: float
    handle: float
    pivot: float
    cap: float
    gloss: float
    grip: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Look:
        """Draw a bright pointer, a darker handle and contrasting marks."""
        light = np.array([*rng.uniform(-0.8, 0.8, 2), -1.0])
        return cls(
            light=light / np.linalg.norm(light),
            pointer=rng.uniform(0.55, 0.9),
            handle=rng.uniform(0.22, 0.5),
            pivot=rng.uniform(0.04, 0.14),
            cap=rng.uniform(0.7, 0.95),
            gloss=rng.uniform(0.1, 0.6),
            grip=rng.uniform(0.2, 0.6),
        )


def link_capsule(uv: FloatArray, px_per_unit: FloatArray, ends: tuple[int, int], radii: tuple[float, float]) -> Capsule:
    """Return the image of a round link between two of the points; radii in world units."""
    (a, b), (ra, rb) = ends, radii
    a_uv, b_uv = ((float(uv[i, 0]), float(uv[i, 1])) for i in ends)
    return Capsule(a_uv, b_uv, float(ra * px_per_unit[a]), float(rb * px_per_unit[b]))


def _handle_albedo(patch: Patch, look: Look) -> FloatArray:
    """Darken the handle by grip rings between its middle and its cap."""
    rings = 0.5 + 0.5 * np.cos(2 * np.pi * 14 * patch.along)
    gripped = (patch.along > 0.45) & (patch.along < 0.85)  # noqa: PLR2004
    return np.asarray(look.handle * (1.0 - look.grip * rings * gripped))


def _pointer_albedo(patch: Patch, look: Look) -> FloatArray:
    """Put a dark collar behind the bright point of the pointer."""
    collar = (patch.along > 0.16) & (patch.along < 0.24)  # noqa: PLR2004
    return look.pointer * np.where(collar, 0.35, 1.0)


def lay(canvas: FloatArray, mask: Mask, patch: Patch | None, shade: FloatArray | float, class_id: int) -> None:
    """Paint one body and its class, in place; a pixel changes class where the body covers most of it."""
    if patch is not None:
        blend(canvas, patch, shade)
        mask[patch.window][patch.coverage > 0.5] = class_id  # noqa: PLR2004


def _far_link_first(uv: FloatArray, depth: FloatArray) -> tuple[int, int]:
    """Order the links so that the one that rises towards the camera is painted over the other."""
    lengths = np.linalg.norm(uv[[0, 2]] - uv[1], axis=-1) + 1e-6
    rise = (depth[[0, 2]] - depth[1]) / lengths
    return (POINTER, HANDLE) if rise[0] > rise[1] else (HANDLE, POINTER)


def _draw_marks(canvas: FloatArray, mask: Mask, uv: FloatArray, px_per_unit: FloatArray, look: Look) -> None:
    """Put the pivot over the turn and a plug into the end; both are discs about the true points."""
    turn, end = ((float(point[0]), float(point[1])) for point in uv[1:])
    for center, radius, shade, class_id in (
        (turn, 0.72 * RADII["hinge"] * px_per_unit[1], look.pivot, POINTER),
        (turn, 0.32 * RADII["hinge"] * px_per_unit[1], look.pointer, POINTER),
        (end, 0.6 * RADII["end"] * px_per_unit[2], look.cap, HANDLE),
        (end, 0.25 * RADII["end"] * px_per_unit[2], look.pivot, HANDLE),
    ):
        lay(canvas, mask, cover(Capsule.disc(center, float(radius)), canvas.shape), shade, class_id)


def draw_tool(canvas: FloatArray, mask: Mask, uv: FloatArray, depth: FloatArray, focal_px: float, look: Look) -> None:
    """Paint the tool and its classes over a canvas, (H, W) float32 linear grey, and a mask, in place.

    ``uv`` (3, 2) are the pixels of tip, turn and end, ``depth`` (3,) their depths, world units.
    """
    px_per_unit = focal_px / depth
    links = {
        POINTER: (link_capsule(uv, px_per_unit, (0, 1), (RADII["tip"], RADII["turn"])), _pointer_albedo, look.gloss),
        HANDLE: (
            link_capsule(uv, px_per_unit, (1, 2), (RADII["hinge"], RADII["end"])),
            _handle_albedo,
            0.3 * look.gloss,
        ),
    }
    for class_id in _far_link_first(uv, depth):
        capsule, albedo, gloss = links[class_id]
        patch = cover(capsule, canvas.shape)
        if patch is not None:
            lay(canvas, mask, patch, lit(patch, albedo(patch, look), look.light, gloss), class_id)
    _draw_marks(canvas, mask, uv, px_per_unit, look)
