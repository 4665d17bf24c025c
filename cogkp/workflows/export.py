"""Export a model of any family to ONNX, compare the file with its source, and build an engine."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from cogkp.artifacts.manifest import InputFacts, Manifest, OutputFacts
from cogkp.config.train import ExportOptions
from cogkp.errors import EngineError, printable
from cogkp.exporter.deploy import deploy
from cogkp.exporter.dynamo import LEGACY, require_exporter
from cogkp.exporter.tensorrt_build import choose_builder
from cogkp.inference.parity import verify_onnx
from cogkp.progress import SILENT, Progress
from cogkp.workflows.adapter import MODELS_ROOT, ExportRequest, adapter_of
from cogkp.workflows.printing import Printable
from cogkp.workflows.training_job import CHECKPOINT_ROOT

WITHOUT_ENGINE = "--no-engine leaves the engine out."

log = logging.getLogger("cogkp")


@attrs.frozen(repr=False)
class ExportResult(Printable):
    """What was exported.

    Args:
        folder: of the results.
        onnx: the model.
        manifest: what a consumer must know about it.
        engine: the TensorRT engine, or None.
        parity: largest difference to the source by output, in its unit.
        units: of these.
        precision: word for how the engine computes; the ONNX file holds float32.
        batch_size: fixed; None for any.
        samples: real images it was compared on, beside drawn inputs.
    """

    folder: Path
    onnx: Path
    manifest: Path
    engine: Path | None
    parity: Mapping[str, float]
    units: Mapping[str, str]
    precision: str
    batch_size: int | None
    samples: int

    def summary(self) -> str:
        """Say what was written, and how far it is from its source."""
        off = ", ".join(f"{name} {value:.2g} {self.units[name]}" for name, value in self.parity.items())
        rows = "any batch" if self.batch_size is None else f"batch {self.batch_size}"
        files = {"onnx": self.onnx, "manifest": self.manifest, "engine": self.engine or "none"}
        head = f"exported for {rows}; largest difference to the source: {off} ({self.samples} real images)"
        return "\n".join(map(printable, [head, *(f"{name}: {path}" for name, path in files.items())]))


def missing_builder(options: ExportOptions) -> str:
    """Say why no engine could be built here, and what to do; empty where one can, or where none is wanted.

    Worth asking before a long training whose export would end without its engine.
    """
    if not options.engine:
        return ""
    try:
        choose_builder(options.builder)
    except EngineError as error:
        return str(_or_without(error))
    return ""


def _or_without(error: EngineError) -> EngineError:
    """Add that an export may do without an engine."""
    return error.changed(hint=f"{error.problem.hint} {WITHOUT_ENGINE}".lstrip())


def export(
    config: Any,
    options: ExportOptions | None = None,
    *,
    checkpoint: str | None = None,
    untrained: bool = False,
    exporter: str = LEGACY,
    checkpoint_root: Path = CHECKPOINT_ROOT,
    models_root: Path = MODELS_ROOT,
    progress: Progress = SILENT,
) -> ExportResult:
    """Export a checkpoint to ONNX, compare it with its source, and build an engine where one is wanted.

    Args:
        config: what :func:`cogkp.load_config` returns; it names the network's shape and data to compare on.
        options: file, batch size, precision, engine; None for the defaults, and for experiments, whose ``export``
            section says it.
        checkpoint: 'latest', 'best' or a path; None takes what an experiment names, and else needs ``untrained``.
        untrained: export fresh weights.
        exporter: 'legacy', torch's exporter over TorchScript, or 'dynamo', the one over torch.export, which needs the
            package onnxscript (``cogkp[export]``). Both files pass the same comparison and hold the same facts.
        checkpoint_root: folder of all runs.
        models_root: where unnamed files go.
        progress: not used; exporting is one step.

    Raises:
        ConfigError: the configuration does not fit together.
        CheckpointError: the checkpoint cannot be used.
        ExportError: no checkpoint was named, the exporter cannot run here, or the network cannot be exported.
        ParityError: the exported model differs from its source; it stays under a name that says so.
        EngineError: no engine; the ONNX file and its manifest stay.
        OutputError: something cannot be written.
    """
    require_exporter(exporter)
    asked = ExportRequest(
        options=options,
        checkpoint=checkpoint,
        untrained=untrained,
        exporter=exporter,
        checkpoint_root=checkpoint_root,
        models_root=models_root,
    )
    with adapter_of(config).export(config, asked) as job:
        try:
            outcome = deploy(
                job.task,
                onnx_path=job.onnx,
                engine_path=job.engine,
                precision=job.precision,
                batch_size=job.batch_size,
                builder=job.builder,
                origin=job.origin,
                verify=lambda module, path, signature: verify_onnx(module, path, signature, job.samples),
                log=log.info,
                opset=job.opset,
                fold=job.fold,
                exporter=exporter,
            )
        except EngineError as error:
            raise _or_without(error) from error
        if job.verbose:
            _log_signature(outcome.manifest)
        parity = {each.output: each.maximum for each in outcome.manifest.parity}
        job.finished(parity)
        return ExportResult(
            folder=job.folder,
            onnx=outcome.onnx,
            manifest=outcome.manifest_path,
            engine=outcome.engine,
            parity=parity,
            units={each.output: each.unit for each in outcome.manifest.parity},
            precision=job.precision,
            batch_size=outcome.manifest.batch_size,
            samples=len(job.samples),
        )


def _log_signature(manifest: Manifest) -> None:
    ends: tuple[InputFacts | OutputFacts, ...] = (*manifest.inputs, *manifest.outputs)
    for entry in ends:
        log.info("%s: %s %s", entry.name, entry.dtype, list(entry.shape))
    for each in manifest.parity:
        off = f"differs by {each.maximum:.2g} {each.unit} at most, on '{each.worst_input}', {each.mean:.2g} in the mean"
        log.info("%s %s", each.output, off)
