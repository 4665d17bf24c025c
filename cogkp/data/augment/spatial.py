"""Where pixels go: each stage draws one map and the size of the image it leads to.

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
from cogkp.errors import ConfigError, Problem
from cogkp.geometry.warp import ImageWarp

__all__ = ["SampledWarp", "Scene", "sample_stage_warp"]


class Scene(NamedTuple):
    """What a stage may look at: the image as the stages before have left it.

    Args:
        size_wh: its width and height, pixels.
        uv: (N, 2) float64, the points in it.
        labelled: (N,) bool.
    """

    size_wh: tuple[int, int]
    uv: npt.NDArray[np.float64]
    labelled: npt.NDArray[np.bool_]

    def moved(self, sampled: SampledWarp) -> Scene:
        """Follow a drawn map."""
        return Scene(sampled.size_wh, sampled.warp.apply(torch.from_numpy(self.uv)).numpy(), self.labelled)


class SampledWarp(NamedTuple):
    """What a stage decided."""

    warp: ImageWarp
    size_wh: tuple[int, int]


@singledispatch
def sample_stage_warp(
    _stage: Stage, _scene: Scene, _generator: np.random.Generator, *, training: bool
) -> SampledWarp | None:
    """Draw the map of one stage, or None where it moves nothing.

    Args:
        _stage: its class decides what is drawn.
        _scene: the image so far.
        _generator: the only source of randomness.
        training: whether anything random may happen.
    """
    return None


@sample_stage_warp.register
def _crop(stage: Crop, scene: Scene, generator: np.random.Generator, *, training: bool) -> SampledWarp:
    corner, size_wh = _region(stage, scene, generator, training)
    side = stage.output_size
    return SampledWarp(ImageWarp.fit(corner, size_wh, side), (side, side))


Rectangle = tuple[tuple[float, float], tuple[float, float]]


def _region(stage: Crop, scene: Scene, generator: np.random.Generator, training: bool) -> Rectangle:
    """Choose the outer top-left corner and the size of the rectangle that is cut."""
    if stage.region == "box":
        if stage.box is None:
            raise ConfigError([Problem("crop region 'box' needs a box", expected="[left, top, width, height]")])
        left, top, width, height = stage.box
        return (left - 0.5, top - 0.5), (width, height)
    middle = 0.5 * np.subtract(scene.size_wh, 1)
    inside = scene.labelled & (np.abs(scene.uv - middle) <= middle + 0.5).all(axis=1)
    if stage.region == "points" and inside.any():
        return _around(stage, scene.uv[inside], generator, training)
    return (-0.5, -0.5), scene.size_wh


def _around(stage: Crop, uv: npt.NDArray[np.float64], generator: np.random.Generator, training: bool) -> Rectangle:
    """Put a square round points, with room on each side and, in training, a little beside the middle."""
    low, high = uv.min(axis=0), uv.max(axis=0)
    side = max(float((high - low).max()) * (1.0 + 2.0 * stage.margin), stage.min_size_px)
    move = generator.uniform(-stage.jitter, stage.jitter, 2) * side if training else np.zeros(2)
    left, top = 0.5 * (low + high) + move - 0.5 * side
    return (float(left), float(top)), (side, side)


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
