"""Read YAML strictly, with the line of every value, and write it for people.

Words become values by YAML's own rules, apart from four that surprise: ``6e-05`` is a number; ``010``, ``1:30`` and
dates are text. Nothing but plain values is ever built.
"""

import json
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs

from cogkp.config.documents import refusal, text_of
from cogkp.config.interpolation import literal
from cogkp.config.issues import Finding, Steps, short_repr

NULL = {"", "~", "null", "Null", "NULL"}
TRUE = {word for lower in ("true", "yes", "on") for word in (lower, lower.capitalize(), lower.upper())}
FALSE = {word for lower in ("false", "no", "off") for word in (lower, lower.capitalize(), lower.upper())}
INTEGER = re.compile(r"[-+]?(0|[1-9](_?\d)*)")
REAL = re.compile(r"[-+]?(\d(_?\d)*\.(\d(_?\d)*)?([eE][-+]?\d+)?|\.\d(_?\d)*([eE][-+]?\d+)?|\d(_?\d)*[eE][-+]?\d+)")
ENDLESS = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|Nan|NaN|NAN)")
LONGEST_NUMBER = 400

MOST_VALUES = 100_000  # names for parts of a file can be nested until they stand for more than any memory holds
DEEPEST = 50
PLAIN, QUOTED, LIST, OBJECT = "plain", "quoted", "list", "object"

WIDTH = 120
BARE = re.compile(r"[\w/.][\w/.+-]*( [\w/.+-]+)*", re.ASCII)


@attrs.frozen
class Document:
    """Plain values, where each of them stands, and what was already found wrong."""

    value: Any
    places: Mapping[Steps, str]
    findings: tuple[Finding, ...] = ()

    def place(self, path: Steps) -> str:
        """Say where a value stands, or the nearest thing round it."""
        outward = (self.places[path[:length]] for length in range(len(path), -1, -1) if path[:length] in self.places)
        return next(outward, "")


def plain_value(text: str) -> Any:
    """Return what a word without quotes stands for: null, true, false, a number, or itself.

    Example:
        >>> [plain_value(text) for text in ("6e-05", "010", "Yes", "~", "1_000", "DLA34")]
        [6e-05, '010', True, None, 1000, 'DLA34']
    """
    if text in NULL:
        return None
    if text in TRUE or text in FALSE:
        return text in TRUE
    if len(text) > LONGEST_NUMBER:
        return text
    if INTEGER.fullmatch(text):
        return int(text)
    if ENDLESS.fullmatch(text):
        return float(text.replace(".", ""))
    return float(text) if REAL.fullmatch(text) else text


def read_yaml(path: str) -> Document:
    """Read a YAML file; raises ConfigError where it cannot be read or is no YAML."""
    root = _root(text_of(path, "spec"), path)
    if root is None:
        return Document({}, {(): path})
    walk = _Walk(path)
    value = walk.value(root, ())
    return Document(value, {**walk.places, (): path}, tuple(walk.findings))


def _root(text: str, path: str) -> Any:
    """Parse to nodes, which know their lines; no value is built."""
    import yaml

    try:
        loader = yaml.BaseLoader(text)
        loader.resolve = _kind
        return loader.get_single_node()
    except RecursionError as error:
        raise refusal("nested too deeply", path) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}, line {mark.line + 1} column {mark.column + 1}" if mark else path
        raise refusal("broken YAML", place, got=error.problem or error.context or "") from error
    except yaml.YAMLError as error:
        raise refusal("broken YAML", path, got=" ".join(str(error).split())) from error


def _kind(kind: Any, value: Any, implicit: Any) -> str:
    """Stand in for YAML's resolver, which would forget whether a word was in quotes."""
    if value is None:
        return OBJECT if kind.__name__ == "MappingNode" else LIST
    return PLAIN if implicit[0] else QUOTED


class _Walk:
    """From nodes to plain values."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.places: dict[Steps, str] = {}
        self.findings: list[Finding] = []
        self.open: set[int] = set()
        self.count = 0
        self.makers: Mapping[str, Callable[[Any, Steps], Any]] = {
            PLAIN: lambda node, _: plain_value(node.value),
            QUOTED: lambda node, _: node.value,
            LIST: self._list,
            OBJECT: self._object,
        }

    def value(self, node: Any, path: Steps) -> Any:
        self.count += 1
        self.places.setdefault(path, self._line(node))
        if self.count > MOST_VALUES or id(node) in self.open:
            what = "a part that holds itself" if id(node) in self.open else f"more than {MOST_VALUES} values"
            raise refusal("unusable YAML", self._line(node), got=what)
        if len(path) > DEEPEST:
            raise refusal("nested too deeply", self._line(node))
        if node.tag not in self.makers:
            self._refuse(path, "unknown tag", "plain values", node.tag)
            return None
        self.open.add(id(node))
        try:
            return self.makers[node.tag](node, path)
        finally:
            self.open.remove(id(node))

    def _list(self, node: Any, path: Steps) -> list[Any]:
        return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]

    def _object(self, node: Any, path: Steps) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, part in node.value:
            if key.tag not in (PLAIN, QUOTED):
                self._refuse(path, "unusable key", "a word", "a list or an object")
                continue
            below = (*path, key.value)
            if key.value in found:
                self._refuse(below, "key given twice", "each key once", key.value)
            self.places[below] = self._line(key)
            found[key.value] = self.value(part, below)
        return found

    def _refuse(self, path: Steps, what: str, expected: str, got: str) -> None:
        self.findings.append(Finding(path, what, expected, short_repr(got)))

    def _line(self, node: Any) -> str:
        return f"{self.path}, line {node.start_mark.line + 1}"


def yaml_text(document: Mapping[str, Any], comment: Callable[[Steps], str] | None = None) -> str:
    """Lay out a document with one line per key, under the sentence of ``comment`` if it has one, and lists on one line.

    An empty object cannot be distinguished from nothing and is left out.
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
