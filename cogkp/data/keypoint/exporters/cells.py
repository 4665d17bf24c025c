"""What all tables of predictions share: checked points, numbers as text, and rows of CSV."""

import csv
import io
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cogkp.errors import DataError, printable

PX_DIGITS = 4
SHARE_DIGITS = 6


class FoundPoint(NamedTuple):
    """One point of one image: column and row, pixels, rounded, both None where it was not found; confidence."""

    u: float | None
    v: float | None
    confidence: float | None


def found_points(points: npt.ArrayLike, confidence: npt.ArrayLike) -> list[FoundPoint]:
    """Check and round (N, 2) pixels and (N,) confidences; DataError where they do not belong together.

    A point with a coordinate that is NaN or infinite was not found.
    """
    uv, sure = np.asarray(points, np.float64), np.asarray(confidence, np.float64)
    if uv.shape != (len(sure.reshape(-1)), 2) or sure.ndim != 1:
        got = f"{uv.shape} and {sure.shape}"
        raise DataError("points and confidences do not belong together", expected="(N, 2) and (N,)", got=got)
    uv = np.where(np.isfinite(uv).all(axis=1, keepdims=True), uv, np.nan)
    return [
        FoundPoint(rounded(u, PX_DIGITS), rounded(v, PX_DIGITS), rounded(each))
        for (u, v), each in zip(uv, sure, strict=True)
    ]


def rounded(value: float, digits: int = SHARE_DIGITS) -> float | None:
    """Round a number, so that float32 does not show more digits than it has; None for NaN and infinity."""
    # Adding zero takes the sign from -0.0.
    return round(float(value), digits) + 0.0 if np.isfinite(value) else None


def csv_row(cells: Iterable[object]) -> str:
    """Write one row and its end; None is an empty cell, and control characters in names, such as line breaks, show."""
    stream = io.StringIO()
    shown = (printable(cell) if isinstance(cell, str) else cell for cell in cells)
    csv.writer(stream, lineterminator="\n").writerow(shown)
    return stream.getvalue()
