"""Parse calibration files (JSON, TOML, YAML, XML) to plain values, bounded in depth and number of values.

OpenCV's own parser is not used: it ends the process on deeply nested files. Its YAML and XML need no more than this.
"""

import json
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from cogkp.config.yaml_reading import DEEPEST, plain_value
from cogkp.errors import DataError

MOST_VALUES = 2_000_000
"""Also counts what aliases repeat, which could stand for more values than any memory holds."""
TOML_TABLE = re.compile(r"""^\s*\[\s*[A-Za-z_"'][\w."' -]*\]\s*(?:\#.*)?$""", re.MULTILINE)
OPENCV_HEADER = re.compile(r"\A(?:\s*#.*\n)*\s*%YAML:?\s*\d[^\n]*\n?(?:\s*---)?")
"""OpenCV writes ``%YAML:1.0``, which is no directive of YAML, and may leave out the line ``---`` after it."""
TAGS = re.compile(r"tag:yaml\.org,2002:(?:opencv-(?:nd-)?matrix|binary|str|int|float|bool|null|seq|map)|!")


def parse_json(text: str, where: str) -> Any:
    """Parse JSON; raises DataError also for a key that an object gives twice."""
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: _object(pairs, where))
    except (ValueError, RecursionError) as error:
        raise _broken("JSON", where, str(error)) from error


def parse_toml(text: str, where: str) -> Any:
    """Parse TOML; raises DataError."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    # The parser's time grows with the square of the parts of a name.
    words = re.split(r"[\n,=\[\]{}]", text.replace(" ", "").replace("\t", ""))
    if any(word.count(".") > DEEPEST for word in words):
        raise _broken("TOML", where, f"a name of more than {DEEPEST} parts")
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise _broken("TOML", where, str(error)) from error


def parse_yaml(text: str, where: str) -> Any:
    """Parse the first document of YAML, also in OpenCV's dialect; raises DataError with the line that is wrong.

    Later documents are left alone: a dump of a ROS topic repeats its message.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        events = yaml.parse(OPENCV_HEADER.sub("---\n", text), loader)
        return _YamlDocument(events, where).root()
    except (yaml.YAMLError, ValueError) as error:
        raise _broken("YAML", where, " ".join(str(error).split())) from error


class _YamlDocument:
    """One document, built from the events of a YAML parser."""

    def __init__(self, events: Iterator[Any], where: str) -> None:
        self.events = events
        self.where = where
        self.count = 0
        self.anchors: dict[str, tuple[Any, int]] = {}

    def root(self) -> Any:
        """Return the value of the document; None where there is none."""
        for event in self.events:
            if type(event).__name__ not in ("StreamStartEvent", "DocumentStartEvent"):
                return None if type(event).__name__ == "StreamEndEvent" else self.value(event, 0)
        return None

    def value(self, event: Any, depth: int) -> Any:
        """Build the value that begins with an event."""
        kind, before = type(event).__name__.removesuffix("Event"), self.count
        if kind == "Alias":
            value, size = self.anchors.get(event.anchor) or self.refuse("an alias that stands for nothing")
            self.add(size)
            return value
        self.add(1)
        if event.tag and not TAGS.fullmatch(event.tag):
            self.refuse(f"the tag {event.tag}")
        if depth > DEEPEST:
            self.refuse(f"values nested deeper than {DEEPEST}")
        if kind == "Scalar":
            value = plain_value(event.value) if event.implicit[0] else event.value
        else:
            value = self.parts(kind, depth + 1)
        if event.anchor:
            self.anchors[event.anchor] = value, self.count - before
        return value

    def parts(self, kind: str, depth: int) -> Any:
        """Build the items of a sequence, or the object that a mapping is."""
        items: list[Any] = []
        for event in self.events:
            name = type(event).__name__
            if name in ("SequenceEndEvent", "MappingEndEvent"):
                break
            if kind == "SequenceStart":
                items.append(self.value(event, depth))
            else:
                key = event.value if name == "ScalarEvent" else self.refuse("a key that is no word")
                items.append((key, self.value(next(self.events), depth)))
        return items if kind == "SequenceStart" else _object(items, self.where)

    def add(self, count: int) -> None:
        """Count values, those that aliases repeat included."""
        self.count += count
        if self.count > MOST_VALUES:
            self.refuse(f"more than {MOST_VALUES} values")

    def refuse(self, got: str) -> Any:
        """Raise the error that names what cannot be read."""
        raise _broken("YAML", self.where, got)


def parse_xml(text: str, where: str) -> Any:
    """Parse XML as cv2.FileStorage writes it: numbers and words between tags, lists as tags ``_``; raises DataError."""
    from xml.parsers import expat

    document = _XmlDocument(where)
    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler, parser.EndElementHandler = document.start, document.end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = document.text, document.declare
    try:
        parser.Parse(text, True)
    except (expat.ExpatError, ValueError) as error:
        raise _broken("XML", where, str(error)) from error
    return document.root


class _XmlDocument:
    """Plain values from the tags of an XML file."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.root: Any = None
        self.open: list[tuple[str, list[tuple[str, Any]], list[str]]] = []

    def start(self, tag: str, _attributes: Any) -> None:
        """Open a tag."""
        if len(self.open) > DEEPEST:
            raise _broken("XML", self.where, f"tags nested deeper than {DEEPEST}")
        self.open.append((tag, [], []))

    def text(self, text: str) -> None:
        """Collect the text of the open tag."""
        self.open[-1][2].append(text)

    def end(self, _tag: str) -> None:
        """Close a tag, and hand its value to the one around it."""
        tag, children, texts = self.open.pop()
        if children and all(name == "_" for name, _ in children):
            value: Any = [child for _, child in children]
        else:
            value = _object(children, self.where) if children else _xml_value("".join(texts))
        if self.open:
            self.open[-1][1].append((tag, value))
        else:
            self.root = value

    def declare(self, *_: Any) -> None:
        """Refuse declarations of types, which may define words that stand for more than any memory holds."""
        raise _broken("XML", self.where, "a DOCTYPE")


def _xml_value(text: str) -> Any:
    """Return what stands between two tags: numbers, one number, a word, or nothing."""
    words = text.split()
    if not words or text.lstrip().startswith('"'):
        return text.strip().strip('"') or None
    values = [plain_value(word) for word in words]
    if any(isinstance(value, str) for value in values):
        return " ".join(words)
    return values if len(values) > 1 else values[0]


def _object(pairs: Iterable[tuple[str, Any]], where: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise DataError("a name is given twice", where=where, expected="each once", got=key, hint="Remove one.")
        found[key] = value
    return found


def _broken(language: str, where: str, got: str) -> DataError:
    return DataError(
        f"the calibration is not valid {language}",
        where=where,
        expected=f"a whole {language} file",
        got=got,
        hint="Is the file cut off?",
    )
