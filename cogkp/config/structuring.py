"""Convert a document as far as possible, so that rules can still run where some values are refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from cogkp.config.augment import Affine
from cogkp.config.converter import CONVERTER, TAG
from cogkp.config.issues import Finding, RefusedError, Steps, overlap

__all__ = ["cut", "structured", "without"]

Config = TypeVar("Config")

# An affine stage takes part in no rule; in the place of an unreadable stage it leaves the others where they are.
STAND_IN = {TAG: Affine.TYPE}


def structured(raw: Mapping[str, Any], cls: type[Config]) -> tuple[Config, tuple[Finding, ...]]:
    """Structure a document; where values are refused, with their defaults in place, so that rules can still run."""
    try:
        return CONVERTER.structure(raw, cls), ()
    except RefusedError as refused:
        sound = without(raw, [cut(finding.path) for finding in refused.findings])
        return CONVERTER.structure(sound, cls), refused.findings


def cut(path: Steps) -> Steps:
    """Return the smallest part round a refused value that has a default: a whole stage, or the field it lies in."""
    if path[0] == "augmentations" and path[2:] in ((), (TAG,)):
        return path[:2]
    return path[: max(i for i, step in enumerate(path) if not isinstance(step, int)) + 1]


def without(value: Any, cuts: Iterable[Steps], path: Steps = ()) -> Any:
    """Copy a document without the parts at the given paths; a stage is replaced instead."""
    relevant = [place for place in cuts if overlap(place, path)]
    if not relevant:
        return value
    if isinstance(value, Mapping):
        places = {key: (*path, str(key)) for key in value}
        return {key: without(value[key], relevant, at) for key, at in places.items() if at not in relevant}
    items = [(item, (*path, i)) for i, item in enumerate(value)]
    return [STAND_IN if at in relevant else without(item, relevant, at) for item, at in items]
