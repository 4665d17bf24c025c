"""Accepted spellings: alternative names of keys, and listed words in any case."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from cogkp.config.fields import ALSO, BARE, check_of, fields_of, optional_of
from cogkp.config.issues import Finding, Steps, short_repr
from cogkp.config.yaml_reading import Document

__all__ = ["with_known_keys", "with_known_words"]


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
    if value is None and field.default == "":
        return ""
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


Fields = Mapping[Any, "attrs.Attribute[Any]"]


def _by_any_name(cls: type[Any]) -> Fields:
    return {name: field for field in fields_of(cls) for name in (field.name, *field.metadata[ALSO])}


def _name(key: Any, fields: Fields) -> Any:
    return fields[key].name if key in fields else key


def _class_below(key: Any, fields: Fields) -> type[Any] | None:
    tp = fields[key].type if key in fields else None
    return tp if tp is not None and attrs.has(tp) else None
