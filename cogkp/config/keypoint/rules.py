"""Rules between the fields of a keypoint configuration, one small function per rule.

A rule assumes that each field alone is right, and names in ``reads`` what else it looked at.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from cogkp.config.augment import Crop, Flip
from cogkp.config.issues import Finding, Steps, short_repr
from cogkp.config.keypoint.spec import KeypointConfig
from cogkp.config.keypoint.stereo_rules import STEREO_RULES
from cogkp.config.train import TrainOptions
from cogkp.errors import Problem

__all__ = ["check", "check_loading", "check_training", "findings"]

X: Steps = ("data_mappings", "x")
Y: Steps = ("data_mappings", "y")
MASK: Steps = ("data_mappings", "mask")

# Class ids are 8-bit and 255 marks what is not known.
MAX_CLASSES = 255
SMALLEST_TRAINED = 64
"""Side of a crop, pixels: at half of it the deepest map of the network is a single cell."""
MIN_CLASSES = 2
SMALLEST_BOX_PX = 1e-3


def check(config: KeypointConfig) -> list[Problem]:
    """List every rule that a configuration breaks, also one that was built in Python."""
    return [finding.problem() for finding in findings(config)]


def findings(config: KeypointConfig) -> list[Finding]:
    """List every rule that a configuration breaks, with paths."""
    return [finding for rule in RULES for finding in rule(config)]


def check_loading(config: KeypointConfig, options: TrainOptions) -> list[Problem]:
    """List what prevents the data of a valid configuration from being loaded in batches."""
    problems = []
    if not config.base_dir:
        hint = "Name a data set root."
        problems.append(Problem("no training data", "base_dir", expected="at least one root", got="[]", hint=hint))
    if config.stereo_pairing.enabled and options.batch_size % 2:
        expected = "an even number, since stereo_pairing.enabled puts pairs into a batch"
        problems.append(Problem("odd batch size", "batch_size", expected=expected, got=str(options.batch_size)))
    return problems


def check_training(config: KeypointConfig, options: TrainOptions) -> list[Problem]:
    """List what prevents a valid configuration from being trained."""
    problems = check_loading(config, options)
    if options.patience and not config.validation.base_dir:
        hint = "Name held-out data, or leave patience at 0."
        expected = "at least one root, since patience counts validations"
        problems.append(Problem("no validation data", "validation.base_dir", expected=expected, got="[]", hint=hint))
    most = _most_parts(config, options)
    if options.accumulate > most:
        expected = f"at most {most}, since each part needs an image, or a pair of them"
        problems.append(Problem("too many parts", "accumulate", expected=expected, got=str(options.accumulate)))
    for stage in config.augmentations:
        if isinstance(stage, Crop) and stage.output_size < SMALLEST_TRAINED:
            expected = f"at least {SMALLEST_TRAINED}, since one cell of one image has no statistics to normalise by"
            problems.append(Problem("crop too small to train", "output_size", expected, str(stage.output_size)))
    return problems


def _most_parts(config: KeypointConfig, options: TrainOptions) -> int:
    views = len(config.data_mappings.x) if config.stereo_pairing.enabled else 1
    return max(options.batch_size // max(views, 1), 1)


def images_are_mapped(config: KeypointConfig) -> Iterator[Finding]:
    """At least one image per line."""
    if not config.data_mappings.x:
        yield Finding(X, "no images", "at least one datakey", "[]")


def each_image_has_a_row(config: KeypointConfig) -> Iterator[Finding]:
    """As many rows of points as images."""
    images, rows = len(config.data_mappings.x), len(config.data_mappings.y)
    if rows != images or rows == 0:
        expected = f"one row per entry of data_mappings.x, so {max(images, 1)}"
        yield Finding(Y, "wrong number of rows", expected, str(rows), reads=(X,))


def rows_are_equally_long(config: KeypointConfig) -> Iterator[Finding]:
    """Each row declares at least one point, and as many as the first."""
    rows = config.data_mappings.y
    for i, row in enumerate(rows):
        if not row:
            yield Finding((*Y, i), "no points", "at least one datakey", "[]", reads=(Y,))
        elif rows[0] and len(row) != len(rows[0]):
            expected = f"as many points as data_mappings.y[0], so {len(rows[0])}"
            yield Finding((*Y, i), "wrong number of points", expected, str(len(row)), reads=(Y,))


def points_of_a_row_differ(config: KeypointConfig) -> Iterator[Finding]:
    """No point is declared twice for one image."""
    for i, row in enumerate(config.data_mappings.y):
        for key, count in Counter(row).items():
            if count > 1 and key:
                yield Finding((*Y, i), "datakey given twice", "each point once", short_repr(key))


def each_image_has_a_mask(config: KeypointConfig) -> Iterator[Finding]:
    """As many masks as images, where masks are mapped."""
    masks, images = config.data_mappings.mask, len(config.data_mappings.x)
    if masks is not None and len(masks) != images:
        expected = f"one datakey per entry of data_mappings.x, so {images}"
        yield Finding(MASK, "wrong number of masks", expected, str(len(masks)), reads=(X,))


def each_point_has_a_place(config: KeypointConfig) -> Iterator[Finding]:
    """As many places in space as points, where they are mapped."""
    places, points = config.data_mappings.xyz_world, _num_points(config)
    if places is not None and len(places) != points:
        expected = f"one datakey per point of data_mappings.y[0], so {points}"
        yield Finding(("data_mappings", "xyz_world"), "wrong number of places", expected, str(len(places)), reads=(Y,))


def names_are_not_empty(config: KeypointConfig) -> Iterator[Finding]:
    """No datakey and no path is an empty string."""
    for path, name in _names(config):
        if name is not None and not name.strip():
            yield Finding(path, "empty name", "at least one letter", short_repr(name))


def _names(config: KeypointConfig) -> Iterator[tuple[Steps, str | None]]:
    mappings = config.data_mappings
    lists: list[tuple[Steps, tuple[str, ...]]] = [
        (("base_dir",), config.base_dir),
        (("validation", "base_dir"), config.validation.base_dir),
        (X, mappings.x),
        *(((*Y, i), row) for i, row in enumerate(mappings.y)),
        (MASK, mappings.mask or ()),
        (("data_mappings", "xyz_world"), mappings.xyz_world or ()),
    ]
    yield from (((*path, i), name) for path, names in lists for i, name in enumerate(names))
    yield ("data_mappings", "valid"), mappings.valid
    yield ("calibration_file",), config.calibration_file


def one_crop(config: KeypointConfig) -> Iterator[Finding]:
    """Exactly one stage says what the network's input is."""
    path: Steps = ("augmentations",)
    count = sum(isinstance(stage, Crop) for stage in config.augmentations)
    if count != 1:
        # What kind each stage is matters here, not what it holds.
        reads = tuple((*path, i, "type") for i in range(len(config.augmentations)))
        yield Finding(path, "wrong number of crop stages", "exactly one", str(count), reads=reads)


