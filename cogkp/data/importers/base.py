"""What an importer hands over, and how its lines are divided into training and validation.

Knows nothing of: any format, any output folder.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import attrs
import numpy as np

from cogkp.errors import Problem

__all__ = ["Imported", "ImportedLine", "Importer", "Part", "located", "split", "validation_count"]

Part = Literal["train", "validation"]
LineT = TypeVar("LineT")


@attrs.frozen(kw_only=True)
class ImportedLine:
    """One frame record.

    Args:
        record: what :func:`cogkp.data.structured.write_structured` takes; a ``Path`` names a picture to copy.
        where: file and row it came from, for people.
        part: where the source itself puts it; None leaves that to the seed.
    """

    record: Mapping[str, Any]
    where: str
    part: Part | None = None


@attrs.frozen(kw_only=True)
class Imported:
    """All that one source says.

    Args:
        lines: in the order of the source.
        config: the part of a keypoint configuration that follows from the source: mappings, targets, classes.
        calibration: calibration JSON of the cameras, where the source has one.
        segments: (point, point, length in world units) of stereo pairs, as far as they are rigid; None where the lines
            are no calibrated pairs.
    """

    lines: tuple[ImportedLine, ...]
    config: Mapping[str, Any]
    calibration: Mapping[str, Any] | None = None
    segments: tuple[tuple[int, int, float], ...] | None = None


Importer = Callable[[Path], Imported]
"""Reads a source; raises DataError with every problem it found."""


def located(problem: Problem, where: str) -> Problem:
    """Say where in the source a problem was met, ahead of the file it concerns."""
    place = f"{where}, {problem.where}" if problem.where else where
    return attrs.evolve(problem, where=place)


def validation_count(total: int, fraction: float) -> int:
    """Count the lines set aside: the fraction, rounded down, yet never none and never all of them.

    Example:
        >>> [validation_count(total, 0.1) for total in (90, 116, 3, 1)]
        [9, 11, 1, 0]
    """
    if fraction == 0.0 or total <= 1:
        return 0
    # 0.29 * 100 is 28.999999999999996; the small addition keeps such products whole.
    return min(max(math.floor(total * fraction + 1e-9), 1), total - 1)


def split(lines: Sequence[LineT], fraction: float, seed: int) -> tuple[list[LineT], list[LineT]]:
    """Divide lines at random, the same way for the same seed; both parts keep the order of the source.

    Args:
        lines: anything.
        fraction: share set aside for validation, 0 up to but not including 1.
        seed: of the draw.

    Returns:
        Training lines and validation lines.

    Example:
        >>> split("abcdefghij", 0.2, seed=0)
        (['a', 'b', 'c', 'd', 'f', 'h', 'i', 'j'], ['e', 'g'])
    """
    count = validation_count(len(lines), fraction)
    chosen = set(np.random.default_rng(seed).permutation(len(lines))[:count].tolist())
    training = [line for index, line in enumerate(lines) if index not in chosen]
    return training, [line for index, line in enumerate(lines) if index in chosen]
