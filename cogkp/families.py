"""The model families this library knows, each by the places where its parts are found.

A family is one kind of model: its configuration, its task, and what its files mean. Everything above a family's own
modules finds it here, by the class of a configuration or by the name that a model file carries, and never by asking
which family it is. Parts are named as ``module:attribute`` and imported on first use, so that reading a configuration
or running an ONNX file does not import torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import attrs

from cogkp.errors import CogkpError, closest

__all__ = ["Family", "families", "family_named", "family_of", "register"]


@attrs.frozen
class Family:
    """Where the parts of a family are; each but the first two is ``module:attribute``.

    Args:
        name: as checkpoints and manifests carry it.
        suffixes: of its configuration files, in lower case, as ``.json``.
        config_class: the frozen class of its configurations.
        read_config: reads a file, ``(path, overrides, verb) -> configuration``.
        adapter: a :class:`cogkp.workflows.adapter.Adapter`.
        processor: makes the pre- and postprocessing of a model file without torch, ``(facts, where) ->``
            :class:`cogkp.inference.processor.Processor`.
    """

    name: str
    suffixes: tuple[str, ...]
    config_class: str
    read_config: str
    adapter: str
    processor: str

    def part(self, name: str) -> Any:
        """Import a part: 'config_class', 'read_config', 'adapter' or 'processor'."""
        module, _, attribute = str(getattr(self, name)).partition(":")
        return getattr(import_module(module), attribute)


_FAMILIES: dict[str, Family] = {}


def register(family: Family) -> None:
    """Make a family known to every verb; another one of the same name is replaced."""
    _FAMILIES[family.name] = family


def families() -> Iterator[Family]:
    """Go through the families in the order in which they were registered."""
    yield from tuple(_FAMILIES.values())


def family_of(config: Any) -> Family:
    """Find the family of a configuration by its class.

    Raises:
        CogkpError: no family uses this class.
    """
    kind = type(config)
    for family in families():
        module, _, name = family.config_class.partition(":")
        if (kind.__module__, kind.__qualname__) == (module, name):
            return family
    known = ", ".join(family.config_class.partition(":")[2] for family in families())
    raise CogkpError("no family uses this class of configuration", expected=known, got=kind.__name__)


def family_named(name: str, where: str = "") -> Family:
    """Find a family by the name that a model file carries.

    Raises:
        CogkpError: there is none of that name.
    """
    if name not in _FAMILIES:
        known = ", ".join(_FAMILIES)
        raise CogkpError("unknown model family", where=where, expected=known, got=name, hint=closest(name, _FAMILIES))
    return _FAMILIES[name]


register(
    Family(
        name="keypoint",
        suffixes=(".json",),
        config_class="cogkp.config.keypoint.spec:KeypointConfig",
        read_config="cogkp.config.keypoint.io:read_config",
        adapter="cogkp.workflows.families.keypoint:ADAPTER",
        processor="cogkp.tasks.keypoint.processor:processor_of",
    )
)
register(
    Family(
        name="centerpose",
        suffixes=(".yaml", ".yml"),
        config_class="cogkp.config.centerpose.spec:CenterPoseConfig",
        read_config="cogkp.config.centerpose.io:read_config",
        adapter="cogkp.workflows.families.centerpose:ADAPTER",
        processor="cogkp.tasks.centerpose.processor:processor_of",
    )
)
