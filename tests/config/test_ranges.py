"""Numbers from outside are checked for range where they enter, so that nothing fails on them later."""

import attrs
import pytest

from cogkp.config.augment import Affine, Crop
from cogkp.config.centerpose.io import load_experiment, structure_experiment
from cogkp.config.centerpose.results import onnx_path
from cogkp.config.keypoint.io import structure
from cogkp.config.keypoint.rules import check_training
from cogkp.config.keypoint.spec import KeypointConfig
from cogkp.config.train import TrainOptions
from cogkp.errors import ConfigError

KEYPOINT = [
    {"uncertainty": {"noise_px": 1e308}},
    {"loss_terms": {"heatmap_regularization_loss": {"sigma_px": 1e300}}},
    {"loss_terms": {"supervised_keypoint_loss": {"weight": 1e308}}},
    {"sampling": {"weights": [1e308]}, "base_dir": ["a"]},
    {"sampling": {"samples_per_epoch": 10**15}},
    {"num_segmentation_classes": 2**63},
    *({"augmentations": [{"type": "crop", **crop}]} for crop in (
        {"region": "box", "box": [0, 0, 1e308, 1e308]},
        {"region": "box", "box": [1e308, 0, 9, 9]},
        {"region": "box", "box": [0, 0, 1e-300, 9]},
        {"region": "points", "margin": 1e18},
        {"region": "points", "min_size_px": 1e300},
        {"output_size": 0},
        {"output_size": 100_000},
        {"output_size": 99_968},
        {"output_size": 2**70},
    )),
    {"augmentations": [{"type": "crop"}, {"type": "cutout", "count": 10**9}]},
    {"prefix": "\ud800"},
]  # fmt: skip
EXPERIMENT = [
    {"train": {"seed": 2**64}},
    {"train": {"seed": -(2**70)}},
    {"train": {"num_gpus": 10**11}},
    {"train": {"num_nodes": 10**11}},
    {"dataset": {"mean": [1e308, 0, 0]}},
    {"dataset": {"max_objs": 10**15}},
    {"export": {"input_width": 99_968}},
    {"model": {"head_conv": 32 * 10**6}},
]
OPTIONS = [
    {"seed": 2**64},
    {"seed": -1},
    {"clip_norm": float("inf")},
    {"clip_norm": float("nan")},
    {"learning_rate": float("inf")},
    {"ema_decay": float("nan")},
]


@pytest.mark.parametrize("document", KEYPOINT, ids=lambda document: ascii(document)[:60])
def test_a_configuration_refuses_what_no_training_survives(document):
    with pytest.raises(ConfigError):
        structure(document)


@pytest.mark.parametrize("document", EXPERIMENT, ids=str)
def test_a_spec_refuses_what_no_training_survives(document):
    with pytest.raises(ConfigError):
        structure_experiment(document)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_options_refuse_what_no_training_survives(options):
    with pytest.raises(ConfigError, match=f"out of range @ TrainOptions.{next(iter(options))}"):
        TrainOptions(**options)


def test_minus_zero_is_zero():
    stage = structure({"augmentations": [{"type": "crop"}, {"type": "affine", "shift": -0.0, "scale": [1, 1]}]})
    affine = stage.augmentations[1]
    assert isinstance(affine, Affine)
    assert str(affine.shift) == "0.0"


@pytest.mark.parametrize("parts", [51, 3_000, 100_000])
def test_an_override_is_not_nested_without_end(tmp_path, parts):
    (tmp_path / "spec.yaml").write_text("results_dir: out\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="nested too deeply @ the command line"):
        load_experiment(tmp_path / "spec.yaml", [".".join(["a"] * parts) + "=1"])


@pytest.mark.parametrize("checkpoint", ["/", ".", "./"])
def test_a_folder_names_no_onnx_file(checkpoint):
    spec = structure_experiment({"export": {"checkpoint": checkpoint}})
    with pytest.raises(ConfigError, match=r"no name for the ONNX file @ export\.onnx_file: .*got the checkpoint"):
        onnx_path(spec.export)


@pytest.mark.parametrize("batch", [{"batch_size": 2}, {"batch_size": 1}, {"batch_size": 4, "accumulate": 4}])
def test_one_cell_has_no_statistics(batch):
    """Of 32 pixels the deepest map is one cell, and the last batch or a part of one may be one image."""
    config = attrs.evolve(KeypointConfig(base_dir=("a",)), augmentations=(Crop(output_size=32),))
    (problem,) = check_training(config, TrainOptions(**batch))
    assert str(problem).startswith("crop too small to train @ output_size: expected at least 64")
    larger = attrs.evolve(config, augmentations=(Crop(output_size=64),))
    assert check_training(larger, TrainOptions(**batch)) == []
