"""Render one stereo frame from a seed and an index: grey images, exact points and class masks.

What belongs to the scene (pose, light, materials, clutter, things in the way) is drawn once per frame and seen by both
cameras; what belongs to a camera (exposure, vignette, focus, noise) is drawn for each.

World: origin midway between the cameras, OpenCV axes (+x right, +y down, +z forward), one world unit about 30 mm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import attrs
import cv2
import numpy as np
import numpy.typing as npt
import torch

from cogkp.data.calibration import calibration_content
from cogkp.data.keypoint.scene.body import Look, PoseRange, draw_tool, lay, link_capsule, sample_tool
from cogkp.data.scene.backdrop import cover, lit, paint_backdrop, view_backdrop
from cogkp.geometry.camera import PinholeCamera
from cogkp.geometry.rig import CameraRig

CAMERAS = ("LL", "LR")

DoubleArray = npt.NDArray[np.float64]

FloatArray = npt.NDArray[np.floating]
Mask = npt.NDArray[np.uint8]


def _rotation(yaw_deg: float, pitch_deg: float, roll_deg: float) -> DoubleArray:
    """Rotate about y, then x, then z."""
    (cy, cx, cz), (sy, sx, sz) = (
        [turn(math.radians(angle)) for angle in (yaw_deg, pitch_deg, roll_deg)] for turn in (math.cos, math.sin)
    )
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_x @ about_y)


def _camera(
    center_x: float,
    angles_deg: tuple[float, float, float],
    focal_px: tuple[float, float],
    principal: tuple[float, float],
) -> PinholeCamera:
    K = torch.tensor([[focal_px[0], 0.0, principal[0]], [0.0, focal_px[1], principal[1]], [0.0, 0.0, 1.0]])
    world_to_camera = np.eye(4)
    world_to_camera[:3, :3] = _rotation(*angles_deg)
    world_to_camera[:3, 3] = -world_to_camera[:3, :3] @ np.array([center_x, 0.0, 0.0])
    return PinholeCamera(K.double(), torch.from_numpy(world_to_camera), (320, 256))


def stereo_head() -> dict[str, PinholeCamera]:
    """Return the head: baseline 2.6 world units, optical axes meeting about 6.5 units away.

    The two cameras differ a little in focal length, principal point and mounting angles, as real ones do, so that
    code which mixes them up is found out.
    """
    return {
        "LL": _camera(-1.3, (-11.0, 0.3, -0.4), (431.2, 430.7), (161.3, 126.1)),
        "LR": _camera(1.3, (11.5, -0.2, 0.5), (428.6, 428.9), (157.4, 129.2)),
    }


def calibration(cameras: Mapping[str, PinholeCamera]) -> dict[str, Any]:
    """Write cameras as the content of our calibration file."""
    return calibration_content(CameraRig(tuple(cameras), tuple(cameras.values())))


def project(camera: PinholeCamera, xyz_world: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    """Project (N, 3) points; return (N, 2) pixels and (N,) depths, both float64."""
    projected = camera.project(torch.from_numpy(np.ascontiguousarray(xyz_world)))
    return projected.uv.numpy(), projected.depth.numpy()


@attrs.frozen(eq=False)
class RenderedView:
    """What one camera recorded.

    Args:
        image: (H, W) uint8.
        mask: (H, W) uint8 indices into ``cogkp.data.keypoint.scene.body.CLASSES``.
        uv: (3, 2) float64, tip, turn, end, pixels.
    """

    image: npt.NDArray[np.uint8]
    mask: Mask
    uv: npt.NDArray[np.float64]


@attrs.frozen(eq=False)
class RenderedFrame:
    """One moment: tip, turn and end, (3, 3) float64, world units, and the view of each camera by its name."""

    xyz_world: npt.NDArray[np.float64]
    views: Mapping[str, RenderedView]


def _cast_shadow(canvas: FloatArray, silhouette: Mask, light: FloatArray) -> None:
    """Darken the backdrop beside the tool, away from the light, in place; computed at a quarter of the size."""
    height, width = silhouette.shape
    small = cv2.resize((silhouette > 0).astype(np.float32), (width // 4, height // 4), interpolation=cv2.INTER_AREA)
    shift = np.array([[1, 0, -7 * light[0]], [0, 1, -7 * light[1]]])
    soft = cv2.GaussianBlur(cv2.warpAffine(small, shift, small.shape[::-1]), (0, 0), 2.0)
    canvas *= 1.0 - 0.55 * cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR)


@attrs.frozen(eq=False)
class Obstacle:
    """A rod, a cable or a finger between the cameras and the tool."""

    ends_world: npt.NDArray[np.float64]
    radii: tuple[float, float]
    albedo: float
    gloss: float

    @classmethod
    def sample(cls, rng: np.random.Generator, xyz_world: FloatArray) -> Obstacle:
        """Draw one that crosses the tool somewhere between its points."""
        start = int(rng.integers(0, 2))
        share = rng.uniform(-0.15, 1.15)
        crossing = (1 - share) * xyz_world[start] + share * xyz_world[start + 1]
        nearer = crossing * rng.uniform(0.8, 0.93)
        heading = rng.uniform(0, 2 * np.pi)
        reach = np.array([np.cos(heading), np.sin(heading), rng.uniform(-0.3, 0.3)])
        spread = rng.uniform(0.2, 6.0, 2)
        ends = np.stack([nearer - spread[0] * reach, nearer + spread[1] * reach])
        thickness = rng.uniform(0.06, 0.16)
        return cls(ends, (thickness, thickness * rng.uniform(0.7, 1.3)), rng.uniform(0.05, 0.8), rng.uniform(0.0, 0.3))


def _draw_obstacle(
    canvas: FloatArray, mask: Mask, camera: PinholeCamera, obstacle: Obstacle, light: FloatArray
) -> None:
    uv, depth = project(camera, obstacle.ends_world)
    capsule = link_capsule(uv, float(camera.K[0, 0]) / depth, (0, 1), obstacle.radii)
    patch = cover(capsule, canvas.shape)
    if patch is not None:
        lay(canvas, mask, patch, lit(patch, obstacle.albedo, light, obstacle.gloss), 0)


def _develop(rng: np.random.Generator, canvas: FloatArray) -> npt.NDArray[np.uint8]:
    """Turn linear grey into a photograph: falling-off light, soft focus, shot and read noise, tone curve, 8 bits."""
    height, width = canvas.shape
    v = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    u = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    slope = rng.uniform(-0.25, 0.25, 2).astype(np.float32)
    falloff = 1.0 + slope[0] * u + slope[1] * v - np.float32(rng.uniform(0.05, 0.2)) * (u * u + v * v)
    light = np.clip(canvas * falloff * np.float32(rng.uniform(0.75, 1.2)), 0.0, 1.2)
    focused = cv2.GaussianBlur(light, (0, 0), rng.uniform(0.45, 1.1))
    noise = rng.standard_normal(canvas.shape, dtype=np.float32)
    exposed = focused + noise * np.sqrt(2e-5 + np.float32(rng.uniform(1e-4, 8e-4)) * focused)
    toned = np.clip(exposed, 0.0, 1.0) ** np.float32(rng.uniform(0.6, 0.85))
    return np.asarray(np.round(toned * 255), dtype=np.uint8)


def render_frame(
    seed: int, index: int, cameras: Mapping[str, PinholeCamera] | None = None, pose: PoseRange | None = None
) -> RenderedFrame:
    """Render moment ``index`` of the recording that a seed names; always the same for the same arguments."""
    cameras = cameras or stereo_head()
    rng = np.random.default_rng([seed, index])
    xyz_world = sample_tool(rng, cameras, pose)
    look = Look.sample(rng)
    texture, depth = paint_backdrop(rng, look.light), rng.uniform(13.0, 15.0)
    obstacles = [Obstacle.sample(rng, xyz_world) for _ in range(rng.choice(3, p=[0.65, 0.28, 0.07]))]
    views = {
        name: _record(rng, camera, view_backdrop(texture, camera, depth), xyz_world, look, obstacles)
        for name, camera in cameras.items()
    }
    return RenderedFrame(xyz_world, views)


def _record(
    rng: np.random.Generator,
    camera: PinholeCamera,
    canvas: FloatArray,
    xyz_world: npt.NDArray[np.float64],
    look: Look,
    obstacles: list[Obstacle],
) -> RenderedView:
    uv, depth = project(camera, xyz_world)
    focal_px = float(camera.K[0, 0])
    silhouette = np.zeros(canvas.shape, np.uint8)
    draw_tool(canvas.copy(), silhouette, uv, depth, focal_px, look)
    _cast_shadow(canvas, silhouette, look.light)
    mask = np.zeros_like(silhouette)
    draw_tool(canvas, mask, uv, depth, focal_px, look)
    for obstacle in obstacles:
        _draw_obstacle(canvas, mask, camera, obstacle, look.light)
    return RenderedView(_develop(rng, canvas), mask, uv)
