"""Spatial augmentation: crop, affine and flip, each as one sampled warp.

Pixel rule: the centre of the top-left pixel is (0, 0). Randomness comes from the generator alone.
Axes: N keypoints.
"""

from __future__ import annotations

import math
from functools import singledispatch
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from cogkp.config.augment import Affine, Crop, Flip, Stage
from cogkp.data.crop import Bounds, crop_map
from cogkp.geometry.warp import ImageWarp


class Scene(NamedTuple):
    """The image as the stages before have left it, its points, (N, 2) float64, and which are labelled, (N,) bool."""

    size_wh: tuple[int, int]
    uv: npt.NDArray[np.float64]
    labelled: npt.NDArray[np.bool_]

    def moved(self, sampled: SampledWarp) -> Scene:
        """Apply a sampled warp."""
        return Scene(sampled.size_wh, sampled.warp.apply(torch.from_numpy(self.uv)).numpy(), self.labelled)


class SampledWarp(NamedTuple):
    """A sampled warp, and the size of the image it leads to."""

    warp: ImageWarp
    size_wh: tuple[int, int]


@singledispatch
def sample_stage_warp(
    _stage: Stage, _scene: Scene, _generator: np.random.Generator, *, training: bool
) -> SampledWarp | None:
    """Sample the warp of one stage, or None where it moves nothing; nothing random happens outside training."""
    return None


@sample_stage_warp.register
def _crop(stage: Crop, scene: Scene, generator: np.random.Generator, *, training: bool) -> SampledWarp:
    bounds, shift = _bounds(scene) if stage.region == "points" else None, None
    if training and bounds is not None:
        shift = generator.uniform(-stage.jitter, stage.jitter, 2)
    side = stage.output_size
    return SampledWarp(ImageWarp(torch.from_numpy(crop_map(stage, scene.size_wh, bounds, shift))), (side, side))


def _bounds(scene: Scene) -> Bounds | None:
    """Bound the labelled points that lie in the image."""
    middle = 0.5 * np.subtract(scene.size_wh, 1)
    inside = scene.labelled & (np.abs(scene.uv - middle) <= middle + 0.5).all(axis=1)
    return Bounds(scene.uv[inside].min(axis=0), scene.uv[inside].max(axis=0)) if inside.any() else None


@sample_stage_warp.register
def _affine(stage: Affine, scene: Scene, generator: np.random.Generator, *, training: bool) -> SampledWarp | None:
    if not training or generator.random() >= stage.probability:
        return None
    width, height = scene.size_wh
    angle_rad = math.radians(generator.uniform(*stage.rotation_deg))
    scale = math.exp(generator.uniform(math.log(stage.scale[0]), math.log(stage.scale[1])))
    du, dv = generator.uniform(-stage.shift, stage.shift, 2) * (width, height)
    turn = ImageWarp.turn(angle_rad, scale, (0.5 * (width - 1), 0.5 * (height - 1)))
    return SampledWarp(turn.then(ImageWarp.translate(float(du), float(dv))), scene.size_wh)


@sample_stage_warp.register
def _flip(stage: Flip, scene: Scene, generator: np.random.Generator, *, training: bool) -> SampledWarp | None:
    if not training or generator.random() >= stage.probability:
        return None
    return SampledWarp(ImageWarp.mirror(scene.size_wh[0]), scene.size_wh)
