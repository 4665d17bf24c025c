"""The loss terms of a configuration that is generated for a user.

The documented live defaults leave the heatmaps' shape to itself. Measured on real recordings, telling it makes training
several times faster, and a mask needs weight beside point errors, which are counted in whole pixels: see
docs/decisions/0005-recipe.md.
"""

from collections.abc import Sequence
from typing import Any

HEATMAP_WEIGHT = 20.0
SEGMENTATION_WEIGHT = 50.0
REPROJECTION_WEIGHT = 200.0
RIGIDITY_WEIGHT = 100.0


def starting_loss_terms(
    *, segmentation: bool, segments: Sequence[tuple[int, int, float]] | None = None
) -> dict[str, Any]:
    """Return the value of ``loss_terms``, ready for JSON; the terms it leaves out keep their defaults.

    Args:
        segmentation: whether masks are trained.
        segments: known lengths (point, point, world units) of calibrated stereo pairs, maybe none; None without pairs.
    """
    terms: dict[str, Any] = {"heatmap_regularization_loss": {"weight": HEATMAP_WEIGHT}}
    if segmentation:
        terms["segmentation_loss"] = {"weight": SEGMENTATION_WEIGHT}
    if segments is not None:
        terms["triangulation_reprojection_loss"] = {"weight": REPROJECTION_WEIGHT}
    if segments:
        listed = [list(segment) for segment in segments]
        terms["triangulation_rigidity_loss"] = {"weight": RIGIDITY_WEIGHT, "segments": listed}
    return terms
