"""Find the image files of a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from cogkp.errors import DataError

__all__ = ["SUFFIXES", "find_images", "walk"]

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")


def find_images(root: Path) -> tuple[Path, ...]:
    """Look for images, labelled or not, in a folder and all folders below it.

    Args:
        root: the folder.

    Returns:
        Folder by folder, ordered by path.

    Raises:
        DataError: there is no such folder, or no image in it.
    """
    if not root.is_dir():
        raise DataError("the folder of images does not exist", where=str(root), expected="a folder of images")
    found = [path for folder, _ in walk(root) for path in sorted(folder.iterdir()) if _is_image(path)]
    if not found:
        raise DataError("there are no images", where=str(root), expected=f"files that end in {', '.join(SUFFIXES)}")
    return tuple(found)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def walk(root: Path) -> Iterator[tuple[Path, bool]]:
    """Walk down in a fixed order, through links too; with each folder, whether it holds others."""
    seen: set[str] = set()
    for place, below, _ in os.walk(root, followlinks=True):
        below[:] = sorted(name for name in below if not name.startswith("."))
        real = os.path.realpath(place)
        if real in seen:  # a link that leads back up would never end
            below.clear()
            continue
        seen.add(real)
        yield Path(place), bool(below)
