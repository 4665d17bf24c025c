"""The ``export`` and ``gen_trt_engine`` sections."""

from __future__ import annotations

import attrs

from cogkp.config.centerpose.run import RESULTS_DOC, batch_or
from cogkp.config.fields import LARGEST_SIDE, at_least, exactly, matching, multiple_of, one_of, setting

__all__ = ["CalibrationSpec", "EngineSpec", "ExportSection", "TensorRTSpec"]

ONNX_NAME = matching(r"(?s:.+)\.onnx", "a name that ends in .onnx")
LAYER = matching(r"(?s:.+):(fp32|fp16|int32|int8)", "'<layer>:<fp32, fp16, int32 or int8>'")


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
