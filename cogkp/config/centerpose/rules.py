"""Rules between the fields of an experiment, and the values that a verb requires.

A rule assumes that each field alone is right, and names in ``reads`` what else it looked at.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from cogkp.config.centerpose.spec import CORNERS, CenterPoseConfig, EngineSpec, Verb
from cogkp.config.interpolation import BLANK
from cogkp.config.issues import Finding, Steps, dotted, short_repr
from cogkp.errors import Problem

LABELLED = "a folder of labelled images"
MODEL = "a checkpoint, or an engine or ONNX file in {}.trt_engine"

NEEDS: dict[Verb, dict[Steps, str]] = {
    "train": {("dataset", "train_data"): LABELLED, ("dataset", "val_data"): LABELLED},
    "evaluate": {("dataset", "test_data"): LABELLED},
    "inference": {("dataset", "inference_data"): "a folder of images"},
    "export": {("export", "checkpoint"): "a checkpoint"},
    "gen_trt_engine": {
        ("gen_trt_engine", "onnx_file"): "an ONNX file",
        ("gen_trt_engine", "trt_engine"): "the name of an engine file",
    },
}

CALIBRATION: Steps = ("gen_trt_engine", "tensorrt", "calibration")
INT8_NEEDS: dict[Steps, str] = {
    (*CALIBRATION, "cal_image_dir"): "folders of images, for data_type INT8",
    (*CALIBRATION, "cal_cache_file"): "the name of a file, for data_type INT8",
}

COMMON: Steps = ("results_dir",)
WITHOUT_EFFECT = {"model_name", "encryption_key", "wandb"}

DATA: dict[Verb, tuple[str, ...]] = {
    "train": ("train_data", "val_data"),
    "evaluate": ("test_data",),
    "inference": ("inference_data",),
}
DATA_KEYS = {name for names in DATA.values() for name in names}

RUNS: tuple[Verb, ...] = ("train", "evaluate", "inference")
IN_BOTH = ("obj_scale", "reg_bbox", "reg_offset", "hm_hp", "reg_hp_offset")
CAMERA = ("principle_point_x", "principle_point_y", "focal_length_x", "focal_length_y")
INTRINSICS_HINT = (
    "Write the four numbers of the camera that took the images, from its calibration; "
    "or null for all four where each image brings its own."
)

Rule = Callable[[CenterPoseConfig], Iterator[Finding]]


def missing(config: CenterPoseConfig, verb: Verb, blanks: Iterable[Steps]) -> list[Finding]:
    """List what a verb needs and the spec does not give; ``blanks`` are the paths that it leaves open with ``???``."""
    needed = dict(_needed(config, verb))
    empty = [path for path in needed if not _at(config, path)]
    unread = tuple(_unread(config, verb))
    open_ = [path for path in blanks if _is_read(path, verb) and path not in empty and not _leads_into(path, unread)]
    if getattr(config, verb).results_dir:
        open_ = [path for path in open_ if path != COMMON]
    return [_finding(path, needed.get(path, f"a value in place of {BLANK}")) for path in (*empty, *open_)]


def _needed(config: CenterPoseConfig, verb: Verb) -> Iterator[tuple[Steps, str]]:
    yield from NEEDS[verb].items()
    if verb in ("evaluate", "inference") and not getattr(config, verb).trt_engine:
        yield (verb, "checkpoint"), MODEL.format(verb)
    engine = config.gen_trt_engine.tensorrt
    if verb == "gen_trt_engine" and engine.data_type == "INT8":
        yield from INT8_NEEDS.items()
    if not getattr(config, verb).results_dir:
        yield COMMON, f"a folder, here or as {verb}.results_dir"


def _unread(config: CenterPoseConfig, verb: Verb) -> Iterator[Steps]:
    """List what a verb's own section holds to no purpose: the second of two models, and what only INT8 needs."""
    if verb in ("evaluate", "inference"):
        section = getattr(config, verb)
        if section.model_file:
            yield verb, "trt_engine" if section.checkpoint else "checkpoint"
    if verb == "gen_trt_engine" and config.gen_trt_engine.tensorrt.data_type != "INT8":
        yield CALIBRATION


def _leads_into(path: Steps, sections: Iterable[Steps]) -> bool:
    return any(path[: len(section)] == section for section in sections)


def _is_read(path: Steps, verb: Verb) -> bool:
    """Tell whether a verb looks at a value: all but other verbs' sections and data."""
    if path[0] in WITHOUT_EFFECT:
        return False
    if path[0] == "dataset" and len(path) > 1 and path[1] in DATA_KEYS:
        return path[1] in DATA.get(verb, ())
    return path[0] not in NEEDS or path[0] == verb


