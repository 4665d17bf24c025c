"""The terms of the keypoint loss; a term of weight 0 is never built.

Each term is averaged over its valid items. Where nothing is valid it is a zero that is still part of the graph:
finite, with zero gradient. All terms are computed in float32, also under autocast.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import attrs
import torch
from torch import Tensor
from torch.nn import functional as F

from cogkp.config.keypoint import HeatmapTerm, KeypointConfig, LossTerm, LossTerms
from cogkp.data.sample import MISSING_MASK_IGNORE_INDEX, Batch
from cogkp.errors import TrainingError
from cogkp.geometry.heatmap import gaussian_heatmap
from cogkp.tasks.base import LossReport
from cogkp.tasks.keypoint.codec import KeypointTargets

__all__ = ["HeatmapRegularization", "KeypointLoss", "Segmentation", "SupervisedKeypoints", "Term", "build_loss"]

# Keeps the logarithm finite where a probability underflows; its product with the softmax's gradient stays exact.
TINY = 1e-20


class Term(Protocol):
    """One summand, before its weight."""

    def __call__(self, outputs: Any, batch: Batch[KeypointTargets]) -> Tensor:
        """Return () float32."""


@attrs.frozen
class SupervisedKeypoints:
    """Smooth L1 between predicted and labelled points, averaged over valid coordinates.

    Args:
        beta_px: residual at which the parabola turns into a line, crop pixels.
    """

    beta_px: float = 1.0

    def __call__(self, outputs: Any, batch: Batch[KeypointTargets]) -> Tensor:
        """Return () float32, crop pixels."""
        valid = batch.targets.valid.unsqueeze(-1)
        residual = torch.where(valid, outputs.keypoints.float() - batch.targets.uv_crop, 0.0)
        total = F.smooth_l1_loss(residual, torch.zeros_like(residual), reduction="sum", beta=self.beta_px)
        mean: Tensor = total / (2 * valid.sum()).clamp(min=1)
        return mean


@attrs.frozen
class HeatmapRegularization:
    """Kullback-Leibler divergence of heatmaps from Gaussians at the labels, averaged over valid points.

    A mean position alone does not say where the mass should be: many spread-out maps have the same mean.

    Args:
        sigma_px: standard deviation of the Gaussian, crop pixels.

    Source: D. Nibali et al., Numerical Coordinate Regression with Convolutional Neural Networks, 2018, section 3.3.
    """

    sigma_px: float

    def __call__(self, outputs: Any, batch: Batch[KeypointTargets]) -> Tensor:
        """Return () float32, nats."""
        heatmaps: Tensor = outputs.heatmaps.float()
        valid = batch.targets.valid
        height, width = heatmaps.shape[-2:]
        stride = batch.image.shape[-1] / width
        wanted = gaussian_heatmap(batch.targets.uv_crop, (height, width), stride, self.sigma_px)
        divergence = (wanted * ((wanted + TINY).log() - (heatmaps + TINY).log())).sum((-2, -1))
        total = torch.where(valid, divergence, 0.0).sum()
        return torch.div(total, valid.sum().clamp(min=1))


@attrs.frozen
class Segmentation:
    """Cross entropy of the mask, averaged over pixels of known class."""

    def __call__(self, outputs: Any, batch: Batch[KeypointTargets]) -> Tensor:
        """Return () float32, nats."""
        mask = batch.targets.mask
        total = F.cross_entropy(
            outputs.mask_logits.float(), mask, ignore_index=MISSING_MASK_IGNORE_INDEX, reduction="sum"
        )
        mean: Tensor = total / (mask != MISSING_MASK_IGNORE_INDEX).sum().clamp(min=1)
        return mean


@attrs.frozen(eq=False)
class KeypointLoss:
    """The weighted sum of the active terms.

    Args:
        terms: (name, weight, term), in the order of the configuration.
    """

    terms: tuple[tuple[str, float, Term], ...]

    def __call__(self, outputs: Any, batch: Batch[KeypointTargets]) -> LossReport:
        """Compare outputs with targets; the parts are reported before their weights."""
        parts = {name: term(outputs, batch) for name, _, term in self.terms}
        weights = {name: weight for name, weight, _ in self.terms}
        total = torch.stack([weights[name] * part for name, part in parts.items()]).sum()
        return LossReport(total, parts, weights)

    def describe(self) -> str:
        """Name the active terms and their weights in one line."""
        return "loss terms: " + ", ".join(f"{name} x {weight:g}" for name, weight, _ in self.terms)


def _supervised(_name: str, config: KeypointConfig, _term: LossTerm) -> Term | None:
    return SupervisedKeypoints() if config.targets.keypoints else None


def _heatmap(_name: str, config: KeypointConfig, term: HeatmapTerm) -> Term | None:
    return HeatmapRegularization(term.sigma_px) if config.targets.keypoints else None


def _segmentation(_name: str, config: KeypointConfig, _term: LossTerm) -> Term | None:
    return Segmentation() if config.targets.segmentation else None


def _unavailable(name: str, _config: KeypointConfig, term: LossTerm) -> Term | None:
    raise TrainingError(
        "this loss term is not available in this version",
        where=f"loss_terms.{name}.weight",
        expected="0",
        got=f"{term.weight:g}",
    )


BUILDERS: dict[str, Callable[[str, KeypointConfig, Any], Term | None]] = {
    "supervised_keypoint_loss": _supervised,
    "segmentation_loss": _segmentation,
    "heatmap_regularization_loss": _heatmap,
    "triangulation_reprojection_loss": _unavailable,
    "triangulation_rigidity_loss": _unavailable,
}


def build_loss(config: KeypointConfig) -> KeypointLoss:
    """Build the active terms of a configuration.

    Raises:
        TrainingError: a term that was asked for cannot run, or none is left.
    """
    wanted = {field.name: getattr(config.loss_terms, field.name) for field in attrs.fields(LossTerms)}
    active = {name: term for name, term in wanted.items() if term.weight > 0}
    built = {name: BUILDERS[name](name, config, term) for name, term in active.items()}
    terms = tuple((name, active[name].weight, term) for name, term in built.items() if term is not None)
    if not terms:
        raise TrainingError(
            "there is nothing to train",
            where="targets and loss_terms",
            expected="a target that is switched on, with a loss term of weight > 0",
        )
    return KeypointLoss(terms)
