"""The square crop and the letterbox of CenterPose: a square of the image, rotated or not, fills the network input.

Points map as x' = r (x - c) + side / 2: the middle of the image is taken to be (W / 2, H / 2), without the half
pixel that :meth:`cogkp.geometry.warp.ImageWarp.fit` allows for. Networks and weights of that family, and the numbers
they put out, mean this map; the two differ by up to half a pixel of the crop.
"""

import math

import numpy as np
import numpy.typing as npt

from cogkp.errors import GeometryError
from cogkp.geometry.plane_map import affine_map

Matrix = npt.NDArray[np.float64]


def square_crop(center_uv: tuple[float, float], length_px: float, side: int, angle_rad: float = 0.0) -> Matrix:
    """Map a square of the image onto the square network input.

    Args:
        center_uv: the square's middle, pixels of the image.
        length_px: the length of its sides, pixels of the image.
        side: width and height of the input, pixels.
        angle_rad: by how much the square is turned in the image, u towards v, radians.

    Returns:
        (3, 3) float64, the map from the image to the input.

    Raises:
        GeometryError: the square has no area.

    Example:
        >>> square_crop((300.0, 400.0), 100.0, 128) @ np.array([[300.0, 250.0], [400.0, 350.0], [1.0, 1.0]])
        array([[64.,  0.],
               [64.,  0.],
               [ 1.,  1.]])
    """
    if not (0 < length_px < math.inf and side > 0):
        raise GeometryError("a crop must have an area", expected="sides > 0 px", got=f"{length_px} to {side}")
    scale, (cu, cv) = side / length_px, center_uv
    cosine, sine = scale * math.cos(angle_rad), scale * math.sin(-angle_rad)
    # First the turn about the square's middle, then the shift of that to the middle of the image.
    shift_u = (cu - cosine * cu + sine * cv) + (0.5 * side - cu)
    shift_v = (cv - sine * cu - cosine * cv) + (0.5 * side - cv)
    return affine_map((cosine, -sine, shift_u), (sine, cosine, shift_v))


def letterbox(size_wh: tuple[float, float], side: int | tuple[int, int]) -> Matrix:
    """Map the whole image, centred and without distortion, into the network input.

    Args:
        size_wh: width and height of the image, pixels.
        side: of a square input, or width and height of any other, pixels.

    Returns:
        (3, 3) float64, the map from the image to the input.

    Raises:
        GeometryError: the image has no area.

    Example:
        >>> letterbox((600, 800), 512)[0].tolist()
        [0.64, 0.0, 64.0]
        >>> letterbox((600, 800), (512, 400))[:2, 2].tolist()
        [106.0, 0.0]
    """
    if not min(size_wh) > 0:
        raise GeometryError("an image must have an area", expected="width and height > 0", got=str(size_wh))
    width, height = (side, side) if isinstance(side, int) else side
    # The square as wide as the image, and then as high.
    length = max(size_wh[0], size_wh[1] * (width / height))
    matrix = square_crop((0.5 * size_wh[0], 0.5 * size_wh[1]), length, width)
    matrix[1, 2] += 0.5 * (height - width)
    return matrix
