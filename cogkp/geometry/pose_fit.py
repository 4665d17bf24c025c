"""The Levenberg-Marquardt loop of cogkp.geometry.pose.refine_poses, in NumPy: few small objects, many small steps.

Written for numpy: on arrays this small an operation of torch costs several times as much, and no gradient is wanted.
Source: R. Hartley and A. Zisserman, Multiple View Geometry, 2nd ed., section A6.2.

Axes: M objects, N points.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cogkp.geometry.camera import MIN_DEPTH

__all__ = ["Array", "Fitted", "Refined", "fit_poses", "refined"]

Array = np.ndarray[Any, Any]

FIRST_DAMPING, LEAST_DAMPING, LESS, MORE = 1e-5, 1e-12, 0.1, 10.0

# A fit is done when no step would lower its squared residual by more than this share, or per point by so little.
MIN_RELATIVE_GAIN = 1e-6
NO_GAIN_PX2 = 1e-16


class _Linearised(NamedTuple):
    """Projected points and what their Jacobian is made of.

    Args:
        local: (M, N, 3) turned but not shifted.
        pixel: (M, N, 2) off the principal point.
        inverse: (M, N) one over their depths.
        residual: (M, N, 2) weighted distances from the pixels wanted.
        cost: (M,) squared and summed.
        in_front: (M,) whether all points that count are.
    """

    local: Array
    pixel: Array
    inverse: Array
    residual: Array
    cost: Array
    in_front: Array


class Fitted(NamedTuple):
    """Rotations (M, 3, 3), shifts (M, 3), weighted squared residuals (M), and whether the start was usable (M)."""

    rotation: Array
    shift: Array
    cost: Array
    valid: Array


class Refined(NamedTuple):
    """Poses (M, 4, 4), weighted root mean square residuals (M), px, and validity (M); identity and zero where not."""

    pose: Array
    residual_px: Array
    valid: Array


def refined(start: Array, xyz: Array, uv: Array, K: Array, weights: Array, steps: int) -> Refined:
    """Move poses until pixels fit; what :func:`cogkp.geometry.pose.refine_poses` does, on float64 arrays.

    Args:
        start: (M, 4, 4).
        xyz: (M, N, 3), frame of the object; a point that is not finite is left out.
        uv: (M, N, 2), pixels; the same.
        K: (3, 3) or (M, 3, 3), intrinsics.
        weights: (M, N), inverse variances up to a common factor; one that is not positive leaves the point out.
        steps: how often to try at most.

    Returns:
        The poses; see :class:`Refined`.
    """
    finite = np.asarray(np.isfinite(xyz).all(-1) & np.isfinite(uv).all(-1))
    trust = np.where(finite & (weights > 0), weights, 0.0)
    xyz, uv = np.where(finite[..., None], xyz, 0.0), np.where(finite[..., None], uv, 0.0)
    usable = np.asarray(np.isfinite(start).all((1, 2)))
    begin = np.where(usable[:, None, None], start, np.eye(4))
    found = fit_poses(begin, xyz, uv - K[..., None, :2, 2], K[..., :2, :2], trust, steps)
    valid = found.valid & usable
    pose = np.tile(np.eye(4), (len(uv), 1, 1))
    pose[valid, :3, :3], pose[valid, :3, 3] = found.rotation[valid], found.shift[valid]
    residual = np.sqrt(np.where(valid, found.cost, 0.0) / np.where(valid, trust.sum(-1), 1.0))
    return Refined(pose, residual, valid)


def fit_poses(pose: Array, xyz: Array, pixel: Array, block: Array, trust: Array, steps: int) -> Fitted:
    """Lower the weighted squared reprojection error step by step; see :func:`cogkp.geometry.pose.refine_poses`.

    Args:
        pose: (M, 4, 4) float64, finite, where to start.
        xyz: (M, N, 3) float64, finite, frame of the object.
        pixel: (M, N, 2) float64, finite, off the principal point.
        block: (2, 2) or (M, 2, 2) float64, the intrinsics' upper left part.
        trust: (M, N) float64, not negative.
        steps: how often to try at most.

    Returns:
        The poses; see :class:`Fitted`.
    """
    block = np.broadcast_to(block, (len(pose), 2, 2))
    root = np.sqrt(trust)
    rotation, shift = pose[:, :3, :3], pose[:, :3, 3]
    linear = _linearise(rotation, shift, xyz, pixel, block, root)
    valid = linear.in_front & (trust > 0).any(1)
    enough = NO_GAIN_PX2 * trust.sum(1)
    damping = np.full(len(pose), FIRST_DAMPING)
    for _ in range(steps):
        step, gain = _step(linear, block, root, damping)
        if not (valid & (gain > enough + MIN_RELATIVE_GAIN * linear.cost)).any():
            break
        moved, shifted = _turn(step[:, :3]) @ rotation, shift + step[:, 3:]
        trial = _linearise(moved, shifted, xyz, pixel, block, root)
        better = valid & trial.in_front & (trial.cost < linear.cost)
        rotation, shift = _choose(better, moved, rotation), _choose(better, shifted, shift)
        linear = _Linearised(*(_choose(better, new, old) for new, old in zip(trial, linear, strict=True)))
        damping = np.maximum(damping * np.where(better, LESS, MORE), LEAST_DAMPING)
    return Fitted(rotation, shift, linear.cost, valid)


def _choose(which: Array, new: Array, old: Array) -> Array:
    if which.all():
        return new
    chosen: Array = np.where(which.reshape(-1, *([1] * (new.ndim - 1))), new, old)
    return chosen


def _linearise(rotation: Array, shift: Array, xyz: Array, pixel: Array, block: Array, root: Array) -> _Linearised:
    local = xyz @ rotation.swapaxes(1, 2)
    place = local + shift[:, None]
    ahead = place[..., 2] > MIN_DEPTH
    inverse = 1.0 / np.where(ahead, place[..., 2], 1.0)
    projected = (place[..., :2] * inverse[..., None]) @ block.swapaxes(1, 2)
    residual = (pixel - projected) * root[..., None]
    cost = np.square(residual).sum((1, 2))
    return _Linearised(local, projected, inverse, residual, cost, np.asarray((ahead | (root <= 0)).all(1)))


def _slopes(linear: _Linearised, block: Array, root: Array) -> Array:
    """(M, 2 N, 6) how weighted pixels change with a turn and a shift: a turn moves the point across its arm."""
    slopes = np.empty((*linear.pixel.shape, 6))
    slopes[..., 3:5] = block[:, None]
    slopes[..., 5] = -linear.pixel
    slopes[..., 3:] *= (linear.inverse * root)[..., None, None]
    x, y, z = (linear.local[..., None, axis] for axis in range(3))
    a, b, c = (slopes[..., axis] for axis in range(3, 6))
    slopes[..., 0], slopes[..., 1], slopes[..., 2] = y * c - z * b, z * a - x * c, x * b - y * a
    return slopes.reshape(len(slopes), 2 * slopes.shape[1], 6)


def _step(linear: _Linearised, block: Array, root: Array, damping: Array) -> tuple[Array, Array]:
    """Return a step (M, 6) and by how much the linear model says the cost falls (M)."""
    slopes = _slopes(linear, block, root)
    back = slopes.swapaxes(1, 2)
    information = back @ slopes
    size = information.diagonal(axis1=1, axis2=2)
    scale = 1.0 / np.sqrt(np.where(size > 0, size, 1.0))
    scaled = information * scale[:, None] * scale[..., None]
    scaled += damping[:, None, None] * np.eye(6)
    right = scale * (back @ linear.residual.reshape(*slopes.shape[:2], 1))[..., 0]
    step = np.linalg.solve(scaled, right[..., None])[..., 0]
    return step * scale, (step * right).sum(1)


def _turn(vector: Array) -> Array:
    """Rotations (M, 3, 3) by small vectors (M, 3), radians."""
    square = np.square(vector).sum(1)
    angle = np.sqrt(square)
    first, second = np.sinc(angle / np.pi), 0.5 * np.square(np.sinc(0.5 * angle / np.pi))
    turned: Array = second[:, None, None] * vector[:, :, None] * vector[:, None]
    turned += (1 - second * square)[:, None, None] * np.eye(3)
    across = first[:, None] * vector
    turned[:, (2, 0, 1), (1, 2, 0)] += across
    turned[:, (1, 2, 0), (2, 0, 1)] -= across
    return turned
