"""Read, check and write CenterPose experiment files.

Every mistake of a file and of the overrides is reported at once, one :class:`Problem` each, with path and line.
"""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from cogkp.config.centerpose import rules
from cogkp.config.centerpose.schema import EXPERIMENT_SCHEMA_FILE, experiment_schema
from cogkp.config.centerpose.spec import VERBS, CenterPoseConfig, Verb
from cogkp.config.converter import CONVERTER, cut, structured, without
from cogkp.config.documents import write_new
from cogkp.config.fields import DOC, fields_of, with_known_keys, with_known_words
from cogkp.config.interpolation import BLANK, interpolated
from cogkp.config.issues import Finding, Step, Steps, short_repr
from cogkp.config.overrides import merged, read_overrides
from cogkp.config.yaml_reading import Document, read_yaml, yaml_text
from cogkp.errors import ConfigError, Problem, closest
from cogkp.files import MARK, Ours, has_mark, write_text

LOGGER = logging.getLogger("cogkp")
POINTER = "# yaml-language-server: $schema=./{}\n"


def load_experiment(
    path: str | os.PathLike[str], overrides: Sequence[str] = (), *, verb: Verb | None = None
) -> CenterPoseConfig:
    """Read an experiment spec.

    Args:
        path: the YAML file.
        overrides: each ``section.key=value``; later ones win, and all win over the file.
        verb: what is to be done with it: what that needs must be there, and only its sections must fit together.
            None demands nothing and checks everything.

    Raises:
        ConfigError: the file cannot be read, or lists everything that is wrong in it and in the overrides.
    """
    _check_verb(verb)
    given, unreadable = read_overrides(overrides)
    return _checked([read_yaml(os.fspath(path)), *given], verb, unreadable)


def read_config(
    path: str | os.PathLike[str], overrides: Sequence[str] = (), verb: Verb | None = None
) -> CenterPoseConfig:
    """Read an experiment for any verb; see :func:`load_experiment`."""
    return load_experiment(path, overrides, verb=verb)


def structure_experiment(raw: Mapping[str, Any], where: str = "spec", *, verb: Verb | None = None) -> CenterPoseConfig:
    """Turn plain values, as :func:`dump_experiment` gives them or a YAML file holds them, into a spec.

    ``where`` is what to call them in messages; ``verb`` as in :func:`load_experiment`.

    Raises:
        ConfigError: lists everything that is wrong.
    """
    _check_verb(verb)
    return _checked([Document(raw, {(): where})], verb)


def dump_experiment(config: CenterPoseConfig) -> dict[str, Any]:
    """Return a spec as plain values."""
    plain: dict[str, Any] = CONVERTER.unstructure(config, CenterPoseConfig)
    return plain


def write_experiment(path: str | os.PathLike[str], config: CenterPoseConfig, ours: Ours = has_mark) -> Path:
    """Write a whole spec, every default included; :func:`load_experiment` gives an equal one back.

    ``ours`` says whether a file that lies there may be replaced; see :mod:`cogkp.files`.

    Raises:
        OutputError: it cannot be written, or somebody else's file lies there.
    """
    target = Path(path)
    write_text(target, f"# {MARK}\n{yaml_text(dump_experiment(config))}", ours)
    return target


def write_experiment_template(path: str | os.PathLike[str]) -> Path:
    """Write a spec of defaults with a sentence above each key, and beside it the JSON schema that editors use.

    Raises:
        OutputError: there is something at ``path`` already, or its folder cannot be written.
    """
    text = POINTER.format(EXPERIMENT_SCHEMA_FILE) + yaml_text(dump_experiment(CenterPoseConfig.default()), _sentence)
    return write_new(path, text, EXPERIMENT_SCHEMA_FILE, experiment_schema())


def _sentence(path: Steps) -> str:
    """Return the sentence of a field."""
    cls: type[Any] = CenterPoseConfig
    for step in path[:-1]:
        cls = next(field.type for field in fields_of(cls) if field.name == step and field.type)
    return next(str(field.metadata[DOC]) for field in fields_of(cls) if field.name == path[-1])


def _check_verb(verb: str | None) -> None:
    if verb is not None and verb not in VERBS:
        hint = closest(verb, VERBS)
        raise ConfigError([Problem("there is no such verb", "verb", ", ".join(VERBS), repr(verb), hint)])


def _checked(documents: Iterable[Document], verb: Verb | None, unreadable: Sequence[Problem] = ()) -> CenterPoseConfig:
    document = _joined(documents)
    value, unclear = interpolated(document.value, dump_experiment(CenterPoseConfig.default()))
    blanks = list(_blanks(value, ()))
    sound = without(value, [cut(path) for path in (*blanks, *(finding.path for finding in unclear))])
    config, wrong = structured(with_known_words(sound, CenterPoseConfig), CenterPoseConfig)
    cuts = [cut(finding.path) for finding in (*unclear, *wrong)]
    # An override that nobody could read may be what would be missed.
    absent = [] if verb is None or unreadable else rules.missing(config, verb, blanks)
    broken = [finding for finding in (*rules.findings(config, verb), *absent) if not finding.depends_on(cuts)]
    found = map(_advised, (*document.findings, *unclear, *wrong, *broken))
    if problems := [*unreadable, *(finding.problem(document.place(finding.path)) for finding in found)]:
        raise ConfigError(problems)
    for remark in rules.remarks(config):
        LOGGER.warning("%s: %s", document.place(()), remark)
    return config


def _joined(documents: Iterable[Document]) -> Document:
    """Put the overrides over the file."""
    value: dict[str, Any] = {}
    places: dict[Steps, str] = {}
    findings: list[Finding] = []
    for document in documents:
        if not isinstance(document.value, Mapping):
            where = document.place(())
            raise ConfigError([Problem("wrong type", where, expected="an object", got=short_repr(document.value))])
        known = with_known_keys(document, CenterPoseConfig)
        value = merged(value, known.value)
        places |= known.places
        findings += known.findings
    return Document(value, places, tuple(findings))


def _blanks(value: Any, path: Steps) -> Iterator[Steps]:
    """List the paths of values left open."""
    if value == BLANK:
        yield path
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _blanks(part, (*path, key))
    elif isinstance(value, list):
        for i, part in enumerate(value):
            yield from _blanks(part, (*path, i))


def _indented(key: Step) -> str:
    """Name the one section that has such a key; empty where none or several have it."""
    owners = [
        each.name
        for each in fields_of(CenterPoseConfig)
        if each.type is not None and attrs.has(each.type) and key in {field.name for field in fields_of(each.type)}
    ]
    return f"Did you mean '{owners[0]}.{key}'? Indent it below {owners[0]}:." if len(owners) == 1 else ""


def _advised(finding: Finding) -> Finding:
    """Say what to do about a name that YAML takes for something else, or that is meant otherwise elsewhere."""
    if finding.what == "unknown key" and len(finding.path) == 1 and not finding.hint:
        return attrs.evolve(finding, hint=_indented(finding.path[0]))
    if finding.path[-1:] == ("onnx_file",) and finding.got.endswith(".etlt'"):
        return attrs.evolve(finding, hint="Models are never encrypted; end the name in .onnx.")
    if finding.what == "wrong type" and finding.expected.startswith("a string") and not finding.hint:
        return attrs.evolve(finding, hint="Put quotes round it.") if finding.got[:1] not in "[{N" else finding
    return finding
