"""Random configurations that obey every rule, and random damage to documents."""

from __future__ import annotations

import copy
import random
import typing
from typing import Any

import attrs
from hypothesis import strategies as st

from cogkp.config.augment import STAGES, Crop, Flip, Stage
from cogkp.config.fields import check_of, fields_of, optional_of
from cogkp.config.keypoint.spec import (
    DataMappings,
    KeypointConfig,
    LossTerm,
    LossTerms,
    Network,
    RigidityTerm,
    Sampling,
    StereoPairing,
    Targets,
    Uncertainty,
    Validation,
)

NAMES = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=12).filter(str.strip)
WEIGHTS = st.floats(0.0, 1e6)


def _numbers(tp: Any, limits: dict[str, Any]) -> st.SearchStrategy[Any]:
    if tp is int:
        step = limits.get("multipleOf", 1)
        return st.integers(limits.get("minimum", 0) // step, limits.get("maximum", 4096) // step).map(
            lambda v: v * step
        )
    if "exclusiveMinimum" in limits:
        return st.floats(limits["exclusiveMinimum"], 1e6, exclude_min=True)
    return st.floats(limits.get("minimum", -1e6), limits.get("maximum", 1e6))


def _values(field: attrs.Attribute[Any]) -> st.SearchStrategy[Any]:
    """Draw any value that a stage's field accepts by itself."""
    check, inner = check_of(field), optional_of(field.type)
    limits = dict(check.schema) if check else {}
    if inner is not None:
        return st.none()
    if "enum" in limits:
        return st.sampled_from(limits["enum"])
    if typing.get_origin(field.type) is tuple:
        low, high = limits["minimum"], limits["maximum"]
        return st.tuples(st.floats(low, high), st.floats(low, high)).map(lambda pair: tuple(sorted(pair)))
    return _numbers(field.type, limits)


@st.composite
def _stage(draw: st.DrawFn, cls: type[Stage], num_points: int) -> Stage:
    fields = {field.name: draw(_values(field)) for field in fields_of(cls) if field.name != "swap"}
    if cls is Crop and fields["region"] == "box":
        fields["box"] = draw(st.tuples(*[st.floats(-1e4, 1e4)] * 2, *[st.floats(0.5, 1e4)] * 2))
    if cls is Flip:
        order = draw(st.permutations(range(num_points)))
        fields["swap"] = tuple(zip(order[: num_points // 2], order[num_points // 2 :], strict=False))
    return cls(**fields)


@st.composite
def stages(draw: st.DrawFn, num_points: int, *, stereo: bool) -> tuple[Stage, ...]:
    """Draw a list of stages with one crop, and without a mirror that renames points for stereo pairs."""
    others = st.sampled_from([cls for cls in STAGES.values() if cls is not Crop and not (stereo and cls is Flip)])
    listed = [draw(_stage(cls, num_points)) for cls in draw(st.lists(others, max_size=4))]
    listed.insert(draw(st.integers(0, len(listed))), draw(_stage(Crop, num_points)))
    return tuple(listed)


@st.composite
def configs(draw: st.DrawFn) -> KeypointConfig:
    """Draw a configuration that obeys every rule."""
    views, points = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    row = st.lists(NAMES, min_size=points, max_size=points, unique=True).map(tuple)
    roots = draw(st.lists(NAMES.map(lambda name: f"train/{name.replace('/', '_')}"), max_size=3))
    segmentation = draw(st.booleans())
    stereo = views == 2 and draw(st.booleans())
    masks = st.tuples(*[NAMES] * views)
    segments = st.tuples(st.just(0), st.integers(1, 9), st.floats(0.01, 1e3))
    mappings = DataMappings(
        x=draw(st.tuples(*[NAMES] * views)),
        y=draw(st.tuples(*[row] * views)),
        mask=draw(masks if segmentation else st.none() | masks),
        valid=draw(st.none() | NAMES),
        xyz_world=draw(st.none() | st.tuples(*[NAMES] * points)),
    )
    weights = st.lists(st.floats(0.0, 1e3), min_size=len(roots), max_size=len(roots)).map(tuple)
    return KeypointConfig(
        prefix=draw(NAMES.filter(lambda name: "/" not in name and "\\" not in name)),
        base_dir=tuple(roots),
        data_mappings=mappings,
        targets=Targets(keypoints=True, segmentation=segmentation),
        augmentations=draw(stages(points, stereo=stereo)),
        sampling=Sampling(
            enabled=draw(st.booleans()),
            weights=draw(st.none() | weights.filter(lambda drawn: not drawn or any(drawn))),
            samples_per_epoch=draw(st.none() | st.integers(1, 10**8)),
        ),
        num_segmentation_classes=draw(
            st.integers(2, 255) if segmentation else st.none() | st.integers(-(2**63), 2**63 - 1)
        ),
        segmentation_loss_weight=draw(WEIGHTS),
        calibration_file=draw(st.none() | NAMES),
        stereo_pairing=StereoPairing(enabled=stereo, use_unlabelled=draw(st.booleans())),
        loss_terms=LossTerms(
            supervised_keypoint_loss=LossTerm(weight=draw(st.floats(0.001, 1e6))),
            segmentation_loss=LossTerm(weight=draw(WEIGHTS)),
            triangulation_rigidity_loss=RigidityTerm(segments=draw(st.lists(segments, max_size=3).map(tuple))),
        ),
        validation=Validation(base_dir=tuple(draw(st.lists(NAMES.map(lambda name: f"held/{name}"), max_size=2)))),
        uncertainty=Uncertainty(noise_px=draw(st.floats(0.001, 1e3))),
        model=Network(preset=draw(st.sampled_from(["small", "large", "resnet18"]))),
    )


NUMBERS = (0, 1, -1, 3, 10**30, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf"))
TEXTS = ("", " ", "B.image", "crop", "\0", "\ud800", "é", "x" * 500)
LISTS = ([], [[]], [None], [0, 1], ["a", "a"], [[0, 1], [1, 0]])
STAGES_AND_TERMS = ({"type": "flip"}, {"type": []}, {"type": "crop", "region": "box"}, {"weight": 1}, {"weight": "1"})
OBJECTS = ({}, {"enabled": True}, {"": {}}, {"a\nb": 1}, *STAGES_AND_TERMS)
JUNK: tuple[Any, ...] = (None, True, False, *NUMBERS, *TEXTS, *LISTS, *OBJECTS)

UNSPEAKABLE: tuple[Any, ...] = (-(10**5000),)  # Python refuses to spell it out


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    steps = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [path, *(place for step in steps for place in _places(value[step], (*path, step)))]


def damaged(
    document: dict[str, Any], random_: random.Random, times: int, junk: tuple[Any, ...] = JUNK
) -> dict[str, Any]:
    """Copy a document and change it at a few random places: values, keys, lengths, order."""
    result = copy.deepcopy(document)
    for _ in range(times):
        *outer, last = random_.choice([place for place in _places(result) if place])
        parent: Any = result
        for step in outer:
            parent = parent[step]
        _damage(parent, last, random_, copy.deepcopy(random_.choice(junk)))
    return result


def _damage(parent: Any, step: Any, random_: random.Random, junk: Any) -> None:
    kind = random_.randrange(5)
    if kind == 0:
        del parent[step]
    elif kind == 1 and isinstance(parent, dict):
        parent[step[:-1] + random_.choice("aes")] = parent.pop(step)
    elif kind == 1:
        parent.insert(step, copy.deepcopy(parent[step]))
    elif kind == 2:
        parent[step] = [parent[step]]
    else:
        parent[step] = junk
