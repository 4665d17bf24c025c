"""Read, check, write and compare keypoint configuration files.

Every mistake of a file is reported at once, one :class:`Problem` each, with its path.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cogkp.config.converter import CONVERTER, cut, structured
from cogkp.config.documents import pretty, read_document, write_new
from cogkp.config.issues import Finding, short_repr
from cogkp.config.keypoint import legacy, rules
from cogkp.config.keypoint.schema import SCHEMA_FILE, json_schema
from cogkp.config.keypoint.spec import KeypointConfig
from cogkp.config.plain import plain_differences, plain_hash
from cogkp.errors import ConfigError, Problem

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


def read_config(path: str | os.PathLike[str], overrides: Sequence[str] = (), verb: str | None = None) -> KeypointConfig:
    """Read a configuration file for any verb.

    Raises:
        ConfigError: as :func:`load`; or overrides were given, which this kind of file does not know.
    """
    if overrides:
        hint = "Change the file; only experiments take section.key=value."
        raise ConfigError([Problem("a keypoint configuration takes no overrides", os.fspath(path), hint=hint)])
    return load(path)


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


def differences(a: KeypointConfig, b: KeypointConfig) -> list[str]:
    """List in words what changes from one configuration to another, one line per value."""
    return plain_differences(dump(a), dump(b))


def _checked(document: Any, where: str, found: tuple[Finding, ...] = ()) -> KeypointConfig:
    if not isinstance(document, Mapping):
        raise ConfigError([Problem("wrong type", where, expected="an object", got=short_repr(document))])
    raw = {key: value for key, value in document.items() if key != POINTER}
    if not isinstance(document.get(POINTER, ""), str):
        found += (Finding((POINTER,), "wrong type", "a string", short_repr(document[POINTER])),)
    config, wrong = structured(legacy.migrate(raw), KeypointConfig)
    cuts = [cut(finding.path) for finding in wrong]
    broken = [finding for finding in rules.findings(config) if not finding.depends_on(cuts)]
    if problems := [finding.problem(where) for finding in (*found, *wrong, *broken)]:
        raise ConfigError(problems)
    if message := legacy.overruled(raw):
        LOGGER.warning("%s: %s", where, message)
    return config
