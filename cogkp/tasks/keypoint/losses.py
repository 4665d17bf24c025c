"""The terms of the keypoint loss; a term of weight 0 is never built.

Each term is averaged over its valid items, whose number is that of the whole optimiser step (``Batch.over_step``).
Where nothing is valid it is a zero that is still part of the graph: finite, with zero gradient. All terms are computed
in float32, also under autocast.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import attrs
import torch
from torch import Tensor
from torch.nn import functional as F

from cogkp.config.keypoint.spec import KeypointConfig, LossTerm, LossTerms
from cogkp.data.images import MISSING_MASK_IGNORE_INDEX
from cogkp.data.keypoint.stereo import paired_rig
from cogkp.data.keypoint.targets import KeypointTargets
from cogkp.data.sample import Batch
from cogkp.errors import TrainingError
from cogkp.geometry.heatmap import centred_heatmap
from cogkp.geometry.warp import ImageWarp
from cogkp.tasks.base import LossReport
from cogkp.tasks.keypoint.stereo import Reprojection, Rigidity, StereoGeometry

# Keeps the logarithm finite where a probability underflows; its product with the softmax's gradient stays exact.
TINY = 1e-20
VIEWS = 2


class KeypointLossTerm(Protocol):
    """One term of the loss, before its weight."""

    def __call__(self, outputs: Any, batch: Batch[KeypointTargets]) -> Tensor:
        """Return () float32."""


@attrs.frozen
class SupervisedKeypoints:
    """Smooth L1 between predicted and labelled points, a parabola up to ``beta_px``, over valid coordinates."""

    beta_px: float = 1.0

    def __call__(self, outputs: Any, batch: Batch[KeypointTargets]) -> Tensor:
        """Return () float32, crop pixels."""
        valid = batch.targets.valid.unsqueeze(-1)
        residual = torch.where(valid, outputs.keypoints.float() - batch.targets.uv_crop, 0.0)
        total = F.smooth_l1_loss(residual, torch.zeros_like(residual), reduction="sum", beta=self.beta_px)
        mean: Tensor = total / (2 * batch.over_step(valid.sum())).clamp(min=1)
        return mean


@attrs.frozen
class HeatmapRegularization:
    """Kullback-Leibler divergence of heatmaps from Gaussians at the labels, averaged over valid points.

    A mean position alone does not say where the mass should be: many spread-out maps have the same mean. Near the edge
    the Gaussian is cut off and moved until its mean is the label, so that both terms ask for the same heatmap.

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
        wanted = centred_heatmap(batch.targets.uv_crop, (height, width), stride, self.sigma_px)
        divergence = (wanted * ((wanted + TINY).log() - (heatmaps + TINY).log())).sum((-2, -1))
        total = torch.where(valid, divergence, 0.0).sum()
        return torch.div(total, batch.over_step(valid.sum()).clamp(min=1))


@attrs.frozen
class Segmentation:
    """Cross entropy of the mask, averaged over pixels of known class."""

    def __call__(self, outputs: Any, batch: Batch[KeypointTargets]) -> Tensor:
        """Return () float32, nats."""
        mask = batch.targets.mask
        total = F.cross_entropy(
            outputs.mask_logits.float(), mask, ignore_index=MISSING_MASK_IGNORE_INDEX, reduction="sum"
        )
        known = (mask != MISSING_MASK_IGNORE_INDEX).sum()
        mean: Tensor = total / batch.over_step(known).clamp(min=1)
        return mean


class SpaceLoss(NamedTuple):
    """The stereo terms of one batch.

    Args:
        total: () float32, the weighted sum of the terms; differentiable.
        parts: () float32 each, before the weights, without gradient.
        used_share: () float32, see :attr:`Reconstruction.used_share`.
    """

    total: Tensor
    parts: dict[str, Tensor]
    used_share: Tensor


@attrs.frozen(eq=False)
class SpaceTerms:
    """The loss terms in space: stereo pairs are triangulated once for all of them.

    Where rays are nearly parallel, a pixel moves its point by many world units, and an untrained network's guesses
    would outweigh every label. So all terms together, after their weights, pull each predicted point at most as hard
    as one label of weight 1 would; the value of each term is left as it is.

    Args:
        use_unlabelled: whether points count that nobody labelled.
    """

    geometry: StereoGeometry
    terms: Mapping[str, Reprojection | Rigidity]
    weights: Mapping[str, float]
    use_unlabelled: bool

    def __call__(self, outputs: Any, batch: Batch[KeypointTargets]) -> SpaceLoss:
        """Compute the terms."""
        points = outputs.keypoints.float()
        finite = points.isfinite().all(-1, keepdim=True)
        points = torch.where(finite, points, 0.0)
        with torch.enable_grad():
            probe = points.detach().requires_grad_()
            moved = ImageWarp(batch.source_to_crop).inverse().apply(probe)
            uv_source = torch.where(finite, moved, torch.nan)  # triangulation takes it as not seen
            space = self.geometry.reconstruct(uv_source, batch, self._allowed(batch))
            parts = {name: term(space).float() for name, term in self.terms.items()}
            weighted = torch.stack([self.weights[name] * part for name, part in parts.items()]).sum()
            (pull,) = torch.autograd.grad(weighted, probe)
        # Has the value of the terms, and the limited pull as its gradient, however the total is scaled later.
        coordinates = int(batch.over_step(torch.tensor(pull.numel())))
        total = weighted.detach() + ((points - points.detach()) * _limited(pull, coordinates)).sum()
        return SpaceLoss(total, {name: part.detach() for name, part in parts.items()}, space.used_share)

    def _allowed(self, batch: Batch[KeypointTargets]) -> Tensor:
        labelled, valid = batch.targets.labelled[batch.pairs], batch.targets.valid[batch.pairs]
        # What is known to lie outside a crop cannot be predicted there.
        allowed: Tensor = (valid | ~labelled) if self.use_unlabelled else valid
        return allowed.all(1)


