"""Describe configuration classes: JSON schema for editors, and tables for the reference pages.

Rules between fields stay with the rules of each family.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from cogkp.config.augment import STAGES, Stage
from cogkp.config.converter import CONVERTER, TAG
from cogkp.config.fields import ALSO, BARE, DOC, check_of, describe, fields_of, optional_of

HEAD = "| key | holds | default | meaning |\n|---|---|---|---|\n"

DRAFT = "https://json-schema.org/draft/2020-12/schema"
NAMES = {bool: "boolean", int: "integer", float: "number", str: "string"}


def sections(default: Any, path: str, title: str) -> Iterator[str]:
    """Write a table for a class, then one for each class below it."""
    yield f"\n## {title}\n\n{_sentence(default)}\n\n{_table(default)}"
    for field in fields_of(type(default)):
        below, inner = f"{path}{field.name}", getattr(default, field.name)
        if attrs.has(type(inner)):
            yield from sections(inner, f"{below}.", f"`{below}`")
        elif field.type == tuple[Stage, ...]:
            yield from _stages(below)


def _stages(path: str) -> Iterator[str]:
    yield f"\n## `{path}`\n\nEach stage is an object whose `type` is one of the names below.\n"
    for tag, cls in STAGES.items():
        yield f"\n### `{tag}`\n\n{_sentence(cls())}\n\n{_table(cls())}"


def _table(default: Any) -> str:
    return HEAD + "".join(_row(field, getattr(default, field.name)) for field in fields_of(type(default)))


def _row(field: attrs.Attribute[Any], default: Any) -> str:
    plain = CONVERTER.unstructure(default, field.type)
    nested = isinstance(plain, dict) or (isinstance(plain, list) and any(isinstance(item, dict) for item in plain))
    default = "see below" if nested else f"`{json.dumps(plain)}`"
    names = ", also ".join(f"`{name}`" for name in (field.name, *field.metadata[ALSO]))
    cells = (names, _holds(field), default, field.metadata[DOC])
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _holds(field: attrs.Attribute[Any]) -> str:
    """Say what a field may hold, its range included."""
    check, kind = check_of(field), describe(field.type)
    if field.metadata[BARE]:
        return f"a string or {kind}"
    if check is None:
        return kind
    inner = optional_of(field.type)
    if typing.get_origin(inner or field.type) is tuple and not check.whole:
        return f"{kind}, each {check.expected}"
    expected = check.expected.replace("a number", describe(inner or field.type))
    return f"{expected} or null" if inner else expected


def _sentence(default: Any) -> str:
    return (type(default).__doc__ or "").strip()


def object_schema(default: Any, tag: str = "") -> dict[str, Any]:
    """Describe a class by its default; a stage must also name itself."""
    cls = type(default)
    tagged = {TAG: {"const": tag}} if tag else {}
    plain = {
        name: _property(field, getattr(default, field.name))
        for field in fields_of(cls)
        for name in (field.name, *field.metadata[ALSO])
    }
    return {
        "type": "object",
        "description": (cls.__doc__ or "").strip(),
        "properties": {**tagged, **plain},
        "required": list(tagged),
        "additionalProperties": False,
    }


def _property(field: attrs.Attribute[Any], default: Any) -> dict[str, Any]:
    check = check_of(field)
    schema = object_schema(default) if attrs.has(type(default)) else _value(field.type, check.schema if check else {})
    if field.metadata[BARE]:
        schema = {"anyOf": [_value(typing.get_args(field.type)[0], {}), schema]}
    return {**schema, "description": field.metadata[DOC], "default": CONVERTER.unstructure(default, field.type)}


def _value(tp: Any, limits: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a type; limits apply to each number or word in it."""
    if tp == Stage:
        return {"oneOf": [object_schema(cls(), tag) for tag, cls in STAGES.items()]}
    if (inner := optional_of(tp)) is not None:
        return {"anyOf": [_value(inner, limits), {"type": "null"}]}
    if typing.get_origin(tp) is tuple:
        return _list(typing.get_args(tp), limits)
    return {"type": NAMES[tp], **limits}


def _list(items: tuple[Any, ...], limits: Mapping[str, Any]) -> dict[str, Any]:
    if items[-1] is Ellipsis:
        return {"type": "array", "items": _value(items[0], limits)}
    length = len(items)
    places = [_value(item, limits) for item in items]
    return {"type": "array", "prefixItems": places, "items": False, "minItems": length, "maxItems": length}
