r"""Interpolation of values: ``${train.num_epochs}`` stands for another value of the document.

- ``${a.b}`` and ``${a[0].b}`` start at the top; ``${.b}`` beside the value, each further dot one level further out.
- A value that is nothing but one such word takes the other's kind; inside a longer text both are text.
- ``\${`` is a plain ``${``.
- Words with a colon (``${oc.env:HOME}``) would fetch values from outside the document and are refused.
"""

import re
from collections.abc import Mapping
from typing import Any

from cogkp.config.issues import Finding, RefusedError, Steps, dotted
from cogkp.errors import closest

BLANK = "???"  # a value that somebody must still give

WORD = re.compile(r"(\\*)\$\{(?:([^${}]*)(\}))?")
OPENING = re.compile(r"(\\*)\$\{")
MOST_VALUES = 100_000  # values that hold each other twice, many times over, would fill any memory
STEP = re.compile(r"\.?([^.\[\]\s]+)|\[(\d+)\]")


def literal(text: str) -> str:
    r"""Return the text that is read as this one, whatever it holds.

    Example:
        >>> literal("a${b}")
        'a\\${b}'
    """
    return OPENING.sub(lambda found: f"{found[1] * 2}\\${{", text)


def interpolated(document: Mapping[str, Any], defaults: Mapping[str, Any]) -> tuple[dict[str, Any], list[Finding]]:
    """Replace interpolations by the values they refer to, in the document or else in the defaults.

    Returns a finding for each value that could not be found; such a value stays as it is.
    """
    work = _Work(document, defaults)
    return work.inside(document, ()), work.findings


class _Work:
    def __init__(self, document: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
        self.roots = (document, defaults)
        self.findings: list[Finding] = []
        self.open: list[Steps] = []
        self.count = 0

    def inside(self, value: Any, path: Steps) -> Any:
        """Interpolate a value and all below it, and note each that is wrong."""
        if isinstance(value, Mapping):
            return {key: self.inside(part, (*path, key)) for key, part in value.items()}
        if isinstance(value, list):
            return [self.inside(part, (*path, i)) for i, part in enumerate(value)]
        try:
            return self.final(value, path)
        except RefusedError as refused:
            self.findings.extend(finding.under_all(path) for finding in refused.findings)
            return value

    def final(self, value: Any, path: Steps) -> Any:
        """Return the resolved value; raises RefusedError."""
        self.count += 1
        if self.count > MOST_VALUES:
            raise RefusedError.value("too many values", expected=f"at most {MOST_VALUES} in all", raw=value)
        if isinstance(value, Mapping):
            return {key: self.final(part, (*path, key)) for key, part in value.items()}
        if isinstance(value, list):
            return [self.final(part, (*path, i)) for i, part in enumerate(value)]
        if not isinstance(value, str) or "${" not in value:
            return value
        if path in self.open:
            ring = " -> ".join(dotted(step) for step in (*self.open[self.open.index(path) :], path))
            raise RefusedError.value("values that refer to each other", expected="a value at the end", raw=ring)
        self.open.append(path)
        try:
            return self.text(value, path)
        finally:
            self.open.pop()

    def text(self, text: str, path: Steps) -> Any:
        whole = WORD.fullmatch(text)
        if whole and whole[3] and not whole[1]:
            return self.target(whole[2], path)
        return WORD.sub(lambda found: self.part(found, path), text)

    def part(self, found: re.Match[str], path: Steps) -> str:
        """Return the text for a word inside a longer text; half of the backslashes before it are meant."""
        slashes = len(found[1])
        kept = "\\" * (slashes // 2)
        if slashes % 2:
            return kept + found[0][slashes:]
        if not found[3]:
            raise RefusedError.value("not an interpolation", expected="${section.key}", raw=found.string)
        value = self.target(found[2], path)
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise RefusedError.value(
                "cannot stand inside a text", expected=f"text or a number in {found[2]}", raw=value
            )
        return f"{kept}{value}"

    def target(self, word: str, path: Steps) -> Any:
        """Return the value that an interpolation refers to."""
        steps = _steps(word, path)
        for root in self.roots:
            found, value = _look(root, steps)
            if found:
                return self.final(value, steps)
        raise RefusedError.value(
            "no such value", expected="the path of a value", raw=f"${{{word}}}", hint=self.hint(steps)
        )

    def hint(self, steps: Steps) -> str:
        """Name the nearest key, where everything round it exists."""
        found, around = _look(self.roots[1], steps[:-1])
        return closest(str(steps[-1]), around) if found and isinstance(around, Mapping) else ""


def _steps(word: str, path: Steps) -> Steps:
    """Read a path as people write it; leading dots count from the place it is written at."""
    dots = len(word) - len(word.lstrip("."))
    rest = word[dots:]
    if not rest or "".join(found[0] for found in STEP.finditer(rest)) != rest or ":" in rest or dots > len(path):
        expected = "${section.key}"
        hint = "Values from outside the file are not read." if ":" in rest else ""
        raise RefusedError.value("not an interpolation", expected=expected, raw=f"${{{word}}}", hint=hint)
    base = path[:-dots] if dots else ()
    return (*base, *(int(found[2]) if found[2] else found[1] for found in STEP.finditer(rest)))


def _look(value: Any, steps: Steps) -> tuple[bool, Any]:
    for step in steps:
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif isinstance(value, list) and str(step).isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return False, None
    return True, value
