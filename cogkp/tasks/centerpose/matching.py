"""Errors of predicted boxes against true ones (3-D IoU, pixels, viewpoint, ADD), and how the two are matched.

Axes: n matches or boxes found, D boxes found and T boxes true in one image, R turns, H thresholds.
Source: A. Ahmadyan et al., Objectron, CVPR 2021, section 5, and the evaluation published with it.
Source: M. Everingham et al., The Pascal Visual Object Classes Challenge: a Retrospective, 2015, section 2.2.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cogkp.geometry.camera import PinholeCamera
from cogkp.geometry.cuboid import Cuboids, Plane, Scale, posed, scale_from_plane, symmetry_angles
from cogkp.geometry.iou3d import iou3d
from cogkp.geometry.rotation import about_y

FloatArray = npt.NDArray[np.floating[Any]]
STEPS = 21

FARTHEST = 1.0
"""Distance, length unit, that stands for boxes which share no space."""

FULL_TURN_DEG = 360.0
# A box shares as much after half a turn, but for rounding.
SAME_SHARE = 1e-6


class PoseCriterion(NamedTuple):
    """A measure by which a predicted box counts as correct.

    Args:
        field: of :class:`cogkp.tasks.centerpose.matching.PoseErrors`.
        word: for people.
        unit: of thresholds.
        most: the last of the thresholds, which start at zero and are equally far apart.
        larger: whether larger is better.
    """

    field: str
    word: str
    unit: str
    most: float
    larger: bool

    @property
    def thresholds(self) -> FloatArray:
        """(H,) from zero to ``most``."""
        return np.linspace(0.0, self.most, STEPS)

    def hits(self, values: FloatArray) -> npt.NDArray[np.bool_]:
        """(n, H) whether each value (n,) reaches each threshold; NaN reaches none."""
        column = values[:, None]
        return np.asarray(column >= self.thresholds if self.larger else column <= self.thresholds)


MEASURES = (
    PoseCriterion("iou", "3-D IoU", "", 1.0, True),
    PoseCriterion("pixel", "2-D error", "of the image", 0.1, False),
    PoseCriterion("azimuth_deg", "azimuth", "deg", 30.0, False),
    PoseCriterion("elevation_deg", "elevation", "deg", 20.0, False),
    PoseCriterion("scale", "scale", "", 1.0, False),
    PoseCriterion("add", "ADD", "m", 1.0, False),
    PoseCriterion("add_s", "ADD-S", "m", 1.0, False),
)


def average_precision(hits: npt.NDArray[np.bool_], confidence: FloatArray, positives: int) -> FloatArray:
    """Integrate the interpolated precision over recall; (H,) float64, 0 to 1.

    Args:
        hits: (n, H) bool.
        confidence: (n,) the surest is counted first; equals in their order.
        positives: how many objects there are to be found, at least one. Where an object is hit more often than once,
            recall stops at 1.

    Example:
        >>> average_precision(np.array([[True], [False], [True]]), np.array([0.9, 0.8, 0.7]), 2)
        array([0.83333333])
    """
    order = np.argsort(-np.asarray(confidence), kind="stable")
    hit = np.cumsum(hits[order], 0)
    precision = hit / np.arange(1, len(hits) + 1)[:, None]
    envelope = np.maximum.accumulate(precision[::-1], 0)[::-1]
    recall = np.minimum(hit / positives, 1.0)
    return np.asarray((np.diff(recall, axis=0, prepend=0.0) * envelope).sum(0))


class PoseErrors(NamedTuple):
    """The errors of each match, (n,) float64.

    Args:
        pixel: mean distance of the corners in the image, its width and height being 1.
        iou: share of space, 0 to 1.
        azimuth_deg: of the direction from which the object is seen.
        elevation_deg: of the same.
        add: mean distance of the nine points, length unit; at most ``FARTHEST`` where no space is shared.
        add_s: mean distance of each true point from the nearest found one, likewise.
        scale: sum over the sides, in units of the height, of the relative error.
    """

    pixel: Tensor
    iou: Tensor
    azimuth_deg: Tensor
    elevation_deg: Tensor
    add: Tensor
    add_s: Tensor
    scale: Tensor


def pose_errors(
    found: Cuboids,
    found_uv: Tensor,
    true: Cuboids,
    K: Tensor,
    size_wh: Tensor,
    turns: int = 1,
    *,
    closed: bool = False,
) -> PoseErrors:
    """Compute the errors of predicted boxes against true ones.

    Args:
        found: (n) boxes of true size, frame of the camera.
        found_uv: (n, 9, 2) float, their points in the image, pixels.
        true: (n) boxes, same frame.
        K: (n, 3, 3) float, intrinsics, pixels.
        size_wh: (n, 2) width and height of the images, pixels.
        turns: after how many equal turns about their vertical axes the objects look as before.
        closed: turn found boxes by steps that end with the full turn, as the published evaluation does; where the
            turns are few, these are not the turns after which the objects look as before.

    Returns:
        The measures; those in space for the turn under which the boxes share most. Azimuths count up to a turn, so
        their error is at most half of one.

    Source: Ahmadyan et al. 2021, section 5.

    Example:
        >>> box = Cuboids(torch.eye(4), torch.ones(3))[None]
        >>> pose_errors(box, torch.zeros(1, 9, 2), box, torch.eye(3)[None], torch.ones(1, 2)).iou
        tensor([1.], dtype=torch.float64)
    """
    found, true = _wide(found), _wide(true)
    pixel = corner_errors(found_uv, true, K, size_wh, turns)
    iou, turned = _best_turn(found, true, torch.from_numpy(symmetry_angles(turns, closed=closed)))
    between = _between(turned, true)
    apart = iou <= 0
    add = between.diagonal(dim1=-2, dim2=-1).mean(-1)
    add_s = between.amin(-1).mean(-1)
    azimuth, elevation = _view_angles(turned) - _view_angles(true)
    sides, wanted = (box.size_xyz / box.size_xyz[..., 1:2] for box in (turned, true))
    return PoseErrors(
        pixel=pixel,
        iou=iou,
        azimuth_deg=_folded(azimuth, FULL_TURN_DEG / turns),
        elevation_deg=elevation.abs(),
        add=torch.where(apart, add.clamp(max=FARTHEST), add),
        add_s=torch.where(apart, add_s.clamp(max=FARTHEST), add_s),
        scale=((sides - wanted).abs() / wanted).sum(-1),
    )


def _wide(boxes: Cuboids) -> Cuboids:
    return Cuboids(boxes.cuboid_to_camera.double(), boxes.size_xyz.double())


def _best_turn(found: Cuboids, true: Cuboids, angles: Tensor) -> tuple[Tensor, Cuboids]:
    """Find the largest IoU, and the rotated boxes; of rotations with equal IoU, the one with the nearest points."""
    each = [found.turned(angle) for angle in angles]
    shares = torch.stack([iou3d(turned, true) for turned in each])
    apart = torch.stack([_between(turned, true).diagonal(dim1=-2, dim2=-1).mean(-1) for turned in each])
    largest = shares.amax(0)
    angle = angles[torch.where(shares >= largest - SAME_SHARE, apart, torch.inf).argmin(0)]
    pose = found.cuboid_to_camera
    return largest, Cuboids(posed(pose[..., :3, :3] @ about_y(angle), pose[..., :3, 3]), found.size_xyz)


def _between(found: Cuboids, true: Cuboids) -> Tensor:
    """(n, 9, 9) distances of true points, first axis, from found ones."""
    distance: Tensor = torch.linalg.vector_norm(true.points().unsqueeze(-2) - found.points().unsqueeze(-3), dim=-1)
    return distance


def corner_errors(found_uv: Tensor, true: Cuboids, K: Tensor, unit_px: Tensor, turns: int = 1) -> Tensor:
    """Compute the distances of projected corners from the true ones.

    Args:
        found_uv: (n, 9, 2) float, points of found boxes, pixels.
        true: (n) boxes, frame of the camera.
        K: (n, 3, 3) float, intrinsics, pixels.
        unit_px: (n, 2) pixels that count as one, along rows and columns: ones, or width and height of the images.
        turns: after how many equal turns about their vertical axes the objects look as before.

    Returns:
        (n,) float64, mean over the corners, for the turn under which they are nearest.
    """
    eye = torch.eye(4, dtype=torch.float64)
    turned = _wide(true).turned(symmetry_angles(turns))
    projected = PinholeCamera(K.double(), eye, (0, 0)).project(turned.points()).uv
    apart = (projected - found_uv.double())[..., 1:, :] / unit_px.double()[:, None]
    distance: Tensor = torch.linalg.vector_norm(apart, dim=-1)
    nearest: Tensor = distance.mean(-1).amin(0)
    return nearest


def _view_angles(boxes: Cuboids) -> Tensor:
    """(2, n) azimuth and elevation of the camera in the object's frame, degrees."""
    pose = boxes.cuboid_to_camera
    x, y, z = (-pose[..., :3, :3].mT @ pose[..., :3, 3:]).squeeze(-1).unbind(-1)
    return torch.rad2deg(torch.stack((torch.atan2(z, x), torch.atan2(y, torch.hypot(x, z)))))


