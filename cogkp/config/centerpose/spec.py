"""The configuration of the CenterPose family: the YAML file behind ``s6 cog centerpose <verb> -e``."""

from __future__ import annotations

from typing import Literal, get_args

import attrs

from cogkp.config.fields import (
    LARGEST_BATCH,
    LARGEST_SEED,
    LARGEST_SIDE,
    Check,
    at_least,
    at_most,
    between,
    exactly,
    matching,
    more_than,
    multiple_of,
    one_of,
    setting,
)
from cogkp.config.images import ImageFiles

Triple = tuple[float, float, float]

RESULTS_DOC = "Folder of this verb's results; null: results_dir/<verb>."

CORNERS = 8
# Colours of images and their principal directions, in the order blue, green, red, on the scale 0..1.
MEAN = (0.40789654, 0.44719302, 0.47026115)

STD = (0.28863828, 0.27408164, 0.27809835)
EIG_VAL = (0.2141788, 0.01817699, 0.00341571)
EIG_VEC = (
    (-0.58752847, -0.69563484, 0.41340352),
    (-0.5832747, 0.00994535, -0.81221408),
    (-0.56089297, 0.71832671, 0.41158938),
)

MIRRORED = ((1, 5), (3, 7), (2, 6), (4, 8))
# What the reference does with these categories whatever num_symmetry says.
ROUND = {"chair": 4, "bottle": 12}

IN_BOTH = "must agree with train.loss_config"
CHECKPOINT = matching(r"(?s:.+)\.(pth|tlt)", "a name that ends in .pth or .tlt")
AS_DATA = "must agree with dataset"
ONNX_NAME = matching(r"(?s:.+)\.onnx", "a name that ends in .onnx")
LAYER = matching(r"(?s:.+):(fp32|fp16|int32|int8)", "'<layer>:<fp32, fp16, int32 or int8>'")
Verb = Literal["train", "evaluate", "inference", "export", "gen_trt_engine"]
VERBS: tuple[Verb, ...] = get_args(Verb)


def batch_or(otherwise: int) -> Check:
    """Accept numbers from 1 to the largest batch, and one number that has a meaning of its own."""
    schema = {"anyOf": [{"const": otherwise}, {"minimum": 1, "maximum": LARGEST_BATCH}]}
    words = f"{otherwise} or a number from 1 to {LARGEST_BATCH}"
    return Check(lambda v: v == otherwise or 1 <= v <= LARGEST_BATCH, words, schema)


def reconciled(num_gpus: int, gpu_ids: tuple[int, ...]) -> tuple[int, ...]:
    """Follow whichever of the two asks for more GPUs; a list that is too short is replaced by the first ones.

    Returns:
        The indices of the GPUs; their number is the number of GPUs.

    Example:
        >>> reconciled(1, (0, 1)), reconciled(2, (3,)), reconciled(2, (1, 3))
        ((0, 1), (0, 1), (1, 3))
    """
    return gpu_ids if len(gpu_ids) >= num_gpus else tuple(range(num_gpus))


@attrs.frozen(kw_only=True)
class RunSpec:
    """Which GPUs a verb uses and where its results go."""

    num_gpus: int = setting(1, "Number of GPUs; where gpu_ids disagrees, whichever says more holds.", between(1, 1024))
    gpu_ids: tuple[int, ...] = setting((0,), "Indices of the GPUs.", at_least(0))
    num_nodes: int = setting(1, "Number of machines.", between(1, 4096))
    results_dir: str | None = setting(None, RESULTS_DOC)

    @property
    def gpus(self) -> tuple[int, ...]:
        """The GPUs that are used, by index."""
        return reconciled(self.num_gpus, self.gpu_ids)


@attrs.frozen(kw_only=True)
class EvaluateSpec(RunSpec):
    """How a model is evaluated on labelled images."""

    checkpoint: str | None = setting(None, "Checkpoint to evaluate.")
    trt_engine: str | None = setting(None, "Engine or ONNX file to evaluate where checkpoint is null.")
    batch_size: int = setting(-1, "Images at a time; -1: dataset.batch_size.", batch_or(-1))
    opencv: bool = setting(False, "Has no effect: errors are the same under all camera axes.")
    eval_num_symmetry: int = setting(
        1, "Turns about the y axis of which the best counts; 100 for round objects, 1 for others.", at_least(1)
    )

    @property
    def model_file(self) -> str | None:
        """What holds the model: the checkpoint, else the engine or ONNX file."""
        return self.checkpoint or self.trt_engine


