"""Errors of an evaluation, kept image by image and object by object.

Axes: R images, T objects of an image, n matches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from cogkp.measures.evidence import Evidence, Measure

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

Better = Literal["lower", "higher"]


class Quantity(NamedTuple):
    """One quantity that is kept."""

    key: str
    title: str
    unit: str
    thresholds: tuple[float, ...]
    better: Better = "lower"


IOU = Quantity("iou", "3-D overlap", "", (0.25, 0.5, 0.75), "higher")
PIXELS = "pixels"
ANGLES = (
    Quantity("azimuth_deg", "Azimuth", "deg", (5.0, 10.0, 15.0)),
    Quantity("elevation_deg", "Elevation", "deg", (5.0, 10.0)),
)
ADD = Quantity("add", "Distance in space", "m", (0.02, 0.05, 0.1))


class ObjectRows:
    """Accumulate the errors of the objects to be found; each is matched with one box at most."""

    def __init__(self) -> None:
        self._images: list[str] = []
        self._tables: list[FloatArray] = []

    def add(self, name: str, asked: BoolArray, objects: npt.NDArray[np.int64], errors: FloatArray) -> None:
        """Add one image, with which of its true objects are asked for (T,), and which of them each match is about (n,).

        ``errors`` (n, 5) are those of each match: share of space, distance of corners in pixels, azimuth and elevation
        in degrees, distance in space.
        """
        table = np.full((len(asked), len(_quantities(()))), np.nan)
        table[asked, 0] = 0.0  # what is not found shares no space
        held = asked[objects]
        table[objects[held]] = errors[held]
        self._images.append(name)
        self._tables.append(table[asked])

    def merge(self, other: ObjectRows) -> None:
        """Add what another one saw after this one."""
        self._images += other._images
        self._tables += other._tables

    def evidence(self, thresholds_px: Sequence[float]) -> Evidence:
        """Return everything measured: a row per image, a column per object asked for, in the order of its file."""
        most = max((len(table) for table in self._tables), default=0)
        names = tuple(f"object {number + 1}" for number in range(most))
        kinds = _quantities(tuple(thresholds_px))
        values = np.full((len(self._tables), most, len(kinds)), np.nan)
        for row, table in enumerate(self._tables):
            values[row, : len(table)] = table
        measures = tuple(
            Measure(
                key=kind.key,
                title=kind.title,
                unit=kind.unit,
                columns=names,
                frame=np.arange(len(values), dtype=np.int64),
                values=values[..., number],
                thresholds=kind.thresholds,
                better=kind.better,
            )
            for number, kind in enumerate(kinds)
        )
        return Evidence(tuple(self._images), measures)


def _quantities(thresholds_px: tuple[float, ...]) -> tuple[Quantity, ...]:
    return (IOU, Quantity(PIXELS, "Distance of corners in the image", "px", thresholds_px), *ANGLES, ADD)
