r"""Overrides on a command line: ``section.key=value``, as Hydra writes them.

A value is a word, read as in the file; text in single or double quotes; ``[a, b]``; ``{key: value}``; or nothing, which
is the empty text. A backslash before one of ``\ ( ) [ ] { } : = ,`` or a space makes it a plain letter.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cogkp.config.issues import Steps, short_repr
from cogkp.config.yaml_reading import DEEPEST, Document, plain_value
from cogkp.errors import ConfigError, Problem

PIECE = re.compile(
    r"(?P<word>\\?\$\{[^{}]*\})|\\(?P<escaped>[\\()\[\]{}:=,\s])|(?P<stop>[\[\]{},:])|(?P<letter>.)", re.DOTALL
)
QUOTES = {
    quote: (
        re.compile(rf"{quote}((?:\\.|[^{quote}\\])*){quote}", re.DOTALL),
        re.compile(rf"(\\+)({quote}|$)"),
    )
    for quote in "'\""
}
CALL = re.compile(r"\w+\(.*\)", re.DOTALL)
SPACE = re.compile(r"\s*")
WANTED = "section.key=value"


def read_overrides(texts: Iterable[str]) -> tuple[list[Document], list[Problem]]:
    """Read several overrides, and tell what is wrong with those that are none."""
    tried = [_attempt(text) for text in texts]
    return [document for documents, _ in tried for document in documents], [
        line for _, found in tried for line in found
    ]


def _attempt(text: str) -> tuple[tuple[Document, ...], tuple[Problem, ...]]:
    try:
        return (read_override(text),), ()
    except ConfigError as error:
        return (), error.problems


def read_override(text: str) -> Document:
    """Read one override into a document that holds nothing else; raises ConfigError where it is none.

    Example:
        >>> read_override("train.gpu_ids=[0,1]").value
        {'train': {'gpu_ids': [0, 1]}}
    """
    key, equals, value = text.partition("=")
    steps = tuple(key.strip().split("."))
    if key[:1] in ("+", "~"):
        raise _refusal("not available", text, "no + or ~ before the key", "Every key exists already: write key=value.")
    if not equals or not all(steps):
        raise _refusal("not an override", text, WANTED, "")
    if len(steps) > DEEPEST:
        raise _refusal("nested too deeply", text, f"a key of at most {DEEPEST} parts", "")
    found: Any = _OverrideReader(text, value).whole()
    places = dict.fromkeys(_paths(found, steps), f"the override {short_repr(text)}")
    for step in reversed(steps):
        found = {step: found}
    return Document(found, places)


def merged(base: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Put the values of one document over those of another; objects are joined, all else is replaced."""
    joined = {
        key: merged(base[key], value) if isinstance(value, Mapping) and isinstance(base.get(key), Mapping) else value
        for key, value in other.items()
    }
    return {**base, **joined}


def _paths(value: Any, path: Steps) -> Iterator[Steps]:
    yield path
    inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for step, part in inner:
        yield from _paths(part, (*path, step))


def _refusal(what: str, text: str, expected: str, hint: str) -> ConfigError:
    return ConfigError([Problem(what, "the command line", expected, short_repr(text), hint)])


class _OverrideReader:
    """One value, read from left to right."""

    def __init__(self, override: str, text: str) -> None:
        self.override = override
        self.text = text
        self.at = 0
        self.depth = 0

    def whole(self) -> Any:
        """Read the value to its end."""
        if not self.text.strip():
            return ""
        value = self.value()
        self.skip()
        if self.at < len(self.text):
            comma = self.text[self.at] == ","
            hint = "Put a list in square brackets." if comma else "Put text with such letters in quotes."
            raise self.refusal("one value", hint)
        return value

    def value(self) -> Any:
        self.skip()
        first = self.text[self.at : self.at + 1]
        if first in QUOTES:
            return self.quoted(first)
        if first not in ("[", "{"):
            return self.word()
        self.depth += 1
        if self.depth > DEEPEST:
            raise self.refusal(f"lists and objects at most {DEEPEST} deep", "")
        found = self.list() if first == "[" else self.object()
        self.depth -= 1
        return found

    def list(self) -> list[Any]:
        items: list[Any] = []
        while self.more("]", bool(items)):
            items.append(self.value())
        return items

    def object(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while self.more("}", bool(found)):
            key = self.value()
            self.take(":")
            if not isinstance(key, str) or key in found:
                raise self.refusal("each key once, a word", "")
            found[key] = self.value()
        return found

    def more(self, end: str, started: bool) -> bool:
        """Step into or through a list or an object, and tell whether it goes on."""
        if not started:
            self.at += 1
        self.skip()
        if self.text.startswith(end, self.at):
            self.at += 1
            return False
        if started:
            self.take(",")
        return True

    def take(self, letter: str) -> None:
        self.skip()
        if not self.text.startswith(letter, self.at):
            raise self.refusal(f"{letter!r} at {self.text[self.at :] or 'the end'}", "")
        self.at += 1

    def skip(self) -> None:
        space = SPACE.match(self.text, self.at)
        self.at = space.end() if space else self.at

    def quoted(self, quote: str) -> str:
        pattern, slashes = QUOTES[quote]
        found = pattern.match(self.text, self.at)
        if not found:
            raise self.refusal(f"a closing {quote}", "")
        self.at = found.end()
        return slashes.sub(lambda run: "\\" * (len(run[1]) // 2) + run[2], found[1])

    def word(self) -> Any:
        """Read up to a letter that means something to lists and objects."""
        pieces, escaped = [], False
        inside = self.at > 0 and self.text.lstrip()[:1] in ("[", "{")
        while found := PIECE.match(self.text, self.at):
            if found["stop"] and (inside or found["stop"] != ":"):
                break
            escaped |= found["escaped"] is not None
            pieces.append(found["escaped"] or found[0])
            self.at = found.end()
        text = "".join(pieces).strip()
        if not text:
            raise self.refusal("a value", "")
        if CALL.fullmatch(text) and not escaped:
            raise self.refusal("a value", "Functions and sweeps are not available; put such text in quotes.")
        return text if escaped else plain_value(text)

    def refusal(self, expected: str, hint: str) -> ConfigError:
        return _refusal("unreadable value", self.override, expected, hint)