@attrs.frozen(kw_only=True)
class InferenceSpec(RunSpec):
    """How objects are looked for in images without labels."""

    checkpoint: str | None = setting(None, "Checkpoint to use.")
    trt_engine: str | None = setting(None, "Engine or ONNX file to use where checkpoint is null.")
    batch_size: int = setting(-1, "Images at a time; -1: dataset.batch_size.", batch_or(-1))
    visualization_threshold: float = setting(0.3, "Least score of an object that is reported.", between(0.0, 1.0))
    num_select: int = setting(100, "Most objects looked for in an image.", at_least(1))
    use_pnp: bool = setting(True, "Find the pose of each box from its corners.")
    save_json: bool = setting(True, "Write a JSON file per image.")
    save_visualization: bool = setting(True, "Write a drawing per image.")
    opencv: bool = setting(False, "Camera axes of poses and 3-D points: OpenCV's, instead of those of the labels.")
    principle_point_x: float | None = setting(
        None,
        "Column of the principal point, pixels; null with the three below: each image brings its own camera.",
        also=("principal_point_x",),
    )
    principle_point_y: float | None = setting(None, "Row of the principal point, pixels.", also=("principal_point_y",))
    focal_length_x: float | None = setting(None, "Focal length along rows, pixels.")
    focal_length_y: float | None = setting(None, "Focal length along columns, pixels.")
    skew: float = setting(0.0, "Skew of the camera matrix, pixels.")
    object_height: float | None = setting(
        None,
        "True height of the objects, metres; null: lengths are true only where an image's file tells.",
        more_than(0.0),
    )
    axis_size: float = setting(0.5, "Length of drawn axes, in units of the object's height.", more_than(0.0))

    @property
    def model_file(self) -> str | None:
        """What holds the model: the checkpoint, else the engine or ONNX file."""
        return self.checkpoint or self.trt_engine

    @property
    def K(self) -> tuple[Triple, Triple, Triple] | None:  # noqa: N802 - the field's name for this matrix
        """The camera matrix, rows, pixels; None where each image brings its own camera."""
        fx, fy = self.focal_length_x, self.focal_length_y
        cx, cy = self.principle_point_x, self.principle_point_y
        if fx is None or fy is None or cx is None or cy is None:
            return None
        return (fx, self.skew, cx), (0.0, fy, cy), (0.0, 0.0, 1.0)


@attrs.frozen(kw_only=True)
class BackboneSpec:
    """The part of the network that sees the image."""

    model_type: str = setting("DLA34", "Which backbone.", one_of("DLA34", "fan_small", "fan_base", "fan_large"))
    width: float = setting(
        1.0,
        "Share of the published channels that every layer of DLA34 has; below 1 the network is smaller and faster, "
        "and published weights do not fit.",
        between(0.125, 1.0),
    )
    pretrained_backbone_path: str | None = setting(
        None,
        "File of weights the backbone starts from where use_pretrained is on; nothing is downloaded. null: for DLA34 "
        "the published file in torch's hub cache.",
    )


@attrs.frozen(kw_only=True)
class ModelSpec:
    """The network."""

    down_ratio: int = setting(4, "Pixels per cell of the network's grid.", exactly(4))
    final_kernel: int = setting(1, "Kernel of each head's last convolution.", exactly(1))
    last_level: int = setting(5, "Deepest level of the backbone that is used.", exactly(5))
    head_conv: int = setting(256, "Hidden channels of each head.", multiple_of(32, 32, 4096))
    out_channel: int = setting(0, "Channels before the heads; 0: as many as the first level has.", exactly(0))
    use_convGRU: bool = setting(  # noqa: N815 - the name in the file
        True, "Predict from easy to hard in three steps of a recurrent cell, instead of all at once."
    )
    use_pretrained: bool = setting(False, "Start the backbone from backbone.pretrained_backbone_path.")
    backbone: BackboneSpec = setting(BackboneSpec, "The part of the network that sees the image.")


