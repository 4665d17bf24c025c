"""Boxes in space: a pose, three side lengths and nine points in a fixed order, and the box that fits nine points.

Object axes: +y up, +z to the front, +x completes a right-handed frame; the origin is the middle of the box.
Points: 0 is the middle; corner 1 + 4 [x > 0] + 2 [y > 0] + [z > 0] is the one on those sides.
Frame: ``camera`` stands for whichever frame the pose leads to; inside the library it has OpenCV axes.
Source of order and axes: A. Ahmadyan et al., Objectron, CVPR 2021, and its annotation files.
Boxes are NumPy arrays or torch tensors; results are of the same kind. Boxes are fitted to NumPy arrays.

Axes: S rotations; leading axes are batch axes and broadcast.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import attrs
import numpy as np
import numpy.typing as npt

from cogkp.errors import GeometryError
from cogkp.geometry.arrays import (
    Array,
    at_least_float32,
    cast,
    check_points,
    common_shape,
    is_floating,
    like,
    namespace,
)
from cogkp.geometry.camera_frame import CameraFrame, frame_to_frame
from cogkp.geometry.rotation import about_y, rotation_from_quaternion

CORNERS, POINTS = 8, 9

# Pairs of points: along x, then y, then z; each from the lower to the higher side.
EDGES = (
    *((1, 5), (2, 6), (3, 7), (4, 8)),
    *((1, 3), (5, 7), (2, 4), (6, 8)),
    *((1, 2), (3, 4), (5, 6), (7, 8)),
)

# Rounds of points: +x, -x, top, bottom, front, back; by the right-hand rule they face inwards.
FACES = ((5, 6, 8, 7), (1, 3, 4, 2), (3, 7, 8, 4), (1, 2, 6, 5), (2, 4, 8, 6), (1, 5, 7, 3))

UNIT_POINTS = (
    (0.0, 0.0, 0.0),
    *((-0.5, -0.5, -0.5), (-0.5, -0.5, 0.5), (-0.5, 0.5, -0.5), (-0.5, 0.5, 0.5)),
    *((0.5, -0.5, -0.5), (0.5, -0.5, 0.5), (0.5, 0.5, -0.5), (0.5, 0.5, 0.5)),
)

# Nine points fix a rotation if their second extent is more than this share of the first.
MIN_RELATIVE_EXTENT = 1e-9

# As many corners stand on the ground.
STANDING = 4


def _turn(rotation: Array, columns: Array) -> Array:
    # A matmul would be lowered to bf16 under autocast and to TF32 on a GPU; a sum of products is not.
    return (rotation[..., None] * columns[..., None, :, :]).sum(-2)


def posed(rotation: Array, location: Array) -> Array:
    """Join rotations (..., 3, 3) and places (..., 3) into rigid maps (..., 4, 4)."""
    xp = namespace(rotation)
    shape = common_shape("rotations and places", rotation.shape[:-2], location.shape[:-1])
    parts = xp.broadcast_to(rotation, (*shape, 3, 3)), xp.broadcast_to(location, (*shape, 3))[..., None]
    upper = xp.concatenate(parts, -1)
    last = xp.broadcast_to(like((0.0, 0.0, 0.0, 1.0), upper), (*shape, 1, 4))
    return xp.concatenate((upper, last), -2)


@attrs.frozen(eq=False)
class Cuboids:
    """Boxes with their poses and sizes.

    Args:
        cuboid_to_camera: (..., 4, 4) float, rigid, length unit of the data.
        size_xyz: (..., 3) float, full side lengths along the object's axes, same unit; leading axes broadcast.

    Example:
        >>> box = Cuboids(np.eye(4), np.array([2.0, 4.0, 6.0]))
        >>> box.points()[8], float(box.volume)
        (array([1., 2., 3.]), 48.0)
    """

    cuboid_to_camera: Array
    size_xyz: Array

    def __attrs_post_init__(self) -> None:
        floating = is_floating(self.cuboid_to_camera) and is_floating(self.size_xyz)
        if tuple(self.cuboid_to_camera.shape[-2:]) != (4, 4) or tuple(self.size_xyz.shape[-1:]) != (3,) or not floating:
            raise GeometryError(
                "boxes have the wrong shape or type",
                expected="poses (..., 4, 4) and sizes (..., 3), floating",
                got=f"{tuple(self.cuboid_to_camera.shape)} and {tuple(self.size_xyz.shape)}",
            )
        common_shape("poses and sizes of boxes", self.cuboid_to_camera.shape[:-2], self.size_xyz.shape[:-1])

    @classmethod
    def placed(cls, location: Array, quaternion_xyzw: Array, size_xyz: Array) -> Cuboids:
        """Make boxes of what annotation files hold.

        Args:
            location: (..., 3) float, the box's middle, frame of the camera.
            quaternion_xyzw: (..., 4) float, object to camera, of any length.
            size_xyz: (..., 3) float, full side lengths.

        Returns:
            The boxes.

        Raises:
            GeometryError: another shape, or integers.

        Gradient: flows to all three.
        """
        check_points("location", location[..., None, :], 3)
        return cls(posed(rotation_from_quaternion(quaternion_xyzw), location), size_xyz)

    @property
    def shape(self) -> tuple[int, ...]:
        """Leading axes."""
        return common_shape("poses and sizes of boxes", self.cuboid_to_camera.shape[:-2], self.size_xyz.shape[:-1])

    @property
    def dtype(self) -> Any:
        """The wider dtype of poses and sizes."""
        return namespace(self.size_xyz).promote_types(self.cuboid_to_camera.dtype, self.size_xyz.dtype)

    @property
    def volume(self) -> Array:
        """(...) float, cubed length unit."""
        return namespace(self.size_xyz).broadcast_to(self.size_xyz.prod(-1), self.shape)

    def __getitem__(self, index: Any) -> Cuboids:
        """Pick boxes by their leading axes."""
        expand = namespace(self.size_xyz).broadcast_to
        pose, size = expand(self.cuboid_to_camera, (*self.shape, 4, 4)), expand(self.size_xyz, (*self.shape, 3))
        return Cuboids(pose[index], size[index])

    def points(self) -> Array:
        """Find the middle and the corners.

        Returns:
            (..., 9, 3) float, frame of the camera, in the order of the module.

        Gradient: flows to poses and sizes.
        Precision: float32 or better, also under autocast.
        """
        pose = at_least_float32(self.cuboid_to_camera, self.size_xyz)
        size = cast(self.size_xyz, pose.dtype)
        local = size[..., None, :] * like(UNIT_POINTS, size)
        moved = (pose[..., None, :3, :3] * local[..., None, :]).sum(-1)
        return moved + pose[..., None, :3, 3]

    def turned(self, angle_rad: Array) -> Cuboids:
        """Turn each box about its own vertical axis, through its middle.

        Args:
            angle_rad: () or (S,) float, radians; of any kind.

        Returns:
            Boxes with the axis S put in front, if the angles have it.

        Gradient: flows to poses, sizes and angles.
        Precision: the angle's sine and cosine are taken in the dtype of the poses.

        Example:
            >>> box = Cuboids(np.eye(4), np.ones(3))
            >>> box.turned(np.array([0.0, math.pi])).points()[1, 8].round(3)
            array([-0.5,  0.5, -0.5])
        """
        rotation = about_y(like(angle_rad, self.cuboid_to_camera))
        lead = (1,) * (self.cuboid_to_camera.ndim - 2)
        rotation = rotation.reshape(*angle_rad.shape, *lead, 3, 3)
        pose = self.cuboid_to_camera
        return Cuboids(posed(_turn(pose[..., :3, :3], rotation), pose[..., :3, 3]), self.size_xyz)

    def scaled(self, factor: Array) -> Cuboids:
        """Scale space about the camera, boxes and distances alike; no pixel changes.

        Args:
            factor: (...) float, broadcasts with the leading axes.

        Returns:
            The boxes, larger and farther away.

        Gradient: flows to poses, sizes and factor.
        """
        pose = self.cuboid_to_camera
        return Cuboids(
            posed(pose[..., :3, :3], pose[..., :3, 3] * factor[..., None]), self.size_xyz * factor[..., None]
        )

    def in_frame(self, source: CameraFrame, target: CameraFrame) -> Cuboids:
        """Rewrite poses given in one kind of camera axes in another.

        Args:
            source: the axes the poses lead to.
            target: the axes wanted.

        Returns:
            The same boxes.

        Gradient: flows to poses and sizes.

        Example:
            >>> ahead = Cuboids.placed(np.array([1.0, 2.0, 3.0]), np.array([0.0, 0.0, 0.0, 1.0]), np.ones(3))
            >>> ahead.in_frame(CameraFrame.OPENCV, CameraFrame.OBJECTRON).cuboid_to_camera[:3, 3]
            array([ 2.,  1., -3.])
        """
        pose = self.cuboid_to_camera
        rotation = like(frame_to_frame(source, target), pose)
        return Cuboids(
            namespace(pose).concatenate((_turn(rotation, pose[..., :3, :]), pose[..., 3:, :]), -2), self.size_xyz
        )


def relative_size(size_xyz: Array) -> Array:
    """Return sizes in units of the height: (x / y, 1, z / y).

    Args:
        size_xyz: (..., 3) float, side lengths; their signs do not matter.

    Returns:
        (..., 3) in the dtype of ``size_xyz``; zero where a size is not finite or the height is nothing beside
        the other sides.

    Raises:
        GeometryError: another shape.

    Gradient: flows to the sizes, finite everywhere.

    Example:
        >>> relative_size(np.array([[0.1, 0.2, 0.4], [1.0, 0.0, 1.0]]))
        array([[0.5, 1. , 2. ],
               [0. , 0. , 0. ]])
    """
    check_points("size_xyz", size_xyz[..., None, :], 3)
    xp = namespace(size_xyz)
    height = abs(size_xyz[..., 1:2])
    largest = xp.amax(abs(size_xyz), -1)[..., None]
    usable = xp.isfinite(largest) & (height > xp.finfo(size_xyz.dtype).eps * largest)
    return abs(xp.where(usable, size_xyz, 0.0)) / xp.where(usable, height, 1.0)


def symmetry_angles(count: int, *, closed: bool = False) -> npt.NDArray[np.float64]:
    """List equally spaced turns of a box that looks the same after each.

    Args:
        count: how many.
        closed: whether the full turn is listed beside the turn by nothing, as the published evaluation does.

    Returns:
        (count,) float64, radians, starting with 0.

    Raises:
        GeometryError: ``count`` is not positive.

    Example:
        >>> np.rad2deg(symmetry_angles(4)).tolist(), float(np.rad2deg(symmetry_angles(5, closed=True)[-1]))
        ([0.0, 90.0, 180.0, 270.0], 360.0)
    """
    if count < 1:
        raise GeometryError("a box has at least one symmetry", expected="count >= 1", got=str(count))
    steps = max(count - 1, 1) if closed else count
    return np.arange(count, dtype=np.float64) * (2 * math.pi / steps)


class FittedCuboids(NamedTuple):
    """Boxes found from their points.

    Args:
        cuboids: the boxes; without size, at the origin, where not valid.
        residual: (...) float, root mean square distance of the points from the box's, length unit.
        valid: (...) bool, the points are finite and do not lie on a line.
    """

    cuboids: Cuboids
    residual: Array
    valid: Array


class Plane(NamedTuple):
    """A plane in space.

    Args:
        center: (..., 3) float, one of its points.
        normal: (..., 3) float, of any length, away from the ground.
    """

    center: Array
    normal: Array


class Scale(NamedTuple):
    """Factors that bring boxes known up to scale to their true size.

    Args:
        factor: (...) float, for :meth:`cogkp.geometry.cuboid.Cuboids.scaled`; one where not valid.
        valid: (...) bool, the factor is known, finite and positive.
    """

    factor: Array
    valid: Array

    def where(self, wanted: Array) -> Scale:
        """Keep the factors wanted, (...) bool; the others become one, and are not valid."""
        return Scale(namespace(self.factor).where(wanted, self.factor, 1.0), self.valid & wanted)


def fit_cuboids(points: Array) -> FittedCuboids:
    """Fit boxes to nine points each, by least squares.

    Args:
        points: (..., 9, 3) float array, frame of the camera, in the order of :mod:`cogkp.geometry.cuboid`.

    Returns:
        Boxes in float64; see :class:`FittedCuboids`. Each side is the mean of four parallel edges,
        the pose the rigid motion with the least squared distances.

    Raises:
        GeometryError: the points have another shape.

    Gradient: none; boxes are fitted to labels and to reports.
    Precision: float64 inside.
    Source: S. Umeyama, Least-squares estimation of transformation parameters between two point patterns, IEEE
        Transactions on Pattern Analysis and Machine Intelligence 13 (1991).

    Example:
        >>> box = Cuboids(np.eye(4), np.array([1.0, 2.0, 3.0]))
        >>> fit_cuboids(box.points()).cuboids.size_xyz
        array([1., 2., 3.])
    """
    _check_nine(points)
    points = np.asarray(points, np.float64)
    finite = np.isfinite(points).all((-1, -2))
    wide = np.where(finite[..., None, None], points, 0.0)
    first, second = np.array(EDGES).T
    edges = wide[..., second, :] - wide[..., first, :]
    size = np.linalg.norm(edges, axis=-1).reshape(*edges.shape[:-2], 3, 4).mean(-1)
    local = size[..., None, :] * np.array(UNIT_POINTS)
    middle = wide.mean(-2)
    left, extent, right = np.linalg.svd((wide - middle[..., None, :]).swapaxes(-1, -2) @ local)
    mirrored = np.linalg.det(left) * np.linalg.det(right) < 0
    last = np.where(mirrored, -1.0, 1.0)[..., None, None]
    rotation = np.concatenate((left[..., :2], left[..., 2:] * last), -1) @ right
    valid = np.asarray(finite & (extent[..., 1] > MIN_RELATIVE_EXTENT * extent[..., 0]))
    rotation = np.where(valid[..., None, None], rotation, np.eye(3))
    middle, size = np.where(valid[..., None], middle, 0.0), np.where(valid[..., None], size, 0.0)
    boxes = Cuboids(posed(rotation, middle), size)
    apart = np.square(boxes.points() - wide).sum(-1)
    return FittedCuboids(boxes, np.where(valid, np.sqrt(apart.mean(-1)), 0.0), valid)


def _check_nine(points: Array) -> None:
    check_points("points", points, 3)
    if points.shape[-2] != POINTS:
        raise GeometryError("a box has nine points", expected="(..., 9, 3)", got=str(tuple(points.shape)))


@np.errstate(all="ignore")
def scale_from_height(size_xyz: Array, height: Array) -> Scale:
    """Compare the height of boxes known up to scale with their true height.

    Args:
        size_xyz: (..., 3) float, side lengths in any unit; the height is the second.
        height: (...) float, the true height, world unit.

    Returns:
        The factor; see :class:`Scale`.

    Raises:
        GeometryError: the sizes have another shape.

    Gradient: flows to sizes and heights where valid.

    Example:
        >>> float(scale_from_height(np.array([0.5, 1.0, 2.0]), np.array(0.2)).factor)
        0.2
    """
    check_points("size_xyz", size_xyz[..., None, :], 3)
    return _ratio(height, size_xyz[..., 1])


@np.errstate(all="ignore")
def scale_from_plane(points: Array, plane: Plane) -> Scale:
    """Compare how far down boxes known up to scale reach with the ground they stand on.

    The ray to each of the four corners farthest against the normal meets the plane at some multiple of the corner;
    the factor is the mean of these multiples.

    Args:
        points: (..., 9, 3) float, of boxes known up to scale, frame of the camera.
        plane: the ground, in the same frame, world unit.

    Returns:
        The factor; see :class:`Scale`. Not valid where the camera lies in the plane, or where one of the four corners
        is seen away from it.

    Raises:
        GeometryError: the points have another shape.

    Gradient: flows to points and plane where valid.
    Source: the meeting point of a ray and a plane.

    Example:
        >>> box = Cuboids(np.eye(4), np.ones(3)).points() + np.array([0.0, 0.0, 5.0])
        >>> ground = Plane(np.array([0.0, -0.2, 0.0]), np.array([0.0, 1.0, 0.0]))
        >>> float(scale_from_plane(box, ground).factor)
        0.4
    """
    _check_nine(points)
    xp = namespace(points)
    along = (points[..., 1:, :] * plane.normal[..., None, :]).sum(-1)
    rising = np.sort(along, -1) if xp is np else along.sort(-1).values
    parts = _ratio((plane.center * plane.normal).sum(-1)[..., None], rising[..., :STANDING])
    valid = parts.valid.all(-1)
    return Scale(xp.where(valid, parts.factor.mean(-1), 1.0), valid)


def _ratio(true: Array, found: Array) -> Scale:
    xp = namespace(found)
    usable = xp.isfinite(true) & xp.isfinite(found) & (found != 0)
    factor = xp.where(usable, true, 1.0) / xp.where(usable, found, 1.0)
    valid = usable & xp.isfinite(factor) & (factor > 0)
    return Scale(xp.where(valid, factor, 1.0), valid)
