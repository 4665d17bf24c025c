"""The ``model`` section."""

from __future__ import annotations

import attrs

from cogkp.config.fields import between, exactly, multiple_of, one_of, setting

__all__ = ["BackboneSpec", "ModelSpec"]


@attrs.frozen(kw_only=True)
class BackboneSpec:
    """The part of the network that sees the image."""

    model_type: str = setting("DLA34", "Which backbone.", one_of("DLA34", "fan_small", "fan_base", "fan_large"))
    width: float = setting(
        1.0,
        "Share of the published channels that every layer of DLA34 has; below 1 the network is smaller and faster, "
        "and published weights do not fit.",
        between(0.125, 1.0),
    )
    pretrained_backbone_path: str | None = setting(
        None,
        "File of weights the backbone starts from where use_pretrained is on; nothing is downloaded. null: for DLA34 "
        "the published file in torch's hub cache.",
    )


@attrs.frozen(kw_only=True)
class ModelSpec:
    """The network."""

    down_ratio: int = setting(4, "Pixels per cell of the network's grid.", exactly(4))
    final_kernel: int = setting(1, "Kernel of each head's last convolution.", exactly(1))
    last_level: int = setting(5, "Deepest level of the backbone that is used.", exactly(5))
    head_conv: int = setting(256, "Hidden channels of each head.", multiple_of(32, 32, 4096))
    out_channel: int = setting(0, "Channels before the heads; 0: as many as the first level has.", exactly(0))
    use_convGRU: bool = setting(  # noqa: N815 - the name in the file
        True, "Predict from easy to hard in three steps of a recurrent cell, instead of all at once."
    )
    use_pretrained: bool = setting(False, "Start the backbone from backbone.pretrained_backbone_path.")
    backbone: BackboneSpec = setting(BackboneSpec, "The part of the network that sees the image.")