def box_goes_with_its_region(config: KeypointConfig) -> Iterator[Finding]:
    """A crop has a box of positive size exactly when its region is 'box'."""
    for i, stage in enumerate(config.augmentations):
        if isinstance(stage, Crop):
            yield from _box_of(stage, ("augmentations", i))


def _box_of(crop: Crop, path: Steps) -> Iterator[Finding]:
    reads = ((*path, "region"),)
    where = (*path, "box")
    if crop.box is None:
        if crop.region == "box":
            yield Finding(where, "missing box", "[left, top, width, height] for region 'box'", "None", reads=reads)
    elif crop.region != "box":
        yield Finding(where, "unused box", f"null for region {crop.region!r}", short_repr(list(crop.box)), reads=reads)
    elif min(crop.box[2:]) < SMALLEST_BOX_PX:
        expected = f"width and height > 0, at least {SMALLEST_BOX_PX}"
        yield Finding(where, "empty box", expected, short_repr(list(crop.box)), reads=reads)


def flips_swap_known_points(config: KeypointConfig) -> Iterator[Finding]:
    """A swap names two points that exist, and no point is swapped twice."""
    for i, stage in enumerate(config.augmentations):
        if isinstance(stage, Flip):
            yield from _swaps_of(stage, ("augmentations", i, "swap"), _num_points(config))


