"""3x3 maps between the pixels of two images, as plain matrices.

:class:`cogkp.geometry.warp.ImageWarp` holds them for tensors; a deployed model uses them as they are, without torch.
Pixel rule: the centre of the top-left pixel is (0, 0).

Source: R. Hartley and A. Zisserman, Multiple View Geometry, 2nd ed., section 2.4 (plane projective maps).
"""

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from cogkp.errors import GeometryError
from cogkp.geometry.arrays import Array, cast, namespace

MIN_DETERMINANT = 1e-12

# Points this close to the horizon of a perspective map are held here, so that values and gradients stay finite.
MIN_DEPTH = 1e-9

Row = tuple[float, float, float]


def affine_map(first: Row, second: Row) -> npt.NDArray[np.float64]:
    """Return the (3, 3) float64 matrix of two rows over (0, 0, 1).

    Raises:
        GeometryError: it is not finite, or flattens the image.
    """
    determinant = first[0] * second[1] - first[1] * second[0]
    if not MIN_DETERMINANT < abs(determinant) < math.inf or not all(map(math.isfinite, (*first, *second))):
        raise GeometryError("an image map must be finite and invertible", got=str([list(first), list(second)]))
    return np.array([first, second, (0.0, 0.0, 1.0)])


def fit_map(corner_uv: tuple[float, float], size_wh: tuple[float, float], side: int) -> npt.NDArray[np.float64]:
    """Fit a rectangle, unstretched and centred, into a square image.

    Args:
        corner_uv: the rectangle's outer top-left corner, pixels; (-0.5, -0.5) for a whole image, since the corner of
            a pixel lies half a pixel from its centre.
        size_wh: the rectangle's width and height, pixels.
        side: width and height of the square image, pixels.

    Returns:
        (3, 3) float64, from the image that holds the rectangle to the square image.

    Raises:
        GeometryError: the rectangle has no area.

    Example:
        >>> fit_map((-0.5, -0.5), (640, 480), 256)[:2].tolist()
        [[0.4, 0.0, -0.3], [0.0, 0.4, 31.7]]
    """
    width, height = size_wh
    if not min(width, height) > 0:
        raise GeometryError("a rectangle must have an area", expected="width and height > 0", got=str(size_wh))
    scale = side / max(width, height)
    left, top = 0.5 * (side - scale * width), 0.5 * (side - scale * height)
    return affine_map((scale, 0.0, left - 0.5 - scale * corner_uv[0]), (0.0, scale, top - 0.5 - scale * corner_uv[1]))


def inverse_map(matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the way back of an invertible (3, 3) float64 matrix; not to be written to."""
    return _inverse(matrix.tobytes())


# A model that is asked about a stream of images needs the same one for each of them.
@lru_cache(maxsize=64)
def _inverse(matrix: bytes) -> npt.NDArray[np.float64]:
    inverse = np.asarray(np.linalg.inv(np.frombuffer(matrix, np.float64).reshape(3, 3)), np.float64)
    inverse.flags.writeable = False
    return inverse


def map_points(matrix: Array, uv: Array) -> Array:
    """Move points along a map.

    Args:
        matrix: (..., 3, 3) float array or tensor.
        uv: (..., N, 2) float of the same kind, pixels of the first image; leading axes broadcast.

    Returns:
        (..., N, 2) in the dtype of ``uv``, pixels of the second image. Points on the horizon of a perspective map land
        far away, yet finite.

    Gradient: flows to both.
    Source: Hartley and Zisserman, equation 2.5.
    """
    moved, depth = _homogeneous(matrix, uv)
    return cast(moved / depth, uv.dtype)


def map_jacobian(matrix: Array, uv: Array) -> Array:
    """Return how the second image's pixels change with the first's, at each point.

    Args:
        matrix: (..., 3, 3) float array or tensor.
        uv: (..., N, 2) float of the same kind, pixels of the first image; leading axes broadcast.

    Returns:
        (..., N, 2, 2) in the dtype of ``uv``; a covariance C moves as J C J^T.

    Gradient: flows to both.
    Source: the quotient rule on equation 2.5 of Hartley and Zisserman.
    """
    moved, depth = _homogeneous(matrix, uv)
    image = (moved / depth)[..., None]
    upper, lower = matrix[..., None, :2, :2], matrix[..., None, 2:, :2]
    return cast((upper - image * lower) / depth[..., None], uv.dtype)


def _homogeneous(matrix: Array, uv: Array) -> tuple[Array, Array]:
    """Split the moved points into (..., N, 2) and their (..., N, 1) depth, which is never zero."""
    points = cast(uv, matrix.dtype)
    moved = points @ matrix[..., :2].swapaxes(-1, -2) + matrix[..., None, :, 2]
    depth = moved[..., 2:]
    return moved[..., :2], namespace(depth).where(abs(depth) < MIN_DEPTH, MIN_DEPTH, depth)
