"""Augmentation: one drawn map moves points, masks and pixels together; then the crop's pixels may change."""

from cogkp.data.augment.pipeline import AugmentPipeline

__all__ = ["AugmentPipeline"]
