"""Declare a configuration field: its default, its range and one sentence of documentation.

The sentence feeds the JSON schema and the docs page, so that it stands in one place.
"""

from __future__ import annotations

import json
import math
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Union

import attrs

from cogkp.config.issues import Finding, Steps, short_repr
from cogkp.config.yaml_reading import Document
from cogkp.errors import ConfigError, Problem

Fields = Mapping[Any, "attrs.Attribute[Any]"]
DOC = "doc"
BARE = "bare"
ALSO = "also"
LARGEST_NUMBER = 1e12
"""No length, weight or rate is larger; the squares of larger ones leave the numbers that networks compute with."""

LARGEST_SIDE = 8192
"""Of a network's input, pixels; larger ones exhaust any memory."""

LARGEST_BATCH = 4096
"""Images that an exported network takes at once."""

LARGEST_SEED = 2**63 - 1
"""What the generators of all libraries take."""

WORDS = {bool: "true or false", int: "an integer", float: "a number", str: "a string"}
PLURALS = {bool: "truth values", int: "integers", float: "numbers", str: "strings"}


def with_known_keys(document: Document, cls: type[Any]) -> Document:
    """Replace alternative keys by the names of their fields; a key given under two names is reported."""
    twice = tuple(_given_twice(document.value, cls, ()))
    places = {_known_path(path, cls): place for path, place in document.places.items()}
    return Document(_with_known_keys(document.value, cls), places, (*document.findings, *twice))


def with_known_words(value: Any, cls: type[Any]) -> Any:
    """Write words of closed lists as they are listed, single items as lists, and no name as the default has it."""
    if not isinstance(value, Mapping):
        return value
    fields = {field.name: field for field in fields_of(cls)}
    return {key: _known_word(part, fields[key]) if key in fields else part for key, part in value.items()}


def _known_word(value: Any, field: attrs.Attribute[Any]) -> Any:
    if attrs.has(field.type or object):
        return with_known_words(value, field.type)  # type: ignore[arg-type]
    if value is None and field.default in ("", ()):
        return [] if field.default == () else ""
    if not isinstance(value, str):
        return value
    if field.metadata[BARE]:
        return [value] if value else []
    if not value and optional_of(field.type) is str:
        return None
    check = check_of(field)
    listed = check.schema.get("enum", ()) if check else ()
    return next((word for word in listed if word.casefold() == value.casefold()), value)


def _with_known_keys(value: Any, cls: type[Any] | None) -> Any:
    if not isinstance(value, Mapping) or cls is None:
        return value
    fields = _by_any_name(cls)
    return {_name(key, fields): _with_known_keys(part, _class_below(key, fields)) for key, part in value.items()}


def _given_twice(value: Any, cls: type[Any] | None, path: Steps) -> Iterator[Finding]:
    if not isinstance(value, Mapping) or cls is None:
        return
    fields = _by_any_name(cls)
    names: dict[Any, Any] = {}
    for key, part in value.items():
        name = _name(key, fields)
        if name in names:
            yield Finding((*path, name), "key given twice", "one of its names", short_repr([names[name], key]))
        names[name] = key
        yield from _given_twice(part, _class_below(key, fields), (*path, name))


def _known_path(path: Steps, cls: type[Any] | None) -> Steps:
    if not path or cls is None:
        return path
    fields = _by_any_name(cls)
    return (_name(path[0], fields), *_known_path(path[1:], _class_below(path[0], fields)))


def _by_any_name(cls: type[Any]) -> Fields:
    return {name: field for field in fields_of(cls) for name in (field.name, *field.metadata[ALSO])}


def _name(key: Any, fields: Fields) -> Any:
    return fields[key].name if key in fields else key


def _class_below(key: Any, fields: Fields) -> type[Any] | None:
    tp = fields[key].type if key in fields else None
    return tp if tp is not None and attrs.has(tp) else None


