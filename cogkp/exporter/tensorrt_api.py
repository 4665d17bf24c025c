"""Build an engine with the Python API of TensorRT 10 or 11, or of TensorRT-RTX.

All three take the precision from the types in the graph. TensorRT 11 and RTX know no other way, and TensorRT 10 is
asked for it by a flag of the network; so one route serves them, and the head stays float32 in each.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from cogkp.artifacts.manifest import EngineInfo
from cogkp.artifacts.tensorrt_package import forward_messages, last_error, tensorrt_logger, tensorrt_package
from cogkp.errors import EngineError, printable
from cogkp.exporter.engine_options import AS_THE_FILE_SAYS, EngineOptions, profile_of
from cogkp.exporter.typed_onnx import read_onnx, typed
from cogkp.files import in_own_folder, read_whole, require_replaceable, write_bytes

RTX = "tensorrt_rtx"


def build_with_package(
    package: str,
    onnx: Path,
    engine: Path,
    *,
    precision: str,
    log: Callable[[str], None],
    options: EngineOptions = AS_THE_FILE_SAYS,
) -> EngineInfo:
    """Build with a package; TensorRT proper does so on the GPU the engine is meant for, RTX needs none.

    Arguments are those of :func:`cogkp.exporter.trtexec.build_with_trtexec`.

    Raises:
        EngineError: no package, no GPU, or TensorRT refuses the model.
    """
    # Without a driver the bindings of TensorRT proper wrap null pointers and may crash: ask torch before anything else.
    if package != RTX and not torch.cuda.is_available():
        raise EngineError(
            "TensorRT builds on an NVIDIA GPU only", where=str(onnx), hint="Build the engine where it shall run."
        )
    trt = tensorrt_package(package)
    log(f"building with {package} {trt.__version__}, {precision}")
    model = read_onnx(onnx)
    profile = profile_of(model, options)
    with forward_messages(log if options.verbose else None), _on_gpu(options.gpu) as gpu:
        builder, network = parse(package, typed(model, precision, options.layers).SerializeToString())
        config = builder.create_builder_config()
        _configure(trt, builder, config, profile, options)
        cache = _timing_cache(package, config, options.timing_cache, log)
        plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError("TensorRT cannot build the model", where=str(onnx), got=last_error() or "no engine")
    if options.timing_cache is not None and cache is not None:
        write_bytes(options.timing_cache, bytes(cache.serialize()), in_own_folder)
    write_bytes(engine, bytes(plan), in_own_folder)
    return EngineInfo(package, str(trt.__version__), precision, gpu, options.batch_sizes)


def parse(package: str, model: bytes) -> tuple[Any, Any]:
    """Parse a typed, serialised ONNX model (or EngineError); the network returned must not outlive the builder."""
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


def _configure(trt: Any, builder: Any, config: Any, profile: Mapping[str, Any], options: EngineOptions) -> None:
    if options.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib << 20)
    if options.verbose:
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if profile:
        shapes = builder.create_optimization_profile()
        for name, (fewest, usual, most) in profile.items():
            shapes.set_shape(name, fewest, usual, most)
        config.add_optimization_profile(shapes)


def _timing_cache(package: str, config: Any, path: Path | None, log: Callable[[str], None]) -> Any:
    """Give the builder the times of earlier builds; where they cannot be used, it starts anew."""
    if path is None:
        return None
    if package == RTX:
        log(printable(f"{package} measures no times while it builds; {path} is left alone"))
        return None
    try:
        known = read_whole(path, None)
    except FileNotFoundError:
        known = b""
    except OSError as error:
        raise EngineError("timing cache cannot be read", where=str(path), got=error.strerror or "") from error
    cache = config.create_timing_cache(known)
    if cache is None:  # of another release, or none at all
        require_replaceable([path])
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        log(printable(f"timing cache {path} is of no use here and will be replaced"))
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, ignore_mismatch=False)
    return cache


@contextmanager
def _on_gpu(index: int) -> Iterator[str | None]:
    """Build on one GPU and yield its name; without GPUs, on none."""
    if not torch.cuda.is_available():
        yield None
        return
    if index >= torch.cuda.device_count():
        raise EngineError("there is no such GPU", expected=f"0 to {torch.cuda.device_count() - 1}", got=str(index))
    with torch.cuda.device(index):
        yield torch.cuda.get_device_name(index)