def _swaps_of(flip: Flip, path: Steps, num_points: int) -> Iterator[Finding]:
    seen: set[int] = set()
    for i, pair in enumerate(flip.swap):
        if not all(0 <= index < num_points for index in pair):
            expected = f"indices from 0 to {num_points - 1}"
            yield Finding((*path, i), "no such point", expected, short_repr(list(pair)), reads=(Y,))
        if pair[0] == pair[1] or seen & set(pair):
            yield Finding((*path, i), "point swapped twice", "each index once", short_repr(list(pair)), reads=(path,))
        seen.update(pair)


def _num_points(config: KeypointConfig) -> int:
    return max((len(row) for row in config.data_mappings.y), default=0)


def something_is_trained(config: KeypointConfig) -> Iterator[Finding]:
    """At least one target is on, and at least one loss term weighs something."""
    targets, terms = config.targets, config.loss_terms
    if not (targets.keypoints or targets.segmentation):
        yield Finding(
            ("targets",),
            "nothing to train",
            "keypoints or segmentation to be true",
            "both false",
            reads=(("targets",),),
        )
        return
    triangulation = terms.triangulation_reprojection_loss.weight + terms.triangulation_rigidity_loss.weight
    supervised = terms.supervised_keypoint_loss.weight + terms.heatmap_regularization_loss.weight
    keypoints = targets.keypoints * (supervised + triangulation)
    if keypoints + targets.segmentation * terms.segmentation_loss.weight == 0:
        expected = "a weight > 0 for a target that is on"
        yield Finding(
            ("loss_terms",), "nothing to train", expected, "only weights of 0", reads=(("targets",), ("loss_terms",))
        )


def segmentation_is_complete(config: KeypointConfig) -> Iterator[Finding]:
    """Segmentation has masks and at least two classes."""
    if not config.targets.segmentation:
        return
    reads: tuple[Steps, ...] = (("targets",),)
    if config.data_mappings.mask is None:
        yield Finding(
            MASK, "missing masks", "one datakey per image when targets.segmentation is on", "None", reads=reads
        )
    count = config.num_segmentation_classes
    if count is None or not MIN_CLASSES <= count <= MAX_CLASSES:
        expected = f"{MIN_CLASSES} to {MAX_CLASSES} classes when targets.segmentation is on"
        yield Finding(
            ("num_segmentation_classes",), "wrong number of classes", expected, short_repr(count), reads=reads
        )


def weights_fit_the_roots(config: KeypointConfig) -> Iterator[Finding]:
    """Sampling weights are one per root and not all zero."""
    weights, roots = config.sampling.weights, len(config.base_dir)
    where: Steps = ("sampling", "weights")
    if weights is None:
        return
    if len(weights) != roots:
        expected = f"one per entry of base_dir, so {roots}"
        yield Finding(where, "wrong number of weights", expected, str(len(weights)), reads=(("base_dir",),))
    if weights and not any(weights):
        yield Finding(where, "all weights are zero", "at least one weight > 0", short_repr(list(weights)))


def validation_is_apart(config: KeypointConfig) -> Iterator[Finding]:
    """No root is both trained on and validated with."""
    trained = {_absolute(root) for root in config.base_dir}
    for i, root in enumerate(config.validation.base_dir):
        if root.strip() and _absolute(root) in trained:
            where = ("validation", "base_dir", i)
            yield Finding(
                where, "validation on training data", "a root not in base_dir", short_repr(root), reads=(("base_dir",),)
            )


def _absolute(root: str) -> str:
    return os.path.normpath(Path.cwd() / root)


Rule = Callable[[KeypointConfig], Iterable[Finding]]

RULES: tuple[Rule, ...] = (
    images_are_mapped,
    each_image_has_a_row,
    rows_are_equally_long,
    points_of_a_row_differ,
    each_image_has_a_mask,
    each_point_has_a_place,
    names_are_not_empty,
    one_crop,
    box_goes_with_its_region,
    flips_swap_known_points,
    something_is_trained,
    segmentation_is_complete,
    weights_fit_the_roots,
    validation_is_apart,
    *STEREO_RULES,
)
