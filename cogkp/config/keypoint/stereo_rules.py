"""Rules of a keypoint configuration about stereo pairs and the triangulation losses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from cogkp.config.augment import Flip
from cogkp.config.issues import Finding, Steps, short_repr
from cogkp.config.keypoint.spec import KeypointConfig

__all__ = ["STEREO_RULES"]

LEFT_AND_RIGHT = ("LL", "LR")
"""Names that say of themselves which camera is which."""
NUM_VIEWS = len(LEFT_AND_RIGHT)

X: Steps = ("data_mappings", "x")
SEGMENTS: Steps = ("loss_terms", "triangulation_rigidity_loss", "segments")


def triangulation_weights(config: KeypointConfig) -> dict[Steps, float]:
    """Return the weight of each active triangulation term under its path."""
    terms = config.loss_terms
    weights: dict[Steps, float] = {
        ("loss_terms", "triangulation_reprojection_loss", "weight"): terms.triangulation_reprojection_loss.weight,
        ("loss_terms", "triangulation_rigidity_loss", "weight"): terms.triangulation_rigidity_loss.weight,
    }
    return {path: weight for path, weight in weights.items() if weight > 0}


def pairs_have_two_views(config: KeypointConfig) -> Iterator[Finding]:
    """Stereo pairing has exactly two images per line."""
    count = len(config.data_mappings.x)
    if (config.stereo_pairing.enabled or triangulation_weights(config)) and count != NUM_VIEWS:
        reads: tuple[Steps, ...] = (("stereo_pairing",), *triangulation_weights(config))
        yield Finding(X, "wrong number of images", "exactly two for stereo pairs", str(count), reads=reads)


def triangulation_has_what_it_needs(config: KeypointConfig) -> Iterator[Finding]:
    """An active triangulation term has pairs, a calibration and points."""
    active = tuple(triangulation_weights(config))
    if not active:
        return
    why = "for the triangulation losses"
    if not config.stereo_pairing.enabled:
        yield Finding(("stereo_pairing", "enabled"), "missing stereo pairs", f"true {why}", "False", reads=active)
    if config.calibration_file is None:
        yield Finding(("calibration_file",), "missing calibration", f"a file {why}", "None", reads=active)
    if not config.targets.keypoints:
        yield Finding(("targets", "keypoints"), "missing points", f"true {why}", "False", reads=active)


def views_keep_their_cameras(config: KeypointConfig) -> Iterator[Finding]:
    """Where a triangulation term is active, points and masks lie with their own camera, and LL stands before LR.

    Cameras of other names stand in any order: the configuration says which is which.
    """
    active = tuple(triangulation_weights(config))
    images = [set(key.split(".")) for key in config.data_mappings.x]
    if not active or len(images) != NUM_VIEWS:
        return
    named = config.stereo_pairing.cameras is None and any(set(LEFT_AND_RIGHT) & parts for parts in images)
    own = [{name} for name in LEFT_AND_RIGHT] if named else [images[0] - images[1], images[1] - images[0]]
    for view, key, path in _keys_of_views(config):
        parts = set(key.split("."))
        # Points and masks may live anywhere in a line, but not under the other camera.
        if own[1 - view] & parts or (named and path[:2] == X and not own[view] & parts):
            camera = " or ".join(map(repr, sorted(own[view])))
            yield Finding(path, "wrong camera", f"a datakey of camera {camera}", short_repr(key), reads=active)


def _keys_of_views(config: KeypointConfig) -> Iterator[tuple[int, str, Steps]]:
    mappings = config.data_mappings
    yield from ((view, key, (*X, view)) for view, key in enumerate(mappings.x))
    for view, row in enumerate(mappings.y[:NUM_VIEWS]):
        yield from ((view, key, ("data_mappings", "y", view, i)) for i, key in enumerate(row))
    for view, key in enumerate((mappings.mask or ())[:NUM_VIEWS]):
        yield view, key, ("data_mappings", "mask", view)


def pairs_keep_their_names(config: KeypointConfig) -> Iterator[Finding]:
    """Each view is mirrored by itself, so a mirror that renames points would pair different ones."""
    for i, stage in enumerate(config.augmentations):
        if config.stereo_pairing.enabled and isinstance(stage, Flip) and stage.swap:
            expected = "[] with stereo pairs, whose views are mirrored one by one"
            reads: tuple[Steps, ...] = (("stereo_pairing",), ("augmentations", i, "type"))
            yield Finding(
                ("augmentations", i, "swap"), "pairs would mix points", expected, short_repr(stage.swap), reads=reads
            )


def segments_have_length(config: KeypointConfig) -> Iterator[Finding]:
    """A segment joins two different points at a positive distance."""
    for i, (start, end, length) in enumerate(config.loss_terms.triangulation_rigidity_loss.segments):
        if start == end or min(start, end) < 0 or length <= 0:
            expected = "[point, another point, length > 0]"
            yield Finding((*SEGMENTS, i), "not a segment", expected, short_repr([start, end, length]))


def segments_join_known_points(config: KeypointConfig) -> Iterator[Finding]:
    """The active rigidity term has segments, and all their points exist."""
    term = config.loss_terms.triangulation_rigidity_loss
    if not term.weight > 0:
        return
    reads: tuple[Steps, ...] = (("data_mappings", "y"), (*SEGMENTS[:-1], "weight"))
    if not term.segments:
        yield Finding(SEGMENTS, "nothing to compare", "at least one segment", "[]", reads=reads)
    count = max((len(row) for row in config.data_mappings.y), default=0)
    for i, (start, end, _) in enumerate(term.segments):
        if max(start, end) >= count:
            expected = f"point indices from 0 to {count - 1}"
            yield Finding((*SEGMENTS, i), "no such point", expected, short_repr([start, end]), reads=reads)


STEREO_RULES: tuple[Callable[[KeypointConfig], Iterable[Finding]], ...] = (
    pairs_have_two_views,
    triangulation_has_what_it_needs,
    views_keep_their_cameras,
    pairs_keep_their_names,
    segments_have_length,
    segments_join_known_points,
)
