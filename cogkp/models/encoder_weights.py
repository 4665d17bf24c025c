"""Load pretrained weights into the encoder of a keypoint network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from torch import Tensor

from cogkp.errors import ModelError
from cogkp.models.keypoint import GenericKeypointModel
from cogkp.models.resnet import CLASSIFIER, STEM_KERNELS, STEM_MEAN, for_grey_images

__all__ = ["LoadedEncoder", "load_encoder"]

PREFIX = "encoder."
COLOURS = 3
COUNTER = "num_batches_tracked"  # files from before torch 0.4.1 lack it
NAMED_AT_MOST = 3


class LoadedEncoder(NamedTuple):
    """What was loaded and what was not."""

    tensors: int
    """Tensors that were replaced."""
    numbers: int
    """Numbers in them."""
    passed_over: tuple[str, ...]
    """Parts of the source that were not used, such as heads and classifier."""
    fresh: tuple[str, ...]
    """Parts of the network that stay as they were."""


def load_encoder(model: GenericKeypointModel, weights: Mapping[str, Tensor], where: str) -> LoadedEncoder:
    """Load the encoder's weights, all or none; decoder and heads stay as they are.

    Args:
        model: is changed in place; untouched when the weights do not fit.
        weights: of another keypoint network, whatever its points and masks, with its names; or, for ResNet-18, under
            the published names. Kernels for three colours are rewritten where the model sees one grey channel.
        where: names the source in messages.

    Raises:
        ModelError: an encoder's tensor is missing or has another shape, or a published file holds something else.

    Example:
        >>> source, model = GenericKeypointModel(17, width=8), GenericKeypointModel(3, num_classes=2, width=8)
        >>> load_encoder(model, source.state_dict(), "the example").fresh
        ('decoder', 'heatmap_head', 'mask_head')
    """
    own = {name: tensor for name, tensor in model.state_dict().items() if _part(name) in model.encoder_parts}
    named = _published(model, weights, where) if STEM_KERNELS in weights else weights
    fitting = {name: tensor for name, tensor in named.items() if _part(name) in model.encoder_parts}
    missing = [name for name in own if name not in fitting and not name.endswith(COUNTER)]
    _refuse("the encoder's weights are missing", where, missing, f"The file holds {_listed(_parts(weights))}.")
    _refuse("there are weights that the encoder does not have", where, [name for name in fitting if name not in own])
    shapes = [(name, tuple(fitting[name].shape), tuple(own[name].shape)) for name in fitting]
    wrong = [f"{name} {got}, not {wanted}" for name, got, wanted in shapes if got != wanted]
    _refuse("weights have other shapes", where, wrong, "Take those of the same preset.")
    model.load_state_dict({**model.state_dict(), **fitting})
    return LoadedEncoder(
        tensors=len(fitting),
        numbers=sum(tensor.numel() for tensor in fitting.values()),
        passed_over=_parts(name for name in named if name not in fitting),
        fresh=_parts(name for name in model.state_dict() if name not in own),
    )


def _published(model: GenericKeypointModel, weights: Mapping[str, Tensor], where: str) -> Mapping[str, Tensor]:
    """Give published weights the names they have inside the network; the classifier keeps its own."""
    if model.encoder is None:
        hint = "Choose the preset 'resnet18', or take a checkpoint of this library."
        raise ModelError("these are weights of a ResNet, and the encoder is none", where=where, hint=hint)
    kernels, wanted = weights[STEM_KERNELS].shape, model.encoder.conv1.weight.shape
    coloured = kernels[1:2] == (COLOURS,) and kernels[2:] == wanted[2:] and STEM_MEAN in weights
    fitting = for_grey_images(weights) if coloured and model.in_channels == 1 else weights
    return {name if name.startswith(CLASSIFIER) else PREFIX + name: tensor for name, tensor in fitting.items()}


def _part(name: str) -> str:
    return name.split(".", 1)[0]


def _parts(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(_part, names)))


def _refuse(what: str, where: str, names: list[str], hint: str = "") -> None:
    if names:
        raise ModelError(what, where=where, got=_listed(names), hint=hint)


def _listed(names: Iterable[str]) -> str:
    all_names = list(names)
    more = f" and {len(all_names) - NAMED_AT_MOST} more" if len(all_names) > NAMED_AT_MOST else ""
    return ", ".join(all_names[:NAMED_AT_MOST]) + more
