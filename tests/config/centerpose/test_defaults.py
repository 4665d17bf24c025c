"""Every field and default of the published schema, typed in from its description, and where we differ and why."""

import pytest

from cogkp.config.centerpose.io import dump_experiment, structure_experiment
from cogkp.config.centerpose.spec import CenterPoseConfig

DEVICES = {"num_gpus": 1, "gpu_ids": [0], "num_nodes": 1, "results_dir": None}
SWITCHED_OFF = ("mse_loss", "dense_hp", "hps_uncertainty", "obj_scale_uncertainty")

PUBLISHED = {
    "model_name": None,
    "encryption_key": None,
    "results_dir": "/results",
    "wandb": {
        "enable": True, "project": "TAO Toolkit", "entity": "", "group": "", "tags": ["training", "tao-toolkit"],
        "reinit": False, "sync_tensorboard": False, "save_code": False, "name": "TAO Toolkit training experiment",
        "run_id": "",
    },
    "dataset": {
        "train_data": "", "val_data": "", "test_data": "", "inference_data": "",
        "batch_size": 4, "workers": 8, "pin_memory": True, "num_classes": 1, "num_joints": 8, "max_objs": 10,
        "mean": [0.40789654, 0.44719302, 0.47026115], "std": [0.28863828, 0.27408164, 0.27809835],
        "_eig_val": [0.2141788, 0.01817699, 0.00341571],
        "_eig_vec": [
            [-0.58752847, -0.69563484, 0.41340352],
            [-0.5832747, 0.00994535, -0.81221408],
            [-0.56089297, 0.71832671, 0.41158938],
        ],
        "category": "cereal_box", "num_symmetry": 1,
        "mse_loss": False, "center_3D": False, "use_absolute_scale": False, "obj_scale_uncertainty": False,
        "dense_hp": False, "hps_uncertainty": False,
        "obj_scale": True, "reg_bbox": True, "reg_offset": True, "hm_hp": True, "reg_hp_offset": True,
        "flip_idx": [[1, 5], [3, 7], [2, 6], [4, 8]],
        "no_color_aug": False, "not_rand_crop": False, "aug_rot": 0, "flip": 0.5, "input_res": 512, "output_res": 128,
    },
    "model": {
        "down_ratio": 4, "final_kernel": 1, "last_level": 5, "head_conv": 256, "out_channel": 0,
        "use_convGRU": True, "use_pretrained": False,
        "backbone": {"model_type": "DLA34", "pretrained_backbone_path": ""},
    },
    "train": {
        **DEVICES, "seed": 1234, "cudnn": {"benchmark": False, "deterministic": True},
        "num_epochs": 10, "checkpoint_interval": 1, "checkpoint_interval_unit": "epoch", "validation_interval": 1,
        "resume_training_checkpoint_path": None, "pretrained_model_path": "", "clip_grad_val": 100.0,
        "is_dry_run": False, "precision": "fp32",
        "optim": {"lr": 6e-5, "lr_scheduler": "MultiStep", "lr_steps": [90, 120], "lr_decay": 0.1},
        "loss_config": {
            "mse_loss": False, "dense_hp": False, "reg_loss": "l1", "num_stacks": 1, "hps_uncertainty": False,
            "wh_weight": 0.1, "reg_bbox": True, "reg_offset": True, "reg_hp_offset": True, "obj_scale": True,
            "obj_scale_weight": 1, "obj_scale_uncertainty": False, "use_residual": False, "dimension_ref": "",
            "off_weight": 1, "hm_hp": True, "hm_hp_weight": 1, "hm_weight": 1, "hp_weight": 1,
        },
    },
    "evaluate": {
        **DEVICES, "checkpoint": None, "trt_engine": None, "batch_size": -1, "opencv": False, "eval_num_symmetry": 1,
    },
    "inference": {
        **DEVICES, "checkpoint": None, "trt_engine": None, "batch_size": -1, "visualization_threshold": 0.3,
        "num_select": 100, "use_pnp": True, "save_json": True, "save_visualization": True, "opencv": False,
        "principle_point_x": 0.0, "principle_point_y": 0.0, "focal_length_x": 0.0, "focal_length_y": 0.0,
        "skew": 0.0, "axis_size": 0.5,
    },
    "export": {
        "results_dir": "", "gpu_id": 0, "checkpoint": "", "onnx_file": "", "on_cpu": False, "input_channel": 3,
        "input_width": 512, "input_height": 512, "opset_version": 16, "batch_size": -1, "verbose": False,
        "num_select": 100, "do_constant_folding": True,
    },
    "gen_trt_engine": {
        "results_dir": None, "gpu_id": 0, "onnx_file": None, "trt_engine": None, "timing_cache": None,
        "batch_size": -1, "verbose": False,
        "tensorrt": {
            "data_type": "FP32", "workspace_size": 1024, "min_batch_size": 1, "opt_batch_size": 4,
            "max_batch_size": 8, "layers_precision": [],
            "calibration": {"cal_image_dir": [], "cal_cache_file": None, "cal_batch_size": 1, "cal_batches": 1},
        },
    },
}  # fmt: skip

