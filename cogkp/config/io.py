"""Read, check, write and compare configuration files.

Every mistake of a file is reported at once, one :class:`Problem` each, with its path.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cogkp.config import legacy, rules
from cogkp.config.converter import CONVERTER, TAG
from cogkp.config.documents import pretty, read_document, write_new
from cogkp.config.findings import Finding, Steps, dotted, shown
from cogkp.config.keypoint import KeypointConfig
from cogkp.config.schema import SCHEMA_FILE, json_schema
from cogkp.config.structuring import cut, structured
from cogkp.errors import ConfigError, Problem

__all__ = [
    "config_hash",
    "differences",
    "dump",
    "load",
    "plain_differences",
    "plain_hash",
    "structure",
    "template",
    "write_template",
]

LOGGER = logging.getLogger("cogkp")
POINTER = "$schema"


def load(path: str | os.PathLike[str]) -> KeypointConfig:
    """Read a configuration file.

    Raises:
        ConfigError: the file cannot be read, or lists everything that is wrong in it.
    """
    where = os.fspath(path)
    document, repeated = read_document(where)
    return _checked(document, where, repeated)


def structure(raw: Mapping[str, Any], where: str = "config") -> KeypointConfig:
    """Turn plain JSON values into a configuration, older spellings included.

    Args:
        raw: the document, left as it is; ``$schema`` is ignored.
        where: what to call the document in messages.

    Raises:
        ConfigError: lists everything that is wrong.
    """
    return _checked(raw, where)


def dump(config: KeypointConfig) -> dict[str, Any]:
    """Return a configuration as plain JSON values; ``structure`` gives an equal one back."""
    plain: dict[str, Any] = CONVERTER.unstructure(config, KeypointConfig)
    return plain


def template() -> dict[str, Any]:
    """Return the documented live defaults in the documented order."""
    return dump(KeypointConfig.default())


def write_template(path: str | os.PathLike[str]) -> Path:
    """Write a file of live defaults, and beside it the JSON schema that it points to.

    The schema is the same for all configurations of a folder and is brought up to date.

    Raises:
        OutputError: there is something at ``path`` already, or its folder cannot be written.
    """
    text = pretty({POINTER: f"./{SCHEMA_FILE}", **template()})
    return write_new(path, text, SCHEMA_FILE, json_schema())


def config_hash(config: KeypointConfig) -> str:
    """Return a SHA-256 in hexadecimal that is the same for equal configurations on all machines."""
    return plain_hash(dump(config))


def plain_hash(plain: Mapping[str, Any]) -> str:
    """Return the same for a configuration of any family, as its dump gives it."""
    canonical = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def differences(a: KeypointConfig, b: KeypointConfig) -> list[str]:
    """List in words what changes from one configuration to another, one line per value."""
    return plain_differences(dump(a), dump(b))


def plain_differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """List in words what changes from one configuration to another, both as :func:`dump` gives them.

    Unlike :func:`differences` it also compares what an older release wrote and this one would refuse.
    """
    changes = _changes((), dict(a), dict(b))
    return [f"{dotted(path)}: {json.dumps(old)} -> {json.dumps(new)}" for path, old, new in changes]


def _changes(path: Steps, old: Any, new: Any) -> Iterator[tuple[Steps, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict) and old.get(TAG) == new.get(TAG):
        for key in {**old, **new}:
            yield from _changes((*path, key), old.get(key), new.get(key))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, pair in enumerate(zip(old, new, strict=True)):
            yield from _changes((*path, i), *pair)
    elif old != new:
        yield path, old, new


def _checked(document: Any, where: str, found: tuple[Finding, ...] = ()) -> KeypointConfig:
    if not isinstance(document, Mapping):
        raise ConfigError([Problem("wrong type", where, expected="an object", got=shown(document))])
    raw = {key: value for key, value in document.items() if key != POINTER}
    if not isinstance(document.get(POINTER, ""), str):
        found += (Finding((POINTER,), "wrong type", "a string", shown(document[POINTER])),)
    config, wrong = structured(legacy.migrate(raw), KeypointConfig)
    cuts = [cut(finding.path) for finding in wrong]
    broken = [finding for finding in rules.findings(config) if not finding.depends_on(cuts)]
    if problems := [finding.problem(where) for finding in (*found, *wrong, *broken)]:
        raise ConfigError(problems)
    if message := legacy.overruled(raw):
        LOGGER.warning("%s: %s", where, message)
    return config
