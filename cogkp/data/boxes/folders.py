"""Find images and their annotation files in a folder.

For training only folders without folders in them are looked into, as the published code does; names that begin with a
dot do not count. What is passed over is counted and said.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from cogkp.data.images.finding import SUFFIXES, walk
from cogkp.errors import DataError, Problem

__all__ = ["FolderContent", "Labelled", "find_labelled"]

ANNOTATION = ".json"


class Labelled(NamedTuple):
    """An image and its annotation."""

    image: Path
    annotation: Path


class FolderContent(NamedTuple):
    """What a folder holds.

    Args:
        labelled: images with an annotation, ordered by path.
        problems: stems that several images share.
        dropped: how many files were passed over, by reason.
    """

    labelled: tuple[Labelled, ...]
    problems: tuple[Problem, ...]
    dropped: Mapping[str, int]


def find_labelled(root: Path) -> FolderContent:
    """Look for labelled images in a folder and all folders below it.

    Args:
        root: the folder.

    Raises:
        DataError: there is no such folder.
    """
    if not root.is_dir():
        raise DataError("the data set's folder does not exist", where=str(root), expected="a folder of images")
    labelled: list[Labelled] = []
    problems: list[Problem] = []
    dropped: Counter[str] = Counter()
    for folder, has_folders in walk(root):
        images, annotations = _files(folder)
        if has_folders:
            dropped["an image beside folders"] += sum(map(len, images.values()))
            continue
        dropped["an image without a JSON file"] += sum(len(images[stem]) for stem in images if stem not in annotations)
        dropped["a JSON file without an image"] += sum(stem not in images for stem in annotations)
        for stem in sorted(images.keys() & annotations.keys()):
            if len(images[stem]) > 1:
                problems.append(_shared(images[stem]))
            else:
                labelled.append(Labelled(images[stem][0], annotations[stem]))
    return FolderContent(
        tuple(labelled), tuple(problems), {reason: count for reason, count in dropped.items() if count}
    )


def _shared(images: list[Path]) -> Problem:
    names = ", ".join(path.name for path in images)
    return Problem("several images share one JSON file", str(images[0].parent), "one image per stem", names)


def _files(folder: Path) -> tuple[dict[str, list[Path]], dict[str, Path]]:
    """List images and annotations of one folder by their stems."""
    images: defaultdict[str, list[Path]] = defaultdict(list)
    annotations: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.suffix.lower() in SUFFIXES:
            images[path.stem].append(path)
        elif path.suffix == ANNOTATION:
            annotations[path.stem] = path
    return dict(images), annotations
