"""Specs of every published release of the toolkit whose files these are: 5.2 to 7.0, example by example."""

import logging

import pytest

from cogkp.config.centerpose.io import dump_experiment, load_experiment, structure_experiment
from cogkp.config.centerpose.rules import engine_size_problems
from cogkp.config.centerpose.spec import EngineSpec
from cogkp.errors import ConfigError

DATA = """\
dataset:
  train_data: /data/bike/train
  val_data: /data/bike/val
  num_classes: 1
  batch_size: 32
  workers: 8
  category: "bike"
  num_symmetry: 1
  max_objs: 10
"""
MODEL = """\
model:
  down_ratio: 4
  use_pretrained: True
  backbone:
    model_type: fan_small
    pretrained_backbone_path: /results/fan_small_hybrid.pth
"""
ENGINE = """\
results_dir: /results
encryption_key: "???"
gen_trt_engine:
  gpu_id: 0
  onnx_file: model.onnx
  trt_engine: model.engine
{more}  tensorrt:
    data_type: fp32
    workspace_size: 1024
    min_batch_size: 1
    opt_batch_size: 2
    max_batch_size: 4
    calibration:
      cal_image_dir: "???"
      cal_cache_file: "???"
      cal_batch_size: 10
      cal_batches: 1000
"""
SIZES = "  input_channel: 3\n  input_width: 512\n  input_height: 512\n"
RELEASES = {
    "5.2 train": (
        "train",
        f"{DATA}train:\n  num_gpus: 1\n  validation_interval: 20\n  checkpoint_interval: 20\n  num_epochs: 140\n"
        "  clip_grad_val: 100.0\n  randomseed: 317\n  resume_training_checkpoint_path: null\n"
        f'  precision: "fp32"\n  optim:\n    lr: 6e-05\n    lr_steps: [90, 120]\n{MODEL}',
    ),
    "5.3 notebook": (
        "train",
        f"results_dir: /results\n{DATA}train:\n  num_gpus: 1\n  validation_interval: 20\n"
        "  checkpoint_interval: ${train.validation_interval}\n  num_epochs: 40\n  randomseed: 317\n"
        f"  loss_config:\n    dimension_ref: null\n{MODEL}",
    ),
    "5.5 train": (
        "train",
        f"{DATA}train:\n  num_gpus: 1\n  gpu_ids: [0]\n  checkpoint_interval: 5\n  validation_interval: 5\n"
        f"  num_epochs: 10\n  seed: 1234\n  cudnn:\n    benchmark: False\n    deterministic: True\n{MODEL}",
    ),
    "5.5 synthetic": (
        "train",
        f"{DATA}train:\n  num_epochs: 40\n  seed: 317\n  pretrained_model_path: /results/centerpose.pth\n"
        "wandb:\n  enable: False\n  entity: null\n",
    ),
    "5.2 engine": ("gen_trt_engine", ENGINE.format(more=SIZES)),
    "5.3 engine": ("gen_trt_engine", ENGINE.format(more="")),
    "5.5 engine": (
        "gen_trt_engine",
        ENGINE.format(more=f"{SIZES}  opset_version: 16\n  batch_size: -1\n  verbose: False\n"),
    ),
    "7.0 engine": ("gen_trt_engine", ENGINE.format(more=f"{SIZES}  timing_cache: null\n")),
    "7.0 optional": (
        "gen_trt_engine",
        ENGINE.format(more="").replace('cal_image_dir: "???"', "cal_image_dir: null") + "    layers_precision: null\n",
    ),
    "5.2 export": (
        "export",
        "results_dir: /results\nexport:\n  gpu_id: 0\n  checkpoint: model.pth\n  onnx_file: model.onnx\n"
        f"{SIZES}  opset_version: 16\n  do_constant_folding: True\n"
        "model:\n  down_ratio: 4\n  backbone:\n    model_type: fan_small\n",
    ),
    "5.2 inference": (
        "inference",
        'encryption_key: "???"\nresults_dir: out\ndataset:\n  inference_data: in\n  num_classes: 1\n  batch_size: 4\n'
        "inference:\n  checkpoint: model.pth\n  visualization_threshold: 0.3\n  principle_point_x: 300.77\n"
        "  principle_point_y: 392.88\n  focal_length_x: 615.04\n  focal_length_y: 615.04\n  axis_size: 0.5\n"
        "  use_pnp: True\n  save_json: True\n  save_visualization: True\n  opencv: True\n",
    ),
}


@pytest.mark.parametrize("release", RELEASES)
def test_the_examples_of_every_release_are_read(tmp_path, release):
    verb, text = RELEASES[release]
    (tmp_path / "spec.yaml").write_text(text, encoding="utf-8")
    spec = load_experiment(tmp_path / "spec.yaml", verb=verb)
    assert structure_experiment(dump_experiment(spec), verb=verb) == spec
    if "randomseed" in text:
        assert spec.train.seed == 317
        assert load_experiment(tmp_path / "spec.yaml", ["train.randomseed=5"], verb=verb).train.seed == 5
    if verb == "gen_trt_engine" and SIZES in text:
        assert (spec.gen_trt_engine.input_width, spec.gen_trt_engine.input_height) == (512, 512)


def test_a_seed_under_both_names_is_refused():
    with pytest.raises(ConfigError, match=r"key given twice @ train\.seed"):
        structure_experiment({"train": {"seed": 1, "randomseed": 2}})


def test_what_has_no_effect_is_said(caplog):
    with caplog.at_level(logging.WARNING, "cogkp"):
        structure_experiment({"gen_trt_engine": {"opset_version": 16}})
    assert "gen_trt_engine.opset_version is set, but has no effect" in caplog.text


@pytest.mark.parametrize(
    ("stated", "size_wh", "wrong"),
    [
        ((None, None), (320, 224), []),
        ((320, 224), (320, 224), []),
        ((512, 512), (320, 512), ["input_width: expected 320, got 512"]),
        ((224, 320), (320, 224), ["input_width: expected 320, got 224", "input_height: expected 224, got 320"]),
        ((512, 64), ("width", 64), []),
    ],
)
def test_a_stated_size_is_that_of_the_onnx_file(stated, size_wh, wrong):
    section = EngineSpec(input_width=stated[0], input_height=stated[1])
    found = [str(problem) for problem in engine_size_problems(section, size_wh)]
    assert len(found) == len(wrong)
    assert all(words in line for words, line in zip(wrong, found, strict=True))


@pytest.mark.parametrize("channels", [1, 4, "3"])
def test_only_three_colours(channels):
    with pytest.raises(ConfigError, match=r"gen_trt_engine\.input_channel"):
        structure_experiment({"gen_trt_engine": {"input_channel": channels}})
