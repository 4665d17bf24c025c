"""Encode points and masks as training targets, and decode network outputs to pixels of the full image.

Both directions live in one object, so that training, evaluation and deployment cannot disagree.
Axes: B batch, N keypoints, C classes, S side of the crop, h w heatmap.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cogkp.config.augment import Crop
from cogkp.config.keypoint.spec import KeypointConfig, Uncertainty
from cogkp.data.keypoint.labels import KeypointLabels
from cogkp.data.keypoint.targets import KeypointTargets, keypoint_targets
from cogkp.data.sample import Batch, Sample
from cogkp.geometry.warp import ImageWarp
from cogkp.tasks.keypoint.decoding import confidence, heatmap_spread, source_covariance
from cogkp.tasks.keypoint.processor import KeypointProcessor
from cogkp.visual.marks import Marks


@attrs.frozen(eq=False)
class Keypoints2D:
    """Predicted points.

    Args:
        uv_source: (B, N, 2) float32, pixels of the full frame.
        uv_crop: (B, N, 2) float32, pixels of the network input.
        confidence: (B, N) float32 in 0..1, the heatmap's mass within two cells of its mean along both axes: near 1
            for one sharp peak, low for a wide one or for several.
        mask: (B, S, S) uint8 class ids on the crop, or None.
    """

    uv_source: Tensor
    uv_crop: Tensor
    confidence: Tensor
    mask: Tensor | None


@attrs.frozen
class KeypointCodec:
    """Encode labels and decode predictions of the keypoint family.

    Encoding a point and decoding it again moves it by less than 0.002 px in frames up to 8192 px wide that are cut to
    256 px or more: both ends are float32, the map between them float64.

    Args:
        output_size: S, side of the crop, pixels.
        point_names: N short names.
        segmentation: whether masks are trained.
        kernel_sigma_px: standard deviation of the Gaussian that heatmaps are trained towards, crop pixels; zero where
            their shape is not trained.
        noise_px: standard deviation of what a heatmap cannot know, crop pixels.
        crop: which part of an image the network sees; None stands for the whole of it.
    """

    output_size: int
    point_names: tuple[str, ...]
    segmentation: bool
    kernel_sigma_px: float = 0.0
    noise_px: float = Uncertainty().noise_px
    crop: Crop | None = None

    @classmethod
    def of(cls, config: KeypointConfig) -> KeypointCodec:
        """Read the codec's settings from a configuration."""
        term = config.loss_terms.heatmap_regularization_loss
        kernel_sigma_px = term.sigma_px if term.weight > 0 and config.targets.keypoints else 0.0
        return cls(
            output_size=config.crop.output_size,
            point_names=config.point_names,
            segmentation=config.targets.segmentation,
            kernel_sigma_px=kernel_sigma_px,
            noise_px=config.uncertainty.noise_px,
            crop=config.crop,
        )

    def prepare(
        self, image: npt.NDArray[Any], *, box: Any = None
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
        """Cut the network's input out of an image as evaluation does; see :meth:`KeypointProcessor.prepare`."""
        crop = self.crop or Crop(output_size=self.output_size)
        prepared = KeypointProcessor(crop=crop, names=self.point_names).prepare(image, box=box)
        return prepared.input, prepared.source_to_crop

    def encode(self, sample: Sample[KeypointLabels]) -> KeypointTargets:
        """Make the targets of one view."""
        return keypoint_targets(sample, segmentation=self.segmentation)

    def decode(self, outputs: Any, source_to_crop: Tensor) -> Keypoints2D:
        """Decode network outputs to pixels of the full image.

        Args:
            outputs: ``keypoints`` (B, N, 2) crop pixels, ``heatmaps`` (B, N, h, w) probabilities and, with
                segmentation, ``mask_logits`` (B, C, S, S).
            source_to_crop: (B, 3, 3) float64.

        Returns:
            The points; all of them, also where the network is unsure.

        Gradient: flows from ``uv_source`` and ``uv_crop`` to ``keypoints``, from ``confidence`` to ``heatmaps``.
        """
        uv_crop = outputs.keypoints.float()
        mask_logits = getattr(outputs, "mask_logits", None)
        return Keypoints2D(
            uv_source=ImageWarp(source_to_crop).inverse().apply(uv_crop),
            uv_crop=uv_crop,
            confidence=confidence(uv_crop, outputs.heatmaps.float(), self.output_size),
            mask=None if mask_logits is None else mask_logits.argmax(dim=1).to(torch.uint8),
        )

    def spread_crop(self, outputs: Any) -> Tensor:
        """Return the covariance of each heatmap, (B, N, 2, 2); see :func:`heatmap_spread`."""
        spread: Tensor = heatmap_spread(outputs.heatmaps, self.output_size, self.kernel_sigma_px)
        return spread

    def covariance_source(self, outputs: Any, source_to_crop: Tensor) -> Tensor:
        """Return the covariance of each point: that of its heatmap, and the noise that no heatmap can know.

        Args:
            outputs: ``keypoints`` (B, N, 2) crop pixels, ``heatmaps`` (B, N, h, w) probabilities.
            source_to_crop: (B, 3, 3) float64.

        Returns:
            (B, N, 2, 2) float32 (float64 for float64 heatmaps), pixels of the full frame squared, positive definite;
            see :func:`source_covariance`.

        Gradient: flows to ``heatmaps``, and under a perspective map to ``keypoints``.
        """
        back, uv_crop = ImageWarp(source_to_crop).inverse().matrix, outputs.keypoints.float()
        covariance: Tensor = source_covariance(self.spread_crop(outputs), self.noise_px, back, uv_crop)
        return covariance

    def display_image(self, image: Tensor) -> npt.NDArray[np.floating[Any]]:
        """Show one network input (1, S, S) as it is: (S, S) grey, on the scale 0..1."""
        grey: npt.NDArray[np.floating[Any]] = image[0].cpu().numpy()
        return grey

    def truth_marks(self, batch: Batch[KeypointTargets]) -> list[Marks]:
        """Return the labels that lie on each input."""
        targets = KeypointTargets(*(field.cpu().numpy() for field in batch.targets))
        return [
            Marks(uv_crop, valid, self.point_names, mask.astype(np.uint8) if self.segmentation else None)
            for uv_crop, valid, mask in zip(targets.uv_crop, targets.valid, targets.mask, strict=True)
        ]

    def prediction_marks(self, outputs: Any) -> list[Marks]:
        """Return every predicted point, and the most likely class of each pixel."""
        points = outputs.keypoints.detach().float().cpu().numpy()
        logits = getattr(outputs, "mask_logits", None)
        masks = [None] * len(points) if logits is None else logits.detach().argmax(1).to(torch.uint8).cpu().numpy()
        shown = np.ones(len(self.point_names), bool)
        return [Marks(uv, shown, self.point_names, mask) for uv, mask in zip(points, masks, strict=True)]
