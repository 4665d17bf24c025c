"""Compare and hash configurations of any family as plain JSON values."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from cogkp.config.converter import TAG
from cogkp.config.issues import Steps, dotted


def plain_hash(plain: Mapping[str, Any]) -> str:
    """Return a SHA-256 that is the same for equal configurations of any family, given as plain values."""
    canonical = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def plain_differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """List in words what changes from one configuration to another, both as :func:`dump` gives them.

    Unlike :func:`differences` it also compares what an older release wrote and this one would refuse.
    """
    changes = _changes((), dict(a), dict(b))
    return [f"{dotted(path)}: {json.dumps(old)} -> {json.dumps(new)}" for path, old, new in changes]


def _changes(path: Steps, old: Any, new: Any) -> Iterator[tuple[Steps, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict) and old.get(TAG) == new.get(TAG):
        for key in {**old, **new}:
            yield from _changes((*path, key), old.get(key), new.get(key))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, pair in enumerate(zip(old, new, strict=True)):
            yield from _changes((*path, i), *pair)
    elif old != new:
        yield path, old, new
