"""Load pretrained weights into the backbone of a CenterPose network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from cogkp.errors import ModelError
from cogkp.models.dla import DLA34
from cogkp.models.fan import FullyAttentionalNetwork

__all__ = ["DLA34_WEIGHTS", "load_backbone"]

DLA34_WEIGHTS = "dla34-ba72cf86.pth"
"""The published file of ImageNet weights; the digits begin its SHA-256."""

UNUSED_OF_DLA34 = ("fc.", "level3.project.", "level4.project.")  # of the published file: they feed nothing here
COUNTER = "num_batches_tracked"  # old files lack it
NAMED_AT_MOST = 5


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


def _refuse(what: str, where: str, names: Sequence[str], hint: str = "") -> None:
    if names:
        more = f" and {len(names) - NAMED_AT_MOST} more" if len(names) > NAMED_AT_MOST else ""
        raise ModelError(what, where=where, got=", ".join(names[:NAMED_AT_MOST]) + more, hint=hint)
