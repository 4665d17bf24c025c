"""PnP: the pose of a known object from the pixels of its points; OpenCV's SQPnP, then our own refinement.

The first guess is SQPnP: it never lands behind the camera, which the iterative solver does when pixels are noisy.
The fit then trusts each pixel as far as its weight says, which no solver of OpenCV can.
Flat objects, as boards and thin boxes, have two poses whose pixels are nearly the same: far away the two differ by less
than noise. Both are returned.
Source: G. Terzakis and M. Lourakis, A consistently fast and globally optimal solution to the perspective-n-point
problem, ECCV 2020; for flat objects T. Collins and A. Bartoli, Infinitesimal plane-based pose estimation, IJCV 2014.

Axes: M objects, N points.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from cogkp.errors import GeometryError
from cogkp.geometry.arrays import check_points
from cogkp.geometry.camera_frame import MIN_DEPTH
from cogkp.geometry.cuboid import CORNERS, UNIT_POINTS, Cuboids, Scale, posed
from cogkp.geometry.pose import Array, Poses, check_objects, refine_poses

if TYPE_CHECKING:
    from cogkp.geometry.camera import PinholeCamera

MIN_POINTS = 4
STEPS = 20

# Points lie on a line if the second of their extents, squared, is not more than this share of the first.
MIN_RELATIVE_EXTENT = 1e-10

# An object is flat if the third of its extents, squared, is not more than this share of the second.
MAX_FLAT_EXTENT = 0.04

# Two poses of a flat object are two if they differ by more than this.
MIN_TURN_RAD = 1e-2

# How many times as likely as the second pose the first must be to be the only one.
CLEAR_ODDS = 100.0

# Rays have left the camera's intrinsics behind.
NO_CAMERA = np.eye(3)


class PoseSolutions(NamedTuple):
    """Where objects are, seen from the camera.

    Args:
        object_to_camera: (M, 4, 4) float64, rigid, length unit of the objects; identity where not valid.
        residual_px: (M,) float64, weighted root mean square distance of pixels from their points', or zero.
        valid: (M,) bool.
        second: of flat objects, the other pose that fits best in its neighbourhood; not valid where there is none. It
            is about the first one, mirrored in depth, and fits no better.
        ambiguous: (M,) bool, there is a second pose, and noise may be all that makes it fit worse than the first.
    """

    object_to_camera: Array
    residual_px: Array
    valid: Array
    second: Poses
    ambiguous: Array


class CuboidPoses(NamedTuple):
    """Boxes found in an image.

    Args:
        cuboids: M boxes, float64, frame of the camera, OpenCV axes.
        residual_px: (M,) float64, weighted root mean square distance of pixels from their corners'.
        valid: (M,) bool.
        metric: (M,) bool, whether lengths are true; else boxes and distances are known up to one common factor each.
        second: the other poses of flat boxes, in the same unit; see :class:`PoseSolutions`.
        ambiguous: (M,) bool; see :class:`PoseSolutions`.
    """

    cuboids: Cuboids
    residual_px: Array
    valid: Array
    metric: Array
    second: Poses
    ambiguous: Array


def solve_pnp(
    uv: Array,
    xyz_object: Array,
    K: Array,
    weights: Array | None = None,
    distortion: Array | None = None,
    *,
    max_residual_px: float = math.inf,
    noise_px: float = 1.0,
) -> PoseSolutions:
    """Find where objects are whose points and pixels are known.

    Args:
        uv: (M, N, 2) float, pixels. A pixel that is not finite, or where the lens cannot be undone, is left out.
        xyz_object: (M, N, 3) float, frame of the object, any length unit.
        K: (3, 3) or (M, 3, 3) float, intrinsics, pixels; skew is honoured.
        weights: (M, N) float, inverse variances of the pixels up to a common factor; all 1 if None. A weight that is
            not positive leaves the point out.
        distortion: (D,) or (M, D) float, OpenCV order; none if None. Needs torch.
        max_residual_px: a pose that fits worse is not valid, pixels.
        noise_px: standard deviation to expect of a pixel, of those with an average weight; where the first pose says
            that it is more, that counts. It decides which second poses are as good as the first.

    Returns:
        The poses with the least weighted squared distances in the image freed from its lens; see
        :class:`PoseSolutions`. Valid: at least four different points that do not lie on a line count, all of them are
        in front of the camera, and they fit.

    Raises:
        GeometryError: another shape, intrinsics without focal length, or a noise below 0 or NaN.

    Gradient: none; the result is a fit.
    Precision: float64 inside.
    Source: Terzakis and Lourakis 2020, then Hartley and Zisserman, 2nd ed., section 7.2.

    Example:
        >>> K = np.array([[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]])
        >>> board = np.array([[[-1.0, -1.0, 0.0], [1.0, -1.0, 0.0], [1.0, 1.0, 0.0], [-1.0, 1.0, 0.0]]])
        >>> uv = np.array([[[220.0, 140.0], [420.0, 140.0], [420.0, 340.0], [220.0, 340.0]]])
        >>> found = solve_pnp(uv, board, K)
        >>> found.object_to_camera[0, 2, 3].round(3).tolist(), found.second.valid.tolist()
        (5.0, [False])
    """
    uv, xyz, K = (np.asarray(part, np.float64) for part in (uv, xyz_object, K))
    check_objects(xyz, uv, K)
    if not noise_px >= 0:
        raise GeometryError("not a standard deviation", where="noise_px", expected="0 or more", got=str(noise_px))
    trust = np.ones(uv.shape[:-1]) if weights is None else np.asarray(weights, np.float64)
    ray, seen = _rays(uv, K, distortion)
    trust = np.where(seen & np.isfinite(xyz).all(-1) & np.isfinite(trust) & (trust > 0), trust, 0.0)
    used = trust > 0
    shape = _shape(xyz, used)
    start = _guesses(xyz, ray[..., :2], used & shape.determined[:, None])
    straight = ray @ K[..., :2, :].swapaxes(-1, -2)
    first = _fitting(refine_poses(start, xyz, straight, K, trust, STEPS), max_residual_px)
    second = _none_of(len(uv))
    flat = np.flatnonzero(shape.flat & first.valid)
    if len(flat):
        matrix = K if K.ndim == 2 else K[flat]  # noqa: PLR2004
        mirrored = _mirrored(first.object_to_camera[flat], shape.middle[flat], shape.normal[flat])
        other = refine_poses(mirrored, xyz[flat], straight[flat], matrix, trust[flat], STEPS)
        first, second = _ranked(first, _fitting(other, max_residual_px), flat)
    return PoseSolutions(*first, second, _ambiguous(first, second, used, noise_px))


class _Shape(NamedTuple):
    """How the points of objects lie that count.

    Args:
        determined: (M,) bool, whether enough points count that are different and not on a line.
        flat: (M,) bool, whether they lie nearly in a plane.
        middle: (M, 3) their mean.
        normal: (M, 3) of the plane they lie nearest to.
    """

    determined: Array
    flat: Array
    middle: Array
    normal: Array


def _shape(xyz: Array, used: Array) -> _Shape:
    points = np.where(used[..., None], xyz, 0.0)
    same = (points[:, :, None] == points[:, None]).all(-1) & used[:, :, None] & used[:, None]
    different = (used & ~np.tril(same, -1).any(-1)).sum(-1)
    middle = points.sum(-2) / np.maximum(used.sum(-1), 1)[:, None]
    apart = np.where(used[..., None], points - middle[:, None], 0.0)
    extent, axes = np.linalg.eigh(apart.swapaxes(-1, -2) @ apart)
    spread = extent[:, 1] > MIN_RELATIVE_EXTENT * extent[:, 2]
    determined: Array = spread & (different >= MIN_POINTS)
    return _Shape(determined, determined & (extent[:, 0] <= MAX_FLAT_EXTENT * extent[:, 1]), middle, axes[..., 0])


def _rays(uv: Array, K: Array, distortion: Array | None) -> tuple[Array, Array]:
    """(M, N, 3) where pixels look, depth 1, and (M, N) whether that is known; zero where it is not."""
    if distortion is not None and np.asarray(distortion).any():
        return _rays_through_lens(uv, K, np.asarray(distortion, np.float64))
    seen = np.asarray(np.isfinite(uv).all(-1))
    u, v = np.where(seen[..., None], uv, 0.0).transpose(2, 0, 1)
    K = K[..., None, :, :]
    over_x, over_y = 1.0 / K[..., 0, 0], 1.0 / K[..., 1, 1]
    with np.errstate(over="ignore", invalid="ignore"):
        # First the difference, which is exact near the principal point.
        y = (v - K[..., 1, 2]) * over_y
        x = (u - K[..., 0, 2]) * over_x - K[..., 0, 1] * over_x * y
    seen = seen & np.isfinite(x) & np.isfinite(y)
    return np.where(seen[..., None], np.stack((x, y, np.ones_like(x)), -1), 0.0), seen


def _rays_through_lens(uv: Array, K: Array, distortion: Array) -> tuple[Array, Array]:
    import torch

    rays = _camera(K, distortion).unproject_rays(torch.tensor(uv))
    return rays.xyz_camera.numpy(), rays.valid.numpy()


def _camera(K: Array, distortion: Array) -> PinholeCamera:
    import torch

    from cogkp.geometry.camera import PinholeCamera

    eye = torch.eye(4, dtype=torch.float64)
    return PinholeCamera(torch.tensor(K, dtype=torch.float64), eye, (0, 0), torch.tensor(distortion))


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


def _fitting(found: Poses, max_residual_px: float) -> Poses:
    """Take out poses that fit worse than allowed."""
    valid = found.valid & (found.residual_px <= max_residual_px)
    pose = np.where(valid[:, None, None], found.object_to_camera, np.eye(4))
    return Poses(pose, np.where(valid, found.residual_px, 0.0), valid)


def _none_of(count: int) -> Poses:
    return Poses(np.tile(np.eye(4), (count, 1, 1)), np.zeros(count), np.zeros(count, bool))


def _mirrored(pose: Array, middle: Array, normal: Array) -> Array:
    """Mirror flat objects in depth: from afar their points are seen where they were."""
    rotation = pose[:, :3, :3]
    place = (rotation @ middle[..., None])[..., 0] + pose[:, :3, 3]
    sight = place / np.linalg.norm(place, axis=-1, keepdims=True)
    turned = _reflection(sight) @ rotation @ _reflection(normal)
    mirrored: Array = posed(turned, place - (turned @ middle[..., None])[..., 0])
    return mirrored


def _reflection(normal: Array) -> Array:
    return np.asarray(np.eye(3) - 2 * normal[:, :, None] * normal[:, None])


def _ranked(first: Poses, other: Poses, flat: Array) -> tuple[Poses, Poses]:
    """Put the better of two poses first; poses that are one have no second."""
    one = Poses(*(part[flat] for part in first))
    cosine = 0.5 * ((one.object_to_camera[:, :3, :3] * other.object_to_camera[:, :3, :3]).sum((1, 2)) - 1)
    two = other.valid & (cosine < math.cos(MIN_TURN_RAD))
    swap = other.valid & (other.residual_px < one.residual_px)
    best, second = Poses(*(part.copy() for part in first)), _none_of(len(first.valid))
    for target, source, where in ((best, other, swap), (second, one, swap & two), (second, other, ~swap & two)):
        for part, values in zip(target, source, strict=True):
            part[flat[where]] = values[where]
    return best, second


def _ambiguous(first: Poses, second: Poses, used: Array, noise_px: float) -> Array:
    """Compare two fits as a test of likelihoods does: by their sums of squares in units of the noise's variance."""
    count = used.sum(-1)
    one, two = count * np.square(first.residual_px), count * np.square(second.residual_px)
    variance = np.maximum(noise_px**2, one / np.maximum(2 * count - 6, 1))
    return np.asarray(second.valid & (two - one <= 2 * math.log(CLEAR_ODDS) * variance))


