"""Refine object poses by minimising the reprojection error, and compute their covariance.

OpenCV axes; pixels without lens distortion. A pose changes by a turn about the object's own origin, with its axis in
the camera's frame, and by a shift, in this order: six numbers. Few small objects, many small steps, no gradient: all
is NumPy, which is several times as quick here as torch.
Source: R. Hartley and A. Zisserman, Multiple View Geometry, 2nd ed., sections 7.2 and A6.2.

Axes: M objects, N points.
"""

from typing import Any, NamedTuple

import numpy as np

from cogkp.errors import GeometryError
from cogkp.geometry.arrays import check_points
from cogkp.geometry.camera_frame import MIN_DEPTH

Array = np.ndarray[Any, Any]

FIRST_DAMPING, LEAST_DAMPING, LESS, MORE = 1e-5, 1e-12, 0.1, 10.0

# A fit is done when no step would lower its squared residual by more than this share, or per point by so little.
MIN_RELATIVE_GAIN = 1e-6
NO_GAIN_PX2 = 1e-16


class Poses(NamedTuple):
    """Where objects are, seen from the camera.

    Args:
        object_to_camera: (M, 4, 4) float64, rigid, length unit of the objects; identity where not valid.
        residual_px: (M,) float64, weighted root mean square distance of pixels from their points', or zero.
        valid: (M,) bool.
    """

    object_to_camera: Array
    residual_px: Array
    valid: Array


def check_objects(xyz_object: Array, uv: Array, K: Array) -> None:
    """Refuse points, pixels and intrinsics with which no pose can be found."""
    check_points("xyz_object", xyz_object, 3, "M, N")
    check_points("uv", uv, 2, "M, N")
    if xyz_object.shape[:-1] != uv.shape[:-1] or uv.ndim != 3:  # noqa: PLR2004
        raise GeometryError(
            "points and pixels do not belong together",
            expected="(M, N, 3) and (M, N, 2)",
            got=f"{tuple(xyz_object.shape)} and {tuple(uv.shape)}",
        )
    _check_intrinsics(K)


def _check_intrinsics(K: Array) -> None:
    if tuple(K.shape[-2:]) != (3, 3):
        raise GeometryError("intrinsics have the wrong shape", expected="(..., 3, 3)", got=str(tuple(K.shape)))
    focal = K.diagonal(0, -2, -1)[..., :2]
    if not np.isfinite(K).all() or not (focal > 0).all():
        raise GeometryError(
            "a pose needs the camera's intrinsics",
            expected="finite numbers, focal lengths > 0 px",
            got=f"focal lengths {focal.reshape(-1, 2)[0].tolist()}",
            hint="Calibrate the camera, or read its intrinsics from the image's metadata.",
        )


def refine_poses(
    object_to_camera: Array, xyz_object: Array, uv: Array, K: Array, weights: Array | None = None, steps: int = 20
) -> Poses:
    """Minimise the weighted reprojection error of poses (Levenberg-Marquardt).

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
        >>> K = np.array([[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]])
        >>> corners = np.array([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])
        >>> seen = np.array([[[320.0, 240.0], [420.0, 240.0], [320.0, 340.0], [320.0, 240.0]]])
        >>> start = np.eye(4)[None]
        >>> start[:, 2, 3] = 4.0
        >>> float(refine_poses(start, corners, seen, K).object_to_camera[0, 2, 3].round(3))
        5.0
    """
    check_objects(xyz_object, uv, K)
    if tuple(object_to_camera.shape) != (len(uv), 4, 4):
        raise GeometryError(
            "poses have the wrong shape", expected=f"({len(uv)}, 4, 4)", got=str(tuple(object_to_camera.shape))
        )
    start, xyz, uv, K = (np.asarray(part, np.float64) for part in (object_to_camera, xyz_object, uv, K))
    trust = np.ones(uv.shape[:-1]) if weights is None else np.asarray(weights, np.float64)
    finite = np.asarray(np.isfinite(xyz).all(-1) & np.isfinite(uv).all(-1))
    trust = np.where(finite & (trust > 0), trust, 0.0)
    xyz, uv = np.where(finite[..., None], xyz, 0.0), np.where(finite[..., None], uv, 0.0)
    usable = np.asarray(np.isfinite(start).all((1, 2)))
    begin = np.where(usable[:, None, None], start, np.eye(4))
    found = _fit(begin, xyz, uv - K[..., None, :2, 2], K[..., :2, :2], trust, steps)
    valid = found.valid & usable
    pose = np.tile(np.eye(4), (len(uv), 1, 1))
    pose[valid, :3, :3], pose[valid, :3, 3] = found.rotation[valid], found.shift[valid]
    residual = np.sqrt(np.where(valid, found.cost, 0.0) / np.where(valid, trust.sum(-1), 1.0))
    return Poses(pose, residual, valid)


