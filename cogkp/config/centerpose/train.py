"""The ``train`` section."""

from __future__ import annotations

import attrs

from cogkp.config.centerpose.run import RunSpec
from cogkp.config.fields import LARGEST_SEED, at_least, at_most, between, exactly, matching, more_than, one_of, setting

__all__ = ["CudnnSpec", "LossSpec", "OptimSpec", "TrainSpec"]

CHECKPOINT = matching(r"(?s:.+)\.(pth|tlt)", "a name that ends in .pth or .tlt")
AS_DATA = "must agree with dataset"


@attrs.frozen(kw_only=True)
class CudnnSpec:
    """How cuDNN chooses its algorithms."""

    benchmark: bool = setting(False, "Try several algorithms and take the fastest; results then vary.")
    deterministic: bool = setting(True, "Use only algorithms that repeat their results.")


@attrs.frozen(kw_only=True)
class OptimSpec:
    """Adam and its learning rate."""

    lr: float = setting(6e-5, "Initial learning rate of all weights.", more_than(0.0))
    lr_scheduler: str = setting("MultiStep", "How the rate falls.", one_of("MultiStep"))
    lr_steps: tuple[int, ...] = setting((90, 120), "Epochs after which the rate falls.", at_least(1))
    lr_decay: float = setting(0.1, "Factor of each fall.", more_than(0.0))


@attrs.frozen(kw_only=True)
class LossSpec:
    """The terms of the loss and their weights."""

    mse_loss: bool = setting(False, "Another loss of heatmaps; not available.", exactly(False))
    dense_hp: bool = setting(False, "Learn corners from every cell of a box; not available.", exactly(False))
    reg_loss: str = setting("l1", "Loss of everything that is no heatmap.", one_of("l1"))
    num_stacks: int = setting(1, "Networks one after another.", exactly(1))
    hps_uncertainty: bool = setting(False, "Learn how sure corners are; not available.", exactly(False))
    wh_weight: float = setting(0.1, "Weight of the 2-D box's width and height.", at_least(0.0))
    reg_bbox: bool = setting(True, f"Learn 2-D boxes; {AS_DATA}.")
    reg_offset: bool = setting(True, f"Learn centres within their cell; {AS_DATA}.")
    reg_hp_offset: bool = setting(True, f"Learn corners within their cell; {AS_DATA}.")
    obj_scale: bool = setting(True, f"Learn relative sizes; {AS_DATA}.")
    obj_scale_weight: float = setting(1.0, "Weight of relative sizes.", at_least(0.0))
    obj_scale_uncertainty: bool = setting(False, "Learn how sure sizes are; not available.", exactly(False))
    use_residual: bool = setting(False, "Learn sizes as differences from dimension_ref; not available.", exactly(False))
    dimension_ref: str = setting("", "File of mean sizes; not available.", exactly(""))
    off_weight: float = setting(1.0, "Weight of centres and of corners within their cell.", at_least(0.0))
    hm_hp: bool = setting(True, f"Learn heatmaps of corners; {AS_DATA}.")
    hm_hp_weight: float = setting(1.0, "Weight of the heatmaps of corners.", at_least(0.0))
    hm_weight: float = setting(1.0, "Weight of the heatmap of centres.", at_least(0.0))
    hp_weight: float = setting(1.0, "Weight of the way from the centre to each corner.", at_least(0.0))


@attrs.frozen(kw_only=True)
class TrainSpec(RunSpec):
    """The training."""

    seed: int = setting(
        1234, "Seed of every random choice; below 0: a new one each time.", at_most(LARGEST_SEED), also=("randomseed",)
    )
    cudnn: CudnnSpec = setting(CudnnSpec, "How cuDNN chooses its algorithms.")
    num_epochs: int = setting(10, "Passes over the data.", between(1, 1_000_000))
    checkpoint_interval: int = setting(1, "How far checkpoints are apart, in checkpoint_interval_unit.", at_least(1))
    checkpoint_interval_unit: str = setting("epoch", "What the interval counts.", one_of("epoch", "step"))
    validation_interval: int = setting(1, "Epochs from one validation to the next.", at_least(1))
    resume_training_checkpoint_path: str | None = setting(
        None, "Checkpoint to go on from; null: the latest in the folder of results, where there is one.", CHECKPOINT
    )
    pretrained_model_path: str | None = setting(
        None, "Checkpoint of an experiment whose weights a new training starts from."
    )
    clip_grad_val: float = setting(
        100.0, "Longest gradient, Euclidean norm over all weights; longer ones are shortened.", at_least(0.0)
    )
    is_dry_run: bool = setting(False, "Run one step of training and of validation, and write no checkpoint.")
    precision: str = setting(
        "fp32",
        "What convolutions compute in; weights and losses stay fp32, and with 'fp16' the loss is scaled.",
        one_of("fp32", "fp16", "bf16"),
    )
    optim: OptimSpec = setting(OptimSpec, "Adam and its learning rate.")
    loss_config: LossSpec = setting(LossSpec, "The terms of the loss and their weights.")
