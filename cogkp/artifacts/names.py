"""How moments are written in names of files and folders."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

__all__ = ["Clock", "timestamp"]

Clock = Callable[[], datetime]


def timestamp(clock: Clock = datetime.now) -> str:
    """Name a moment, local time.

    Example:
        >>> timestamp(lambda: datetime(2026, 1, 31, 9, 5, 7))
        '20260131-090507'
    """
    return clock().strftime("%Y%m%d-%H%M%S")