def solve_cuboids(
    uv: Array,
    size_xyz: Array,
    K: Array,
    weights: Array | None = None,
    distortion: Array | None = None,
    *,
    metric: bool = False,
    max_residual_px: float = math.inf,
    noise_px: float = 1.0,
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
        noise_px: as in :func:`solve_pnp`.

    Returns:
        The boxes; see :class:`CuboidPoses`. Boxes that are not valid stand in the camera and have the size given.

    Raises:
        GeometryError: another shape, or intrinsics without focal length.

    Gradient: none; the result is a fit.
    Precision: float64 inside.
    Source: as :func:`solve_pnp`.

    Example:
        >>> K = np.array([[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]])
        >>> box = Cuboids(np.eye(4), np.array([1.0, 2.0, 3.0])).points() + np.array([0.0, 0.0, 9.0])
        >>> seen = box[1:] @ K.T
        >>> found = solve_cuboids(seen[None, :, :2] / seen[None, :, 2:], np.array([[1.0, 2.0, 3.0]]), K)
        >>> float(found.cuboids.points()[0, 0, 2].round(3)), found.metric.tolist()
        (9.0, [False])
    """
    uv, size = np.asarray(uv, np.float64), np.asarray(size_xyz, np.float64)
    check_points("uv", uv, 2, "M, N")
    check_points("size_xyz", size, 3, "M")
    repeats, rest = divmod(uv.shape[-2], CORNERS)
    if rest or not repeats or uv.ndim != 3 or size.shape != (len(uv), 3):  # noqa: PLR2004
        raise GeometryError(
            "pixels of corners and sizes do not belong together",
            expected="(M, 8 D, 2) and (M, 3)",
            got=f"{uv.shape} and {size.shape}",
        )
    corners = size[:, None] * np.repeat(np.array(UNIT_POINTS)[1:], repeats, 0)
    found = solve_pnp(uv, corners, K, weights, distortion, max_residual_px=max_residual_px, noise_px=noise_px)
    boxes = Cuboids(found.object_to_camera, size)
    return CuboidPoses(boxes, found.residual_px, found.valid, np.full(len(uv), metric), found.second, found.ambiguous)


def see_points(xyz_camera: Array, K: Array, distortion: Array | None = None) -> Array:
    """Find the pixels that see points of space.

    Args:
        xyz_camera: (M, N, 3) float, frame of the camera.
        K: (3, 3) or (M, 3, 3) float, intrinsics, pixels.
        distortion: (D,) or (M, D) float, OpenCV order; none if None. Needs torch.

    Returns:
        (M, N, 2) float64, pixels; NaN where a point is not in front of the camera, or where its lens folds.

    Example:
        >>> see_points(np.array([[[0.1, 0.0, 2.0], [0.0, 0.0, -1.0]]]), np.diag([100.0, 100.0, 1.0]))
        array([[[ 5.,  0.],
                [nan, nan]]])
    """
    if distortion is not None and np.asarray(distortion).any():
        import torch

        seen = _camera(K, np.asarray(distortion, np.float64)).project(torch.tensor(xyz_camera))
        return np.where(seen.valid.numpy()[..., None], seen.uv.numpy(), np.nan)
    pixel = (xyz_camera[..., None, :] * K[..., None, :, :]).sum(-1)
    depth = pixel[..., 2:]
    return np.asarray(pixel[..., :2] / np.where(depth > MIN_DEPTH, depth, np.nan))


def to_true_size(found: CuboidPoses, scale: Scale) -> CuboidPoses:
    """Give boxes their true size and distance where it is known.

    Args:
        found: M boxes, up to scale.
        scale: (M,) from a known height or the ground; see :mod:`cogkp.geometry.cuboid`.

    Returns:
        The boxes; those whose scale is not valid stay as they were, and are as metric as before.

    Example:
        >>> K = np.array([[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]])
        >>> found = solve_cuboids(np.zeros((1, 8, 2)), np.ones((1, 3)), K)
        >>> grown = to_true_size(found, Scale(np.array([0.2]), np.array([True])))
        >>> grown.cuboids.size_xyz.tolist(), grown.metric.tolist()
        ([[0.2, 0.2, 0.2]], [True])
    """
    other = found.second.object_to_camera.copy()
    other[:, :3, 3] *= scale.factor[:, None]
    return found._replace(
        cuboids=found.cuboids.scaled(scale.factor),
        metric=found.metric | scale.valid,
        second=found.second._replace(object_to_camera=other),
    )
