"""Conventions for camera axes in files, and the rotations between them.

Everything inside the library is in OpenCV axes; data is converted where it enters and reports where they leave.
"""

import enum

import numpy as np
import numpy.typing as npt

from cogkp.errors import GeometryError

FloatArray = npt.NDArray[np.float64]

MIN_DEPTH = 1e-6
"""A point that is not farther than this along a camera's axis is not in front of it."""

# A clip matrix has near and far planes, which change no pixel; these are the ones of the annotation files.
FAR_ROW, NEAR_TERM = -1.0, -0.001


class CameraFrame(enum.Enum):
    """Axes attached to a camera, seen on the upright image.

    - ``OPENCV``: +x right, +y down, +z forward.
    - ``OPENGL``: +x right, +y up, +z backward.
    - ``OBJECTRON``: +x down, +y right, +z backward: OpenGL axes of a sensor that lies on its side.
    """

    OPENCV = "opencv"
    OPENGL = "opengl"
    OBJECTRON = "objectron"


# What takes OpenCV axes to each; all are their own inverses.
FROM_OPENCV = {
    CameraFrame.OPENCV: ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    CameraFrame.OPENGL: ((1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, -1.0)),
    CameraFrame.OBJECTRON: ((0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, -1.0)),
}


def frame_to_frame(source: CameraFrame, target: CameraFrame) -> FloatArray:
    """Return the rotation that rewrites coordinates of one frame in another.

    Args:
        source: the frame the coordinates are in.
        target: the frame they are wanted in.

    Returns:
        (3, 3) float64, acts on columns.

    Example:
        >>> frame_to_frame(CameraFrame.OPENCV, CameraFrame.OBJECTRON) @ np.array([1.0, 2.0, 3.0])
        array([ 2.,  1., -3.])
    """
    there, back = (np.array(FROM_OPENCV[frame]) for frame in (target, source))
    return np.asarray(there @ back)


def objectron_projection(K: FloatArray, size_wh: tuple[int, int]) -> FloatArray:
    """Write intrinsics as the clip matrix of the annotation files.

    A point X of the Objectron frame has clip coordinates c = P (X, 1); then v = height (c0 / c3 + 1) / 2 and
    u = width (c1 / c3 + 1) / 2. The matrix knows no skew.

    Args:
        K: (..., 3, 3) float, intrinsics of the upright image, pixels.
        size_wh: width and height of the upright image, pixels.

    Returns:
        (..., 4, 4) float64.

    Raises:
        GeometryError: ``K`` is not 3x3, or the image has no area.

    Source: the OpenGL specification, section on clip coordinates, with the first two axes exchanged.

    Example:
        >>> K = np.array([[662.2, 0.0, 300.0], [0.0, 662.2, 400.0], [0.0, 0.0, 1.0]])
        >>> objectron_projection(K, (600, 800))[:2, :2].diagonal().round(4)
        array([1.6555, 2.2073])
    """
    width, height = size_wh
    if tuple(K.shape[-2:]) != (3, 3) or not min(width, height) > 0:
        raise GeometryError(
            "a projection needs intrinsics and an image size",
            expected="K (..., 3, 3), width and height > 0",
            got=f"{tuple(K.shape)}, {size_wh}",
        )
    matrix = np.zeros((*K.shape[:-2], 4, 4))
    matrix[..., 0, 0] = 2 * K[..., 1, 1] / height
    matrix[..., 0, 2] = 1 - 2 * K[..., 1, 2] / height
    matrix[..., 1, 1] = 2 * K[..., 0, 0] / width
    matrix[..., 1, 2] = 1 - 2 * K[..., 0, 2] / width
    matrix[..., 2, 2], matrix[..., 2, 3] = FAR_ROW, NEAR_TERM
    matrix[..., 3, 2] = -1.0
    return matrix
