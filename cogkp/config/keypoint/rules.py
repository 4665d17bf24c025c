"""Rules between the fields of a keypoint configuration, one small function per rule.

A rule assumes that each field alone is right, and names in ``reads`` what else it looked at.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from cogkp.config.augment import Crop, Flip
from cogkp.config.issues import Finding, Steps, short_repr
from cogkp.config.keypoint.spec import KeypointConfig
from cogkp.config.train import TrainOptions
from cogkp.errors import Problem

LEFT_AND_RIGHT = ("LL", "LR")
"""Names that say of themselves which camera is which."""
NUM_VIEWS = len(LEFT_AND_RIGHT)

SEGMENTS: Steps = ("loss_terms", "triangulation_rigidity_loss", "segments")

X: Steps = ("data_mappings", "x")
Y: Steps = ("data_mappings", "y")
MASK: Steps = ("data_mappings", "mask")
# Class ids are 8-bit and 255 marks what is not known.
MAX_CLASSES = 255

SMALLEST_TRAINED = 64
"""Side of a crop, pixels: at half of it the deepest map of the network is a single cell."""

MIN_CLASSES = 2
SMALLEST_BOX_PX = 1e-3
Rule = Callable[[KeypointConfig], Iterable[Finding]]


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


def pairs_have_two_cameras(config: KeypointConfig) -> Iterator[Finding]:
    """A camera makes no pair with itself."""
    cameras = config.stereo_pairing.cameras
    if cameras is not None and cameras[0] == cameras[1]:
        yield Finding(("stereo_pairing", "cameras"), "one camera twice", "two cameras", short_repr(list(cameras)))


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
    pairs_have_two_cameras,
    pairs_keep_their_names,
    segments_have_length,
    segments_join_known_points,
)


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
