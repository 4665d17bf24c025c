"""The one strict converter between plain JSON values and the frozen classes.

Nothing is coerced, except that an integer serves as a number. Every finding below an object is collected before it is
refused, so that a file is corrected in one go.
"""

from __future__ import annotations

import hashlib
import json
import math
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import attrs
from cattrs import Converter

from cogkp.config.augment import STAGES, Affine, Stage
from cogkp.config.fields import LARGEST_NUMBER, WORDS, check_of, describe, fields_of, optional_of
from cogkp.config.issues import Finding, RefusedError, Step, Steps, dotted, overlap, short_repr
from cogkp.errors import closest

TAG = "type"
Hook = Callable[[Any, Any], Any]
Config = TypeVar("Config")
# An affine stage takes part in no rule; in the place of an unreadable stage it leaves the others where they are.
STAND_IN = {TAG: Affine.TYPE}


def plain_hash(plain: Mapping[str, Any]) -> str:
    """Return a SHA-256 that is the same for equal configurations of any family, given as plain values."""
    canonical = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


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


def make_converter() -> Converter:
    """Build the converter; structuring raises :class:`RefusedError` and nothing else."""
    converter = Converter(unstruct_collection_overrides={tuple: list})
    converter.register_structure_hook(bool, lambda raw, _: _exactly(bool, raw))
    converter.register_structure_hook(int, lambda raw, _: _integer(raw))
    converter.register_structure_hook(float, lambda raw, _: _number(raw))
    converter.register_structure_hook(str, lambda raw, _: _text(raw))
    factory = converter.register_structure_hook_factory
    factory(attrs.has, lambda cls: lambda raw, _: _changed(converter, cls(), raw))
    factory(_is_tuple, lambda tp: _tuple_hook(converter, tp))
    factory(lambda tp: optional_of(tp) is not None, lambda tp: _optional_hook(converter, tp))
    # Equal configurations must have equal files, so 1 is written as 1.0 and -0.0 as 0.0 where a number is meant.
    converter.register_unstructure_hook(float, lambda value: float(value) + 0.0)
    _register_tagged(converter, Stage, STAGES)
    return converter


def _integer(raw: Any) -> Any:
    number = _exactly(int, raw)
    if not -(2**63) <= number < 2**63:
        raise RefusedError.value("out of range", expected="an integer of at most 64 bits", raw=raw)
    return number


def _exactly(tp: type[Any], raw: Any) -> Any:
    if type(raw) is not tp:
        raise RefusedError.value("wrong type", expected=WORDS[tp], raw=raw)
    return raw


def _number(raw: Any) -> float:
    if type(raw) not in (int, float):
        raise RefusedError.value("wrong type", expected=WORDS[float], raw=raw)
    try:
        number = float(raw)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise RefusedError.value("not a finite number", expected="a finite number", raw=raw)
    if abs(number) > LARGEST_NUMBER:
        words = f"a number from -{LARGEST_NUMBER:g} to {LARGEST_NUMBER:g}"
        raise RefusedError.value("out of range", expected=words, raw=raw)
    return number + 0.0  # -0.0 would turn the ends of a range round


def _text(raw: Any) -> str:
    text = _exactly(str, raw)
    # Neither half a surrogate pair nor NUL can be part of a file name, and most strings here end in one.
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise RefusedError.value("unusable character", expected="Unicode text without NUL", raw=raw)
    return str(text)


def _is_tuple(tp: Any) -> bool:
    return typing.get_origin(tp) is tuple


def _gather(parts: Iterable[tuple[Step, Any]], structure: Callable[[Any, Any], Any]) -> dict[Any, Any]:
    """Structure every part before refusing any, and tell each finding where it was."""
    tried = {step: _attempt(step, raw, structure) for step, raw in parts}
    if findings := [finding for _, found in tried.values() for finding in found]:
        raise RefusedError(findings)
    return {step: value for step, (value, _) in tried.items()}


def _attempt(step: Step, raw: Any, structure: Callable[[Any, Any], Any]) -> tuple[Any, list[Finding]]:
    try:
        return structure(step, raw), []
    except RefusedError as refused:
        return None, [finding.under(step) for finding in refused.findings]


def _tuple_hook(converter: Converter, tp: Any) -> Hook:
    items = typing.get_args(tp)
    open_ended = items[-1] is Ellipsis

    def structure(raw: Any, _: Any) -> tuple[Any, ...]:
        if not isinstance(raw, (list, tuple)):
            raise RefusedError.value("wrong type", expected=describe(tp), raw=raw)
        if not open_ended and len(raw) != len(items):
            raise RefusedError.value("wrong length", expected=describe(tp), raw=raw)
        types = [items[0]] * len(raw) if open_ended else items
        return tuple(_gather(enumerate(raw), lambda i, item: converter.structure(item, types[i])).values())

    return structure


