"""Values that a verb requires; all that are missing are reported at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from cogkp.config.centerpose.spec import CenterPoseConfig, Verb
from cogkp.config.interpolation import BLANK
from cogkp.config.issues import Finding, Steps, dotted

__all__ = ["missing"]

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


def missing(config: CenterPoseConfig, verb: Verb, blanks: Iterable[Steps]) -> list[Finding]:
    """List what a verb needs and the spec does not give.

    Args:
        config: with defaults in the place of what is blank.
        verb: what is to be done.
        blanks: paths of values that the spec leaves open with ``???``.
    """
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
