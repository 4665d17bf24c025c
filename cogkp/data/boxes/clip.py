"""Convert between intrinsics and the projection matrix of annotation files; see :func:`cogkp.geometry.camera_frame`."""

import numpy as np
import numpy.typing as npt

from cogkp.geometry.camera_frame import CameraFrame, objectron_projection

FloatArray = npt.NDArray[np.float64]

# How rows and columns of the Objectron matrix must be ordered, and signed, to act on OpenGL axes.
TO_OPENGL = np.array([[0.0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def clip_matrix(K: FloatArray, size_wh: tuple[int, int], frame: CameraFrame) -> FloatArray | None:
    """Convert intrinsics (3, 3) to the projection (clip) matrix (4, 4) of annotation files; None for OpenCV axes.

    Example:
        >>> K = np.array([[535.4, 0.0, 320.1], [0.0, 539.2, 247.6], [0.0, 0.0, 1.0]])
        >>> clip_matrix(K, (640, 480), CameraFrame.OPENGL)[:2].round(6) + 0.0
        array([[ 1.673125e+00,  0.000000e+00, -3.130000e-04,  0.000000e+00],
               [ 0.000000e+00,  2.246667e+00,  3.166700e-02,  0.000000e+00]])
    """
    matrix = objectron_projection(K, size_wh)
    if frame is CameraFrame.OPENGL:
        return np.asarray(TO_OPENGL @ matrix @ TO_OPENGL.T)
    return matrix if frame is CameraFrame.OBJECTRON else None


def intrinsics_of(matrix: FloatArray, size_wh: tuple[int, int], frame: CameraFrame) -> FloatArray | None:
    """Convert the projection (clip) matrix of an annotation file to intrinsics; undoes :func:`clip_matrix`.

    None where it has no focal length, or for OpenCV axes.
    """
    if frame is CameraFrame.OPENCV:
        return None
    rows = TO_OPENGL.T @ matrix @ TO_OPENGL if frame is CameraFrame.OPENGL else matrix
    width, height = size_wh
    if not min(rows[0, 0], rows[1, 1]) > 0:
        return None
    return np.array(
        [
            [0.5 * width * rows[1, 1], 0.0, 0.5 * width * (1 - rows[1, 2])],
            [0.0, 0.5 * height * rows[0, 0], 0.5 * height * (1 - rows[0, 2])],
            [0.0, 0.0, 1.0],
        ]
    )
