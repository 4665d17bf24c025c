"""Boxes in space: a pose, three side lengths, and nine points in a fixed order.

Object axes: +y up, +z to the front, +x completes a right-handed frame; the origin is the middle of the box.
Points: 0 is the middle; corner 1 + 4 [x > 0] + 2 [y > 0] + [z > 0] is the one on those sides.
Frame: ``camera`` stands for whichever frame the pose leads to; inside the library it has OpenCV axes.
Source of order and axes: A. Ahmadyan et al., Objectron, CVPR 2021, and its annotation files.

Axes: S rotations; leading axes are batch axes and broadcast.
"""

from __future__ import annotations

import math
from typing import Any

import attrs
import torch
from torch import Tensor

from cogkp.errors import GeometryError
from cogkp.geometry.camera_frame import CameraFrame, frame_to_frame
from cogkp.geometry.projection import check_points, common_shape
from cogkp.geometry.rotation import about_y, rotation_from_quaternion

__all__ = ["CORNERS", "EDGES", "FACES", "POINTS", "UNIT_POINTS", "Cuboids", "posed", "relative_size", "symmetry_angles"]

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


def _turn(rotation: Tensor, columns: Tensor) -> Tensor:
    # A matmul would be lowered to bf16 under autocast and to TF32 on a GPU; a sum of products is not.
    return (rotation.unsqueeze(-1) * columns.unsqueeze(-3)).sum(-2)


def posed(rotation: Tensor, location: Tensor) -> Tensor:
    """Join rotations (..., 3, 3) and places (..., 3) into rigid maps (..., 4, 4)."""
    shape = common_shape("rotations and places", rotation.shape[:-2], location.shape[:-1])
    upper = torch.cat((rotation.expand(*shape, 3, 3), location.expand(*shape, 3).unsqueeze(-1)), -1)
    last = upper.new_tensor((0.0, 0.0, 0.0, 1.0)).expand(*shape, 1, 4)
    return torch.cat((upper, last), -2)


