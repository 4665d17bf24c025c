"""The loss terms that a configuration written for a user starts with.

The documented live defaults leave the heatmaps' shape to itself. Measured on real recordings, telling it makes training
several times faster, and a mask needs weight beside point errors, which are counted in whole pixels: see
docs/decisions/0005-recipe.md.
"""

from __future__ import annotations

from typing import Any

__all__ = ["starting_loss_terms"]

HEATMAP_WEIGHT = 20.0
SEGMENTATION_WEIGHT = 50.0


def starting_loss_terms(*, segmentation: bool) -> dict[str, Any]:
    """Return the value of ``loss_terms``, ready for JSON; the terms it leaves out keep their defaults."""
    terms = {"heatmap_regularization_loss": {"weight": HEATMAP_WEIGHT}}
    return {**terms, "segmentation_loss": {"weight": SEGMENTATION_WEIGHT}} if segmentation else terms
