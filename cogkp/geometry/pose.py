"""Poses of known objects in one picture: move them until their points' pixels fit, and say how well they are known.

OpenCV axes; pixels without lens distortion. A pose changes by a turn about the object's own origin, with its axis in
the camera's frame, and by a shift, in this order: six numbers.
Source: R. Hartley and A. Zisserman, Multiple View Geometry, 2nd ed., sections 5.2, 7.2 and A6.2.

Axes: M objects, N points.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from cogkp.errors import GeometryError
from cogkp.geometry.camera import MIN_DEPTH
from cogkp.geometry.cuboid import posed
from cogkp.geometry.projection import check_points, cross
from cogkp.geometry.rotation import rotation_from_vector

__all__ = ["Poses", "check_objects", "pose_covariance", "refine_poses"]

FIRST_DAMPING, LESS, MORE = 1e-5, 0.1, 10.0

# A fit is done when no step would lower its squared residual by more than this share, or per point by so little.
MIN_RELATIVE_GAIN = 1e-8
NO_GAIN_PX2 = 1e-16

# A turn or shift is known if its share of the information is more than this, in units that make all six alike.
MIN_RELATIVE_PIVOT = 1e-12


class Poses(NamedTuple):
    """Where objects are, seen from the camera.

    Args:
        object_to_camera: (M, 4, 4) float64, rigid, length unit of the objects; identity where not valid.
        residual_px: (M,) float64, weighted root mean square distance of pixels from their points', or zero.
        valid: (M,) bool.
    """

    object_to_camera: Tensor
    residual_px: Tensor
    valid: Tensor


class _Fit(NamedTuple):
    """Residuals (M, N, 2), their slopes (M, N, 2, 6), squared and summed (M), whether all points are in front (M)."""

    residual: Tensor
    slope: Tensor
    cost: Tensor
    in_front: Tensor


def check_objects(xyz_object: Tensor, uv: Tensor, K: Tensor) -> None:
    """Refuse points, pixels and intrinsics with which no pose can be found."""
    check_points("xyz_object", xyz_object, 3, "M, N")
    check_points("uv", uv, 2, "M, N")
    if xyz_object.shape[:-1] != uv.shape[:-1] or uv.dim() != 3:  # noqa: PLR2004
        raise GeometryError(
            "points and pixels do not belong together",
            expected="(M, N, 3) and (M, N, 2)",
            got=f"{tuple(xyz_object.shape)} and {tuple(uv.shape)}",
        )
    _check_intrinsics(K)


def _check_intrinsics(K: Tensor) -> None:
    if tuple(K.shape[-2:]) != (3, 3):
        raise GeometryError("intrinsics have the wrong shape", expected="(..., 3, 3)", got=str(tuple(K.shape)))
    focal = K.detach().diagonal(dim1=-2, dim2=-1)[..., :2]
    if not torch.isfinite(K).all() or not (focal > 0).all():
        raise GeometryError(
            "a pose needs the camera's intrinsics",
            expected="finite numbers, focal lengths > 0 px",
            got=f"focal lengths {focal.reshape(-1, 2)[0].tolist()}",
            hint="Calibrate the camera, or read its intrinsics from the picture's metadata.",
        )


def refine_poses(
    object_to_camera: Tensor, xyz_object: Tensor, uv: Tensor, K: Tensor, weights: Tensor | None = None, steps: int = 20
) -> Poses:
    """Move poses so that the points' pixels fit as well as they can (Levenberg and Marquardt).

    Args:
        object_to_camera: (M, 4, 4) float, rigid, where to start, with all points that count in front of the camera.
        xyz_object: (M, N, 3) float, frame of the object.
        uv: (M, N, 2) float, pixels.
        K: (3, 3) or (M, 3, 3) float, intrinsics, pixels.
        weights: (M, N) float, inverse variances of the pixels up to a common factor; all 1 if None, zero leaves out.
        steps: how often to try at most; it stops where nothing is gained.

    Returns:
        The poses; see :class:`Poses`. Not valid where the start is not finite or has a point behind the camera. The
        residual never grows.

    Raises:
        GeometryError: another shape, or intrinsics without focal length.

    Gradient: none; the result is a fit.
    Precision: float64 inside.
    Source: Hartley and Zisserman, 2nd ed., section A6.2.

    Example:
        >>> K = torch.tensor([[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]])
        >>> corners = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])
        >>> seen = torch.tensor([[[320.0, 240.0], [420.0, 240.0], [320.0, 340.0], [320.0, 240.0]]])
        >>> start = torch.eye(4).unsqueeze(0)
        >>> start[:, 2, 3] = 4.0
        >>> refine_poses(start, corners, seen, K).object_to_camera[0, 2, 3].round(decimals=3)
        tensor(5., dtype=torch.float64)
    """
    check_objects(xyz_object, uv, K)
    if tuple(object_to_camera.shape) != (len(uv), 4, 4):
        raise GeometryError(
            "poses have the wrong shape", expected=f"({len(uv)}, 4, 4)", got=str(tuple(object_to_camera.shape))
        )
    with torch.no_grad():
        return _refine(object_to_camera, xyz_object, uv, K, weights, steps)


def _refine(start: Tensor, xyz_object: Tensor, uv: Tensor, K: Tensor, weights: Tensor | None, steps: int) -> Poses:
    K, xyz, uv, pose = (part.to(torch.float64) for part in (K, xyz_object, uv, start))
    finite = torch.isfinite(xyz).all(-1) & torch.isfinite(uv).all(-1)
    trust = finite.to(torch.float64) if weights is None else torch.where(finite & (weights > 0), weights, 0.0).double()
    xyz, uv = torch.where(finite[..., None], xyz, 0.0), torch.where(finite[..., None], uv, 0.0)
    valid = torch.isfinite(pose).all(-1).all(-1) & (trust > 0).any(-1)
    pose = _choose(valid, pose, torch.eye(4, dtype=torch.float64, device=pose.device))
    rotation, shift = pose[:, :3, :3], pose[:, :3, 3]
    fit = _fit(rotation, shift, xyz, uv, K, trust)
    valid = valid & fit.in_front
    enough = NO_GAIN_PX2 * trust.sum(-1)
    damping = torch.full_like(fit.cost, FIRST_DAMPING)
    for _ in range(steps):
        step, gain = _step(fit, trust, damping)
        if not (valid & (gain > enough + MIN_RELATIVE_GAIN * fit.cost)).any():
            break
        moved = rotation_from_vector(step[:, :3]) @ rotation, shift + step[:, 3:]
        trial = _fit(*moved, xyz, uv, K, trust)
        better = valid & trial.in_front & (trial.cost < fit.cost)
        rotation, shift = _choose(better, moved[0], rotation), _choose(better, moved[1], shift)
        fit = _Fit(*(_choose(better, new, old) for new, old in zip(trial, fit, strict=True)))
        damping = damping * torch.where(better, LESS, MORE)
    residual = (fit.cost / torch.where(valid, trust.sum(-1), 1.0)).sqrt()
    identity = torch.eye(4, dtype=torch.float64, device=pose.device)
    return Poses(_choose(valid, posed(rotation, shift), identity), torch.where(valid, residual, 0.0), valid)


def _choose(which: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(which.reshape(-1, *([1] * (new.dim() - 1))), new, old)


def _fit(rotation: Tensor, shift: Tensor, xyz: Tensor, uv: Tensor, K: Tensor, trust: Tensor) -> _Fit:
    local = xyz @ rotation.mT
    place = local + shift.unsqueeze(1)
    ahead = place[..., 2:] > MIN_DEPTH
    inverse = torch.where(ahead, place[..., 2:], 1.0).reciprocal()
    flat = place[..., :2] * inverse
    block = K[..., None, :2, :2]
    seen = (block * flat.unsqueeze(-2)).sum(-1)
    residual = uv - seen - K[..., None, :2, 2]
    # How pixels change with the point, rows u and v; a turn moves the point across its arm.
    by_place = torch.cat((block.expand(*seen.shape, 2), -seen.unsqueeze(-1)), -1) * inverse.unsqueeze(-1)
    slope = torch.cat((cross(local.unsqueeze(-2), by_place), by_place), -1)
    cost = (trust * residual.square().sum(-1)).sum(-1)
    in_front = (ahead.squeeze(-1) | (trust <= 0)).all(-1)
    return _Fit(residual, slope, cost, in_front)


def _step(fit: _Fit, trust: Tensor, damping: Tensor) -> tuple[Tensor, Tensor]:
    """Return a step (M, 6) and by how much the linear model says the cost falls (M)."""
    slope = fit.slope.flatten(1, 2)
    pulled = slope * trust.repeat_interleave(2, -1).unsqueeze(-1)
    information = pulled.mT @ slope
    size = information.diagonal(dim1=-2, dim2=-1)
    scale = torch.where(size > 0, size, 1.0).rsqrt()
    scaled = information * scale.unsqueeze(-1) * scale.unsqueeze(-2)
    scaled = scaled + torch.diag_embed(damping.unsqueeze(-1).expand_as(scale))
    right = scale * (pulled.mT @ fit.residual.flatten(1).unsqueeze(-1)).squeeze(-1)
    factor, failed = torch.linalg.cholesky_ex(scaled)
    step = torch.cholesky_solve(right.unsqueeze(-1), factor).squeeze(-1)
    usable = (failed == 0) & torch.isfinite(step).all(-1)
    step = torch.where(usable.unsqueeze(-1), step, 0.0)
    return step * scale, torch.where(usable, (step * right).sum(-1), math.inf)


def pose_covariance(object_to_camera: Tensor, xyz_object: Tensor, K: Tensor, uv_covariance: Tensor) -> Tensor:
    """Carry the uncertainty of pixels to that of the pose fitted to them, to first order.

    Args:
        object_to_camera: (M, 4, 4) float, rigid.
        xyz_object: (M, N, 3) float, frame of the object.
        K: (3, 3) or (M, 3, 3) float, intrinsics, pixels.
        uv_covariance: (M, N, 2, 2) float, pixels squared. A point is left out where it is not positive definite.

    Returns:
        (M, 6, 6) float64: the turn, radians, then the shift, length unit; see the module. Zero, which no true
        covariance is, where the pose is not finite, has a point behind the camera, or is not determined.

    Raises:
        GeometryError: another shape, or intrinsics without focal length.

    Gradient: flows to all tensors where the result is not zero.
    Precision: float64 inside.
    Source: Hartley and Zisserman, 2nd ed., result 5.10: inverse of the sum of J^T C^-1 J over the points.

    Example:
        >>> K = torch.tensor([[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]])
        >>> pose = torch.eye(4).unsqueeze(0)
        >>> pose[:, 2, 3] = 5.0
        >>> corners = torch.tensor([[[-1.0, 0, 0], [1.0, 0, 0], [0, -1.0, 0], [0, 1.0, 0], [0, 0, 1.0]]])
        >>> pose_covariance(pose, corners, K, torch.eye(2).expand(1, 5, 2, 2))[0].diagonal()[3:].sqrt()
        tensor([0.0056, 0.0056, 0.0250], dtype=torch.float64)
    """
    if uv_covariance.dim() != 4 or tuple(uv_covariance.shape[-2:]) != (2, 2):  # noqa: PLR2004
        raise GeometryError(
            "uv_covariance has the wrong shape", expected="(M, N, 2, 2)", got=str(tuple(uv_covariance.shape))
        )
    check_objects(xyz_object, uv_covariance[..., 0], K)
    pose, xyz, K, spread = (part.to(torch.float64) for part in (object_to_camera, xyz_object, K, uv_covariance))
    finite = torch.isfinite(pose).all(-1).all(-1) & torch.isfinite(xyz).all(-1).all(-1)
    pose = torch.where(finite[:, None, None], pose, torch.eye(4, dtype=torch.float64, device=pose.device))
    xyz = torch.where(finite[:, None, None], xyz, 0.0)
    weight, counted = _inverse(spread)
    fit = _fit(pose[:, :3, :3], pose[:, :3, 3], xyz, torch.zeros_like(xyz[..., :2]), K, counted.to(torch.float64))
    information = (fit.slope.mT @ weight @ fit.slope).sum(1)
    return _inverted(information, finite & fit.in_front)


def _inverse(spread: Tensor) -> tuple[Tensor, Tensor]:
    determinant = spread[..., 0, 0] * spread[..., 1, 1] - spread[..., 0, 1] * spread[..., 1, 0]
    definite = torch.isfinite(determinant) & (determinant > 0) & (spread[..., 0, 0] > 0)
    safe = torch.where(definite[..., None, None], spread, torch.eye(2).to(spread))
    return torch.where(definite[..., None, None], torch.linalg.inv(safe), 0.0), definite


def _inverted(information: Tensor, usable: Tensor) -> Tensor:
    size = information.diagonal(dim1=-2, dim2=-1)
    scale = torch.where(size > 0, size, 1.0).rsqrt()
    scaled = information * scale.unsqueeze(-1) * scale.unsqueeze(-2)
    with torch.no_grad():
        smallest = torch.linalg.eigvalsh(torch.where(usable[:, None, None], scaled, 0.0))[:, 0]
        known = usable & (smallest > MIN_RELATIVE_PIVOT)
    safe = torch.where(known[:, None, None], scaled, torch.eye(6).to(scaled))
    result = torch.linalg.inv(safe) * scale.unsqueeze(-1) * scale.unsqueeze(-2)
    return torch.where(known[:, None, None], 0.5 * (result + result.mT), 0.0)
