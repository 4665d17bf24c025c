"""Quantization error: how far the detections of one exported network differ from those of another one.

It is measured by how far corners move, how scores change, and how many objects are lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

MUCH_PX = 2.0
"""A median by which corners may move without a warning, pixels of the input."""

FloatArray = npt.NDArray[np.floating[Any]]
CORNER_AXES = (-1, 8, 2)


@attrs.frozen(eq=False)
class Agreement:
    """What was found so far, object by object of the reference.

    Args:
        threshold: objects less likely than this do not count.
        corners_px: (N, 8) how far each corner moved, of objects that were found again; also where it is now another
            peak, or none.
        direct_px: (N, 8) the same for corners as the object's centre sees them, which no choice of peaks disturbs.
        scores: (N,) how much less likely each is.
        lost: objects that were not found again.
    """

    threshold: float
    stride: int
    corners_px: FloatArray = attrs.field(factory=lambda: np.zeros((0, 8)))
    direct_px: FloatArray = attrs.field(factory=lambda: np.zeros((0, 8)))
    scores: FloatArray = attrs.field(factory=lambda: np.zeros(0))
    lost: int = 0
    images: int = 0

    def joined(self, reference: Mapping[str, FloatArray], found: Mapping[str, FloatArray]) -> Agreement:
        """Add one batch of both networks' outputs.

        An object is found again where the nearest of the other's likely objects, by the middle of its box, lies within
        half the shorter side of its box. Half of the threshold is likely enough for the other.
        """
        corners, direct, scores, lost = [self.corners_px], [self.direct_px], [self.scores], self.lost
        for row in range(len(reference["scores"])):
            old, new = ({name: values[row] for name, values in each.items()} for each in (reference, found))
            likely = new["scores"][:, 0] > 0.5 * self.threshold
            for each in np.flatnonzero(old["scores"][:, 0] > self.threshold):
                partner = _nearest(old["bboxes"][each], new["bboxes"], likely)
                if partner is None:
                    lost += 1
                    continue
                for far, name in ((corners, "kps"), (direct, "kps_displacement_mean")):
                    moved = (new[name][partner] - old[name][each]).reshape(CORNER_AXES)
                    far.append(self.stride * np.linalg.norm(moved, axis=-1))
                scores.append(old["scores"][each] - new["scores"][partner])
        return attrs.evolve(
            self,
            corners_px=np.concatenate(corners),
            direct_px=np.concatenate(direct),
            scores=np.concatenate(scores),
            lost=lost,
            images=self.images + len(reference["scores"]),
        )

    @property
    def figures(self) -> dict[str, float]:
        """Return all values by name; without objects only how many images were compared."""
        counts = {"pictures": float(self.images), "objects": float(len(self.scores) + self.lost)}
        if not len(self.scores):
            return {**counts, "lost": float(self.lost)}
        return {
            **counts,
            "lost": float(self.lost),
            "corner_px_median": float(np.median(self.corners_px)),
            "corner_px_p90": float(np.quantile(self.corners_px, 0.9)),
            "corner_px_largest": float(self.corners_px.max()),
            "direct_px_median": float(np.median(self.direct_px)),
            "direct_px_largest": float(self.direct_px.max()),
            "score_largest": float(np.abs(self.scores).max()),
        }

    @property
    def is_poor(self) -> bool:
        """Whether objects are lost, corners move far, or nothing could be compared."""
        found = self.figures
        return not found["objects"] or self.lost > 0 or found["corner_px_median"] > MUCH_PX

    def text(self) -> str:
        """Return one line for people."""
        found = self.figures
        seen = f"{self.images} images"
        if not found["objects"]:
            return f"no object above {self.threshold:g} in {seen}, so nothing could be compared"
        if "corner_px_median" not in found:
            return f"all {self.lost} objects in {seen} are lost"
        return (
            f"corners of {len(self.scores)} objects in {seen} move by {found['corner_px_median']:.2g} px (median), "
            f"{found['corner_px_p90']:.2g} px (9 of 10), {found['corner_px_largest']:.2g} px at most; "
            f"without their peaks by {found['direct_px_median']:.2g} px, {found['direct_px_largest']:.2g} px at most; "
            f"scores by {found['score_largest']:.2g}; {self.lost} objects are lost"
        )


def _nearest(box: FloatArray, others: FloatArray, likely: npt.NDArray[np.bool_]) -> int | None:
    """Find the row of the object whose box has the nearest middle; None where that is too far away."""
    if not likely.any():
        return None
    away = np.linalg.norm(0.5 * (others[:, :2] + others[:, 2:] - box[:2] - box[2:]), axis=-1)
    row = int(np.where(likely, away, np.inf).argmin())
    reach = 0.5 * float((box[2:] - box[:2]).min())
    return row if away[row] <= reach else None
