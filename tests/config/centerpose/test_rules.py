"""Each rule refuses what breaks it, with its place, for the verbs it matters to."""

import attrs
import pytest

from cogkp.config.centerpose.io import dump_experiment, structure_experiment
from cogkp.config.centerpose.rules import check
from cogkp.config.centerpose.spec import VERBS, CenterPoseConfig, reconciled
from cogkp.errors import ConfigError

CAMERA = {"principle_point_x": 300.7, "principle_point_y": 392.8, "focal_length_x": 615, "focal_length_y": 615.0}
ALL = ("train", "evaluate", "inference", "export", "gen_trt_engine")


def told(document, verb=None):
    try:
        structure_experiment(document, verb=verb)
    except ConfigError as error:
        return [str(problem) for problem in error.problems if problem.what != "missing value"]
    return []


BROKEN = [
    ({"dataset": {"num_classes": 2}}, "dataset.num_classes", "expected 1, got 2. Make one spec per category", ALL),
    ({"dataset": {"output_res": 64}}, "dataset.output_res", "so 128, got 64", ALL),
    ({"dataset": {"input_res": 256}}, "dataset.output_res", "so 64, got 128", ALL),
    (
        {"dataset": {"input_res": 64, "output_res": 16}, "inference": {"num_select": 257}},
        "inference.num_select", "so 256, got 257", ("train", "evaluate", "inference"),
    ),
    (
        {"export": {"input_width": 32, "input_height": 64, "num_select": 129}},
        "export.num_select", "so 128, got 129", ("export",),
    ),
    (
        {"model": {"backbone": {"model_type": "fan_small", "width": 0.5}}},
        "model.backbone.width", "expected 1.0, or DLA34, got 0.5", ALL,
    ),
    (
        {"model": {"use_pretrained": True, "backbone": {"width": 0.5}}},
        "model.backbone.width", "1.0 with use_pretrained, got 0.5", ALL,
    ),
    ({"dataset": {"flip_idx": [[0, 1]]}}, "dataset.flip_idx[0]", "numbers from 1 to 8, got [0, 1]", ALL),
    ({"dataset": {"flip_idx": [[1, 5], [5, 2]]}}, "dataset.flip_idx[1]", "each corner once, got [5, 2]", ALL),
    ({"dataset": {"hm_hp": False}}, "train.loss_config.hm_hp", "dataset.hm_hp, so false, got true", ("train",)),
    ({"train": {"num_epochs": 4, "validation_interval": 5}}, "train.validation_interval", "so 4, got 5", ("train",)),
    ({"train": {"checkpoint_interval": 11}}, "train.checkpoint_interval", "so 10, got 11", ("train",)),
    ({"train": {"optim": {"lr_steps": [120, 90]}}}, "train.optim.lr_steps", "got [120, 90]", ("train",)),
    ({"train": {"gpu_ids": [1, 1]}}, "train.gpu_ids", "each index once", ("train",)),
    ({"evaluate": {"gpu_ids": [0, 0]}}, "evaluate.gpu_ids", "each index once", ("evaluate",)),
    ({"inference": {"gpu_ids": [2, 2]}}, "inference.gpu_ids", "each index once", ("inference",)),
    ({"inference": {**CAMERA, "focal_length_y": 0}}, "inference.focal_length_y", "got 0.0. Write", ("inference",)),
    ({"inference": {**CAMERA, "principle_point_x": None}}, "inference.principle_point_x", "got None", ("inference",)),
    (
        {"gen_trt_engine": {"tensorrt": {"min_batch_size": 5}}},
        "gen_trt_engine.tensorrt.opt_batch_size", "got 5, 4, 8", ("gen_trt_engine",),
    ),
    (
        {"gen_trt_engine": {"tensorrt": {"opt_batch_size": 9}}},
        "gen_trt_engine.tensorrt.opt_batch_size", "got 1, 9, 8", ("gen_trt_engine",),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("document", "where", "words", "verbs"), BROKEN, ids=[f"{row[1]}: {row[2]}" for row in BROKEN])
def test_what_breaks_a_rule_is_refused_for_its_verbs(document, where, words, verbs):
    (line,) = told(document)
    assert f" @ {where} in spec: " in line
    assert words in line
    assert tuple(verb for verb in VERBS if told(document, verb)) == verbs


@pytest.mark.parametrize(
    ("document", "words"),
    [({"encryption_key": "secret"}, "never encrypted"), ({"wandb": {"enable": True}}, "nothing is sent")],
)
def test_what_will_have_no_effect_is_told_and_no_key_is_shown(document, words, caplog):
    assert told(document) == []
    assert words in caplog.text
    assert "secret" not in caplog.text


def test_a_camera_of_zeros_is_refused_with_advice():
    lines = told({"inference": dict.fromkeys(CAMERA, 0.0)}, "inference")
    assert [line.split(" ")[3] for line in lines] == [f"inference.{name}" for name in CAMERA]
    assert all("from its calibration; or null for all four" in line for line in lines)
    assert told({"inference": dict.fromkeys(CAMERA)}, "inference") == []
    assert structure_experiment({}).inference.K is None


def test_steps_may_be_further_apart_than_epochs():
    assert told({"train": {"checkpoint_interval": 500, "checkpoint_interval_unit": "step"}}, "train") == []


def test_what_is_wrong_by_itself_hides_the_rules_that_read_it():
    (line,) = told({"dataset": {"input_res": 100}})
    assert "a multiple of 32" in line
    (line,) = told({"train": {"num_epochs": -1, "validation_interval": 5}})
    assert "train.num_epochs" in line


def test_specs_built_in_python_are_checked_too():
    spec = CenterPoseConfig()
    assert check(spec) == []
    broken = attrs.evolve(spec, dataset=attrs.evolve(spec.dataset, num_classes=3))
    assert [problem.where for problem in check(broken, "export")] == ["dataset.num_classes"]


ONLY = [
    ("dataset.num_joints", 9), ("dataset.mse_loss", True), ("dataset.dense_hp", True),
    ("dataset.hps_uncertainty", True), ("dataset.obj_scale_uncertainty", True), ("model.down_ratio", 2),
    ("model.final_kernel", 3), ("model.last_level", 4), ("model.out_channel", 64), ("model.head_conv", 100),
    ("train.loss_config.mse_loss", True),
    ("train.loss_config.use_residual", True), ("train.loss_config.num_stacks", 2),
    ("train.loss_config.dimension_ref", "a"), ("train.loss_config.reg_loss", "sl1"), ("train.precision", "int8"),
    ("train.optim.lr_scheduler", "Cosine"), ("train.optim.lr", 0), ("train.clip_grad_val", -1),
    ("train.resume_training_checkpoint_path", "a.onnx"), ("train.num_gpus", 0), ("train.gpu_ids", [-1]),
    ("evaluate.batch_size", 0), ("evaluate.batch_size", -2), ("evaluate.eval_num_symmetry", 0),
    ("inference.visualization_threshold", 1.5), ("inference.axis_size", 0), ("export.onnx_file", "a.etlt"),
    ("export.input_channel", 1), ("export.input_width", 500), ("export.opset_version", 0),
    ("gen_trt_engine.tensorrt.data_type", "FP8"), ("gen_trt_engine.tensorrt.workspace_size", 0),
    ("gen_trt_engine.tensorrt.layers_precision", ["conv:fp8"]), ("gen_trt_engine.tensorrt.layers_precision", ["fp16"]),
    ("dataset.std", [0, 1, 1]), ("dataset.flip", 2), ("dataset.input_res", 32), ("dataset.camera_frame", "blender"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), ONLY)
def test_what_cannot_be_done_is_refused(key, value):
    document = value
    for step in reversed(key.split(".")):
        document = {step: document}
    (line,) = told(document)
    assert line.startswith(f"out of range @ {key} in spec: expected ")


def test_layers_have_precisions():
    layers = ["*:fp16", "a:b:fp32", "conv 1:int8", "x:int32"]
    spec = structure_experiment({"gen_trt_engine": {"tensorrt": {"layers_precision": layers}}})
    assert dump_experiment(spec)["gen_trt_engine"]["tensorrt"]["layers_precision"] == layers


@pytest.mark.parametrize(
    ("num_gpus", "gpu_ids", "used"),
    [
        (1, (0,), (0,)),  # neither is given
        (1, (0, 1), (0, 1)),  # the page's example: the list asks for more
        (1, (2, 3), (2, 3)),  # only the list is given
        (4, (0,), (0, 1, 2, 3)),  # only the number is given
        (2, (1, 3), (1, 3)),  # both agree
        (2, (3,), (0, 1)),  # the list is too short for the number
        (3, (5, 6), (0, 1, 2)),
        (1, (), (0,)),
    ],
)
def test_whichever_asks_for_more_gpus_holds(num_gpus, gpu_ids, used):
    assert reconciled(num_gpus, gpu_ids) == used
    for verb in ("train", "evaluate", "inference"):
        spec = structure_experiment({verb: {"num_gpus": num_gpus, "gpu_ids": list(gpu_ids)}})
        assert getattr(spec, verb).gpus == used
