"""Random experiment specs that obey every rule, and the page's own example."""

from __future__ import annotations

import typing
from typing import Any

import attrs
from hypothesis import strategies as st

from cogkp.config.centerpose.spec import CenterPoseConfig
from cogkp.config.fields import check_of, fields_of, optional_of

PAGE_EXAMPLE = """\
dataset:
  train_data: /path/to/category/train/
  val_data: /path/to/category/val/
  num_classes: 1
  batch_size: 64
  workers: 4
  category: bike
  num_symmetry: 1
  max_objs: 10

train:
  num_gpus: 1
  gpu_ids: [0]
  checkpoint_interval: 5
  validation_interval: 5
  num_epochs: 10
  clip_grad_val: 100.0
  seed: 1234
  resume_training_checkpoint_path: null
  precision: "fp32"
  optim:
    lr: 6e-05
    lr_steps: [90, 120]

model:
  down_ratio: 4
  use_pretrained: True
  backbone:
    model_type: fan_small
    pretrained_backbone_path: /path/to/your-fan-small-pretrained-model
"""

TEXTS = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), min_size=1, max_size=12)
NAMES = TEXTS.filter(lambda text: text != "???") | st.sampled_from(
    (
        "on",
        "6e-05",
        "010",
        "1:30",
        "~",
        "null",
        "${a.b}",
        "\\${a}",
        "\\\\${",
        "a: b",
        "- a",
        "#a",
        "'",
        '"',
        "a b",
        " a",
    )
)
GPUS = st.lists(st.integers(0, 63), unique=True, max_size=5).map(tuple)
BOTH = ("obj_scale", "reg_bbox", "reg_offset", "hm_hp", "reg_hp_offset")


@st.composite
def experiments(draw: st.DrawFn) -> CenterPoseConfig:
    """Draw a spec that obeys every rule of every verb."""
    config: CenterPoseConfig = _object(draw, CenterPoseConfig)
    side = 32 * draw(st.integers(2, 40))
    cells = (config.export.input_width // 4) * (config.export.input_height // 4)
    both = {name: draw(st.booleans()) for name in BOTH}
    flips = draw(st.permutations(range(1, 9)))
    pairs = tuple(zip(flips[:4], flips[4:], strict=True))[: draw(st.integers(0, 4))]
    epochs = draw(st.integers(1, 500))
    batches = sorted(draw(st.tuples(*[st.integers(1, 64)] * 3)))
    camera = draw(st.none() | st.tuples(*[st.floats(1e-3, 1e5)] * 4)) or [None] * 4
    names = ("principle_point_x", "principle_point_y", "focal_length_x", "focal_length_y")
    engine = attrs.evolve(
        config.gen_trt_engine.tensorrt,
        min_batch_size=batches[0],
        opt_batch_size=batches[1],
        max_batch_size=batches[2],
    )
    backbone = config.model.backbone
    if backbone.model_type != "DLA34" or config.model.use_pretrained:
        backbone = attrs.evolve(backbone, width=1.0)
    return attrs.evolve(
        config,
        encryption_key=None,
        model=attrs.evolve(config.model, backbone=backbone),
        wandb=attrs.evolve(config.wandb, enable=False),
        dataset=attrs.evolve(
            config.dataset, num_classes=1, input_res=side, output_res=side // 4, flip_idx=pairs, **both
        ),
        train=attrs.evolve(
            config.train,
            gpu_ids=draw(GPUS),
            num_epochs=epochs,
            checkpoint_interval=draw(st.integers(1, epochs)),
            validation_interval=draw(st.integers(1, epochs)),
            optim=attrs.evolve(
                config.train.optim, lr_steps=tuple(sorted(draw(st.sets(st.integers(1, 900), max_size=4))))
            ),
            loss_config=attrs.evolve(config.train.loss_config, **both),
        ),
        evaluate=attrs.evolve(config.evaluate, gpu_ids=draw(GPUS)),
        inference=attrs.evolve(
            config.inference,
            gpu_ids=draw(GPUS),
            num_select=draw(st.integers(1, (side // 4) ** 2)),
            **dict(zip(names, camera, strict=True)),
        ),
        export=attrs.evolve(config.export, num_select=draw(st.integers(1, cells))),
        gen_trt_engine=attrs.evolve(config.gen_trt_engine, tensorrt=engine),
    )


def _object(draw: st.DrawFn, cls: type[Any]) -> Any:
    return cls(**{field.name: _field(draw, field) for field in fields_of(cls)})


def _field(draw: st.DrawFn, field: attrs.Attribute[Any]) -> Any:
    check, tp = check_of(field), field.type
    if attrs.has(tp):
        return _object(draw, tp)
    limits = dict(check.schema) if check else {}
    if (inner := optional_of(tp)) is not None:
        return None if draw(st.booleans()) else _value(draw, inner, limits)
    return _value(draw, tp, limits)


def _value(draw: st.DrawFn, tp: Any, limits: dict[str, Any]) -> Any:
    if "const" in limits:
        return limits["const"]
    if "enum" in limits:
        return draw(st.sampled_from(limits["enum"]))
    if typing.get_origin(tp) is tuple:
        items = typing.get_args(tp)
        kinds = [items[0]] * draw(st.integers(0, 3)) if items[-1] is Ellipsis else items
        values = [_value(draw, kind, limits) for kind in kinds]
        is_interval = items[-1] is not Ellipsis and {"minimum", "maximum"} <= limits.keys()
        return tuple(sorted(values) if is_interval else values)
    if tp is bool:
        return draw(st.booleans())
    if tp is str:
        return draw(NAMES) + _ending(limits)
    return draw(_numbers(tp, limits))


def _ending(limits: dict[str, Any]) -> str:
    """End a text as its pattern asks."""
    endings = {"onnx": ".onnx", "pth": ".tlt", "fp32": ":fp16"}
    return next((end for word, end in endings.items() if word in limits.get("pattern", "")), "")


def _numbers(tp: Any, limits: dict[str, Any]) -> st.SearchStrategy[Any]:
    if "anyOf" in limits:
        return st.just(-1) | st.integers(1, 4096)
    if tp is int:
        step = limits.get("multipleOf", 1)
        low, high = limits.get("minimum", -(2**63)), limits.get("maximum", 2**63 - 1)
        return st.integers(-(-low // step), high // step).map(lambda v: v * step)
    if "exclusiveMinimum" in limits:
        return st.floats(limits["exclusiveMinimum"], 1e9, exclude_min=True)
    return st.floats(limits.get("minimum", -1e9), limits.get("maximum", 1e9))
