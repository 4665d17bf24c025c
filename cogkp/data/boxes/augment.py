"""Augmentation of box images: one sampled warp to the network's input, then colour changes.

Randomness comes from the generator alone. See :mod:`cogkp.data.boxes.view` for the input.
"""

import math

import attrs
import cv2
import numpy as np
import numpy.typing as npt
import torch

from cogkp.geometry.cuboid import POINTS
from cogkp.geometry.letterbox import square_crop
from cogkp.geometry.warp import ImageWarp

FloatImage = npt.NDArray[np.float32]
Triple = tuple[float, float, float]

CROP_SCALES = tuple(0.1 * step for step in range(6, 14))
BORDER_PX = 128


@attrs.frozen(kw_only=True)
class BoxAugment:
    """Options of the augmentation.

    Args:
        random_crop: whether the square is 0.6 to 1.3 times the image's longer side, anywhere in it; else it is
            moved and sized by ``shift`` and ``scale``.
        shift: standard deviation of the move, shares of the longer side, cut at two of them.
        scale: standard deviation of the size, shares, cut at one of them; below 1.
        rotate_probability: how often the square is turned.
        rotate_deg: by how much at most, either way.
        flip_probability: how often the image is mirrored; 0 for objects whose mirror image is another object.
        brightness, contrast, saturation: largest relative change of each.
        lighting: standard deviation along the principal components of colour.
        eigenvalues: of the colours' covariance, BGR.
        eigenvectors: its rows and columns, BGR.
    """

    random_crop: bool = True
    shift: float = 0.05
    scale: float = 0.4
    rotate_probability: float = 0.0
    rotate_deg: float = 0.0
    flip_probability: float = 0.5
    flip_pairs: tuple[tuple[int, int], ...] = ((1, 5), (3, 7), (2, 6), (4, 8))
    colour: bool = True
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    lighting: float = 0.1
    eigenvalues: Triple = (0.2141788, 0.01817699, 0.00341571)
    eigenvectors: tuple[Triple, Triple, Triple] = (
        (-0.58752847, -0.69563484, 0.41340352),
        (-0.5832747, 0.00994535, -0.81221408),
        (-0.56089297, 0.71832671, 0.41158938),
    )


def sample_warp(size_wh: tuple[int, int], side: int, augment: BoxAugment, generator: np.random.Generator) -> ImageWarp:
    """Sample the one warp from an image to the network's input, a square of ``side`` pixels."""
    width, height = size_wh
    longer = float(max(size_wh))
    if augment.random_crop:
        length = longer * float(generator.choice(CROP_SCALES))
        middle = [float(generator.integers(*_borders(extent))) for extent in size_wh]
    else:
        noise = np.clip(generator.standard_normal(2), -2.0, 2.0) * augment.shift * longer
        length = longer * float(1 + np.clip(generator.standard_normal(), -1.0, 1.0) * augment.scale)
        middle = [0.5 * width + float(noise[0]), 0.5 * height + float(noise[1])]
    turned = generator.random() < augment.rotate_probability
    angle_rad = math.radians(generator.uniform(-augment.rotate_deg, augment.rotate_deg)) if turned else 0.0
    if generator.random() < augment.flip_probability:
        crop = square_crop((width - 1.0 - middle[0], middle[1]), length, side, angle_rad)
        return ImageWarp.mirror(width).then(ImageWarp(torch.from_numpy(crop)))
    return ImageWarp(torch.from_numpy(square_crop((middle[0], middle[1]), length, side, angle_rad)))


def _borders(extent: int) -> tuple[int, int]:
    """Keep the crop's middle away from the border, as far as the image is large enough.

    Example:
        >>> _borders(600), _borders(160)
        ((128, 472), (64, 96))
    """
    border = BORDER_PX
    while border and extent - border <= border:
        border //= 2
    return border, extent - border


def point_order(warp: ImageWarp, augment: BoxAugment) -> npt.NDArray[np.int64]:
    """Return which recorded point stands at each of the nine places: a mirror exchanges left and right."""
    order = np.arange(POINTS)
    if bool(warp.mirrored):
        for first, second in augment.flip_pairs:
            order[[first, second]] = order[[second, first]]
    return order


def change_colours(rgb: FloatImage, augment: BoxAugment, generator: np.random.Generator) -> FloatImage:
    """Change brightness, contrast and saturation of an image (S, S, 3) in random order, then the light's colour.

    Returns (S, S, 3) RGB, possibly outside 0..1; what is given is never written to.
    """
    if not augment.colour:
        return rgb
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)[..., None]
    # Each change mixes the image with something: with black, with its mean grey, with its own grey.
    others = (np.zeros(1, np.float32), np.full(1, grey.mean(), np.float32), grey)
    limits = (augment.brightness, augment.contrast, augment.saturation)
    changed: FloatImage = rgb
    for kind in generator.permutation(len(others)).tolist():
        share = np.float32(1.0 + generator.uniform(-limits[kind], limits[kind]))
        changed = changed * share + others[kind] * (np.float32(1.0) - share)
    alpha = generator.normal(0.0, augment.lighting, 3)
    light_bgr = np.array(augment.eigenvectors) @ (np.array(augment.eigenvalues) * alpha)
    return np.asarray(changed + light_bgr[::-1].astype(np.float32))
