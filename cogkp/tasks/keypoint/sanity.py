"""Sanity checks of predictions: is the network better than always answering the mean label?

Axes: R rows, N keypoints, C classes.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

# Of fewer labels, the middle of all labels is one of them.
LEAST_LABELS = 5
# Predictions that move less than this share of how labels move stand still.
STILL = 0.05
# Labels that hardly move say nothing about who follows them.
LEAST_MOTION_PX = 2.0


class Places(NamedTuple):
    """Labelled and predicted points.

    Args:
        true: (R, N, 2) crop pixels.
        found: (R, N, 2) crop pixels.
        valid: (R, N) bool, labels that count.
        frame_px: (R,) pixels of the full frame per crop pixel.
    """

    true: FloatArray
    found: FloatArray
    valid: npt.NDArray[np.bool_]
    frame_px: FloatArray


def complaints(names: Sequence[str], places: Places) -> list[str]:
    """Name, in sentences, points whose predictions are no better than a constant."""
    measured = [n for n in range(len(names)) if places.valid[:, n].sum() >= LEAST_LABELS]
    if not measured:
        return []
    errors = [_errors(places, n) for n in measured]
    ours, guess = (np.concatenate(each).mean() for each in zip(*errors, strict=True))
    if ours >= guess:
        notes = [
            f"The predictions (mean {ours:.1f} px) are no better than naming the middle of each point's labels for "
            f"every image (mean {guess:.1f} px): this network has not learnt where the points are."
        ]
    else:
        worse = [names[n] for n, (own, blind) in zip(measured, errors, strict=True) if own.mean() >= blind.mean()]
        notes = [f"No better than the middle of all its labels for every image: {', '.join(worse)}."] if worse else []
    still = [names[n] for n in measured if _stands_still(places, n)]
    if still:
        notes.append(
            f"Predicted at nearly the same place of the crop in every image, though labels move: {', '.join(still)}."
        )
    return notes


def missing_classes(confusion: npt.NDArray[np.int64]) -> Iterator[str]:
    """Name mask classes that are never predicted; ``confusion`` (C, C) holds pixels by true, then predicted class."""
    total = confusion.sum()
    for number, (true, found) in enumerate(zip(confusion.sum(1), confusion.sum(0), strict=True)):
        if true and not found:
            share = 100 * true / total
            yield f"Mask class {number} is never predicted, though {share:.2g} % of the pixels belong to it."


def _errors(places: Places, point: int) -> tuple[FloatArray, FloatArray]:
    """Return the errors of the predictions and of one constant point, pixels of the full image."""
    chosen = places.valid[:, point]
    true, found, scale = places.true[chosen, point], places.found[chosen, point], places.frame_px[chosen]
    middle = np.median(true, axis=0)
    return np.linalg.norm(found - true, axis=-1) * scale, np.linalg.norm(middle - true, axis=-1) * scale


def _stands_still(places: Places, point: int) -> bool:
    chosen = places.valid[:, point]
    true, found = (np.linalg.norm(np.std(uv[chosen, point], axis=0)) for uv in (places.true, places.found))
    return bool(true >= LEAST_MOTION_PX and found < STILL * true)
