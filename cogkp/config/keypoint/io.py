"""Read, check, write and compare keypoint configuration files.

Every mistake of a file is reported at once, one :class:`Problem` each, with its path.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cogkp.config.converter import CONVERTER, cut, plain_differences, plain_hash, structured
from cogkp.config.documents import pretty, read_document, write_new
from cogkp.config.issues import Finding, short_repr
from cogkp.config.keypoint import rules
from cogkp.config.keypoint.schema import SCHEMA_FILE, json_schema
from cogkp.config.keypoint.spec import KeypointConfig, LossTerms
from cogkp.errors import ConfigError, Problem

OLD_WEIGHT = "segmentation_loss_weight"
DEFAULT_WEIGHT = LossTerms().segmentation_loss.weight

HEATMAP_WEIGHT = 20.0
SEGMENTATION_WEIGHT = 50.0
REPROJECTION_WEIGHT = 200.0
RIGIDITY_WEIGHT = 100.0
LOGGER = logging.getLogger("cogkp")
POINTER = "$schema"


def migrate(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document in its present spelling; the argument stays as it was."""
    return _segmentation_weight(_bare_roots(raw))


def overruled(raw: Mapping[str, Any]) -> str:
    """Say which of two segmentation weights is used where a document gives both and they differ, else nothing."""
    old = raw.get(OLD_WEIGHT)
    if "loss_terms" not in raw or not _is_weight(old):
        return ""
    used = _weight_in(raw["loss_terms"])
    # The template carries the old key at its default: only a value somebody chose can be overruled.
    if not _is_weight(used) or old in (used, DEFAULT_WEIGHT):
        return ""
    return f"{OLD_WEIGHT} is {old!r} but loss_terms.segmentation_loss.weight is {used!r}: loss_terms is used"


def _bare_roots(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Put a list round a single data set root."""
    document = dict(raw)
    if isinstance(document.get("base_dir"), str):
        document["base_dir"] = [document["base_dir"]]
    if isinstance(document.get("validation"), Mapping):
        validation = document["validation"]
        if isinstance(validation.get("base_dir"), str):
            document["validation"] = {**validation, "base_dir": [validation["base_dir"]]}
    return document


def _segmentation_weight(document: dict[str, Any]) -> dict[str, Any]:
    """Map the old key where ``loss_terms`` is absent; a value that is no weight is reported where it stands."""
    if "loss_terms" in document or not _is_weight(document.get(OLD_WEIGHT)):
        return document
    return {**document, "loss_terms": {"segmentation_loss": {"weight": document[OLD_WEIGHT]}}}


def _weight_in(loss_terms: Any) -> Any:
    """Return the weight that ``loss_terms`` gives, its default where it says nothing."""
    term = loss_terms.get("segmentation_loss", {}) if isinstance(loss_terms, Mapping) else None
    return term.get("weight", DEFAULT_WEIGHT) if isinstance(term, Mapping) else None


def _is_weight(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= sys.float_info.max


def starting_loss_terms(
    *, segmentation: bool, segments: Sequence[tuple[int, int, float]] | None = None
) -> dict[str, Any]:
    """Return the value of ``loss_terms``, ready for JSON; the terms it leaves out keep their defaults.

    Args:
        segmentation: whether masks are trained.
        segments: known lengths (point, point, world units) of calibrated stereo pairs, maybe none; None without pairs.
    """
    terms: dict[str, Any] = {"heatmap_regularization_loss": {"weight": HEATMAP_WEIGHT}}
    if segmentation:
        terms["segmentation_loss"] = {"weight": SEGMENTATION_WEIGHT}
    if segments is not None:
        terms["triangulation_reprojection_loss"] = {"weight": REPROJECTION_WEIGHT}
    if segments:
        listed = [list(segment) for segment in segments]
        terms["triangulation_rigidity_loss"] = {"weight": RIGIDITY_WEIGHT, "segments": listed}
    return terms


def load(path: str | os.PathLike[str]) -> KeypointConfig:
    """Read a configuration file; raises ConfigError where it cannot be read, or with everything that is wrong in it."""
    where = os.fspath(path)
    document, repeated = read_document(where)
    return _checked(document, where, repeated)


def read_config(path: str | os.PathLike[str], overrides: Sequence[str] = (), verb: str | None = None) -> KeypointConfig:
    """Read a configuration file for any verb, as :func:`load`; raises ConfigError also where overrides are given."""
    if overrides:
        hint = "Change the file; only experiments take section.key=value."
        raise ConfigError([Problem("a keypoint configuration takes no overrides", os.fspath(path), hint=hint)])
    return load(path)


def structure(raw: Mapping[str, Any], where: str = "config") -> KeypointConfig:
    """Turn plain JSON values, older spellings included, into a configuration; ConfigError lists all that is wrong."""
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
    config, wrong = structured(migrate(raw), KeypointConfig)
    cuts = [cut(finding.path) for finding in wrong]
    broken = [finding for finding in rules.findings(config) if not finding.depends_on(cuts)]
    if problems := [finding.problem(where) for finding in (*found, *wrong, *broken)]:
        raise ConfigError(problems)
    if message := overruled(raw):
        LOGGER.warning("%s: %s", where, message)
    return config
