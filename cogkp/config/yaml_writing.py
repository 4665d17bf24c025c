"""Write YAML for people; it reads back as the same values."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cogkp.config.interpolation import literal
from cogkp.config.issues import Steps
from cogkp.config.yaml_reading import plain_value

__all__ = ["yaml_text"]

WIDTH = 120
BARE = re.compile(r"[\w/.][\w/.+-]*( [\w/.+-]+)*", re.ASCII)


def yaml_text(document: Mapping[str, Any], comment: Callable[[Steps], str] | None = None) -> str:
    """Lay out a document with one line per key, and lists on one line.

    Args:
        document: of plain values; an empty object cannot be distinguished from nothing and is left out.
        comment: gives the sentence to stand above a key, or nothing.
    """
    return "".join(f"{line}\n" for line in _lines(document, (), comment or (lambda _: "")))


def _lines(document: Mapping[str, Any], path: Steps, comment: Callable[[Steps], str]) -> Iterator[str]:
    margin = "  " * len(path)
    for key, value in document.items():
        below = (*path, key)
        yield from textwrap.wrap(comment(below), WIDTH, initial_indent=f"{margin}# ", subsequent_indent=f"{margin}# ")
        if isinstance(value, Mapping):
            yield f"{margin}{_text(key)}:"
            yield from _lines(value, below, comment)
        else:
            yield f"{margin}{_text(key)}: {_inline(value)}"


def _inline(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_inline, value))}]"
    return _text(literal(value)) if isinstance(value, str) else json.dumps(value)


def _text(text: str) -> str:
    """Write a string without quotes where that reads back as the same string."""
    if BARE.fullmatch(text) and plain_value(text) == text:
        return text
    return f'"{"".join(map(_letter, text))}"'


def _letter(letter: str) -> str:
    if letter in '"\\':
        return f"\\{letter}"
    if letter.isprintable():
        return letter
    return f"\\U{ord(letter):08x}" if ord(letter) > 0xFFFF else f"\\u{ord(letter):04x}"  # noqa: PLR2004
