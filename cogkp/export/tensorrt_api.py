"""Build an engine with a TensorRT Python package: TensorRT 10 or 11, or TensorRT-RTX.

All three take the precision from the types in the graph. TensorRT 11 and RTX know no other way, and TensorRT 10 is
asked for it by a flag of the network; so one route serves them, and the head stays float32 in each.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from cogkp.artifacts.manifest import EngineInfo
from cogkp.artifacts.tensorrt_package import last_complaint, tensorrt_logger, tensorrt_package
from cogkp.errors import EngineError
from cogkp.export.typed_onnx import read_onnx, typed
from cogkp.files import write_bytes

__all__ = ["build_with_tensorrt", "build_with_tensorrt_rtx", "parse"]


def build_with_tensorrt(onnx: Path, engine: Path, *, precision: str, log: Callable[[str], None]) -> EngineInfo:
    """Build with the package ``tensorrt``, on the GPU the engine is meant for.

    Args:
        onnx: float32 model.
        engine: file to write, whole or not at all.
        precision: 'fp32', 'fp16' or 'bf16'.
        log: takes one line per step.

    Raises:
        EngineError: no package, no GPU, or TensorRT refuses the model.
    """
    # Without a driver its bindings wrap null pointers and may crash: ask torch before anything else.
    if not torch.cuda.is_available():
        raise EngineError(
            "TensorRT builds on an NVIDIA GPU only", where=str(onnx), hint="Build the engine where it shall run."
        )
    return _build("tensorrt", onnx, engine, precision, log)


def build_with_tensorrt_rtx(onnx: Path, engine: Path, *, precision: str, log: Callable[[str], None]) -> EngineInfo:
    """Build with the package ``tensorrt_rtx``, which needs no GPU for it; arguments as above."""
    return _build("tensorrt_rtx", onnx, engine, precision, log)


def parse(package: str, model: bytes) -> tuple[Any, Any]:
    """Parse a typed ONNX model.

    Args:
        package: 'tensorrt' or 'tensorrt_rtx'.
        model: serialised ONNX.

    Returns:
        The package's builder and its network definition; the network must not outlive the builder.

    Raises:
        EngineError: tells what the parser says.
    """
    trt = tensorrt_package(package)
    builder = trt.Builder(tensorrt_logger(package))
    network = builder.create_network(_network_flags(trt))
    parser = trt.OnnxParser(network, tensorrt_logger(package))
    if not parser.parse(model):
        complaints = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        raise EngineError("TensorRT cannot parse the model", got=" | ".join(" ".join(c.split()) for c in complaints))
    return builder, network


def _network_flags(trt: Any) -> int:
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _build(package: str, onnx: Path, engine: Path, precision: str, log: Callable[[str], None]) -> EngineInfo:
    trt = tensorrt_package(package)
    log(f"building with {package} {trt.__version__}, {precision}")
    builder, network = parse(package, typed(read_onnx(onnx), precision).SerializeToString())
    plan = builder.build_serialized_network(network, builder.create_builder_config())
    if plan is None:
        raise EngineError("TensorRT cannot build the model", where=str(onnx), got=last_complaint() or "no engine")
    write_bytes(engine, bytes(plan))
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return EngineInfo(package, str(trt.__version__), precision, gpu)
