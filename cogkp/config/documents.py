"""Read text and JSON files strictly, and write JSON for people."""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cogkp.config.issues import Finding, Steps, short_repr
from cogkp.errors import ConfigError, OutputError, Problem
from cogkp.files import read_whole, write_text

INDENT = "  "


class _Object(dict[str, Any]):
    """A JSON object that remembers which keys were given more than once."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.repeated = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]


def read_document(path: str) -> tuple[Any, tuple[Finding, ...]]:
    """Read a JSON file (or ConfigError), and make a finding for each key that an object gives more than once."""
    text = text_of(path, "config")
    try:
        document = json.loads(text, object_pairs_hook=_Object)
        return document, tuple(_repeated_keys(document))
    except json.JSONDecodeError as error:
        place = f"{path}, line {error.lineno} column {error.colno}"
        raise refusal("broken JSON", place, got=error.msg) from error
    except RecursionError as error:
        raise refusal("nested too deeply", path) from error
    except ValueError as error:  # an integer of thousands of digits
        raise refusal("unreadable number", path, got=str(error)) from error


def text_of(path: str, kind: str) -> str:
    """Read a file of text; raises ConfigError, which calls it by its kind."""
    try:
        return read_whole(Path(path)).decode("utf-8-sig")
    except OSError as error:
        raise refusal(f"cannot read the {kind}", path, got=error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise refusal("not UTF-8 text", path, got=f"an unreadable byte at position {error.start}") from error


def refusal(what: str, where: str, got: str = "") -> ConfigError:
    """Make the error of a file of which nothing can be used."""
    return ConfigError([Problem(what, where, got=got)])


def _repeated_keys(value: Any, path: Steps = ()) -> Iterator[Finding]:
    if isinstance(value, _Object):
        for key in value.repeated:
            yield Finding((*path, key), "key given twice", expected="each key once", got=short_repr(key))
        for key, part in value.items():
            yield from _repeated_keys(part, (*path, key))
    elif isinstance(value, list):
        for i, part in enumerate(value):
            yield from _repeated_keys(part, (*path, i))


def pretty(document: Mapping[str, Any]) -> str:
    """Lay out a document with one line per key, and lists of plain values on one line."""
    return _laid_out(document, "") + "\n"


def _laid_out(value: Any, margin: str) -> str:
    inner = margin + INDENT
    if isinstance(value, Mapping) and value:
        lines = [f"{inner}{json.dumps(key)}: {_laid_out(part, inner)}" for key, part in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{margin}}}"
    if isinstance(value, list) and any(isinstance(part, Mapping) for part in value):
        return "[\n" + ",\n".join(inner + _laid_out(part, inner) for part in value) + f"\n{margin}]"
    return json.dumps(value)


def write_new(path: str | os.PathLike[str], text: str, schema_name: str, schema: Mapping[str, Any]) -> Path:
    """Write a file that must not be there yet, and beside it the JSON schema that editors use.

    Raises:
        OutputError: there is something at ``path`` already, or its folder cannot be written.
    """
    target = Path(path)
    if os.path.lexists(target):
        raise OutputError("will not overwrite", where=str(target), hint="Move it away or choose another path.")
    write_text(target.parent / schema_name, pretty(schema))
    write_text(target, text)
    return target
