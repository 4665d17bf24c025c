"""PnP: the pose of a known object from the pixels of its points; OpenCV's SQPnP, then our own refinement.

The first guess is SQPnP: it never lands behind the camera, which the iterative solver does when pixels are noisy.
The fit then trusts each pixel as far as its weight says, which no solver of OpenCV can.
Source: G. Terzakis and M. Lourakis, A consistently fast and globally optimal solution to the perspective-n-point
problem, ECCV 2020.

Axes: M objects, N points.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from cogkp.errors import GeometryError
from cogkp.geometry.camera import PinholeCamera
from cogkp.geometry.cuboid import CORNERS, UNIT_POINTS, Cuboids
from cogkp.geometry.cuboid_fit import Scale
from cogkp.geometry.pose import Poses, check_objects
from cogkp.geometry.pose_fit import Array, refined
from cogkp.geometry.projection import check_points

__all__ = ["CuboidPoses", "solve_cuboids", "solve_pnp", "to_true_size"]

MIN_POINTS = 4
STEPS = 20

# Points lie on a line if the second of their extents, squared, is not more than this share of the first.
MIN_RELATIVE_EXTENT = 1e-10

# Rays have left the camera's intrinsics behind.
NO_CAMERA = np.eye(3)


class CuboidPoses(NamedTuple):
    """Boxes found in an image.

    Args:
        cuboids: M boxes, float64, frame of the camera, OpenCV axes.
        residual_px: (M,) float64, weighted root mean square distance of pixels from their corners'.
        valid: (M,) bool.
        metric: (M,) bool, whether lengths are true; else boxes and distances are known up to one common factor each.
    """

    cuboids: Cuboids
    residual_px: Tensor
    valid: Tensor
    metric: Tensor


def solve_pnp(
    uv: Tensor,
    xyz_object: Tensor,
    K: Tensor,
    weights: Tensor | None = None,
    distortion: Tensor | None = None,
    *,
    max_residual_px: float = math.inf,
) -> Poses:
    """Estimate the poses of objects with known points from the pixels of those points.

    Args:
        uv: (M, N, 2) float, pixels. A pixel that is not finite, or where the lens cannot be undone, is left out.
        xyz_object: (M, N, 3) float, frame of the object, any length unit.
        K: (3, 3) or (M, 3, 3) float, intrinsics, pixels; skew is honoured.
        weights: (M, N) float, inverse variances of the pixels up to a common factor; all 1 if None. A weight that is
            not positive leaves the point out.
        distortion: (D,) or (M, D) float, OpenCV order; none if None.
        max_residual_px: a pose that fits worse is not valid, pixels.

    Returns:
        The poses with the least weighted squared distances in the image freed from its lens; see
        :class:`cogkp.geometry.pose.Poses`. Valid: at least four different points that do not lie on a line count, all
        of them are in front of the camera, and they fit.

    Raises:
        GeometryError: another shape, or intrinsics without focal length.

    Gradient: none; the result is a fit.
    Precision: float64 inside.
    Source: Terzakis and Lourakis 2020, then Hartley and Zisserman, 2nd ed., section 7.2.

    Example:
        >>> K = torch.tensor([[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]])
        >>> corners = torch.tensor([[[-1.0, -1.0, 0.0], [1.0, -1.0, 0.0], [1.0, 1.0, 0.0], [-1.0, 1.0, 0.0]]])
        >>> uv = torch.tensor([[[220.0, 140.0], [420.0, 140.0], [420.0, 340.0], [220.0, 340.0]]])
        >>> solve_pnp(uv, corners, K).object_to_camera[0, 2, 3].round(decimals=3)
        tensor(5., dtype=torch.float64)
    """
    check_objects(xyz_object, uv, K)
    with torch.no_grad():
        return _solve(uv.detach(), xyz_object.detach(), K.detach(), weights, distortion, max_residual_px)


def _solve(
    uv: Tensor, xyz: Tensor, K: Tensor, weights: Tensor | None, distortion: Tensor | None, max_residual_px: float
) -> Poses:
    # Arrays this small are numpy's: an operation of torch costs several times as much.
    lens = uv.new_zeros(0) if distortion is None else distortion
    camera = PinholeCamera(K.double(), torch.eye(4, dtype=torch.float64, device=K.device), (0, 0), lens.double())
    rays = camera.unproject_rays(uv.double())
    trust = torch.ones_like(uv[..., 0]) if weights is None else weights
    points, matrix, ray, trusted = (part.double().numpy(force=True) for part in (xyz, K, rays.xyz_camera, trust))
    used = rays.valid.numpy(force=True) & np.isfinite(points).all(-1) & np.isfinite(trusted) & (trusted > 0)
    start = _guesses(points, ray[..., :2], used & _determined(points, used)[:, None])
    straight = ray @ matrix[..., :2, :].swapaxes(-1, -2)
    best = refined(start, points, straight, matrix, np.where(used, trusted, 0.0), STEPS)
    valid = best.valid & (best.residual_px <= max_residual_px)
    pose = np.where(valid[:, None, None], best.pose, np.eye(4))
    found = (pose, np.where(valid, best.residual_px, 0.0), valid)
    return Poses(*(torch.from_numpy(part).to(uv.device) for part in found))


def _determined(xyz: Array, used: Array) -> Array:
    """(M,) whether enough points count that are different and not on a line."""
    points = np.where(used[..., None], xyz, 0.0)
    same = (points[:, :, None] == points[:, None]).all(-1) & used[:, :, None] & used[:, None]
    different = (used & ~np.tril(same, -1).any(-1)).sum(-1)
    count = np.maximum(used.sum(-1), 1)[:, None, None]
    apart = np.where(used[..., None], points - points.sum(-2, keepdims=True) / count, 0.0)
    extent = np.linalg.eigvalsh(apart.swapaxes(-1, -2) @ apart)
    spread = extent[:, 1] > MIN_RELATIVE_EXTENT * extent[:, 2]
    return np.asarray(spread & (different >= MIN_POINTS))


def _guesses(xyz: Array, plane: Array, used: Array) -> Array:
    """(M, 4, 4) poses to start from; NaN where there are none."""
    start = np.full((len(xyz), 4, 4), np.nan)
    for m in np.flatnonzero(used.any(1)):
        start[m] = _guess(xyz[m, used[m]], plane[m, used[m]])
    return start


def _guess(xyz: Array, plane: Array) -> Array:
    """Find one pose with all points in front of the camera, or NaN."""
    pose = np.eye(4)
    for solver in (cv2.SOLVEPNP_SQPNP, cv2.SOLVEPNP_EPNP):
        try:
            found, vector, shift = cv2.solvePnP(xyz, plane, NO_CAMERA, None, flags=solver)
        except cv2.error:
            continue
        if found:
            pose[:3, :3], pose[:3, 3:] = cv2.Rodrigues(vector)[0], shift
            if (xyz @ pose[2, :3] + pose[2, 3]).min() > 0:
                return pose
    return np.full((4, 4), np.nan)


def solve_cuboids(
    uv: Tensor,
    size_xyz: Tensor,
    K: Tensor,
    weights: Tensor | None = None,
    distortion: Tensor | None = None,
    *,
    metric: bool = False,
    max_residual_px: float = math.inf,
) -> CuboidPoses:
    """Estimate the poses of boxes from the pixels of their corners.

    Args:
        uv: (M, 8 D, 2) float, pixels, D of each corner one after the other: row r shows corner 1 + r // D, in the
            order of :mod:`cogkp.geometry.cuboid`.
        size_xyz: (M, 3) float, full side lengths, true or in any unit.
        K: (3, 3) or (M, 3, 3) float, intrinsics, pixels.
        weights: (M, 8 D) float, as in :func:`solve_pnp`.
        distortion: (D,) or (M, D) float, OpenCV order; none if None.
        metric: whether the sizes are true lengths.
        max_residual_px: a box that fits worse is not valid, pixels.

    Returns:
        The boxes; see :class:`CuboidPoses`. Boxes that are not valid stand in the camera and have the size given.

    Raises:
        GeometryError: another shape, or intrinsics without focal length.

    Gradient: none; the result is a fit.
    Precision: float64 inside.
    Source: as :func:`solve_pnp`.

    Example:
        >>> K = torch.tensor([[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]])
        >>> box = Cuboids(torch.eye(4), torch.tensor([1.0, 2.0, 3.0])).points() + torch.tensor([0.0, 0.0, 9.0])
        >>> uv = PinholeCamera(K, torch.eye(4), (640, 480)).project(box).uv[1:]
        >>> found = solve_cuboids(uv[None], torch.tensor([[1.0, 2.0, 3.0]]), K)
        >>> found.cuboids.points()[0, 0, 2].round(decimals=3), found.metric
        (tensor(9., dtype=torch.float64), tensor([False]))
    """
    check_points("uv", uv, 2, "M, N")
    check_points("size_xyz", size_xyz, 3, "M")
    repeats, rest = divmod(uv.shape[-2], CORNERS)
    if rest or not repeats or uv.dim() != 3 or tuple(size_xyz.shape) != (len(uv), 3):  # noqa: PLR2004
        raise GeometryError(
            "pixels of corners and sizes do not belong together",
            expected="(M, 8 D, 2) and (M, 3)",
            got=f"{tuple(uv.shape)} and {tuple(size_xyz.shape)}",
        )
    size = size_xyz.detach().to(torch.float64)
    corners = size.unsqueeze(-2) * size.new_tensor(UNIT_POINTS)[1:].repeat_interleave(repeats, 0)
    found = solve_pnp(uv, corners, K, weights, distortion, max_residual_px=max_residual_px)
    return CuboidPoses(
        Cuboids(found.object_to_camera, size), found.residual_px, found.valid, torch.full_like(found.valid, metric)
    )


def to_true_size(found: CuboidPoses, scale: Scale) -> CuboidPoses:
    """Give boxes their true size and distance where it is known.

    Args:
        found: M boxes, up to scale.
        scale: (M,) from a known height or the ground; see :mod:`cogkp.geometry.cuboid_fit`.

    Returns:
        The boxes; those whose scale is not valid stay as they were, and are as metric as before.

    Gradient: flows to the factor.

    Example:
        >>> box = CuboidPoses(Cuboids(torch.eye(4)[None], torch.ones(1, 3)), *torch.zeros(3, 1, dtype=torch.bool))
        >>> grown = to_true_size(box, Scale(torch.tensor([0.2]), torch.tensor([True])))
        >>> grown.cuboids.size_xyz, grown.metric
        (tensor([[0.2000, 0.2000, 0.2000]]), tensor([True]))
    """
    return found._replace(cuboids=found.cuboids.scaled(scale.factor), metric=found.metric | scale.valid)