class _Seen(NamedTuple):
    """Points as a pose puts them into the image.

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


class _Fitted(NamedTuple):
    """Rotations (M, 3, 3), shifts (M, 3), weighted squared residuals (M), and whether the start was usable (M)."""

    rotation: Array
    shift: Array
    cost: Array
    valid: Array


def _fit(pose: Array, xyz: Array, pixel: Array, block: Array, trust: Array, steps: int) -> _Fitted:
    """Lower the weighted squared distances of pixels step by step; see :func:`refine_poses`.

    Args:
        pose: (M, 4, 4) float64, finite, where to start.
        xyz: (M, N, 3) float64, finite, frame of the object.
        pixel: (M, N, 2) float64, finite, off the principal point.
        block: (2, 2) or (M, 2, 2) float64, the intrinsics' upper left part.
        trust: (M, N) float64, not negative.
        steps: how often to try at most.

    Returns:
        The poses; see :class:`_Fitted`.
    """
    block = np.broadcast_to(block, (len(pose), 2, 2))
    root = np.sqrt(trust)
    rotation, shift = pose[:, :3, :3], pose[:, :3, 3]
    seen = _see(rotation, shift, xyz, pixel, block, root)
    valid = seen.in_front & (trust > 0).any(1)
    enough = NO_GAIN_PX2 * trust.sum(1)
    damping = np.full(len(pose), FIRST_DAMPING)
    for _ in range(steps):
        step, gain = _step(seen, block, root, damping)
        if not (valid & (gain > enough + MIN_RELATIVE_GAIN * seen.cost)).any():
            break
        moved, shifted = _turn(step[:, :3]) @ rotation, shift + step[:, 3:]
        trial = _see(moved, shifted, xyz, pixel, block, root)
        better = valid & trial.in_front & (trial.cost < seen.cost)
        rotation, shift = _choose(better, moved, rotation), _choose(better, shifted, shift)
        seen = _Seen(*(_choose(better, new, old) for new, old in zip(trial, seen, strict=True)))
        damping = np.maximum(damping * np.where(better, LESS, MORE), LEAST_DAMPING)
    return _Fitted(rotation, shift, seen.cost, valid)


def _choose(which: Array, new: Array, old: Array) -> Array:
    if which.all():
        return new
    chosen: Array = np.where(which.reshape(-1, *([1] * (new.ndim - 1))), new, old)
    return chosen


def _see(rotation: Array, shift: Array, xyz: Array, pixel: Array, block: Array, root: Array) -> _Seen:
    local = xyz @ rotation.swapaxes(1, 2)
    place = local + shift[:, None]
    ahead = place[..., 2] > MIN_DEPTH
    inverse = 1.0 / np.where(ahead, place[..., 2], 1.0)
    seen = (place[..., :2] * inverse[..., None]) @ block.swapaxes(1, 2)
    residual = (pixel - seen) * root[..., None]
    cost = np.square(residual).sum((1, 2))
    return _Seen(local, seen, inverse, residual, cost, np.asarray((ahead | (root <= 0)).all(1)))


def _slopes(seen: _Seen, block: Array, root: Array) -> Array:
    """(M, 2 N, 6) how weighted pixels change with a turn and a shift: a turn moves the point across its arm."""
    slopes = np.empty((*seen.pixel.shape, 6))
    slopes[..., 3:5] = block[:, None]
    slopes[..., 5] = -seen.pixel
    slopes[..., 3:] *= (seen.inverse * root)[..., None, None]
    x, y, z = (seen.local[..., None, axis] for axis in range(3))
    a, b, c = (slopes[..., axis] for axis in range(3, 6))
    slopes[..., 0], slopes[..., 1], slopes[..., 2] = y * c - z * b, z * a - x * c, x * b - y * a
    return slopes.reshape(len(slopes), 2 * slopes.shape[1], 6)


def _step(seen: _Seen, block: Array, root: Array, damping: Array) -> tuple[Array, Array]:
    """Return a step (M, 6) and by how much the linear model says the cost falls (M)."""
    slopes = _slopes(seen, block, root)
    back = slopes.swapaxes(1, 2)
    information = back @ slopes
    size = information.diagonal(axis1=1, axis2=2)
    scale = 1.0 / np.sqrt(np.where(size > 0, size, 1.0))
    scaled = information * scale[:, None] * scale[..., None]
    scaled += damping[:, None, None] * np.eye(6)
    right = scale * (back @ seen.residual.reshape(*slopes.shape[:2], 1))[..., 0]
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
