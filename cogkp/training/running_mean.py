"""Running means of an epoch's metrics, which a checkpoint keeps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

__all__ = ["Means"]


class Means:
    """Mean of each scalar over the images seen.

    Args:
        saved: from :meth:`to_dict`; empty for a new epoch.
    """

    def __init__(self, saved: Mapping[str, Any] | None = None) -> None:
        found = saved or {"sums": {}, "images": 0}
        self._sums: dict[str, float] = defaultdict(float, found["sums"])
        self._images = int(found["images"])

    def add(self, scalars: Mapping[str, float], images: int) -> None:
        """Take in one batch."""
        self._images += images
        for name, value in scalars.items():
            self._sums[name] += value * images

    def values(self) -> dict[str, float]:
        """Return the means; empty before the first batch."""
        return {name: total / self._images for name, total in self._sums.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return the sums as plain values; floats come back from a file bit for bit."""
        return {"sums": dict(self._sums), "images": self._images} if self._images else {}
