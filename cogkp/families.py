"""The registry of model families.

A family is one kind of model: its configuration, its task, and what its files mean. Everything above a family's own
modules finds it here, by the class of a configuration or by the name that a model file carries, and never by asking
which family it is. Parts are named as ``module:attribute`` and imported on first use, so that reading a configuration
or running an ONNX file does not import torch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import attrs

from cogkp.errors import CogkpError, closest


@attrs.frozen
class Family:
    """Where the parts of a family are; the last six are ``module:attribute``.

    Args:
        name: as checkpoints and manifests carry it.
        suffixes: of its configuration files, in lower case, as ``.json``.
        config_key: a key that every plain configuration of this family has and no other family's has.
        config_class: the frozen class of its configurations.
        read_config: reads a file, ``(path, overrides, verb) -> configuration``.
        task: makes the task of a configuration, see :class:`cogkp.tasks.base.Task`.
        adapter: a :class:`cogkp.workflows.adapter.Adapter`.
        processor: makes the pre- and postprocessing of a model file without torch, ``(facts, where) ->``
            :class:`cogkp.inference.processor.Processor`.
        write_template: writes a file of defaults, ``(path) -> path``; may be empty.
    """

    name: str
    suffixes: tuple[str, ...]
    config_key: str
    config_class: str
    read_config: str
    task: str
    adapter: str
    processor: str
    write_template: str = ""

    def part(self, name: str) -> Any:
        """Import a part: 'config_class', 'read_config', 'write_template', 'task', 'adapter' or 'processor'."""
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
    """Find the family of a configuration by its class; raises CogkpError where no family uses it."""
    kind = type(config)
    for family in families():
        module, _, name = family.config_class.partition(":")
        if (kind.__module__, kind.__qualname__) == (module, name):
            return family
    known = ", ".join(family.config_class.partition(":")[2] for family in families())
    raise CogkpError("no family uses this class of configuration", expected=known, got=kind.__name__)


def family_of_plain(config: Mapping[str, Any]) -> str:
    """Name the family that wrote a plain configuration; empty where none did.

    Checkpoints of before version 0.2 do not name their family.
    """
    return next((family.name for family in families() if family.config_key in config), "")


def load_config(path: str | os.PathLike[str], overrides: Sequence[str] = (), *, verb: str | None = None) -> Any:
    """Read a configuration file of any family; the ending of its name says which.

    Args:
        path: a keypoint configuration (``.json``) or a CenterPose experiment (``.yaml``, ``.yml``).
        overrides: each ``section.key=value``; later ones win, and all win over the file. Experiments only.
        verb: what is to be done with it, as 'train': what that needs must be there. None demands nothing.

    Returns:
        A frozen configuration; its class decides what every verb does with it.

    Raises:
        ConfigError: the file cannot be read, or lists everything that is wrong in it and in the overrides.
    """
    return _by_suffix(path).part("read_config")(path, overrides, verb)


def write_template(path: str | os.PathLike[str]) -> Path:
    """Write a configuration file of defaults, and beside it the JSON schema that editors use.

    Args:
        path: ends in ``.json`` for a keypoint configuration, in ``.yaml`` for a CenterPose experiment.

    Raises:
        OutputError: there is something at ``path`` already, or its folder cannot be written.
    """
    written: Path = _by_suffix(path).part("write_template")(path)
    return written


def _by_suffix(path: str | os.PathLike[str]) -> Family:
    """Choose the family by the ending of a file's name; the first one reads what has another ending."""
    suffix = Path(os.fspath(path)).suffix.lower()
    return next((family for family in families() if suffix in family.suffixes), None) or next(families())


def family_named(name: str, where: str = "") -> Family:
    """Find a family by the name that a model file carries; raises CogkpError where there is none."""
    if name not in _FAMILIES:
        known = ", ".join(_FAMILIES)
        raise CogkpError("unknown model family", where=where, expected=known, got=name, hint=closest(name, _FAMILIES))
    return _FAMILIES[name]


register(
    Family(
        name="keypoint",
        suffixes=(".json",),
        config_key="data_mappings",
        config_class="cogkp.config.keypoint.spec:KeypointConfig",
        read_config="cogkp.config.keypoint.io:read_config",
        write_template="cogkp.config.keypoint.io:write_template",
        task="cogkp.tasks.keypoint.task:KeypointTask",
        adapter="cogkp.workflows.families.keypoint:ADAPTER",
        processor="cogkp.tasks.keypoint.processor:processor_of",
    )
)
register(
    Family(
        name="centerpose",
        suffixes=(".yaml", ".yml"),
        config_key="dataset",
        config_class="cogkp.config.centerpose.spec:CenterPoseConfig",
        read_config="cogkp.config.centerpose.io:read_config",
        write_template="cogkp.config.centerpose.io:write_experiment_template",
        task="cogkp.tasks.centerpose.task:CenterPoseTask",
        adapter="cogkp.workflows.families.centerpose:ADAPTER",
        processor="cogkp.tasks.centerpose.processor:processor_of",
    )
)
