"""Deploy a task: ONNX file, comparison with the source network, manifest, TensorRT engine.

A file gets its release name only after it has been compared with its source.
"""

import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import attrs
from torch import nn

from cogkp.artifacts.manifest import (
    Manifest,
    Origin,
    OutputDifference,
    Signature,
    is_described,
    is_manifest,
    is_release,
    to_metadata,
    utc_now,
    write_manifest,
)
from cogkp.artifacts.names import file_sha256, manifest_path, unverified_path
from cogkp.artifacts.run_record import installed_version
from cogkp.errors import EngineError, ParityError, printable
from cogkp.exporter.dynamo import LEGACY
from cogkp.exporter.engine_options import AS_THE_FILE_SAYS, FROM_ONE_TO_A_GROUP, EngineOptions
from cogkp.exporter.onnx_export import OPSET, Tracing, export_onnx, signature_of, with_metadata
from cogkp.exporter.tensorrt_build import choose_builder
from cogkp.files import in_own_folder, require_replaceable, staged_files, write_bytes
from cogkp.tasks.base import ExportSpec

Verify = Callable[[nn.Module, Path, Signature], tuple[OutputDifference, ...]]
"""Compare an ONNX file with its source module; raises ParityError. ``cogkp.inference.parity.verify_onnx`` is one."""

# Examples of one row would hide what a graph does to the batch.
_ROWS_OF_ANY = 2

NOT_MEASURED: Mapping[str, float] = MappingProxyType({})

_LIBRARIES = ("cogkp", "torch", "onnx", "onnxruntime")


class Exportable(Protocol):
    """The part of a task that deployment needs."""

    def export_module(self) -> nn.Module:
        """Return the module to deploy, in evaluation mode; it returns the NamedTuple of ``export_spec``."""

    def export_spec(self, batch_size: int) -> ExportSpec:
        """Describe the exported model for one fixed batch size."""


@attrs.frozen
class DeployOutcome:
    """What was written.

    Args:
        manifest_path: its manifest.
        manifest: the same as an object; with an engine, the engine's.
    """

    onnx: Path
    manifest_path: Path
    manifest: Manifest
    engine: Path | None


def deploy(
    task: Exportable,
    *,
    onnx_path: Path,
    engine_path: Path | None,
    precision: str,
    batch_size: int | None,
    builder: str,
    origin: Origin,
    verify: Verify,
    log: Callable[[str], None],
    opset: int = OPSET,
    fold: bool = True,
    exporter: str = LEGACY,
) -> DeployOutcome:
    """Export a task's model, compare it with its source, describe it, and build an engine.

    Args:
        task: says what is exported.
        onnx_path: ONNX file to write.
        engine_path: engine to write; None leaves it out. Of a file that takes any batch, it takes 1 to 16 rows.
        precision: 'fp32' or 'bf16'; the ONNX file holds float32 in both cases.
        batch_size: fixed; None for a file that takes any.
        builder: see :func:`cogkp.exporter.tensorrt_build.choose_builder`.
        origin: where the weights came from.
        verify: compares the exported file with the module.
        log: takes one line per step.
        opset: ONNX operator set.
        fold: whether what depends on no input is computed once, while exporting.
        exporter: 'legacy' or 'dynamo', see :mod:`cogkp.exporter.dynamo`.

    Raises:
        ExportError: the module cannot be exported; nothing was written.
        ParityError: the exported model differs; it stays under a name that says so, for inspection.
        EngineError: no engine; ONNX file and manifest were written before and stay.
        OutputError: a file cannot be written.
    """
    require_replaceable([onnx_path, manifest_path(onnx_path)], _is_ours)
    how = Tracing(opset, batch_size is None, fold, exporter)
    module, spec = task.export_module(), task.export_spec(batch_size or _ROWS_OF_ANY)
    signature = signature_of(module, spec, any_batch=how.any_batch)
    with staged_files(onnx_path.parent, last=onnx_path.name, ours=_is_ours) as staging:
        draft = export_onnx(module, spec, staging / unverified_path(onnx_path).name, how=how)
        log(f"exported, opset {opset}; comparing with the source")
        parity = _verified(verify, module, draft, signature, onnx_path.parent)
        manifest = Manifest(
            created=utc_now(),
            versions={
                "python": platform.python_version(),
                **{name: installed_version(name) or "unknown" for name in _LIBRARIES},
            },
            origin=origin,
            precision=precision,
            batch_size=batch_size,
            opset=opset,
            inputs=signature.inputs,
            outputs=signature.outputs,
            facts=dict(spec.facts),
            parity=parity,
        )
        described = _release(draft, onnx_path, manifest)
    log(printable(f"wrote {onnx_path}"))
    if engine_path is None:
        return described
    options = FROM_ONE_TO_A_GROUP if batch_size is None else AS_THE_FILE_SAYS
    engine_manifest = build_engine(
        onnx_path, engine_path, described.manifest, builder=builder, log=log, options=options
    )
    return attrs.evolve(described, engine=engine_path, manifest=engine_manifest)


