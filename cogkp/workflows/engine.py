"""Build a TensorRT engine from an exported model of any family."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from cogkp.artifacts.names import manifest_path
from cogkp.errors import printable
from cogkp.exporter.deploy import build_engine as build_and_describe
from cogkp.progress import SILENT, Progress
from cogkp.workflows.adapter import EngineRequest, adapter_of
from cogkp.workflows.printing import Printable

log = logging.getLogger("cogkp")


@attrs.frozen(repr=False)
class EngineResult(Printable):
    """What was built.

    Args:
        folder: of the results.
        engine: the engine.
        manifest: what a consumer must know about it.
        builder: who built it, and its version.
        precision: of most of its layers: 'fp32', 'fp16', 'bf16' or 'int8'.
        batch_sizes: fewest, usual and most images at a time.
        rounding: how far 8 bits move what is found, in numbers; empty for other precisions.
    """

    folder: Path
    engine: Path
    manifest: Path
    builder: str
    precision: str
    batch_sizes: tuple[int, int, int]
    rounding: Mapping[str, float]

    def summary(self) -> str:
        """Say what was built."""
        sizes = "/".join(map(str, dict.fromkeys(self.batch_sizes)))
        return (
            f"{self.precision} engine for batch {sizes}, built by {self.builder}\n{printable(f'engine: {self.engine}')}"
        )


def build_engine(
    config: Any,
    onnx: Path | str | None = None,
    *,
    engine: Path | str | None = None,
    builder: str = "auto",
    progress: Progress = SILENT,
) -> EngineResult:
    """Build an engine from an ONNX file.

    Args:
        config: what :func:`cogkp.load_config` returns; an experiment's ``gen_trt_engine`` section says what is built.
        onnx: the file; None takes what an experiment names.
        engine: the file to write; None takes what an experiment names, else a name beside the ONNX file.
        builder: 'auto' takes trtexec, else the package tensorrt; 'tensorrt_rtx' only when named.
        progress: shows the images of an 8-bit calibration.

    Raises:
        ConfigError: the configuration does not fit together, or not to its ONNX file.
        ArtifactError: the ONNX file or the calibration cannot be used.
        DataError: there are too few images to calibrate with, or one cannot be read.
        EngineError: no engine; the ONNX file stays as it is.
        OutputError: something cannot be written.
    """
    asked = EngineRequest(
        onnx=None if onnx is None else Path(onnx),
        engine=None if engine is None else Path(engine),
        builder=builder,
        progress=progress,
    )
    with adapter_of(config).engine(config, asked) as job:
        built = build_and_describe(
            job.onnx,
            job.engine,
            job.manifest,
            builder=job.builder,
            log=log.info,
            options=job.options,
            source=job.source,
            rounding=job.rounding,
        )
        assert built.engine is not None
        job.finished(job.rounding)
        fixed = built.batch_size or 0
        return EngineResult(
            folder=job.folder,
            engine=job.engine,
            manifest=manifest_path(job.engine),
            builder=f"{built.engine.builder} {built.engine.version}",
            precision=built.engine.precision,
            batch_sizes=built.engine.batch_sizes or (fixed, fixed, fixed),
            rounding=built.engine.rounding,
        )
