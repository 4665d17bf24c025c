"""Run an exported ONNX file with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cogkp.artifacts.manifest import Signature, read_manifest
from cogkp.errors import ArtifactError, ModelError
from cogkp.inference.runner import Array, Described, Runner, require_same

__all__ = ["OnnxRuntimeRunner"]

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}

_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int64)": "int64"}
_ERRORS_ONLY = 3


class OnnxRuntimeRunner(Runner):
    """An ONNX file behind the runner interface.

    Args:
        path: the file.
        signature: what it should take and give; None reads it from the manifest beside the file.
        threads: of one operator; 0 leaves the choice to the runtime.
        device: 'cpu' or 'cuda'.
    """

    name = "onnxruntime"

    def __init__(
        self, path: Path, signature: Signature | None = None, *, threads: int = 0, device: str = "cpu"
    ) -> None:
        super().__init__(signature if signature is not None else read_manifest(path).signature)
        self._path = path
        self._threads = threads
        self._device = device
        self._session: Any = None

    def _load(self) -> None:
        session = self._new_session()
        require_same(self.signature, _described(session), str(self._path))
        self._session = session

    def _unload(self) -> None:
        self._session = None

    def _run(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        names = [entry.name for entry in self.signature.outputs]
        return dict(zip(names, self._session.run(names, dict(feed)), strict=True))

    def _new_session(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.log_severity_level = _ERRORS_ONLY
        provider = _provider(self._device, onnxruntime.get_available_providers())
        try:
            # The bytes are read here, so that a missing file and a broken one are told apart.
            return onnxruntime.InferenceSession(self._path.read_bytes(), options, providers=[provider])
        except OSError as error:
            raise ArtifactError("ONNX file cannot be read", where=str(self._path), got=error.strerror or "") from error
        except Exception as error:  # ONNX Runtime's own errors have no common base
            raise ArtifactError(
                "ONNX file cannot be used", where=str(self._path), got=str(error).split("\n", 1)[0]
            ) from error


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


def _described(session: Any) -> list[Described]:
    values = (*session.get_inputs(), *session.get_outputs())
    return [(value.name, tuple(value.shape), _DTYPES.get(value.type, value.type)) for value in values]
