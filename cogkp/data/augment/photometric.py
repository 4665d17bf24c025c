"""Photometric augmentation: brightness, contrast, blur, noise and cutout of a crop.

Crops are (S, S) float32 in 0..1; a stage may leave that range, the pipeline clips once at the end.
Randomness comes from the generator alone.
"""

from functools import singledispatch

import cv2
import numpy as np
import numpy.typing as npt

from cogkp.config.augment import Blur, Cutout, Intensity, Noise, Stage

Crop = npt.NDArray[np.float32]

# Below this a Gaussian's weight outside its centre pixel is less than one grey level of 8 bits.
LEAST_SIGMA_PX = 0.28


@singledispatch
def change_pixels(_stage: Stage, crop: Crop, _generator: np.random.Generator) -> Crop:
    """Change a crop, which is never written to, by one stage; stages that only move pixels change nothing."""
    return crop


@change_pixels.register
def _intensity(stage: Intensity, crop: Crop, generator: np.random.Generator) -> Crop:
    if generator.random() >= stage.probability:
        return crop
    gamma = generator.uniform(*stage.gamma)
    contrast = generator.uniform(*stage.contrast)
    brightness = generator.uniform(-stage.brightness, stage.brightness)
    curved: Crop = np.power(np.clip(crop, 0.0, 1.0), np.float32(gamma))
    curved *= np.float32(contrast)
    curved += np.float32(0.5 - 0.5 * contrast + brightness)
    return curved


@change_pixels.register
def _blur(stage: Blur, crop: Crop, generator: np.random.Generator) -> Crop:
    if generator.random() >= stage.probability:
        return crop
    sigma_px = generator.uniform(*stage.sigma_px)
    return crop if sigma_px < LEAST_SIGMA_PX else np.asarray(cv2.GaussianBlur(crop, (0, 0), sigma_px), np.float32)


@change_pixels.register
def _noise(stage: Noise, crop: Crop, generator: np.random.Generator) -> Crop:
    if generator.random() >= stage.probability:
        return crop
    noise: Crop = generator.standard_normal(crop.shape, dtype=np.float32)
    noise *= np.float32(generator.uniform(*stage.sigma))
    noise += crop
    return noise


@change_pixels.register
def _cutout(stage: Cutout, crop: Crop, generator: np.random.Generator) -> Crop:
    if generator.random() >= stage.probability:
        return crop
    covered: Crop = crop.copy()
    for _ in range(generator.integers(1, stage.count + 1)):
        shape = np.ceil(generator.uniform(*stage.size, 2) * crop.shape).astype(int)
        top, left = generator.integers(0, np.maximum(np.subtract(crop.shape, shape), 0) + 1)
        covered[top : top + shape[0], left : left + shape[1]] = generator.random()
    return covered
