"""The JSON schema of the experiment file, for editors that know YAML."""

from __future__ import annotations

from typing import Any

from cogkp.config.centerpose.spec import CenterPoseConfig
from cogkp.config.schema import DRAFT, object_schema
from cogkp.files import MARK

__all__ = ["EXPERIMENT_SCHEMA_FILE", "experiment_schema"]

EXPERIMENT_SCHEMA_FILE = "cogkp-centerpose.schema.json"

# Any value may be left open, or stand for another one.
STAND_IN = {"type": "string", "pattern": r"^\?\?\?$|\$\{[^${}]*\}"}
EMPTY = {"const": ""}  # serves as null
OUTSIDE = ("description", "default")


def experiment_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12) of the CenterPose family's experiment spec."""
    root = _with_stand_ins(object_schema(CenterPoseConfig.default()))
    return {"$schema": DRAFT, "$comment": MARK, "title": "cogkp CenterPose experiment", **root}


def _with_stand_ins(schema: dict[str, Any]) -> dict[str, Any]:
    """Allow each value below an object to be open or to stand for another."""
    properties = {name: _property(part) for name, part in schema["properties"].items()}
    return {**schema, "properties": properties}


def _property(schema: dict[str, Any]) -> dict[str, Any]:
    outside = {key: schema[key] for key in OUTSIDE}
    inside = {key: part for key, part in schema.items() if key not in OUTSIDE}
    return {"anyOf": [_value(inside), STAND_IN], **outside}


def _value(schema: dict[str, Any]) -> dict[str, Any]:
    if "properties" in schema:
        return _with_stand_ins(schema)
    if "anyOf" in schema and "type" not in schema:
        parts = [_value(part) for part in schema["anyOf"]]
        return {**schema, "anyOf": [*parts, EMPTY] if {"type": "null"} in parts else parts}
    if "items" in schema:
        places = {"prefixItems": [_item(part) for part in schema["prefixItems"]]} if "prefixItems" in schema else {}
        items = {"items": _item(schema["items"])} if schema["items"] else {}
        return {**schema, **items, **places}
    return _in_any_case(schema)


def _item(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [_value(schema), STAND_IN]}


def _in_any_case(schema: dict[str, Any]) -> dict[str, Any]:
    """Let words of a closed list be written in any case."""
    if "enum" not in schema:
        return schema
    words = "|".join("".join(map(_either_case, word)) for word in schema["enum"])
    return {"type": "string", "pattern": f"^({words})$"}


def _either_case(letter: str) -> str:
    return f"[{letter.upper()}{letter.lower()}]" if letter.isalpha() else letter
