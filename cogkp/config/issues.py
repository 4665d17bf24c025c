"""Findings about a raw document: what is wrong, and at which path.

A path is a tuple of keys and list positions, so that findings can be nested, compared and cut out. People see it
written with dots.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Iterable
from typing import Any

import attrs

from cogkp.errors import Problem

Step = str | int
Steps = tuple[Step, ...]

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60
_SHORT.maxlong = 40
TOO_LONG = "a number too long to show"


@attrs.frozen
class Finding:
    """One thing that is wrong, with its path.

    Args:
        path: where it is.
        what: a few words; ``expected``, ``got`` and ``hint`` as in :class:`Problem`.
        reads: what it depends on in full; where something in it was refused, the finding means nothing.
    """

    path: Steps
    what: str
    expected: str = ""
    got: str = ""
    hint: str = ""
    reads: tuple[Steps, ...] = ()

    def under(self, step: Step) -> Finding:
        """Return the same finding as seen from one level further out."""
        return attrs.evolve(self, path=(step, *self.path))

    def under_all(self, path: Steps) -> Finding:
        """Return the same finding as seen from further out."""
        return attrs.evolve(self, path=(*path, *self.path))

    def depends_on(self, paths: Iterable[Steps]) -> bool:
        """Tell whether one of the paths holds the finding's place, or holds or lies in something it read."""
        return any(self.path[: len(path)] == path or any(overlap(path, read) for read in self.reads) for path in paths)

    def problem(self, document: str = "") -> Problem:
        """Return the finding for people, naming its place in the document."""
        place = dotted(self.path)
        where = f"{place} in {document}" if place and document else place or document
        return Problem(self.what, where, self.expected, self.got, self.hint)


class RefusedError(Exception):
    """A raw value is not what its type needs; carries every finding below it."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("; ".join(str(finding.problem()) for finding in self.findings))

    @classmethod
    def value(cls, what: str, *, expected: str, raw: object, hint: str = "") -> RefusedError:
        """Refuse one value where it stands."""
        return cls([Finding((), what, expected, short_repr(raw), hint)])


def overlap(one: Steps, other: Steps) -> bool:
    """Tell whether one path leads through the other."""
    shared = min(len(one), len(other))
    return one[:shared] == other[:shared]


def dotted(path: Steps) -> str:
    """Write a path as people do.

    Example:
        >>> dotted(("data_mappings", "y", 0, 1))
        'data_mappings.y[0][1]'
        >>> dotted(("targets", "two words"))
        'targets["two words"]'
    """
    return "".join(_step(step) for step in path).removeprefix(".")


def _step(step: Step) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    return f".{step}" if re.fullmatch(r"[\w$-]+", step, re.ASCII) else f"[{json.dumps(step)}]"


def short_repr(raw: object) -> str:
    """Return the repr of a raw value, shortened to fit a line."""
    try:
        return _SHORT.repr(raw)
    except ValueError:  # Python refuses to spell out integers of thousands of digits
        return TOO_LONG


def short_json(value: Any, most: int = 60) -> str:
    """Return a value as JSON, shortened to fit a line."""
    try:
        text = json.dumps(value)
    except ValueError:  # Python refuses to spell out integers of thousands of digits
        return TOO_LONG
    return text if len(text) <= most else text[:most] + "..."