@attrs.frozen(kw_only=True)
class DatasetSpec:
    """The images, and what is made of them."""

    train_data: str | None = setting(None, "Folder of labelled images to train on, searched with all below it.")
    val_data: str | None = setting(None, "Folder of labelled images to validate with.")
    test_data: str | None = setting(None, "Folder of labelled images to evaluate on.")
    inference_data: str | None = setting(
        None, "Folder of images to find objects in; they need no labels.", also=("inference data",)
    )
    camera_frame: str = setting(
        "objectron",
        "Camera axes of the label files: 'objectron' as the published data, 'opengl', or 'opencv'.",
        one_of("opencv", "opengl", "objectron"),
    )
    images: ImageFiles = setting(ImageFiles, "How image files are read.")
    batch_size: int = setting(4, "Images per step on each GPU, also in validation.", at_least(1))
    workers: int = setting(8, "Loader processes; 0 loads in the training process.", at_least(0))
    pin_memory: bool = setting(True, "Load into memory that a GPU copies from quickly.")
    num_classes: int = setting(1, "Number of categories; one network knows exactly one.")
    num_joints: int = setting(CORNERS, "Corners of a box.", exactly(CORNERS))
    max_objs: int = setting(10, "Most objects of one image; the first of its file count.", between(1, 10_000))
    mean: Triple = setting(MEAN, "Mean colour taken off each image; blue, green, red, scale 0..1.")
    std: Triple = setting(STD, "Spread of colours each image is divided by; blue, green, red.", more_than(0.0))
    eig_val: Triple = setting(
        EIG_VAL, "How far lighting varies along each direction of eig_vec.", at_least(0.0), also=("_eig_val",)
    )
    eig_vec: tuple[Triple, Triple, Triple] = setting(
        EIG_VEC, "Directions in which lighting varies, one per column.", also=("_eig_vec",)
    )
    category: str = setting(
        "cereal_box", "Name of the one category; objects that the label files put into another class are left out."
    )
    all_classes: bool = setting(False, "Take the objects of every class for the category.")
    num_symmetry: int = setting(
        1,
        "Turns about the object's y axis that look alike, in equal steps; 1 for none. "
        "Left at 1, a category 'chair' has 4 and 'bottle' 12.",
        at_least(1),
    )
    mse_loss: bool = setting(False, "Another loss of heatmaps; not available.", exactly(False))
    center_3D: bool = setting(  # noqa: N815 - the name in the file
        False, "Take the projected centre of the box as an object's centre, instead of the middle of its 2-D box."
    )
    obj_scale: bool = setting(True, f"Make targets of relative sizes; {IN_BOTH}.")
    use_absolute_scale: bool = setting(False, "Learn sizes in metres instead of in units of the height.")
    obj_scale_uncertainty: bool = setting(False, "Learn how sure sizes are; not available.", exactly(False))
    dense_hp: bool = setting(False, "Learn corners from every cell of a box; not available.", exactly(False))
    hps_uncertainty: bool = setting(False, "Learn how sure corners are; not available.", exactly(False))
    reg_bbox: bool = setting(True, f"Make targets of 2-D boxes; {IN_BOTH}.")
    reg_offset: bool = setting(True, f"Make targets of centres within their cell; {IN_BOTH}.")
    hm_hp: bool = setting(True, f"Make heatmaps of corners; {IN_BOTH}.")
    reg_hp_offset: bool = setting(True, f"Make targets of corners within their cell; {IN_BOTH}.")
    flip_idx: tuple[tuple[int, int], ...] = setting(
        MIRRORED, "Pairs of corners, 1 to 8, that change places in a mirror."
    )
    no_color_aug: bool = setting(False, "Leave colours as they are in training.")
    not_rand_crop: bool = setting(False, "Move and scale by shift and scale instead of cutting random squares.")
    scale: float = setting(0.4, "Spread of the scale factor where not_rand_crop is on.", between(0.0, 1.0))
    shift: float = setting(0.05, "Spread of the shift where not_rand_crop is on, fraction of the side.", at_least(0.0))
    rotate: float = setting(0.0, "Largest rotation of an image that is rotated, degrees.", between(0.0, 180.0))
    aug_rot: float = setting(0.0, "How often an image is rotated, 0 to 1.", between(0.0, 1.0))
    flip: float = setting(
        0.5, "How often an image is mirrored, 0 to 1; 0 for objects with a handedness.", between(0.0, 1.0)
    )
    input_res: int = setting(512, "Side of the square the network sees, pixels.", multiple_of(32, 64, LARGEST_SIDE))
    output_res: int = setting(128, "Side of the network's grid, cells: input_res over model.down_ratio.", at_least(1))

    @property
    def symmetry_count(self) -> int:
        """How many turns look alike: num_symmetry, or where it is left at 1, what the category is known for."""
        return ROUND.get(self.category, 1) if self.num_symmetry == 1 else self.num_symmetry


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


@attrs.frozen(kw_only=True)
class ExportSection:
    """From a checkpoint to an ONNX file."""

    results_dir: str | None = setting(None, RESULTS_DOC)
    gpu_id: int = setting(0, "Has no effect: exporting needs no GPU.", at_least(0))
    checkpoint: str | None = setting(None, "Checkpoint to export.")
    onnx_file: str | None = setting(
        None, "ONNX file to write; null: the checkpoint's name, ending in .onnx.", ONNX_NAME
    )
    on_cpu: bool = setting(False, "Has no effect: exporting needs no GPU.")
    input_channel: int = setting(3, "Colours of the input.", exactly(3))
    input_width: int = setting(512, "Width of the input, pixels.", multiple_of(32, 32, LARGEST_SIDE))
    input_height: int = setting(512, "Height of the input, pixels.", multiple_of(32, 32, LARGEST_SIDE))
    opset_version: int = setting(16, "ONNX opset.", at_least(1))
    batch_size: int = setting(-1, "Images at a time; -1: any number.", batch_or(-1))
    verbose: bool = setting(False, "Tell more while exporting.")
    num_select: int = setting(100, "Objects the exported network reports for each image.", at_least(1))
    do_constant_folding: bool = setting(True, "Compute what depends on no input once, while exporting.")