def _finding(path: Steps, expected: str) -> Finding:
    hint = f"Write it into the file, or add {dotted(path)}=... to the command."
    return Finding(path, "missing value", expected, hint=hint)


def _at(config: CenterPoseConfig, path: Steps) -> Any:
    value: Any = config
    for step in path:
        value = getattr(value, str(step))
    return value


def check(config: CenterPoseConfig, verb: Verb | None = None) -> list[Problem]:
    """List every rule that a spec, also one built in Python, breaks for a verb; None checks what any verb would."""
    return [finding.problem() for finding in findings(config, verb)]


def findings(config: CenterPoseConfig, verb: Verb | None) -> list[Finding]:
    """List every rule that a spec breaks, with paths."""
    rules = (rule for rule, verbs in RULES.items() if not verbs or verb is None or verb in verbs)
    return [finding for rule in rules for finding in rule(config)]


def remarks(config: CenterPoseConfig) -> list[str]:
    """List settings that have no effect, although they are no mistake."""
    found = []
    if config.wandb.enable:
        found.append("wandb.enable is true, but nothing is sent to Weights & Biases; TensorBoard has the curves")
    if config.encryption_key is not None:
        found.append("encryption_key is set, but models are never encrypted; protect their files by other means")
    if config.gen_trt_engine.opset_version is not None:
        found.append("gen_trt_engine.opset_version is set, but has no effect: the ONNX file has its own")
    return found


def engine_size_problems(section: EngineSpec, size_wh: tuple[int | str, int | str]) -> list[Problem]:
    """List where the size that a ``gen_trt_engine`` section states is not its ONNX file's; a word stands for any."""
    stated = {"input_width": section.input_width, "input_height": section.input_height}
    hint = "Leave it out, or export again with export.input_width and export.input_height of this size."
    return [
        Problem("the ONNX file has another input", f"gen_trt_engine.{name}", str(found), str(value), hint)
        for (name, value), found in zip(stated.items(), size_wh, strict=True)
        if value is not None and isinstance(found, int) and value != found
    ]


def one_category(config: CenterPoseConfig) -> Iterator[Finding]:
    """One network knows one category."""
    count = config.dataset.num_classes
    if count != 1:
        hint = "Make one spec per category, with its own folders of images."
        yield Finding(("dataset", "num_classes"), "wrong number of classes", "1", str(count), hint)


def grid_fits_the_input(config: CenterPoseConfig) -> Iterator[Finding]:
    """The grid has one cell for each down_ratio pixels."""
    side, found = config.dataset.input_res // config.model.down_ratio, config.dataset.output_res
    if found != side:
        reads: tuple[Steps, ...] = (("dataset", "input_res"), ("model", "down_ratio"))
        expected = f"input_res / down_ratio, so {side}"
        yield Finding(("dataset", "output_res"), "wrong size of the grid", expected, str(found), reads=reads)


