"""Compare fingerprints of data sets: names, sizes and labels, no pixels.

A file whose pixels changed while its size did not goes unnoticed; reading every image would cost minutes.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

NOUNS = {
    "lines": "lines",
    "images": "images",
    "files_sha256": "file names or sizes",
    "labels_sha256": "labels",
    "calibration_sha256": "calibration",
}


def changes(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say what changed between two fingerprints, one line per change.

    Args:
        saved: fingerprints by split; nothing is said of what was never recorded, be it a split or one of its entries.
        now: the same, today.

    Example:
        >>> day = {"root": "a", "lines": 8, "images": 8, "files_sha256": "x", "labels_sha256": "y"}
        >>> changes({"train": [day]}, {"train": [day | {"lines": 9, "labels_sha256": "z"}]})
        ["train data 'a': lines 8 -> 9, other labels"]
    """
    return [line for split in now if split in saved for line in _changes(split, saved[split], now[split])]


def _changes(split: str, saved: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if len(saved) != len(now):
        yield f"{split} data: {len(saved)} -> {len(now)} roots"
        return
    for before, after in zip(saved, now, strict=True):
        recorded = {key: noun for key, noun in NOUNS.items() if key in before and key in after}
        differences = [_change(key, noun, before[key], after[key]) for key, noun in recorded.items()]
        if different := ", ".join(filter(None, differences)):
            yield f"{split} data {after['root']!r}: {different}"


def _change(key: str, noun: str, before: Any, after: Any) -> str:
    if before == after:
        return ""
    return f"other {noun}" if key.endswith("sha256") else f"{noun} {before} -> {after}"