def _folded(angle_deg: Tensor, period_deg: float) -> Tensor:
    rest = angle_deg.abs() % period_deg
    return torch.minimum(rest, period_deg - rest)


def ground_scale(found: Cuboids, true: Cuboids, ground: Tensor) -> Scale:
    """Find the factor by which boxes known up to scale stand on the ground.

    ``ground`` is (n, 2, 3) float64, a point and the normal; where it is NaN, it is the face that the true box stands
    on.
    """
    pose = true.cuboid_to_camera.double()
    up = pose[..., :3, 1]
    face = pose[..., :3, 3] - 0.5 * true.size_xyz[..., 1:2].double() * up
    known = ground.isfinite().all(-1).all(-1) & (ground[..., 1, :] != 0).any(-1)
    center = torch.where(known.unsqueeze(-1), ground[..., 0, :], face)
    normal = torch.where(known.unsqueeze(-1), ground[..., 1, :], up)
    return scale_from_plane(found.points().double(), Plane(center, normal))


def corner_distances(found_uv: Tensor, true_uv: Tensor, size_wh: Tensor) -> Tensor:
    """Compare all predicted boxes (D, 9, 2) of an image of ``size_wh`` with all true ones (T, 9, 2), pixels.

    Returns:
        (D, T) root of the summed squared distances of corners, width and height of the image being 1.
    """
    between = (found_uv[:, None, 1:] - true_uv[None, :, 1:]) / size_wh.to(found_uv)
    return between.square().sum((-2, -1)).sqrt()


def match_nearest(distance: Tensor) -> Tensor:
    """Match every predicted box, of (D, T) with T above 0, with the nearest true one, however many share it."""
    return distance.argmin(1)


def match_once(distance: Tensor) -> Tensor:
    """Match predicted and true boxes greedily, the nearest pair first, each at most once.

    The rows of ``distance`` (D, T) are the likeliest box first; of pairs that are as near, the likelier box's comes
    first. Returns (D,) int64, -1 for boxes that are left over: every true one is matched with a box as near or nearer.

    Example:
        >>> match_once(torch.tensor([[5.0], [0.0]]))
        tensor([-1,  0])
        >>> match_once(torch.tensor([[0.1, 0.5], [0.2, 0.9], [0.0, 0.1]]))
        tensor([ 1, -1,  0])
    """
    chosen = [-1] * len(distance)
    taken: set[int] = set()
    for pair in distance.flatten().argsort(stable=True).tolist():
        row, column = divmod(pair, distance.shape[1])
        if chosen[row] < 0 and column not in taken:
            chosen[row] = column
            taken.add(column)
    return torch.tensor(chosen, dtype=torch.int64)
