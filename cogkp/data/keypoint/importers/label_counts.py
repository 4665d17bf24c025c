"""Count the labels of each point of a source, and those that lie outside their image."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from cogkp.data.images import image_size
from cogkp.data.importing import Imported
from cogkp.data.keypoint.outside import inside_image, say_origin, say_outside
from cogkp.data.keypoint.structured import find

__all__ = ["say_labels"]

log = logging.getLogger("cogkp")


class _Label(NamedTuple):
    """One label: the name of its point, where it was read, and whether its image shows it."""

    name: str
    where: str
    uv: list[float]
    inside: bool


def say_labels(where: str, imported: Imported) -> None:
    """Log how often each point is labelled; warn of labels that no image shows, and of points without any.

    Args:
        where: the source, for people.
        imported: all that it says.
    """
    labels = list(_labels(imported))
    usable = Counter(label.name for label in labels if label.inside)
    names = dict.fromkeys(_short(key) for row in imported.config["data_mappings"]["y"] for key in row)
    log.info("%s: labels inside their image: %s", where, ", ".join(f"{name} {usable[name]}" for name in names))
    outside = [f"{label.where} {label.name} [{label.uv[0]:g}, {label.uv[1]:g}]" for label in labels if not label.inside]
    if outside:
        say_outside(where, len(outside), len(labels), outside)
    say_origin(where, sum(label.uv == [0, 0] for label in labels))
    if never := [name for name in names if not usable[name]]:
        log.warning("%s: no usable label of %s", where, ", ".join(never))


def _labels(imported: Imported) -> Iterator[_Label]:
    mappings = imported.config["data_mappings"]
    for line in imported.lines:
        for image, keys in zip(mappings["x"], mappings["y"], strict=True):
            size_wh = image_size(find(line.record, image))
            for key in keys:
                uv: Any = find(line.record, key)
                if uv is not None and np.isfinite(uv).all():
                    yield _Label(_short(key), line.where, uv, bool(inside_image(np.array(uv, np.float64), size_wh)))


def _short(key: str) -> str:
    return key.rpartition(".")[2]