@attrs.frozen(kw_only=True)
class CalibrationSpec:
    """Images that tell an INT8 engine the range of its numbers."""

    cal_image_dir: tuple[str, ...] = setting((), "Folders of images.", bare=True)
    cal_cache_file: str | None = setting(None, "File of found ranges; used where it exists, else written.")
    cal_batch_size: int = setting(1, "Images at a time.", at_least(1))
    cal_batches: int = setting(1, "Number of batches.", at_least(1))


@attrs.frozen(kw_only=True)
class TensorRTSpec:
    """What the engine is to be."""

    data_type: str = setting("FP32", "Number format.", one_of("FP32", "FP16", "INT8"))
    workspace_size: int = setting(1024, "Most memory the builder may use, MiB.", at_least(1))
    min_batch_size: int = setting(1, "Fewest images at a time.", at_least(1))
    opt_batch_size: int = setting(4, "Images at a time the engine is fastest for.", at_least(1))
    max_batch_size: int = setting(8, "Most images at a time.", at_least(1))
    layers_precision: tuple[str, ...] = setting(
        (), "Number formats of single layers, as 'layer:fp16'; layer '*' stands for those not named.", LAYER
    )
    calibration: CalibrationSpec = setting(CalibrationSpec, "Images that tell an INT8 engine the range of its numbers.")


@attrs.frozen(kw_only=True)
class EngineSpec:
    """From an ONNX file to a TensorRT engine."""

    results_dir: str | None = setting(None, RESULTS_DOC)
    gpu_id: int = setting(0, "Index of the GPU that builds.", at_least(0))
    onnx_file: str | None = setting(None, "ONNX file to build from.", ONNX_NAME)
    trt_engine: str | None = setting(None, "Engine file to write.")
    timing_cache: str | None = setting(
        None, "File of measured times that makes later builds quicker; used where it exists, and written."
    )
    input_channel: int = setting(3, "Colours of the input.", exactly(3))
    input_width: int | None = setting(
        None, "Width of the input, pixels; must be that of the ONNX file; null: whatever it says.", at_least(1)
    )
    input_height: int | None = setting(None, "Height of the input, pixels; as input_width.", at_least(1))
    opset_version: int | None = setting(None, "Has no effect but a warning: the ONNX file has its own.", at_least(1))
    batch_size: int = setting(-1, "Images at a time; -1: as the ONNX file says.", batch_or(-1))
    verbose: bool = setting(False, "Tell more while building.")
    tensorrt: TensorRTSpec = setting(TensorRTSpec, "What the engine is to be.")


@attrs.frozen(kw_only=True)
class WandbSpec:
    """Accepted for compatibility with files of other programs; nothing is ever sent anywhere."""

    enable: bool = setting(False, "Has no effect but a warning.")
    project: str = setting("TAO Toolkit", "Has no effect.")
    entity: str = setting("", "Has no effect.")
    group: str = setting("", "Has no effect.")
    tags: tuple[str, ...] = setting(("training", "tao-toolkit"), "Has no effect.")
    reinit: bool = setting(False, "Has no effect.")
    sync_tensorboard: bool = setting(False, "Has no effect.")
    save_code: bool = setting(False, "Has no effect.")
    name: str = setting("TAO Toolkit training experiment", "Has no effect.")
    run_id: str = setting("", "Has no effect.")


@attrs.frozen(kw_only=True)
class CenterPoseConfig:
    """Everything that describes one CenterPose experiment."""

    model_name: str | None = setting(None, "Name of the network; a note for people.")
    encryption_key: str | None = setting(None, "Has no effect but a warning: models are not encrypted.")
    results_dir: str | None = setting("/results", "Folder below which each verb makes its own for its results.")
    wandb: WandbSpec = setting(WandbSpec, "Read so that files of other programs load; nothing is ever sent anywhere.")
    dataset: DatasetSpec = setting(DatasetSpec, "The images, and what is made of them.")
    model: ModelSpec = setting(ModelSpec, "The network.")
    train: TrainSpec = setting(TrainSpec, "The training.")
    evaluate: EvaluateSpec = setting(EvaluateSpec, "How a model is evaluated on labelled images.")
    inference: InferenceSpec = setting(InferenceSpec, "How objects are looked for in images without labels.")
    export: ExportSection = setting(ExportSection, "From a checkpoint to an ONNX file.")
    gen_trt_engine: EngineSpec = setting(EngineSpec, "From an ONNX file to a TensorRT engine.")

    @classmethod
    def default(cls) -> CenterPoseConfig:
        """Return the documented defaults, as the template file shows them."""
        return cls()