def build_engine(
    onnx_path: Path,
    engine_path: Path,
    manifest: Manifest,
    *,
    builder: str,
    log: Callable[[str], None],
    options: EngineOptions = AS_THE_FILE_SAYS,
    source: Path | None = None,
    rounding: Mapping[str, float] = NOT_MEASURED,
) -> Manifest:
    """Build an engine from a verified ONNX file and write its manifest, which is returned.

    Args:
        onnx_path: the verified file.
        engine_path: engine to write.
        manifest: of the ONNX file; its precision is the engine's.
        builder: see :func:`cogkp.exporter.tensorrt_build.choose_builder`.
        log: takes one line per step.
        options: what the engine is to be, beside its precision.
        source: a file with quantised layers that was made of the verified one, to build from instead.
        rounding: what is known about the cost of few bits, for the manifest.

    Raises:
        EngineError: tells what failed, and that the ONNX file stays.
    """
    try:
        build = choose_builder(builder)
        require_replaceable([engine_path], is_described)
        require_replaceable([manifest_path(engine_path)], is_manifest)
        info = build(source or onnx_path, engine_path, precision=manifest.precision, log=log, options=options)
    except EngineError as error:
        raise _kept(error, onnx_path, engine_path) from error
    info = attrs.evolve(info, rounding=dict(rounding))
    described = attrs.evolve(manifest, engine=info, engine_sha256=file_sha256(engine_path))
    write_manifest(described, engine_path)
    log(printable(f"wrote {engine_path}"))
    return described


def _is_ours(path: Path) -> bool:
    return is_manifest(path) if path.suffix == ".json" else is_release(path)


def _verified(
    verify: Verify, module: nn.Module, draft: Path, signature: Signature, folder: Path
) -> tuple[OutputDifference, ...]:
    try:
        return verify(module, draft, signature)
    except ParityError as error:
        problem, rejected = error.problem, folder / draft.name
        write_bytes(rejected, draft.read_bytes(), in_own_folder)
        raise ParityError(
            problem.what,
            where=problem.where.replace(str(draft), str(rejected)),
            expected=problem.expected,
            got=problem.got,
            hint=f"No release was written; the rejected file is {rejected}.",
        ) from error


def _release(draft: Path, onnx_path: Path, manifest: Manifest) -> DeployOutcome:
    """Write the described file and its manifest beside the draft, which goes."""
    staged = draft.with_name(onnx_path.name)
    write_bytes(staged, with_metadata(draft.read_bytes(), to_metadata(manifest)))
    draft.unlink()
    described = attrs.evolve(manifest, onnx_sha256=file_sha256(staged))
    write_manifest(described, staged)
    return DeployOutcome(onnx_path, manifest_path(onnx_path), described, None)


def _kept(error: EngineError, onnx_path: Path, engine_path: Path) -> EngineError:
    """Repeat an error with what the user still has."""
    stale = f" {engine_path} is left from an earlier model." if engine_path.exists() else ""
    hint = " ".join(part for part in (error.problem.hint, f"The ONNX file is complete: {onnx_path}.{stale}") if part)
    return error.changed(hint=hint)
