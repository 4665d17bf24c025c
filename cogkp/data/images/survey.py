"""Check the image files of a data set as a whole, and warn of what would silently go wrong."""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from cogkp.data.images.orientation import UPRIGHT
from cogkp.data.images.reading import noted_orientation
from cogkp.errors import DataError, ImageError, counted

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")

SOME_IMAGES = 256
"""So many files of a folder say what its images are like."""

MOST_HEADERS = 5000
"""So many files are looked into at most, spread over all: a quarter of a second."""

TURNS = {
    2: "mirrored",
    3: "turned by 180 degrees",
    4: "mirrored top to bottom",
    5: "mirrored and turned",
    6: "turned by 90 degrees clockwise",
    7: "mirrored and turned",
    8: "turned by 90 degrees counterclockwise",
}

log = logging.getLogger("cogkp")


def find_images(root: Path) -> tuple[Path, ...]:
    """Look for images, labelled or not, in a folder and all below it, ordered by path; raises DataError without any."""
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


def evenly(total: int, count: int) -> list[int]:
    """Choose indices spread evenly over ``total`` things; all of them where there are no more than ``count``.

    Example:
        >>> evenly(10, 4), evenly(2, 4)
        ([0, 3, 6, 9], [0, 1])
    """
    places: list[int] = np.linspace(0, total - 1, min(count, total)).round().astype(int).tolist()
    return sorted(set(places))


def spread(images: Sequence[Path], most: int) -> list[Path]:
    """Take some files, evenly spread over all; all where there are no more."""
    return [images[row] for row in evenly(len(images), most)]


def tell_orientations(images: Sequence[Path], where: str, *, oriented: bool, switch: str) -> None:
    """Tell of images that note an orientation (EXIF): pixels and labels may be meant turned or as stored.

    Files that cannot be read are passed over. ``switch`` is the key that turns images as they note, for people.
    """
    looked_at = spread(images, MOST_HEADERS)
    noted = {path: orientation for path in looked_at if (orientation := _noted(path)) != UPRIGHT}
    if not noted:
        return
    example = next(iter(noted))
    log.log(
        logging.INFO if oriented else logging.WARNING,
        "%s: %d of %s note an orientation (EXIF; most often %s; first %s)%s. %s",
        where,
        len(noted),
        counted(len(looked_at), "image"),
        TURNS[Counter(noted.values()).most_common(1)[0][0]],
        example,
        ", which is applied" if oriented else ", which is not applied: pixels are taken as stored",
        f"{switch}=false takes pixels as stored"
        if oriented
        else f"Labels made in a viewer that turns images do not fit then; {switch}=true turns them",
    )


def _noted(path: Path) -> int:
    try:
        return noted_orientation(path)
    except ImageError:
        return UPRIGHT
