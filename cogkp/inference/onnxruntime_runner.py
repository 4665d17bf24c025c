"""Run an ONNX file with ONNX Runtime."""

import ctypes
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cogkp.artifacts.manifest import InputFacts, Manifest, OutputFacts, Signature, from_metadata, read_manifest
from cogkp.errors import ArtifactError, ModelError
from cogkp.files import read_whole
from cogkp.inference.runner import Array, Described, Runner, require_same

log = logging.getLogger("cogkp")

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}

_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int64)": "int64"}
_ERRORS_ONLY = 3
_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"


class OnnxRuntimeRunner(Runner):
    """An ONNX file behind the runner interface.

    Args:
        signature: what it should take and give; None reads it from the manifest beside the file.
        threads: of one operator; 0 leaves the choice to the runtime.
        device: 'cpu', 'cuda' or 'cuda:1'.
        fixed_buffers: keep the memory of inputs and outputs between calls, and record a CUDA graph on a GPU.
    """

    name = "onnxruntime"

    def __init__(
        self,
        path: Path,
        signature: Signature | None = None,
        *,
        threads: int = 0,
        device: str = "cpu",
        fixed_buffers: bool = False,
    ) -> None:
        super().__init__(signature if signature is not None else read_manifest(path).signature)
        self._path = path
        self._threads = threads
        self.device = device
        self._fixed_buffers = fixed_buffers
        self._session: Any = None
        self._bound: dict[int, BoundSession] = {}

    def _load(self) -> None:
        session = _session(self._path, self._threads, self.device, recorded=self._fixed_buffers)
        require_same(self.signature, _described(session, self._path), str(self._path))
        self._session = session

    def _unload(self) -> None:
        self._bound = {}
        self._session = None

    def _run(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        if self._fixed_buffers:
            rows = len(next(iter(feed.values())))
            if rows not in self._bound:
                self._bound[rows] = BoundSession(self._session, self.signature, rows, self.device)
            return self._bound[rows].run(feed)
        names = [entry.name for entry in self.signature.outputs]
        return dict(zip(names, self._session.run(names, dict(feed)), strict=True))


class BoundSession:
    """A session whose inputs and outputs lie at fixed places of a device, for one number of rows.

    Args:
        session: ONNX Runtime's.
        signature: what goes in and what comes out.
        rows: of each batch.
        device: 'cpu', 'cuda' or 'cuda:1'.
    """

    def __init__(self, session: Any, signature: Signature, rows: int, device: str) -> None:
        import onnxruntime

        self._session, self._binding = session, session.io_binding()
        self._inputs = {entry.name: _room(entry, rows, device) for entry in signature.inputs}
        self._outputs = {entry.name: _room(entry, rows, device) for entry in signature.outputs}
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        for name, value in self._outputs.items():
            self._binding.bind_ortvalue_output(name, value)
        self._options = onnxruntime.RunOptions()
        if device.startswith("cuda"):  # each number of rows is a CUDA graph of its own
            self._options.add_run_config_entry("gpu_graph_id", str(rows))

    def run(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """Copy the inputs to their places, run, and copy the outputs, which the caller owns."""
        for name, array in feed.items():
            self._inputs[name].update_inplace(array)
        self._session.run_with_iobinding(self._binding, self._options)
        return {name: np.array(value.numpy()) for name, value in self._outputs.items()}


def _room(entry: InputFacts | OutputFacts, rows: int, device: str) -> Any:
    import onnxruntime

    shape = [rows, *map(int, entry.shape[1:])]
    kind, _, number = device.partition(":")
    return onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, np.dtype(entry.dtype).type, kind, int(number or 0))


def best_device(gpu: int = 0) -> str:
    """Name the device that the installed ONNX Runtime computes fastest on: that GPU, as 'cuda:0', or 'cpu'."""
    import onnxruntime

    return f"cuda:{gpu}" if PROVIDERS["cuda"] in onnxruntime.get_available_providers() and _has_gpu() else "cpu"


def _has_gpu() -> bool:
    """Ask NVIDIA's driver whether there is a GPU; torch, which could tell, need not be there."""
    count = ctypes.c_int(0)
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


def read_onnx(path: Path) -> tuple[Signature, Manifest | None]:
    """Ask an ONNX file what it takes and gives, and what its writer put into it.

    Returns:
        Names, shapes and types as the file has them, without units; and the manifest that travels inside the files of
        this library, None for others.

    Raises:
        ArtifactError: the file cannot be used.
    """
    session = _session(path, 1, "cpu")
    try:
        takes, gives = session.get_inputs(), session.get_outputs()
        signature = Signature(
            tuple(InputFacts(*entry) for entry in map(_entry, takes)),
            tuple(OutputFacts(name, shape, "", 0.0, dtype) for name, shape, dtype in map(_entry, gives)),
        )
        pairs = session.get_modelmeta().custom_metadata_map
    except UnicodeDecodeError as error:
        raise _not_text(path, error) from error
    ours = any(key.startswith("cogkp.") for key in pairs)
    return signature, from_metadata(pairs, where=str(path)) if ours else None


def _not_text(path: Path, error: UnicodeDecodeError) -> ArtifactError:
    return ArtifactError(
        "ONNX file holds text that is not UTF-8",
        where=str(path),
        expected="names and metadata in UTF-8",
        got=repr(error.object[:40]),
        hint="Export it again.",
    )


def session_options(path: Path, threads: int) -> Any:
    """Make options of a session; weights that an ONNX file keeps outside lie beside it, wherever the process works."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _ERRORS_ONLY
    options.add_session_config_entry(_WEIGHTS_FOLDER, str(path.resolve().parent))
    return options


def _session(path: Path, threads: int, device: str, *, recorded: bool = False) -> Any:
    """Open a session; ``recorded`` asks for CUDA graphs, without which it goes on where the network does not allow."""
    import onnxruntime

    kind, _, number = device.partition(":")
    provider = _provider(kind, onnxruntime.get_available_providers())
    if recorded and kind == "cuda":
        try:
            content, options = read_whole(path, None), session_options(path, threads)
            graph = {"enable_cuda_graph": "1", "device_id": number or "0"}
            return onnxruntime.InferenceSession(content, options, providers=[(provider, graph)])
        except Exception as error:  # ONNX Runtime's own errors have no common base
            log.warning("%s runs without a CUDA graph: %s", path, str(error).split("\n", 1)[0])
    try:
        # The bytes are read here, so that a missing file and a broken one can be distinguished.
        content, options = read_whole(path, None), session_options(path, threads)
        # Another try on the CPU is none where the first was there; ONNX Runtime would print four lines about it.
        again = int(provider != PROVIDERS["cpu"])
        chosen = [(provider, {"device_id": number} if number else {})]
        return onnxruntime.InferenceSession(content, options, providers=chosen, enable_fallback=again)
    except OSError as error:
        raise ArtifactError("ONNX file cannot be read", where=str(path), got=error.strerror or "") from error
    except Exception as error:  # ONNX Runtime's own errors have no common base
        raise ArtifactError("ONNX file cannot be used", where=str(path), got=str(error).split("\n", 1)[0]) from error


def _provider(device: str, available: list[str]) -> str:
    wanted = PROVIDERS.get(device, device)
    if wanted not in available:
        raise ModelError(
            "this ONNX Runtime cannot use the device",
            where=device,
            expected=wanted,
            got=", ".join(available),
            hint="For 'cuda' install onnxruntime-gpu in place of onnxruntime." if device == "cuda" else "",
        )
    return wanted


def _described(session: Any, path: Path) -> list[Described]:
    try:
        return [_entry(value) for value in (*session.get_inputs(), *session.get_outputs())]
    except UnicodeDecodeError as error:
        raise _not_text(path, error) from error


def _entry(value: Any) -> Described:
    return value.name, tuple(map(_length, value.shape)), _DTYPES.get(value.type, value.type)


def _length(axis: Any) -> Any:
    """Return the length of an axis, or a word where it has any."""
    return axis if isinstance(axis, int) else axis or "any"
