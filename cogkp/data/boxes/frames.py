"""Find out which camera axes annotation files use, from their own points and pixels.

Points of space and their pixels are two statements about one thing; only under the right axes do they agree.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cogkp.data.boxes.records import BoxRecord, ImageRecord
from cogkp.errors import Problem
from cogkp.geometry.camera_frame import MIN_DEPTH, CameraFrame, frame_to_frame

FloatArray = npt.NDArray[np.float64]

FRAME_TOLERANCE_PX = 5.0
"""Axes fit where half of the boxes have all their points nearer to their pixels; wrong ones are off by hundreds."""

PIXEL_KEY = "projected_cuboid"
SPACE_KEYS = frozenset({"keypoints_3d", "location"})


class FrameFit(NamedTuple):
    """Reprojection error of the files under each choice of camera axes.

    Args:
        declared: what the files or the user say; None where there is no file.
        residual_px: by frame, the median over boxes of the largest distance between a point's pixel and where the
            camera sees it; infinite where the box is behind the camera. Empty without boxes.
    """

    declared: CameraFrame | None
    residual_px: Mapping[CameraFrame, float]

    @property
    def better(self) -> CameraFrame | None:
        """The axes that fit where the declared ones do not; None where these do, or none does."""
        if self.declared is None or not self.residual_px or self.residual_px[self.declared] <= FRAME_TOLERANCE_PX:
            return None
        best = min(self.residual_px, key=lambda frame: self.residual_px[frame])
        return best if self.residual_px[best] <= FRAME_TOLERANCE_PX else None

    def problem(self, where: str) -> Problem | None:
        """Say that other axes fit, where they do."""
        if self.declared is None or self.better is None:
            return None
        return Problem(
            "points of space and their pixels do not agree under the declared camera axes",
            where,
            f"camera_frame '{self.better.value}' ({self.residual_px[self.better]:.2g} px)",
            f"'{self.declared.value}' ({_residual_text(self.residual_px[self.declared])})",
            f"Declare camera_frame '{self.better.value}'.",
        )


def _residual_text(residual_px: float) -> str:
    return f"{residual_px:.0f} px" if np.isfinite(residual_px) else "behind the camera"


def project(K: FloatArray, xyz_camera: FloatArray) -> FloatArray:
    """Project points (..., 3) in OpenCV axes to pixels; NaN for those behind the camera."""
    depth = xyz_camera[..., 2:]
    rays = xyz_camera / np.where(depth > MIN_DEPTH, depth, np.nan)
    return np.asarray(rays @ K[:2].T)


def reprojection_px(box: BoxRecord, K: FloatArray, turn: FloatArray | None = None) -> float | None:
    """Return the largest distance between a box's 3-D points, first turned (3, 3) if asked, and its pixels.

    Infinite where a point is behind the camera; None where the file states only one of both.
    """
    if box.xyz_camera is None or PIXEL_KEY not in box.given or not SPACE_KEYS & box.given:
        return None
    points = box.xyz_camera if turn is None else box.xyz_camera @ turn.T
    distance = np.linalg.norm(project(K, points) - box.uv_source, axis=-1)
    return float(np.nan_to_num(distance, nan=np.inf).max())


def centre_px(box: BoxRecord, K: FloatArray) -> tuple[float, int, float] | None:
    """Compare the stated place of a box's middle with its pixels; None where the file does not state both.

    Returns:
        The distance from the middle's pixel, infinite where the place is behind the camera, then which of the nine
            points is nearest, and how near.
    """
    if box.location is None or PIXEL_KEY not in box.given:
        return None
    distance = np.nan_to_num(np.linalg.norm(project(K, box.location) - box.uv_source, axis=-1), nan=np.inf)
    return float(distance[0]), int(distance.argmin()), float(distance.min())


def fit_camera_frame(records: Sequence[ImageRecord]) -> FrameFit:
    """Try all camera axes on images whose files declare the same ones, under which they were read."""
    if not records:
        return FrameFit(None, {})
    declared = records[0].camera_frame
    known = [(box, record.K) for record in records if record.K is not None for box in record.boxes]
    medians = {}
    for frame in CameraFrame:
        # The numbers of the file, read as if they were in this frame: back to the file's axes, then on from there.
        turn = frame_to_frame(frame, CameraFrame.OPENCV) @ frame_to_frame(CameraFrame.OPENCV, declared)
        found = [residual for box, K in known if (residual := reprojection_px(box, K, turn)) is not None]
        if found:
            # The lower of two middle values: the mean of a number and infinity says nothing.
            medians[frame] = float(sorted(found)[(len(found) - 1) // 2])
    return FrameFit(declared, medians)
