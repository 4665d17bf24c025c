"""The ``evaluate`` and ``inference`` sections, and the GPU and results settings that several sections share."""

from __future__ import annotations

import attrs

from cogkp.config.fields import LARGEST_BATCH, Check, at_least, between, more_than, setting

__all__ = ["EvaluateSpec", "InferenceSpec", "RunSpec", "batch_or", "reconciled"]

Triple = tuple[float, float, float]

RESULTS_DOC = "Folder of this verb's results; null: results_dir/<verb>."


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
