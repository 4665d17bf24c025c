"""Choose an importer, and split what it reads into training and validation.

Knows nothing of: any format, any output folder.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import attrs
import numpy as np

from cogkp.errors import DataError, Problem, closest

IMPORT_SWITCH = "--apply-exif-orientation of the import, or apply_exif_orientation"
"""What has images turned, for messages."""

Part = Literal["train", "validation"]
ReaderT = TypeVar("ReaderT")

log = logging.getLogger("cogkp")


class Parted(Protocol):
    """One item of a source, which may say where it belongs."""

    @property
    def part(self) -> str | None:
        """Name of the part; None leaves that to the seed."""


PartedT = TypeVar("PartedT", bound=Parted)


@attrs.frozen(kw_only=True)
class ImportedLine:
    """One frame record.

    Args:
        record: what :func:`cogkp.data.keypoint.structured.write_structured` takes; a ``Path`` names an image to copy.
        part: where the source itself puts it; None leaves that to the seed.
    """

    record: Mapping[str, Any]
    where: str
    part: Part | None = None


@attrs.frozen(kw_only=True)
class Imported:
    """Everything that one source holds.

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


def importer_of(name: str, importers: Mapping[str, ReaderT], share: float) -> ReaderT:
    """Choose the importer of a format, and refuse a share of validation that cannot be; raises DataError."""
    if name not in importers:
        known = ", ".join(importers)
        raise DataError("unknown format", expected=f"one of {known}", got=repr(name), hint=closest(name, importers))
    if not 0.0 <= share < 1.0:
        raise DataError("the validation share is out of range", expected="0 <= share < 1", got=str(share))
    return importers[name]


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


def divide(
    lines: Sequence[PartedT], fraction: float, seed: int, validation: str = "validation"
) -> dict[str, list[PartedT]]:
    """Divide lines as their source does, where it says so; the others at random, the same way for the same seed.

    ``fraction`` of those others, 0 up to but not including 1, goes to the part named ``validation``, the rest to
    ``train``. Returns the parts that have any lines, each in the order of the source.
    """
    free = [index for index, line in enumerate(lines) if line.part is None]
    if len(free) < len(lines):
        log.info("the source has its own split; %d of %d lines follow it", len(lines) - len(free), len(lines))
    order = np.random.default_rng(seed).permutation(len(free))
    validation_lines = {free[place] for place in order[: validation_count(len(free), fraction)]}
    parts: dict[str, list[PartedT]] = {}
    for index, line in enumerate(lines):
        parts.setdefault(line.part or (validation if index in validation_lines else "train"), []).append(line)
    return parts
