"""Records of labelled recordings; no pixels are read here.

Points are ``uv_source``: full-frame pixels, the centre of the top-left pixel is (0, 0).
Axes: N keypoints.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import numpy as np
import numpy.typing as npt

from cogkp.errors import printable

__all__ = ["Index", "Record", "RecordingSize", "View"]


@attrs.frozen(eq=False)
class View:
    """One labelled image.

    Args:
        camera: its datakey without the last part, for people; 'LL' for 'LL.image'.
        image: the image file.
        uv_source: (N, 2) float64, pixels of the full frame; zero where not labelled.
        labelled: (N,) bool.
        mask: the mask file, or None where nobody made one.
    """

    camera: str
    image: Path
    uv_source: npt.NDArray[np.float64]
    labelled: npt.NDArray[np.bool_]
    mask: Path | None


@attrs.frozen(eq=False)
class Record:
    """One recorded line.

    Args:
        root: the data set's folder.
        line: counted from 1, as editors do.
        views: in the order of ``data_mappings.x``.
        xyz_world: (N, 3) float64, exact places of the points, world units; zero where not known.
        located: (N,) bool, where they are known.
    """

    root: Path
    line: int
    views: tuple[View, ...]
    xyz_world: npt.NDArray[np.float64]
    located: npt.NDArray[np.bool_]


@attrs.frozen(eq=False)
class Index:
    """The records of one data set.

    Args:
        root: its folder.
        records: the usable lines, in file order.
        dropped: how many lines were left out, by reason.
    """

    root: Path
    records: tuple[Record, ...]
    dropped: Mapping[str, int]


@attrs.frozen
class RecordingSize:
    """How much data there is.

    Args:
        records: usable lines.
        views: images in them.
        dropped: lines left out, by reason.
        labelled: how many views carry each point, by its name.
    """

    records: int
    views: int
    dropped: Mapping[str, int]
    labelled: Mapping[str, int]

    @classmethod
    def of(cls, indices: Sequence[Index], point_names: Sequence[str]) -> RecordingSize:
        """Count what several data sets offer together."""
        views = [view for index in indices for record in index.records for view in record.views]
        dropped: Counter[str] = Counter()
        for index in indices:
            dropped.update(index.dropped)
        counts = np.sum([view.labelled for view in views], axis=0, dtype=int)
        labelled = dict(zip(point_names, np.atleast_1d(counts).tolist(), strict=True))
        return cls(sum(len(index.records) for index in indices), len(views), dict(dropped), labelled)

    def __str__(self) -> str:
        points = ", ".join(f"{name} {count}" for name, count in self.labelled.items())
        left_out = "".join(f"; {count} left out: {reason}" for reason, count in self.dropped.items())
        return printable(f"{self.records} lines, {self.views} images; labelled: {points}{left_out}")
