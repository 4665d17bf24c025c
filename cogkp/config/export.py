"""Options of an export, as one frozen value."""

import attrs

from cogkp.config.fields import LARGEST_BATCH, between, matching, one_of, setting


@attrs.frozen(kw_only=True)
class ExportOptions:
    """Options of one export."""

    path: str | None = setting(
        None,
        "ONNX file to write; null makes a name under assets/models.",
        matching(r"(?s:.+)\.onnx", "a name that ends in .onnx"),
    )
    batch_size: int = setting(1, "Fixed batch size of the exported model.", between(1, LARGEST_BATCH))
    precision: str | None = setting(
        None, "fp32 or bf16, the tag in the name; null means bf16 on CUDA and fp32 elsewhere.", one_of("fp32", "bf16")
    )
    engine: bool = setting(True, "Also build a TensorRT engine beside the ONNX file.")
    builder: str = setting(
        "auto",
        "Who builds the engine: 'auto' takes trtexec, else the tensorrt package; 'tensorrt_rtx' only when named.",
        one_of("auto", "trtexec", "tensorrt", "tensorrt_rtx"),
    )