@attrs.frozen(eq=False)
class Cuboids:
    """Boxes with their poses and sizes.

    Args:
        cuboid_to_camera: (..., 4, 4) float, rigid, length unit of the data.
        size_xyz: (..., 3) float, full side lengths along the object's axes, same unit; leading axes broadcast.

    Example:
        >>> box = Cuboids(torch.eye(4), torch.tensor([2.0, 4.0, 6.0]))
        >>> box.points()[8], box.volume
        (tensor([1., 2., 3.]), tensor(48.))
    """

    cuboid_to_camera: Tensor
    size_xyz: Tensor

    def __attrs_post_init__(self) -> None:
        floating = self.cuboid_to_camera.is_floating_point() and self.size_xyz.is_floating_point()
        if tuple(self.cuboid_to_camera.shape[-2:]) != (4, 4) or tuple(self.size_xyz.shape[-1:]) != (3,) or not floating:
            raise GeometryError(
                "boxes have the wrong shape or type",
                expected="poses (..., 4, 4) and sizes (..., 3), floating",
                got=f"{tuple(self.cuboid_to_camera.shape)} and {tuple(self.size_xyz.shape)}",
            )
        common_shape("poses and sizes of boxes", self.cuboid_to_camera.shape[:-2], self.size_xyz.shape[:-1])

    @classmethod
    def placed(cls, location: Tensor, quaternion_xyzw: Tensor, size_xyz: Tensor) -> Cuboids:
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
        check_points("location", location.unsqueeze(-2), 3)
        return cls(posed(rotation_from_quaternion(quaternion_xyzw), location), size_xyz)

    @property
    def shape(self) -> torch.Size:
        """Leading axes."""
        return common_shape("poses and sizes of boxes", self.cuboid_to_camera.shape[:-2], self.size_xyz.shape[:-1])

    @property
    def dtype(self) -> torch.dtype:
        """The wider dtype of poses and sizes."""
        return torch.promote_types(self.cuboid_to_camera.dtype, self.size_xyz.dtype)

    @property
    def volume(self) -> Tensor:
        """(...) float, cubed length unit."""
        return self.size_xyz.prod(-1).expand(self.shape)

    def __getitem__(self, index: Any) -> Cuboids:
        """Pick boxes by their leading axes."""
        pose, size = self.cuboid_to_camera.expand(*self.shape, 4, 4), self.size_xyz.expand(*self.shape, 3)
        return Cuboids(pose[index], size[index])

    def points(self) -> Tensor:
        """Find the middle and the corners.

        Returns:
            (..., 9, 3) float, frame of the camera, in the order of the module.

        Gradient: flows to poses and sizes.
        Precision: float32 or better, also under autocast.
        """
        work = torch.promote_types(self.dtype, torch.float32)
        pose, size = self.cuboid_to_camera.to(work), self.size_xyz.to(work)
        local = size.unsqueeze(-2) * size.new_tensor(UNIT_POINTS)
        moved = (pose[..., None, :3, :3] * local.unsqueeze(-2)).sum(-1)
        return moved + pose[..., None, :3, 3]

    def turned(self, angle_rad: Tensor) -> Cuboids:
        """Turn each box about its own vertical axis, through its middle.

        Args:
            angle_rad: () or (S,) float, radians.

        Returns:
            Boxes with the axis S put in front, if the angles have it.

        Gradient: flows to poses, sizes and angles.
        Precision: the angle's sine and cosine are taken in the dtype of the poses.

        Example:
            >>> box = Cuboids(torch.eye(4), torch.ones(3))
            >>> box.turned(torch.tensor([0.0, math.pi])).points()[1, 8].round(decimals=3)
            tensor([-0.5000,  0.5000, -0.5000])
        """
        rotation = about_y(angle_rad.to(self.cuboid_to_camera.dtype))
        lead = (1,) * (self.cuboid_to_camera.dim() - 2)
        rotation = rotation.reshape(*angle_rad.shape, *lead, 3, 3)
        pose = self.cuboid_to_camera
        return Cuboids(posed(_turn(pose[..., :3, :3], rotation), pose[..., :3, 3]), self.size_xyz)

    def scaled(self, factor: Tensor) -> Cuboids:
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
            >>> ahead = Cuboids.placed(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, 0.0, 0.0, 1.0]), torch.ones(3))
            >>> ahead.in_frame(CameraFrame.OPENCV, CameraFrame.OBJECTRON).cuboid_to_camera[:3, 3]
            tensor([ 2.,  1., -3.])
        """
        pose = self.cuboid_to_camera
        rotation = frame_to_frame(source, target).to(pose)
        return Cuboids(torch.cat((_turn(rotation, pose[..., :3, :]), pose[..., 3:, :]), -2), self.size_xyz)


def relative_size(size_xyz: Tensor) -> Tensor:
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
        >>> relative_size(torch.tensor([[0.1, 0.2, 0.4], [1.0, 0.0, 1.0]]))
        tensor([[0.5000, 1.0000, 2.0000],
                [0.0000, 0.0000, 0.0000]])
    """
    check_points("size_xyz", size_xyz.unsqueeze(-2), 3)
    height = size_xyz[..., 1:2].abs()
    largest = size_xyz.abs().amax(-1, keepdim=True)
    usable = torch.isfinite(largest) & (height > torch.finfo(size_xyz.dtype).eps * largest)
    return torch.where(usable, size_xyz, 0.0).abs() / torch.where(usable, height, 1.0)


def symmetry_angles(count: int, *, closed: bool = False) -> Tensor:
    """List equally spaced turns of a box that looks the same after each.

    Args:
        count: how many.
        closed: whether the full turn is listed beside the turn by nothing, as the published evaluation does.

    Returns:
        (count,) float64, radians, starting with 0.

    Raises:
        GeometryError: ``count`` is not positive.

    Example:
        >>> symmetry_angles(4).rad2deg(), symmetry_angles(5, closed=True).rad2deg()[-1]
        (tensor([  0.,  90., 180., 270.], dtype=torch.float64), tensor(360., dtype=torch.float64))
    """
    if count < 1:
        raise GeometryError("a box has at least one symmetry", expected="count >= 1", got=str(count))
    steps = max(count - 1, 1) if closed else count
    return torch.arange(count, dtype=torch.float64) * (2 * math.pi / steps)