def cells_hold_the_objects(config: CenterPoseConfig) -> Iterator[Finding]:
    """Objects are chosen from the cells of the grid, so that there are no more of them."""
    reads: tuple[Steps, ...] = (("dataset", "input_res"), ("model", "down_ratio"))
    cells = (config.dataset.input_res // config.model.down_ratio) ** 2
    yield from _too_many("inference", cells, config.inference.num_select, reads)


def cells_hold_the_exported_objects(config: CenterPoseConfig) -> Iterator[Finding]:
    """The same for the size of the exported network."""
    export, stride = config.export, config.model.down_ratio
    reads: tuple[Steps, ...] = (("export", "input_width"), ("export", "input_height"), ("model", "down_ratio"))
    cells = (export.input_width // stride) * (export.input_height // stride)
    yield from _too_many("export", cells, export.num_select, reads)


def _too_many(section: str, cells: int, count: int, reads: tuple[Steps, ...]) -> Iterator[Finding]:
    if count > cells:
        expected = f"at most one per cell of the grid, so {cells}"
        yield Finding((section, "num_select"), "more objects than cells", expected, str(count), reads=reads)


def only_dla_is_narrow(config: CenterPoseConfig) -> Iterator[Finding]:
    """Other backbones come in sizes of their own, and published weights in one."""
    backbone = config.model.backbone
    narrow, where = backbone.width != 1, ("model", "backbone", "width")
    if narrow and backbone.model_type != "DLA34":
        reads: tuple[Steps, ...] = (("model", "backbone", "model_type"),)
        yield Finding(where, "this backbone has one width", "1.0, or DLA34", f"{backbone.width:g}", reads=reads)
    elif narrow and config.model.use_pretrained:
        reads = (("model", "use_pretrained"),)
        yield Finding(
            where, "published weights do not fit", "1.0 with use_pretrained", f"{backbone.width:g}", reads=reads
        )


def mirror_swaps_corners(config: CenterPoseConfig) -> Iterator[Finding]:
    """Pairs name corners, and none twice."""
    seen: set[int] = set()
    for i, pair in enumerate(config.dataset.flip_idx):
        where: Steps = ("dataset", "flip_idx", i)
        if not all(1 <= corner <= CORNERS for corner in pair):
            yield Finding(where, "no such corner", f"numbers from 1 to {CORNERS}", short_repr(list(pair)))
        if pair[0] == pair[1] or seen & set(pair):
            yield Finding(where, "corner swapped twice", "each corner once", short_repr(list(pair)))
        seen.update(pair)


def loss_has_its_targets(config: CenterPoseConfig) -> Iterator[Finding]:
    """What is learned is also made from labels, and the other way round."""
    for name in IN_BOTH:
        made, learned = getattr(config.dataset, name), getattr(config.train.loss_config, name)
        if made != learned:
            words = str(made).lower()
            yield Finding(
                ("train", "loss_config", name),
                "loss and data disagree",
                f"the same as dataset.{name}, so {words}",
                str(learned).lower(),
                reads=(("dataset", name),),
            )


def intervals_end_in_time(config: CenterPoseConfig) -> Iterator[Finding]:
    """A checkpoint and a validation come before the end."""
    train = config.train
    names = ["validation_interval"] + ["checkpoint_interval"] * (train.checkpoint_interval_unit == "epoch")
    for name in names:
        found = getattr(train, name)
        if found > train.num_epochs:
            reads: tuple[Steps, ...] = (("train", "num_epochs"), ("train", "checkpoint_interval_unit"))
            expected = f"at most train.num_epochs, so {train.num_epochs}"
            yield Finding(("train", name), "longer than the training", expected, str(found), reads=reads)


def steps_rise(config: CenterPoseConfig) -> Iterator[Finding]:
    """The rate falls once at a time."""
    steps = config.train.optim.lr_steps
    if list(steps) != sorted(set(steps)):
        where: Steps = ("train", "optim", "lr_steps")
        yield Finding(where, "epochs out of order", "each later than the one before", short_repr(list(steps)))


def gpus_differ(config: CenterPoseConfig, verb: Verb) -> Iterator[Finding]:
    """No GPU is named twice."""
    ids = getattr(config, verb).gpu_ids
    if len(set(ids)) != len(ids):
        yield Finding((verb, "gpu_ids"), "GPU named twice", "each index once", short_repr(list(ids)))


def camera_is_known(config: CenterPoseConfig) -> Iterator[Finding]:
    """A camera has all four numbers, above zero, or none."""
    given = {name: getattr(config.inference, name) for name in CAMERA}
    if all(value is None for value in given.values()):
        return
    for name, value in given.items():
        if value is None or value <= 0:
            reads = tuple(("inference", other) for other in CAMERA)
            yield Finding(
                ("inference", name), "unusable camera", "a number > 0", short_repr(value), INTRINSICS_HINT, reads=reads
            )


def batches_are_in_order(config: CenterPoseConfig) -> Iterator[Finding]:
    """The fewest images are no more than the usual, and these no more than the most."""
    engine = config.gen_trt_engine.tensorrt
    sizes = (engine.min_batch_size, engine.opt_batch_size, engine.max_batch_size)
    if list(sizes) != sorted(sizes):
        where: Steps = ("gen_trt_engine", "tensorrt")
        names = ("min_batch_size", "opt_batch_size", "max_batch_size")
        expected = " <= ".join(names)
        reads = tuple((*where, name) for name in names)
        got = ", ".join(map(str, sizes))
        yield Finding((*where, "opt_batch_size"), "batch sizes out of order", expected, got, reads=reads)


def _gpus_of(verb: Verb) -> Rule:
    return lambda config: gpus_differ(config, verb)


# Each rule with the verbs it matters to; none means all.
RULES: dict[Rule, tuple[Verb, ...]] = {
    one_category: (),
    grid_fits_the_input: (),
    only_dla_is_narrow: (),
    cells_hold_the_objects: RUNS,
    cells_hold_the_exported_objects: ("export",),
    mirror_swaps_corners: (),
    loss_has_its_targets: ("train",),
    intervals_end_in_time: ("train",),
    steps_rise: ("train",),
    **{_gpus_of(verb): (verb,) for verb in RUNS},
    camera_is_known: ("inference",),
    batches_are_in_order: ("gen_trt_engine",),
}
