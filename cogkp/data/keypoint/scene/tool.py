"""Sample poses of the synthetic tool: a slim pointed link from tip to turn, hinged to a handle from turn to end."""

from __future__ import annotations

import math
from collections.abc import Mapping

import attrs
import numpy as np
import numpy.typing as npt
import torch

from cogkp.errors import GeometryError
from cogkp.geometry.camera import PinholeCamera

__all__ = ["POINTS", "TIP_TURN", "TURN_END", "PoseRange", "sample_tool"]

POINTS = ("tip", "turn", "end")
TIP_TURN = 1.5
TURN_END = 2.0
"""Lengths of the two links, world units."""

MAX_TRIES = 1000

FloatArray = npt.NDArray[np.float64]


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


def _direction(heading_rad: float, tilt_rad: float) -> FloatArray:
    flat = math.cos(tilt_rad)
    return np.array([flat * math.cos(heading_rad), flat * math.sin(heading_rad), math.sin(tilt_rad)])


def _bent_from(axis: FloatArray, angle_rad: float, roll_rad: float) -> FloatArray:
    """Return the unit vector at an angle to a unit axis, turned about it by a roll; roll 0 stays in the image plane."""
    side = np.cross(axis, [0.0, 0.0, 1.0])
    side /= np.linalg.norm(side)
    lateral = math.cos(roll_rad) * side + math.sin(roll_rad) * np.cross(axis, side)
    bent: FloatArray = math.cos(angle_rad) * axis + math.sin(angle_rad) * lateral
    return bent


def _propose(rng: np.random.Generator, pose: PoseRange) -> FloatArray:
    heading = math.radians(rng.uniform(*pose.heading_deg))
    tilt, roll = np.radians(rng.uniform(-pose.tilt_deg, pose.tilt_deg, 2))
    to_end = _direction(heading, tilt)
    to_tip = _bent_from(to_end, math.radians(rng.uniform(*pose.hinge_deg)), roll)
    shape = np.stack([TIP_TURN * to_tip, np.zeros(3), TURN_END * to_end])
    depth = rng.uniform(*pose.depth)
    middle = np.array([*rng.uniform(-0.36, 0.36, 2) * depth * (1.0, 0.8), depth])
    placed: FloatArray = shape - shape.mean(0) + middle
    return placed


def sample_tool(
    rng: np.random.Generator, cameras: Mapping[str, PinholeCamera], pose: PoseRange | None = None
) -> FloatArray:
    """Sample a tool that every camera sees whole.

    Args:
        rng: source of randomness.
        cameras: those that must see all three points.
        pose: how the tool may stand; None means the defaults of :class:`PoseRange`.

    Returns:
        (3, 3) float64, rows tip, turn, end, world frame and unit.

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