def _optional_hook(converter: Converter, tp: Any) -> Hook:
    inner = optional_of(tp)

    def structure(raw: Any, _: Any) -> Any:
        try:
            return None if raw is None else converter.structure(raw, inner)
        except RefusedError as refused:
            raise RefusedError(_or_null(finding) for finding in refused.findings) from None

    return structure


def _or_null(finding: Finding) -> Finding:
    return attrs.evolve(finding, expected=f"{finding.expected} or null") if finding.path == () else finding


def _changed(converter: Converter, default: Any, raw: Any) -> Any:
    """Put what an object gives in the place of defaults; inner objects change what their owner has by default."""
    if not isinstance(raw, Mapping):
        raise RefusedError.value("wrong type", expected="an object", raw=raw)
    fields = {field.name: field for field in fields_of(type(default))}

    def part(key: str, value: Any) -> Any:
        if key not in fields:
            raise RefusedError([_unknown("unknown key", key, fields)])
        if attrs.has(fields[key].type or object):
            return _changed(converter, getattr(default, key), value)
        return _plain_field(converter, fields[key], value)

    return attrs.evolve(default, **_gather(((str(key), value) for key, value in raw.items()), part))


def _plain_field(converter: Converter, field: attrs.Attribute[Any], raw: Any) -> Any:
    kind: Any = field.type
    value = converter.structure(raw, kind)
    check = check_of(field)
    if check is not None and not check.accepts(value):
        hint = closest(value, check.schema["enum"]) if "enum" in check.schema else ""
        raise RefusedError.value("out of range", expected=check.expected, raw=raw, hint=hint)
    return value


def _unknown(what: str, name: Any, known: Iterable[str]) -> Finding:
    expected = "one of " + ", ".join(repr(word) for word in known)
    hint = closest(name, known) if isinstance(name, str) else ""
    return Finding((), what, expected, short_repr(name), hint)


def _register_tagged(converter: Converter, union: Any, classes: Mapping[str, type[Any]]) -> None:
    """Read and write a union of classes as objects that name their class under ``type``."""

    def structure(raw: Any, _: Any) -> Any:
        if not isinstance(raw, Mapping):
            raise RefusedError.value("wrong type", expected=f"an object with a {TAG!r}", raw=raw)
        name = raw.get(TAG)
        if not isinstance(name, str) or name not in classes:
            what = f"unknown {TAG}" if TAG in raw else f"missing {TAG}"
            raise RefusedError([_unknown(what, name, classes).under(TAG)])
        return converter.structure({key: value for key, value in raw.items() if key != TAG}, classes[name])

    converter.register_structure_hook(union, structure)
    for name, cls in classes.items():
        converter.register_unstructure_hook(cls, _tagged_writer(name, converter.gen_unstructure_attrs_fromdict(cls)))


def _tagged_writer(name: str, plain: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    return lambda stage: {TAG: name, **plain(stage)}


CONVERTER = make_converter()


def structured(raw: Mapping[str, Any], cls: type[Config]) -> tuple[Config, tuple[Finding, ...]]:
    """Structure a document; where values are refused, with their defaults in place, so that rules can still run."""
    try:
        return CONVERTER.structure(raw, cls), ()
    except RefusedError as refused:
        sound = without(raw, [cut(finding.path) for finding in refused.findings])
        return CONVERTER.structure(sound, cls), refused.findings


def cut(path: Steps) -> Steps:
    """Return the smallest part round a refused value that has a default: a whole stage, or the field it lies in."""
    if path[0] == "augmentations" and path[2:] in ((), (TAG,)):
        return path[:2]
    return path[: max(i for i, step in enumerate(path) if not isinstance(step, int)) + 1]


def without(value: Any, cuts: Iterable[Steps], path: Steps = ()) -> Any:
    """Copy a document without the parts at the given paths; a stage is replaced instead."""
    relevant = [place for place in cuts if overlap(place, path)]
    if not relevant:
        return value
    if isinstance(value, Mapping):
        places = {key: (*path, str(key)) for key in value}
        return {key: without(value[key], relevant, at) for key, at in places.items() if at not in relevant}
    items = [(item, (*path, i)) for i, item in enumerate(value)]
    return [STAND_IN if at in relevant else without(item, relevant, at) for item, at in items]
