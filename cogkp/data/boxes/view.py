"""Prepare an image as CenterPose input, for training, evaluation and deployed models; NumPy and OpenCV only.

The map is that of :mod:`cogkp.geometry.letterbox`.
"""

import attrs
import numpy as np
import numpy.typing as npt

from cogkp.data.images import warp_image
from cogkp.geometry.letterbox import letterbox

Pixels = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]
Triple = tuple[float, float, float]


@attrs.frozen(kw_only=True)
class BoxInput:
    """The network's input: size, mean and standard deviation; a square, or outside of training also a rectangle; BGR.

    Args:
        side: of the square, pixels.
        size_wh: width and height of an oblong, pixels; None for the square.
        mean: of each colour on the scale 0..1, BGR.
        std: of each colour, BGR.
    """

    side: int = 512
    mean: Triple = (0.40789654, 0.44719302, 0.47026115)
    std: Triple = (0.28863828, 0.27408164, 0.27809835)
    size_wh: tuple[int, int] | None = None

    def of(self, rgb: Pixels) -> tuple[Pixels, Matrix]:
        """Make the input (3, S, S) of a whole image, as large as fits, centred, zero around it; and the map to it."""
        source_to_crop = letterbox((rgb.shape[1], rgb.shape[0]), self.size_wh or self.side)
        return self.scaled(self.cut(rgb, source_to_crop)), source_to_crop

    def cut(self, rgb: Pixels, source_to_crop: Matrix) -> Pixels:
        """Crop the input out of an image (H, W, 3); (S, S, 3), zero outside the image."""
        return warp_image(rgb, source_to_crop, self.size_wh or (self.side, self.side))

    def scaled(self, rgb: Pixels) -> Pixels:
        """Normalise a crop (S, S, 3) RGB in 0..1 to the network's input (3, S, S).

        Example:
            >>> view = BoxInput(side=1, mean=(0.0, 0.0, 0.5), std=(1.0, 1.0, 0.25))
            >>> view.scaled(np.ones((1, 1, 3), np.float32)).ravel()
            array([1., 1., 2.], dtype=float32)
        """
        changed = (rgb[..., ::-1] - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return np.ascontiguousarray(changed.transpose(2, 0, 1), np.float32)

    def to_rgb(self, image: Pixels) -> Pixels:
        """Undo :meth:`scaled`: the network's input (3, S, S) to (S, S, 3) RGB in 0..1."""
        bgr = image.transpose(1, 2, 0) * np.array(self.std, np.float32) + np.array(self.mean, np.float32)
        return np.asarray(np.clip(bgr[..., ::-1], 0.0, 1.0), np.float32)
