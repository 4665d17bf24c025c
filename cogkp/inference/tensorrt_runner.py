"""Run a TensorRT engine on an NVIDIA GPU.

Device memory is torch's, so that no CUDA binding besides torch is needed.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cogkp.artifacts.manifest import (
    ANY_BATCH,
    InputFacts,
    Manifest,
    OutputFacts,
    Shape,
    Signature,
    read_engine_manifest,
)
from cogkp.artifacts.tensorrt_package import tensorrt_logger, tensorrt_package
from cogkp.errors import ArtifactError, EngineError, ModelError
from cogkp.files import read_whole
from cogkp.inference.runner import Array, Described, Runner, require_same

log = logging.getLogger("cogkp")

_DTYPES = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16", "INT32": "int32", "INT64": "int64"}

_RUNTIMES = {"trtexec": "tensorrt", "tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt_rtx"}
"""Which Python package runs what which builder made."""


class TensorRTRunner(Runner):
    """An engine behind the runner interface.

    Args:
        path: the engine; its manifest lies beside it.
        manifest: what it should take and give, and who built it; None reads it from beside the engine. Where it has
            any batch and does not say which the engine was built for, the engine does, once it is open.
        fixed_buffers: keep the memory of inputs and outputs between calls, and record the work as a CUDA graph.
    """

    name = "tensorrt"
    device = "cuda"

    def __init__(self, path: Path, manifest: Manifest | None = None, *, fixed_buffers: bool = False) -> None:
        manifest = manifest if manifest is not None else read_engine_manifest(path)
        if manifest.engine is None:
            raise ArtifactError("manifest describes no engine", where=str(path))
        super().__init__(manifest.signature)
        self._path = path
        if manifest.engine.builder not in _RUNTIMES:
            known = ", ".join(_RUNTIMES)
            raise ArtifactError("unknown engine builder", where=str(path), expected=known, got=manifest.engine.builder)
        self._package = _RUNTIMES[manifest.engine.builder]
        self._batch_sizes = manifest.engine.batch_sizes
        self._runtime: Any = None
        self._engine: Any = None
        self._context: Any = None
        self._fixed_buffers = fixed_buffers
        self._recorded: dict[int, RecordedEngine] = {}

    @property
    def rows(self) -> tuple[int, int | None]:
        """Fewest and most rows of one batch, as the engine's profile has it."""
        if self._batch_sizes is None:
            return super().rows
        return self._batch_sizes[0], self._batch_sizes[2]

    def _load(self) -> None:
        # Some runtimes hand back a broken object without a driver and crash on use: ask torch before anything else.
        if not torch.cuda.is_available():
            raise EngineError(
                "an engine runs on an NVIDIA GPU only", where=str(self._path), hint="Run the ONNX file instead."
            )
        trt = tensorrt_package(self._package)
        runtime = trt.Runtime(tensorrt_logger(self._package))
        engine = runtime.deserialize_cuda_engine(read_whole(self._path, None))
        if engine is None:
            raise ArtifactError(
                "engine cannot be used here",
                where=str(self._path),
                expected=f"an engine built by {self._package} {trt.__version__} for this GPU",
                hint="Build it again on this machine.",
            )
        found, any_rows = _described(engine), self._batch_sizes is None and self.rows[1] is None
        if any_rows:
            found = [(name, (ANY_BATCH, *shape[1:]), dtype) for name, shape, dtype in found]
        require_same(self.signature, found, str(self._path))
        if any_rows:
            self._batch_sizes = rows_of(engine, self.signature.inputs[0].name)
        self._runtime, self._engine, self._context = runtime, engine, engine.create_execution_context()

    def _unload(self) -> None:
        # The order matters: a context must not outlive its engine, nor an engine its runtime.
        self._recorded = {}
        self._context = None
        self._engine = None
        self._runtime = None

    def _run(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        rows = len(next(iter(feed.values())))
        self._require_rows(rows)
        if self._fixed_buffers:
            if rows not in self._recorded:
                # A context of its own, since a CUDA graph holds only as long as nobody changes what it was recorded in.
                context = self._engine.create_execution_context()
                self._recorded[rows] = RecordedEngine(context, self.signature, rows, str(self._path))
            return self._recorded[rows].run(feed)
        outputs = {entry.name: _room(entry, rows) for entry in self.signature.outputs}
        inputs = {name: torch.from_numpy(array).cuda() for name, array in feed.items()}
        for name, tensor in inputs.items():
            self._context.set_input_shape(name, tuple(tensor.shape))
        _place(self._context, {**inputs, **outputs})
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        _execute(self._context, stream, str(self._path))
        stream.synchronize()
        return {name: tensor.cpu().numpy() for name, tensor in outputs.items()}

    def _require_rows(self, rows: int) -> None:
        fewest, most = self.rows
        if self._batch_sizes is not None and not fewest <= rows <= (most or rows):
            raise ModelError(
                "engine was not built for so many rows",
                where=str(self._path),
                expected=f"{fewest} to {most}",
                got=str(rows),
                hint="Change the batch size, or build the engine with a wider profile.",
            )


class RecordedEngine:
    """An engine whose inputs and outputs lie at fixed places, for one number of rows; a CUDA graph where it can be.

    Args:
        context: for this alone.
        signature: what goes in and what comes out.
        rows: of each batch.
        where: the engine's file, for messages.
    """

    def __init__(self, context: Any, signature: Signature, rows: int, where: str) -> None:
        self._context, self._where = context, where
        self._inputs = {entry.name: _room(entry, rows) for entry in signature.inputs}
        self._outputs = {entry.name: _room(entry, rows) for entry in signature.outputs}
        for name, tensor in self._inputs.items():
            context.set_input_shape(name, tuple(tensor.shape))
        _place(context, {**self._inputs, **self._outputs})
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._stream.wait_stream(torch.cuda.current_stream())
        # Once before it is recorded: an engine allocates on its first run.
        _execute(context, self._stream, where)
        self._stream.synchronize()
        self._graph = self._record()

    def _record(self) -> Any:
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self._stream):
                _execute(self._context, self._stream, self._where)
        except (RuntimeError, EngineError) as error:
            log.warning("%s runs without a CUDA graph: %s", self._where, str(error).split("\n", 1)[0])
            return None
        return graph

    def run(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """Copy the inputs to their places, run, and copy the outputs, which the caller owns."""
        with torch.cuda.stream(self._stream):
            for name, array in feed.items():
                self._inputs[name].copy_(torch.from_numpy(array))
            if self._graph is None:
                _execute(self._context, self._stream, self._where)
            else:
                self._graph.replay()
            return {name: tensor.cpu().numpy() for name, tensor in self._outputs.items()}


def _place(context: Any, buffers: Mapping[str, Tensor]) -> None:
    for name, tensor in buffers.items():
        context.set_tensor_address(name, tensor.data_ptr())


def _execute(context: Any, stream: Any, where: str) -> None:
    if not context.execute_async_v3(stream.cuda_stream):
        raise EngineError("the engine could not be run", where=where)


def _room(entry: InputFacts | OutputFacts, rows: int) -> Tensor:
    lengths = (rows, *map(int, entry.shape[1:]))
    return torch.empty(lengths, dtype=getattr(torch, entry.dtype), device="cuda")


def _described(engine: Any) -> list[Described]:
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    return [
        (
            name,
            _shape(engine.get_tensor_shape(name)),
            _DTYPES.get(engine.get_tensor_dtype(name).name, engine.get_tensor_dtype(name).name),
        )
        for name in names
    ]


def rows_of(engine: Any, name: str) -> tuple[int, int, int]:
    """Ask an engine for the fewest, usual and most rows of an input, which may be one number."""
    fixed = engine.get_tensor_shape(name)
    fewest, usual, most = (fixed,) * 3 if fixed[0] > 0 else engine.get_tensor_profile_shape(name, 0)
    return int(fewest[0]), int(usual[0]), int(most[0])


def _shape(lengths: Any) -> Shape:
    """Name the batch of a profile as ONNX files do; TensorRT calls it -1."""
    return tuple(ANY_BATCH if axis == 0 and length < 0 else int(length) for axis, length in enumerate(lengths))