def _limited(pull: Tensor, coordinates: int) -> Tensor:
    """Clip the gradient (B, N, 2) of each point to that of one label, were all coordinates of the step labelled."""
    most = 1.0 / max(coordinates, 1)
    size = torch.linalg.vector_norm(pull, dim=-1, keepdim=True)
    return pull * (most / size.clamp(min=most)) if pull.numel() else pull


@attrs.frozen(eq=False)
class KeypointLoss:
    """The weighted sum of the active terms: those of single views by name, and those of stereo pairs, or None."""

    terms: Mapping[str, KeypointLossTerm]
    weights: Mapping[str, float]
    space: SpaceTerms | None = None

    def __call__(self, outputs: Any, batch: Batch[KeypointTargets]) -> LossReport:
        """Compare outputs with targets; the parts are reported before their weights."""
        parts = {name: term(outputs, batch) for name, term in self.terms.items()}
        weighted = [self.weights[name] * part for name, part in parts.items()]
        if self.space is None:
            return LossReport(torch.stack(weighted).sum(), parts, self.weights)
        space = self.space(outputs, batch)
        total = torch.stack([*weighted, space.total]).sum()
        return LossReport(total, parts | space.parts, self.weights, {"triangulated_share": space.used_share})

    def describe(self) -> str:
        """Name the active terms and their weights in one line."""
        return "loss terms: " + ", ".join(f"{name} x {weight:g}" for name, weight in self.weights.items())


POINT_TERMS: dict[str, Callable[[Any], KeypointLossTerm]] = {
    "supervised_keypoint_loss": lambda _: SupervisedKeypoints(),
    "heatmap_regularization_loss": lambda term: HeatmapRegularization(term.sigma_px),
}
MASK_TERMS: dict[str, Callable[[Any], KeypointLossTerm]] = {"segmentation_loss": lambda _: Segmentation()}
SPACE_TERMS: dict[str, Callable[[Any], Reprojection | Rigidity]] = {
    "triangulation_reprojection_loss": lambda _: Reprojection(),
    "triangulation_rigidity_loss": lambda term: Rigidity(term.segments),
}
"""From the settings of a term to the term."""


def build_loss(config: KeypointConfig) -> KeypointLoss:
    """Build the active terms of a configuration; those of a target that is off are left out.

    Raises:
        DataError: a term needs a calibration that cannot be used.
        TrainingError: a term that was asked for cannot run, or none is left.
    """
    wanted = {field.name: getattr(config.loss_terms, field.name) for field in attrs.fields(LossTerms)}
    active = {name: term for name, term in wanted.items() if term.weight > 0}
    builders = (POINT_TERMS if config.targets.keypoints else {}) | (MASK_TERMS if config.targets.segmentation else {})
    terms = {name: builders[name](term) for name, term in active.items() if name in builders}
    space = _space_terms(config, {name: term for name, term in active.items() if name in SPACE_TERMS})
    names = (*terms, *(() if space is None else space.terms))
    if not names:
        raise TrainingError(
            "there is nothing to train",
            where="targets and loss_terms",
            expected="a target that is switched on, with a loss term of weight > 0",
        )
    return KeypointLoss(terms, {name: active[name].weight for name in names}, space)


def _space_terms(config: KeypointConfig, active: Mapping[str, LossTerm]) -> SpaceTerms | None:
    if not active:
        return None
    rig = paired_rig(config) if config.targets.keypoints else None
    if rig is None or len(rig) != VIEWS:
        raise TrainingError(
            "a triangulation loss cannot run",
            where=f"loss_terms.{next(iter(active))}.weight",
            expected="targets.keypoints, stereo_pairing.enabled with two mappings, and calibration_file",
        )
    terms = {name: SPACE_TERMS[name](term) for name, term in active.items()}
    weights = {name: term.weight for name, term in active.items()}
    return SpaceTerms(StereoGeometry(rig), terms, weights, config.stereo_pairing.use_unlabelled)
