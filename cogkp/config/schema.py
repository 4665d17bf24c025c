"""JSON schema of configuration classes, for completion and checks in an editor.

Rules between fields stay with the rules of each family.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any

import attrs

from cogkp.config.augment import STAGES, Stage
from cogkp.config.converter import CONVERTER, TAG
from cogkp.config.fields import ALSO, BARE, DOC, check_of, fields_of, optional_of

__all__ = ["DRAFT", "object_schema"]

DRAFT = "https://json-schema.org/draft/2020-12/schema"

NAMES = {bool: "boolean", int: "integer", float: "number", str: "string"}


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
