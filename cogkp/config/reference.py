"""Write tables of configuration classes for the reference pages, from the sentences beside the fields."""

from __future__ import annotations

import json
import typing
from collections.abc import Iterator
from typing import Any

import attrs

from cogkp.config.augment import STAGES, Stage
from cogkp.config.converter import CONVERTER
from cogkp.config.fields import ALSO, BARE, DOC, check_of, describe, fields_of, optional_of

__all__ = ["sections"]

HEAD = "| key | holds | default | meaning |\n|---|---|---|---|\n"


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
