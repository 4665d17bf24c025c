"""Warnings about a valid keypoint configuration that probably means something else."""

import re
from collections.abc import Iterator

from cogkp.config.augment import Crop, Flip
from cogkp.config.keypoint.spec import KeypointConfig
from cogkp.errors import Problem

SIDES = (
    *(("left", "right"), ("lft", "rgt"), ("lt", "rt"), ("l", "r"), ("links", "rechts"), ("gauche", "droite")),
    *(("gauche", "droit"), ("izquierd", "derech"), ("izq", "der"), ("esquerd", "direit"), ("sinistr", "destr")),
    *(("sx", "dx"), ("лев", "прав"), ("左", "右")),
)
"""What names say of left and right, in some languages."""
OTHER_SIDE = {**dict(SIDES), **{right: left for left, right in SIDES}}
WHOLE_WORD, SHORT_WORD = 4, 3
"""Letters from which on a side may stand anywhere in a name, and up to which a word may be two sides, as in 'fl'."""
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^A-Za-z\d]+")


def training_remarks(config: KeypointConfig) -> list[Problem]:
    """List what is worth a warning before a training."""
    return list(_sides_not_swapped(config))


def deployment_remarks(config: KeypointConfig) -> list[Problem]:
    """List what is worth a warning before a model is exported."""
    for place, stage in enumerate(config.augmentations):
        if isinstance(stage, Crop) and stage.region == "points":
            return [
                Problem(
                    "the deployed model needs a box at run time",
                    f"augmentations[{place}].region",
                    "'frame' or 'box', which say where to look",
                    "'points', a square round labelled points, which nobody has where the model is used",
                    "Give it a box (s6 cog predict --boxes), another model that finds the object (--locator), or the "
                    "points of the frame before (--track), or train with another region. The manifest states the rule "
                    "under 'crop'. The figures of an evaluation are those with the square known.",
                )
            ]
    return []


def _sides_not_swapped(config: KeypointConfig) -> Iterator[Problem]:
    rows = [{key.strip().lower(): place for place, key in enumerate(row)} for row in config.data_mappings.y]
    pairs = {
        (min(place, row[other]), max(place, row[other]))
        for row, keys in zip(rows, config.data_mappings.y, strict=True)
        for place, key in enumerate(keys)
        for other in _other_sides(key.strip())
        if row.get(other, place) != place
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


def _other_sides(name: str) -> Iterator[str]:
    """Give the names that a point of the other side may have, in lower case.

    Example:
        >>> [next(_other_sides(name), "") for name in ("left_ear", "earL", "upperleftcorner", "paw_fl", "tip")]
        ['right_ear', 'earr', 'upperrightcorner', 'paw_fr', '']
    """
    words = list(WORD.finditer(name))
    if any(word[0].lower() in OTHER_SIDE for word in words):
        yield "".join(OTHER_SIDE.get(word[0].lower(), word[0].lower()) for word in words)
    for side, other in OTHER_SIDE.items():
        for found in re.finditer(re.escape(side), name.lower()):
            if len(side) >= WHOLE_WORD or not side.isascii() or any(_is_apart(found, word) for word in words):
                yield name.lower()[: found.start()] + other + name.lower()[found.end() :]


def _is_apart(side: re.Match[str], word: re.Match[str]) -> bool:
    """Tell whether a side begins or ends a word; a single letter must be a capital, or the word short."""
    ends = side.start() == word.start() or side.end() == word.end()
    return ends and (len(side[0]) > 1 or len(word[0]) <= SHORT_WORD or word.string[side.start()].isupper())
