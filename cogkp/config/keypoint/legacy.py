"""Migrate older and shorter spellings of a document to the present one."""

import sys
from collections.abc import Mapping
from typing import Any

from cogkp.config.keypoint.spec import LossTerms

OLD_WEIGHT = "segmentation_loss_weight"
DEFAULT_WEIGHT = LossTerms().segmentation_loss.weight


def migrate(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document in its present spelling; the argument stays as it was."""
    return _segmentation_weight(_bare_roots(raw))


def overruled(raw: Mapping[str, Any]) -> str:
    """Say which of two segmentation weights is used where a document gives both and they differ, else nothing."""
    old = raw.get(OLD_WEIGHT)
    if "loss_terms" not in raw or not _is_weight(old):
        return ""
    used = _weight_in(raw["loss_terms"])
    # The template carries the old key at its default: only a value somebody chose can be overruled.
    if not _is_weight(used) or old in (used, DEFAULT_WEIGHT):
        return ""
    return f"{OLD_WEIGHT} is {old!r} but loss_terms.segmentation_loss.weight is {used!r}: loss_terms is used"


def _bare_roots(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Put a list round a single data set root."""
    document = dict(raw)
    if isinstance(document.get("base_dir"), str):
        document["base_dir"] = [document["base_dir"]]
    if isinstance(document.get("validation"), Mapping):
        validation = document["validation"]
        if isinstance(validation.get("base_dir"), str):
            document["validation"] = {**validation, "base_dir": [validation["base_dir"]]}
    return document


def _segmentation_weight(document: dict[str, Any]) -> dict[str, Any]:
    """Map the old key where ``loss_terms`` is absent; a value that is no weight is reported where it stands."""
    if "loss_terms" in document or not _is_weight(document.get(OLD_WEIGHT)):
        return document
    return {**document, "loss_terms": {"segmentation_loss": {"weight": document[OLD_WEIGHT]}}}


def _weight_in(loss_terms: Any) -> Any:
    """Return the weight that ``loss_terms`` gives, its default where it says nothing."""
    term = loss_terms.get("segmentation_loss", {}) if isinstance(loss_terms, Mapping) else None
    return term.get("weight", DEFAULT_WEIGHT) if isinstance(term, Mapping) else None


def _is_weight(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= sys.float_info.max
