"""Options of the CenterPose loss, and the experiment options that it refuses or ignores.

Options are refused whose meaning no description gives, or that ask for heads which the network does not have: they
would be read and never used.
"""

from __future__ import annotations

from typing import Any, Literal

import attrs

from cogkp.errors import TrainingError

__all__ = ["UNDEFINED", "LossSettings", "SymmetryChoice"]

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


@attrs.frozen
class LossSettings:
    """Which terms there are and how much they count; named as in the experiment file.

    Args:
        hm_weight: of the map of centres.
        wh_weight: of the box in the image.
        off_weight: of the offsets of centres and corners.
        hp_weight: of the corners seen from the centre.
        hm_hp_weight: of the maps of corners.
        obj_scale_weight: of the box's shape.
        reg_bbox: whether the box in the image is learned.
        reg_offset: whether offsets of centres are learned.
        hm_hp: whether maps of corners are learned.
        reg_hp_offset: whether offsets of corners are learned.
        obj_scale: whether the box's shape is learned.
        symmetry: 'object' chooses the best view of each object, 'image' one for all objects of an image, by the
            whole loss, and learns nothing from images without objects, as the published training does.
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
