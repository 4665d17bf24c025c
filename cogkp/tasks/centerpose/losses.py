"""The terms of the CenterPose loss; a term of weight 0 is never built.

Each term is a mean per image, and images count alike. Of the views of a symmetric object the one counts that fits
the prediction best. All terms are computed in float32, also under autocast, and are finite with nothing to learn.

Options are refused whose meaning no description gives, or that ask for heads which the network does not have: they
would be read and never used.

Axes: B batch, S symmetric views, O objects. Terms of single objects take targets with and without the axis S.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, Protocol

import attrs
import torch
from torch import Tensor
from torch.nn import functional as F

from cogkp.data.sample import Batch
from cogkp.errors import TrainingError
from cogkp.tasks.base import LossReport
from cogkp.tasks.centerpose.targets import ObjectTargets, read_cells, render_gaussians

SymmetryChoice = Literal["object", "image"]

UNDEFINED: dict[str, tuple[bool | int | str, str]] = {
    "mse_loss": (False, "squared errors of heatmaps need targets that no field of the experiment describes"),
    "dense_hp": (False, "dense corners need targets that no field of the experiment describes"),
    "hps_uncertainty": (False, "the network has no head for the uncertainty of corners"),
    "obj_scale_uncertainty": (False, "the network has no head for the uncertainty of the box's shape"),
    "use_residual": (False, "residual sizes need mean sizes that no field of the experiment holds"),
    "dimension_ref": ("", "reference sizes are not described"),
    "num_stacks": (1, "the network has one stack"),
    "reg_loss": ("l1", "there is one kind of regression loss"),
}
"""Field of ``train.loss_config`` to the one value it may have, and why."""

# Keeps a mean over nothing at zero.
NOTHING = 1e-4


@attrs.frozen
class LossSettings:
    """Which terms there are and how much they count; named as in the experiment file.

    Weights and switches are those of the maps of centres (``hm``) and corners (``hm_hp``), the box in the image
    (``wh``, ``reg_bbox``), offsets of centres and corners (``off``, ``reg_offset``, ``reg_hp_offset``), the corners
    seen from the centre (``hp``), and the box's shape (``obj_scale``).

    Args:
        symmetry: 'object' chooses the best view of each object, 'image' one for all objects of an image, by the whole
            loss, and learns nothing from images without objects, as the published training does.
    """

    hm_weight: float = 1.0
    wh_weight: float = 0.1
    off_weight: float = 1.0
    hp_weight: float = 1.0
    hm_hp_weight: float = 1.0
    obj_scale_weight: float = 1.0
    reg_bbox: bool = True
    reg_offset: bool = True
    hm_hp: bool = True
    reg_hp_offset: bool = True
    obj_scale: bool = True
    symmetry: SymmetryChoice = "object"

    @classmethod
    def of(cls, loss_config: Any, symmetry: SymmetryChoice = "object") -> LossSettings:
        """Read them from the loss section of an experiment; fields it does not have keep their defaults.

        Raises:
            TrainingError: an option is on that has no meaning here; see ``UNDEFINED``.
        """
        for name, (harmless, why) in UNDEFINED.items():
            value = getattr(loss_config, name, harmless)
            if value != harmless:
                raise TrainingError(
                    why, where=f"train.loss_config.{name}", expected=str(harmless) or "nothing", got=str(value)
                )
        known = [field.name for field in attrs.fields(cls) if hasattr(loss_config, field.name)]
        return cls(**{name: getattr(loss_config, name) for name in known if name != "symmetry"}, symmetry=symmetry)


class ObjectLossTerm(Protocol):
    """One term of the loss, before its weight."""

    def __call__(self, outputs: Any, targets: ObjectTargets) -> Tensor:
        """Compute the term where objects have one view each, fields (B, O, ...): (B,) float32."""

    def cost(self, outputs: Any, targets: ObjectTargets) -> Tensor:
        """Compute the term of every view of every object, fields (B, S, O, ...): (B, S, O) float32."""


class Residual(NamedTuple):
    """Predicted minus target, (..., O, C), and a mask of the same shape."""

    difference: Tensor
    mask: Tensor


def _wide(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _box(outputs: Any, targets: ObjectTargets) -> Residual:
    return _at_center(outputs.wh, targets.ind, targets.wh, targets.taught)


def _center_offset(outputs: Any, targets: ObjectTargets) -> Residual:
    return _at_center(outputs.reg, targets.ind, targets.reg, targets.taught)


def _scale(outputs: Any, targets: ObjectTargets) -> Residual:
    return _at_center(outputs.scale, targets.ind, targets.scale, targets.scale_mask)


def _at_center(maps: Tensor, cell: Tensor, wanted: Tensor, mask: Tensor) -> Residual:
    difference = read_cells(_wide(maps), cell) - wanted
    return Residual(difference, mask.unsqueeze(-1).expand(difference.shape))


def _corners(outputs: Any, targets: ObjectTargets) -> Residual:
    difference = read_cells(_wide(outputs.hps), targets.ind) - targets.hps.flatten(-2)
    return Residual(difference, targets.hps_mask.repeat_interleave(2, -1))


def _corner_offset(outputs: Any, targets: ObjectTargets) -> Residual:
    difference = read_cells(_wide(outputs.hp_offset), targets.hp_ind) - targets.hp_offset
    return Residual(difference.flatten(-2), targets.hp_mask.repeat_interleave(2, -1))


@attrs.frozen
class AbsoluteError:
    """Mean absolute error (L1) of values at single cells."""

    residual: Callable[[Any, ObjectTargets], Residual]

    def __call__(self, outputs: Any, targets: ObjectTargets) -> Tensor:
        """Return (B,), cells or units of the height."""
        return _mean(self.residual(outputs, targets), (-2, -1))

    def cost(self, outputs: Any, targets: ObjectTargets) -> Tensor:
        """Return (B, S, O), in the same unit."""
        return _mean(self.residual(outputs, targets), (-1,))


def _mean(residual: Residual, axes: tuple[int, ...]) -> Tensor:
    distance = torch.where(residual.mask, residual.difference, 0.0).abs().sum(axes)
    return distance / (residual.mask.sum(axes) + NOTHING)


@attrs.frozen
class CenterPeaks:
    """Focal loss of the map of centres.

    Source: H. Law and J. Deng, CornerNet, ECCV 2018, equation 1, with alpha 2 and beta 4.
    """

    def __call__(self, outputs: Any, targets: ObjectTargets) -> Tensor:
        """Return (B,), nats per object."""
        logits = _wide(outputs.hm)
        shape = logits.shape[-2], logits.shape[-1]
        return _focal(
            logits, render_gaussians(targets.ind.unsqueeze(-1), targets.radius, targets.taught.unsqueeze(-1), shape)
        )

    def cost(self, outputs: Any, targets: ObjectTargets) -> Tensor:
        """Return (B, S, O), what the cell of the centre adds."""
        return _missed(read_cells(_wide(outputs.hm), targets.ind)[..., 0])


@attrs.frozen
class CornerPeaks:
    """Focal loss of the maps of corners; source as :class:`CenterPeaks`."""

    def __call__(self, outputs: Any, targets: ObjectTargets) -> Tensor:
        """Return (B,), nats per corner."""
        logits = _wide(outputs.hm_hp)
        shape = logits.shape[-2], logits.shape[-1]
        return _focal(logits, render_gaussians(targets.hp_ind, targets.radius, targets.hp_mask, shape))

    def cost(self, outputs: Any, targets: ObjectTargets) -> Tensor:
        """Return (B, S, O), mean of what the cells of its corners add."""
        # Every corner has a map of its own: of all maps read at its cell, its own is on the diagonal.
        found = read_cells(_wide(outputs.hm_hp), targets.hp_ind).diagonal(dim1=-2, dim2=-1)
        return _mean(Residual(_missed(found), targets.hp_mask), (-1,))


def _missed(logits: Tensor) -> Tensor:
    """What a cell adds that holds a peak."""
    return -torch.sigmoid(-logits).square() * F.logsigmoid(logits)


def _focal(logits: Tensor, wanted: Tensor) -> Tensor:
    """(B,) sum over maps (B, C, h, w), per peak."""
    peak = wanted == 1
    empty = -(1 - wanted).pow(4) * torch.sigmoid(logits).square() * F.logsigmoid(-logits)
    total = torch.where(peak, _missed(logits), empty).sum((-3, -2, -1))
    return total / peak.sum((-3, -2, -1)).clamp(min=1)


@attrs.frozen(eq=False)
class CenterPoseLoss:
    """The weighted sum of the active terms.

    Args:
        symmetry: how symmetric views are chosen; see :class:`cogkp.tasks.centerpose.losses.LossSettings`.
    """

    terms: Mapping[str, ObjectLossTerm]
    weights: Mapping[str, float]
    symmetry: SymmetryChoice = "object"

    def __call__(self, outputs: Any, batch: Batch[Any]) -> LossReport:
        """Compare outputs with targets; the parts are reported before their weights."""
        targets: ObjectTargets = batch.targets.objects
        picked = targets.pick(self.choose(outputs, targets))
        counted = picked.taught.any(-1) | (self.symmetry == "object")
        images = batch.over_step(counted.new_tensor(len(counted), dtype=torch.int64))
        parts = {
            name: torch.where(counted, term(outputs, picked), 0.0).sum() / images for name, term in self.terms.items()
        }
        total = torch.stack([self.weights[name] * part for name, part in parts.items()]).sum()
        return LossReport(total, parts, self.weights)

    @torch.no_grad()
    def choose(self, outputs: Any, targets: ObjectTargets) -> Tensor:
        """Find the view of each object that fits best: (B, O) int64; the first where there is none."""
        by_object = self.symmetry == "object"
        cost = self._by_object(outputs, targets) if by_object else self._by_image(outputs, targets)
        known = targets.taught if by_object else targets.taught.any(-1, keepdim=True)
        best: Tensor = torch.where(known, cost, math.inf).argmin(1)
        return best.expand(-1, targets.taught.shape[-1])

    def _by_object(self, outputs: Any, targets: ObjectTargets) -> Tensor:
        costs = [self.weights[name] * term.cost(outputs, targets) for name, term in self.terms.items()]
        return torch.stack(costs).sum(0)

    def _by_image(self, outputs: Any, targets: ObjectTargets) -> Tensor:
        views = targets.taught.shape[1]
        return torch.stack([self._whole(outputs, targets, view) for view in range(views)], 1).unsqueeze(-1)

    def _whole(self, outputs: Any, targets: ObjectTargets, view: int) -> Tensor:
        picked = ObjectTargets(*(field[:, view] for field in targets))
        return torch.stack([self.weights[name] * term(outputs, picked) for name, term in self.terms.items()]).sum(0)

    def describe(self) -> str:
        """Name the active terms and their weights in one line."""
        return "loss terms: " + ", ".join(f"{name} x {weight:g}" for name, weight in self.weights.items())


def build_loss(settings: LossSettings) -> CenterPoseLoss:
    """Build the active terms; raises TrainingError where none is left."""
    wanted: dict[str, tuple[bool, float, ObjectLossTerm]] = {
        "hm": (True, settings.hm_weight, CenterPeaks()),
        "wh": (settings.reg_bbox, settings.wh_weight, AbsoluteError(_box)),
        "reg": (settings.reg_offset, settings.off_weight, AbsoluteError(_center_offset)),
        "hps": (True, settings.hp_weight, AbsoluteError(_corners)),
        "hm_hp": (settings.hm_hp, settings.hm_hp_weight, CornerPeaks()),
        "hp_offset": (settings.reg_hp_offset, settings.off_weight, AbsoluteError(_corner_offset)),
        "scale": (settings.obj_scale, settings.obj_scale_weight, AbsoluteError(_scale)),
    }
    active = {name: (weight, term) for name, (on, weight, term) in wanted.items() if on and weight > 0}
    if not active:
        raise TrainingError(
            "there is nothing to train", where="train.loss_config", expected="a term that is on, with a weight > 0"
        )
    terms = {name: term for name, (_, term) in active.items()}
    return CenterPoseLoss(terms, {name: weight for name, (weight, _) in active.items()}, settings.symmetry)
