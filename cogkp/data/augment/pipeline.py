"""The augmentation pipeline: one sampled warp for pixels, points and masks, then photometric changes."""

from collections.abc import Sequence

import attrs
import numpy as np
import numpy.typing as npt

from cogkp.config.augment import Crop, Flip, Stage
from cogkp.data.augment.photometric import change_pixels
from cogkp.data.augment.spatial import Scene, sample_stage_warp
from cogkp.data.images import warp_image, warp_mask
from cogkp.geometry.warp import ImageWarp


@attrs.frozen
class AugmentPipeline:
    """From a full image to the network's input.

    Args:
        stages: in their listed order, with exactly one crop.
        training: False leaves only the crop, and nothing random.
    """

    stages: Sequence[Stage]
    training: bool

    @property
    def output_size(self) -> int:
        """Side of the crop, pixels."""
        return next(stage.output_size for stage in self.stages if isinstance(stage, Crop))

    def sample_warp(
        self,
        size_wh: tuple[int, int],
        uv_source: npt.NDArray[np.float64],
        labelled: npt.NDArray[np.bool_],
        generator: np.random.Generator,
    ) -> ImageWarp:
        """Sample the one warp, from the frame to the crop, that all spatial stages compose into.

        The points are (N, 2) float64 full-frame pixels, of which those count that are ``labelled``, (N,) bool.
        """
        warp, scene = ImageWarp.identity(), Scene(size_wh, uv_source, labelled)
        for stage in self.stages:
            sampled = sample_stage_warp(stage, scene, generator, training=self.training)
            if sampled is not None:
                warp, scene = warp.then(sampled.warp), scene.moved(sampled)
        return warp

    def point_order(self, warp: ImageWarp, count: int) -> npt.NDArray[np.int64]:
        """Return which recorded point stands at each place of the sample: a mirror exchanges left and right points."""
        order = np.arange(count)
        flip = next((stage for stage in self.stages if isinstance(stage, Flip)), None)
        if flip is not None and bool(warp.mirrored):
            for left, right in flip.swap:
                order[[left, right]] = order[[right, left]]
        return order

    def render(self, image: npt.NDArray[np.float32], warp: ImageWarp) -> npt.NDArray[np.float32]:
        """Cut the crop out of a frame (H, W) in 0..1, without aliasing; (S, S), zero outside the frame."""
        return warp_image(image, warp.matrix.numpy(), (self.output_size, self.output_size))

    def render_mask(self, mask: npt.NDArray[np.uint8], warp: ImageWarp) -> npt.NDArray[np.uint8]:
        """Cut the crop out of a mask (H, W); ``MISSING_MASK_IGNORE_INDEX`` outside the frame."""
        return warp_mask(mask, warp.matrix.numpy(), (self.output_size, self.output_size))

    def photometric(self, crop: npt.NDArray[np.float32], generator: np.random.Generator) -> npt.NDArray[np.float32]:
        """Change the values of a crop by the stages that do so; the result lies in 0..1."""
        if not self.training:
            return crop
        for stage in self.stages:
            crop = change_pixels(stage, crop, generator)
        return np.clip(crop, np.float32(0.0), np.float32(1.0))
