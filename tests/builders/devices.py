"""Device nodes of our own, so that no test touches those of the system."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

SWALLOWS, ENDLESS, FULL = 3, 5, 7
"""Minor numbers of what /dev/null, /dev/zero and /dev/full are."""


def device_node(path: Path, minor: int) -> Path:
    """Make a character device of major number 1, or skip the test where that is not allowed."""
    try:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, minor))
        path.open("wb").close()
    except OSError as error:
        pytest.skip(f"no device can be made here: {error}")
    return path
