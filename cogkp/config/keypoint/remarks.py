"""Warnings about a valid keypoint configuration that probably means something else."""

import re
from collections.abc import Iterator

from cogkp.config.augment import Crop, Flip
from cogkp.config.keypoint.spec import KeypointConfig
from cogkp.errors import Problem

OTHER_SIDE = {"left": "right", "right": "left", "l": "r", "r": "l"}
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^A-Za-z\d]+")
SIDE_AT_AN_END = re.compile(r"^(left|right)|(left|right)$")


def training_remarks(config: KeypointConfig) -> list[Problem]:
    """List what is worth a warning before a training."""
    return list(_sides_not_swapped(config))


def deployment_remarks(config: KeypointConfig) -> list[Problem]:
    """List what is worth a warning before a model is exported."""
    for place, stage in enumerate(config.augmentations):
        if isinstance(stage, Crop) and stage.region == "points":
            return [
                Problem(
                    "the deployed model cannot find its crop",
                    f"augmentations[{place}].region",
                    "'frame' or 'box'",
                    "'points', a square round labelled points, which nobody has where the model is used",
                    "Train with another region, or find the object first and cut the square that the manifest "
                    "describes under 'crop'. The figures of an evaluation are those with the square known.",
                )
            ]
    return []


def _sides_not_swapped(config: KeypointConfig) -> Iterator[Problem]:
    names = [name.lower() for name in config.point_names]
    mirrored = [_other_side(name) for name in config.point_names]
    pairs = {
        (place, names.index(other))
        for place, other in enumerate(mirrored)
        if other in names and place < names.index(other)
    }
    for place, stage in enumerate(config.augmentations):
        if not isinstance(stage, Flip) or stage.probability == 0.0:
            continue
        missing = sorted(pairs - {(min(pair), max(pair)) for pair in stage.swap})
        if missing:
            yield Problem(
                "a mirrored image keeps left and right",
                f"augmentations[{place}].swap",
                f"{[list(pair) for pair in sorted(pairs)]}, which exchanges the points of both sides",
                ", ".join(f"{config.point_names[a]} and {config.point_names[b]} not swapped" for a, b in missing),
                "Name the pairs in swap, or leave the flip out.",
            )


def _other_side(name: str) -> str:
    """Name the point of the other side, in lower case; empty where a name says no side.

    Example:
        >>> [_other_side(name) for name in ("left_ear", "earL", "leftear", "tip")]
        ['right_ear', 'earr', 'rightear', '']
    """
    words = [word.lower() for word in WORD.findall(name)]
    if any(word in OTHER_SIDE for word in words):
        return "".join(OTHER_SIDE.get(word, word) for word in words)
    found = SIDE_AT_AN_END.search(name.lower())
    if found is None:
        return ""
    return name.lower()[: found.start()] + OTHER_SIDE[found.group()] + name.lower()[found.end() :]
