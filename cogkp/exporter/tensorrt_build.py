"""Choose a TensorRT builder; all have one signature, and a new one is a new row of the table."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

import attrs

from cogkp.artifacts.manifest import EngineInfo
from cogkp.artifacts.tensorrt_package import is_installed
from cogkp.errors import EngineError, closest
from cogkp.exporter.engine_options import AS_THE_FILE_SAYS, EngineOptions
from cogkp.exporter.tensorrt_api import build_with_package
from cogkp.exporter.trtexec import build_with_trtexec, find_trtexec


class Build(Protocol):
    """Turn an ONNX file into an engine file."""

    def __call__(
        self,
        onnx: Path,
        engine: Path,
        *,
        precision: str,
        log: Callable[[str], None],
        options: EngineOptions = AS_THE_FILE_SAYS,
    ) -> EngineInfo:
        """Write ``engine``, whole or not at all; raises EngineError."""


@attrs.frozen
class Builder:
    """One way to build an engine.

    Args:
        is_available: whether what it needs is installed here.
        advice: what to do when it is not available.
    """

    is_available: Callable[[], bool]
    build: Build
    advice: str


def _package(name: str, extra: str) -> Builder:
    return Builder(partial(is_installed, name), partial(build_with_package, name), f"Run pip install 'cogkp[{extra}]'.")


BUILDERS: dict[str, Builder] = {
    "trtexec": Builder(
        lambda: find_trtexec() is not None, build_with_trtexec, "Put trtexec of NVIDIA's TensorRT archive on PATH."
    ),
    "tensorrt": _package("tensorrt", "tensorrt"),
    "tensorrt_rtx": _package("tensorrt_rtx", "tensorrt-rtx"),
}

AUTOMATIC = ("trtexec", "tensorrt")
"""Tried in this order. Engines of TensorRT-RTX run under RTX alone, so it is used only when it is named."""


def choose_builder(name: str = "auto") -> Build:
    """Return a builder that can be used here.

    Args:
        name: a row of :data:`BUILDERS`, or 'auto' for the first available one of :data:`AUTOMATIC`.

    Raises:
        EngineError: unknown name, or nothing installed; says what to install.
    """
    if name == "auto":
        name = next((row for row in AUTOMATIC if BUILDERS[row].is_available()), "")
        if not name:
            raise EngineError(
                "no TensorRT found",
                expected="trtexec on PATH or the Python package tensorrt",
                got="neither",
                hint="Run pip install 'cogkp[tensorrt]', or name --engine-builder tensorrt_rtx.",
            )
    if name not in BUILDERS:
        raise EngineError(
            "unknown builder", expected=", ".join(("auto", *BUILDERS)), got=repr(name), hint=closest(name, BUILDERS)
        )
    if not BUILDERS[name].is_available():
        raise EngineError(f"builder {name} is not installed", hint=BUILDERS[name].advice)
    return BUILDERS[name].build