@attrs.frozen
class Check:
    """A range: the test, its words for people and its JSON schema.

    Args:
        allowed: tells whether one value, never None, lies in the range.
        expected: what to write after "expected".
        schema: JSON schema keywords for the value, or for each number of a list.
        whole: whether ``allowed`` sees a tuple as a whole instead of item by item.
    """

    allowed: Callable[[Any], bool]
    expected: str
    schema: Mapping[str, Any]
    whole: bool = False

    def accepts(self, value: Any) -> bool:
        """Tell whether a value, or each item of a tuple, is finite and lies in the range; None always does."""
        numbers = value if isinstance(value, tuple) else (value,)
        if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
            return False
        items = value if isinstance(value, tuple) and not self.whole else (value,)
        return all(item is None or self.allowed(item) for item in items)

    def __call__(self, instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        """Refuse a value outside the range with a ConfigError; attrs calls this on construction."""
        if not self.accepts(value):
            value_list = list(value) if isinstance(value, tuple) else value
            where = f"{type(instance).__name__}.{attribute.name}"
            raise ConfigError([Problem("out of range", where, expected=self.expected, got=repr(value_list))])


def setting(
    default: Any, doc: str, check: Check | None = None, *, bare: bool = False, also: tuple[str, ...] = ()
) -> Any:
    """Declare one field: its default, or a function that makes it, its sentence, and the range it must lie in.

    A file may give one item without the list round it where ``bare`` is set. ``also`` are other names the key goes by
    in files; only documents that are respelt know them.
    """
    metadata = {DOC: doc, BARE: bare, ALSO: also}
    if callable(default):
        return attrs.field(factory=default, validator=check, metadata=metadata)
    return attrs.field(default=default, validator=check, metadata=metadata)


def at_least(low: float) -> Check:
    """Accept numbers >= ``low``."""
    return Check(lambda v: v >= low, f"a number >= {low}", {"minimum": low})


def at_most(high: float) -> Check:
    """Accept numbers <= ``high``."""
    return Check(lambda v: v <= high, f"a number <= {high}", {"maximum": high})


def below(low: float, high: float) -> Check:
    """Accept numbers from ``low``, included, to ``high``, excluded."""
    expected = f"a number >= {low} and < {high}"
    return Check(lambda v: low <= v < high, expected, {"minimum": low, "exclusiveMaximum": high})


def more_than(low: float) -> Check:
    """Accept numbers > ``low``."""
    return Check(lambda v: v > low, f"a number > {low}", {"exclusiveMinimum": low})


def between(low: float, high: float) -> Check:
    """Accept numbers from ``low`` to ``high``, both included."""
    return Check(lambda v: low <= v <= high, f"a number from {low} to {high}", {"minimum": low, "maximum": high})


def multiple_of(step: int, low: int, high: int) -> Check:
    """Accept integers from ``low`` to ``high`` that ``step`` divides."""
    words = f"a multiple of {step}, from {low} to {high}"
    schema = {"multipleOf": step, "minimum": low, "maximum": high}
    return Check(lambda v: low <= v <= high and v % step == 0, words, schema)


def one_of(*allowed: str) -> Check:
    """Accept exactly the listed words."""
    expected = "one of " + ", ".join(repr(word) for word in allowed)
    return Check(lambda v: v in allowed, expected, {"enum": list(allowed)})


def exactly(value: bool | int | str) -> Check:
    """Accept one value only: a key that other programs write and that has no other meaning here."""
    return Check(lambda v: v == value, json.dumps(value), {"const": value})


def matching(pattern: str, expected: str) -> Check:
    """Accept strings that a regular expression matches from end to end."""
    return Check(lambda v: re.fullmatch(pattern, v) is not None, expected, {"pattern": f"^{pattern}$"})


def interval(low: float, high: float) -> Check:
    """Accept pairs ``(a, b)`` with ``low <= a <= b <= high``."""
    expected = f"[low, high] with {low} <= low <= high <= {high}"
    return Check(lambda v: low <= v[0] <= v[1] <= high, expected, {"minimum": low, "maximum": high}, whole=True)


def fields_of(cls: type[Any]) -> tuple[attrs.Attribute[Any], ...]:
    """List the fields of a configuration class with their types resolved."""
    fields: tuple[attrs.Attribute[Any], ...] = attrs.fields(attrs.resolve_types(cls))
    return fields


def check_of(field: attrs.Attribute[Any]) -> Check | None:
    """Return the range of a field, if it has one."""
    return field.validator if isinstance(field.validator, Check) else None


def optional_of(tp: Any) -> Any:
    """Return X for ``X | None``, and None for any other type."""
    if typing.get_origin(tp) not in (Union, types.UnionType):
        return None
    inner = [arg for arg in typing.get_args(tp) if arg is not type(None)]
    return inner[0] if len(inner) == 1 else None


def describe(tp: Any) -> str:
    """Say in words what a file must hold for a type.

    Example:
        >>> describe(tuple[tuple[str, ...], ...] | None)
        'a list of lists of strings or null'
    """
    if (inner := optional_of(tp)) is not None:
        return f"{describe(inner)} or null"
    return _plural(tp).replace("lists", "a list", 1) if typing.get_origin(tp) is tuple else WORDS.get(tp, "an object")


def _plural(tp: Any) -> str:
    if typing.get_origin(tp) is not tuple:
        return PLURALS.get(tp, "objects")
    items = typing.get_args(tp)
    if items[-1] is Ellipsis:
        return f"lists of {_plural(items[0])}"
    kinds = {_plural(item) for item in items}
    return f"lists of {len(items)} {kinds.pop() if len(kinds) == 1 else 'numbers'}"
