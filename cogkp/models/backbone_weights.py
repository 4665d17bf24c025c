"""Load pretrained weights into the encoder of a keypoint network or the backbone of a CenterPose network."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from torch import Tensor, nn

from cogkp.errors import ModelError, first_few
from cogkp.models.dla import DLA34
from cogkp.models.fan import FullyAttentionalNetwork
from cogkp.models.keypoint import GenericKeypointModel
from cogkp.models.resnet import CLASSIFIER, COLOURS, STEM_KERNELS, STEM_MEAN, for_grey_images

PREFIX = "encoder."
COUNTER = "num_batches_tracked"  # files from before torch 0.4.1 lack it
NAMED_AT_MOST = 3

DLA34_WEIGHTS = "dla34-ba72cf86.pth"
"""The published file of ImageNet weights; the digits begin its SHA-256."""

UNUSED_OF_DLA34 = ("fc.", "level3.project.", "level4.project.")  # of the published file: they feed nothing here


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
    _refuse(
        "the encoder's weights are missing",
        where,
        missing,
        f"The file holds {first_few(_parts(weights), NAMED_AT_MOST)}.",
    )
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
        raise ModelError(what, where=where, got=first_few(names, NAMED_AT_MOST), hint=hint)


def load_backbone(backbone: DLA34 | FullyAttentionalNetwork, weights: Mapping[str, Tensor], where: str) -> int:
    """Load a backbone's weights, all or none.

    Args:
        backbone: is changed in place; untouched when the weights do not fit.
        weights: under the backbone's own names, which for DLA34 are the published ones; or of a whole network, with one
            prefix before all names of its backbone. DLA34's classifier, and two projections that feed nothing, are
            passed over.
        where: names the source in messages.

    Returns:
        How many tensors were replaced.

    Raises:
        ModelError: a tensor is missing or has another shape, or the backbone holds something else.

    Example:
        >>> load_backbone(DLA34(), {f"net.{name}": part for name, part in DLA34().state_dict().items()}, "the example")
        222
    """
    own = backbone.state_dict()
    found = _of_backbone(weights, next(iter(own)))
    if isinstance(backbone, DLA34):
        found = {name: tensor for name, tensor in found.items() if not name.startswith(UNUSED_OF_DLA34)}
    missing = [name for name in own if name not in found and not name.endswith(COUNTER)]
    _refuse("weights of the backbone are missing", where, missing, _hint(backbone, weights))
    _refuse("there are weights that the backbone does not have", where, [name for name in found if name not in own])
    shapes = [(name, tuple(found[name].shape), tuple(own[name].shape)) for name in found]
    wrong = [f"{name} {got}, not {wanted}" for name, got, wanted in shapes if got != wanted]
    _refuse("weights of the backbone have other shapes", where, wrong)
    backbone.load_state_dict({**own, **found})
    return len(found)


def _hint(backbone: nn.Module, weights: Mapping[str, Tensor]) -> str:
    known = "the published names" if isinstance(backbone, DLA34) else "this library's names, as its checkpoints have,"
    return f"Only files with {known} are read; this one begins with {next(iter(weights), '')!r}."


def _of_backbone(weights: Mapping[str, Tensor], first: str) -> dict[str, Tensor]:
    """Take what has the prefix that stands before the backbone's first name."""
    prefixes = [name.removesuffix(first) for name in weights if name == first or name.endswith(f".{first}")]
    prefix = min(prefixes, key=len, default="")
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
