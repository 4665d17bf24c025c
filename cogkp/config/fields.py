"""How a configuration field is declared: a default, a range and one sentence for people.

The sentence feeds the JSON schema and the docs page, so that it stands in one place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

__all__ = ["Validator", "at_least", "between", "interval", "more_than", "multiple_of", "one_of", "setting"]

Validator = Callable[[Any, Any, Any], None]

DOC = "doc"
SCHEMA = "schema"


def setting(default: Any, doc: str, check: Validator | None = None) -> Any:
    """Declare one field: its default, its sentence, and the range it must lie in."""
    metadata = {DOC: doc, SCHEMA: getattr(check, "schema", {})}
    if callable(default):
        return attrs.field(factory=default, validator=check, metadata=metadata)
    return attrs.field(default=default, validator=check, metadata=metadata)


def _range(allowed: Callable[[Any], bool], words: str, schema: dict[str, Any]) -> Validator:
    """Make a validator that accepts None, and each number of a tuple that ``allowed`` accepts."""

    def check(_instance: Any, _attribute: Any, value: Any) -> None:
        numbers = value if isinstance(value, tuple) else (value,)
        if any(number is not None and not allowed(number) for number in numbers):
            shown = list(value) if isinstance(value, tuple) else value
            raise ValueError(f"expected {words}, got {shown!r}")

    check.schema = schema  # type: ignore[attr-defined]
    return check


def at_least(low: float) -> Validator:
    """Accept numbers >= ``low``."""
    return _range(lambda v: v >= low, f"a number >= {low}", {"minimum": low})


def more_than(low: float) -> Validator:
    """Accept numbers > ``low``."""
    return _range(lambda v: v > low, f"a number > {low}", {"exclusiveMinimum": low})


def between(low: float, high: float) -> Validator:
    """Accept numbers from ``low`` to ``high``, both included."""
    return _range(lambda v: low <= v <= high, f"a number from {low} to {high}", {"minimum": low, "maximum": high})


def multiple_of(step: int, low: int) -> Validator:
    """Accept integers >= ``low`` that ``step`` divides."""
    words = f"a multiple of {step}, at least {low}"
    return _range(lambda v: v >= low and v % step == 0, words, {"multipleOf": step, "minimum": low})


def one_of(*allowed: str) -> Validator:
    """Accept exactly the listed words."""
    words = "one of " + ", ".join(repr(word) for word in allowed)
    return _range(lambda v: v in allowed, words, {"enum": list(allowed)})


def interval(low: float, high: float) -> Validator:
    """Accept pairs ``(a, b)`` with ``low <= a <= b <= high``."""

    def check(_instance: Any, _attribute: Any, value: tuple[float, float]) -> None:
        if not low <= value[0] <= value[1] <= high:
            raise ValueError(f"expected [low, high] with {low} <= low <= high <= {high}, got {list(value)!r}")

    check.schema = {"items": {"type": "number", "minimum": low, "maximum": high}}  # type: ignore[attr-defined]
    return check