# docs/decisions/0013-experiment-spec.md says why.
CAMERA = ("principle_point_x", "principle_point_y", "focal_length_x", "focal_length_y")
OTHERWISE = {"wandb.enable": False, **{f"inference.{name}": None for name in CAMERA}}
RENAMED = {"dataset._eig_val": "dataset.eig_val", "dataset._eig_vec": "dataset.eig_vec"}
ADDED = {
    "dataset.camera_frame": "objectron",
    "dataset.images.apply_exif_orientation": False,
    "dataset.images.levels_16bit": None,
    "dataset.all_classes": False,
    "model.backbone.width": 1.0,
    "dataset.scale": 0.4,
    "dataset.shift": 0.05,
    "dataset.rotate": 0.0,
    "inference.object_height": None,
    # of releases before 5.5, and of the schema of that one
    "gen_trt_engine.input_channel": 3,
    "gen_trt_engine.input_width": None,
    "gen_trt_engine.input_height": None,
    "gen_trt_engine.opset_version": None,
}
EMPTY_TEXTS = ("wandb.entity", "wandb.group", "wandb.run_id", "train.loss_config.dimension_ref")


def flat(document, path=""):
    found = {}
    for key, value in document.items():
        found |= flat(value, f"{path}{key}.") if isinstance(value, dict) else {path + key: value}
    return found


OURS = flat(dump_experiment(CenterPoseConfig.default()))
THEIRS = flat(PUBLISHED)


@pytest.mark.parametrize("key", THEIRS)
def test_default(key):
    expected = THEIRS[key]
    if expected == "" and key not in EMPTY_TEXTS:
        expected = None
    assert OURS[RENAMED.get(key, key)] == OTHERWISE.get(key, expected)


def test_nothing_is_added_unsaid():
    assert {key: value for key, value in OURS.items() if key not in {RENAMED.get(name, name) for name in THEIRS}} == (
        ADDED
    )


def test_the_published_defaults_are_read(caplog):
    """What another program writes as its defaults loads; cameras of zero are refused only where one is needed."""
    for verb in (None, "train", "evaluate", "export", "gen_trt_engine"):
        cut = {**PUBLISHED, "inference": {}} if verb is None else PUBLISHED
        document = {
            **cut,
            "dataset": {**cut["dataset"], "train_data": "a", "val_data": "b", "test_data": "c"},
            "evaluate": {**cut["evaluate"], "checkpoint": "m.pth"},
            "export": {**cut["export"], "checkpoint": "m.pth"},
            "gen_trt_engine": {**cut["gen_trt_engine"], "onnx_file": "m.onnx", "trt_engine": "m.trt"},
        }
        caplog.clear()
        structure_experiment(document, verb=verb)
        assert "nothing is sent to Weights & Biases" in caplog.text


@pytest.mark.parametrize(
    ("category", "given", "count"), [("chair", 1, 4), ("bottle", 1, 12), ("bottle", 6, 6), ("mug", 1, 1), ("mug", 5, 5)]
)
def test_some_categories_are_known_to_be_round(category, given, count):
    spec = structure_experiment({"dataset": {"category": category, "num_symmetry": given}})
    assert spec.dataset.symmetry_count == count
