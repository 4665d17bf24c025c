"""Read the ``gen_trt_engine`` section: optimization profile, precision of layers, calibration."""

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import attrs

from cogkp.artifacts.manifest import UNKNOWN, Manifest, Origin, utc_now
from cogkp.artifacts.names import file_sha256
from cogkp.config.centerpose.io import dump_experiment
from cogkp.config.centerpose.rules import engine_size_problems
from cogkp.config.centerpose.spec import CenterPoseConfig, EngineSpec, TensorRTSpec
from cogkp.config.plain import plain_hash
from cogkp.errors import ArtifactError, ConfigError, Problem
from cogkp.exporter.engine_options import EngineOptions
from cogkp.exporter.tensorrt_build import choose_builder
from cogkp.exporter.typed_onnx import read_onnx
from cogkp.inference.exported import described_onnx
from cogkp.tasks.centerpose.task import needed_facts
from cogkp.workflows.adapter import EngineJob, EngineRequest
from cogkp.workflows.families.centerpose.int8 import with_int8_layers
from cogkp.workflows.families.centerpose.model import require_outputs
from cogkp.workflows.families.centerpose.results_folder import AtWork

PRECISIONS = {"FP32": "fp32", "FP16": "fp16", "INT8": "int8"}
LAYERS = "gen_trt_engine.tensorrt.layers_precision"

log = logging.getLogger("cogkp")


@contextmanager
def engine_job(config: CenterPoseConfig, asked: EngineRequest, work: AtWork) -> Iterator[EngineJob]:
    """Describe the engine that an experiment's ``gen_trt_engine`` section asks for.

    Args:
        config: the experiment.
        asked: who builds, and who shows progress.
        work: the folder of results.

    Raises:
        ConfigError: the experiment does not fit to its ONNX file.
        ArtifactError: the ONNX file or the calibration cannot be used.
        DataError: there are too few images to calibrate with, or one cannot be read.
        EngineError: layers are asked for that cannot be had.
    """
    choose_builder(asked.builder)  # before a calibration that would be in vain
    section = config.gen_trt_engine
    onnx, engine = Path(str(section.onnx_file)), Path(str(section.trt_engine))
    manifest = _described(config, onnx)
    _, _, height, width = manifest.inputs[0].shape
    if problems := engine_size_problems(section, (width, height)):
        raise ConfigError(problems)
    precision = PRECISIONS[section.tensorrt.data_type]
    layers = _layers(section.tensorrt, precision)
    source, rounding = None, dict[str, float]()

    def finished(cost: Mapping[str, float]) -> None:
        work.status.write("SUCCESS", f"{engine.name} is built", kpi=cost or None)

    with tempfile.TemporaryDirectory() as folder:
        if precision == "int8":
            source, rounding = with_int8_layers(config, onnx, manifest, layers, Path(folder), asked.progress)
        yield EngineJob(
            folder=work.results.path,
            onnx=onnx,
            engine=engine,
            manifest=attrs.evolve(manifest, precision=precision),
            builder=asked.builder,
            options=_options(section, manifest, layers if precision == "fp16" else {}),
            source=source,
            rounding=rounding,
            finished=finished,
        )


def _options(section: EngineSpec, manifest: Manifest, layers: Mapping[str, str]) -> EngineOptions:
    wanted = section.tensorrt
    return EngineOptions(
        batch_sizes=_batch_sizes(section, manifest),
        workspace_mib=wanted.workspace_size,
        timing_cache=None if section.timing_cache is None else Path(section.timing_cache),
        layers=layers,
        verbose=section.verbose,
        gpu=section.gpu_id,
    )


def _batch_sizes(section: EngineSpec, manifest: Manifest) -> tuple[int, int, int] | None:
    """Choose the profile of a file that takes any batch; None for a fixed one, which must be the one asked for."""
    asked, wanted = section.batch_size, section.tensorrt
    if manifest.batch_size is None:
        return (asked,) * 3 if asked > 0 else (wanted.min_batch_size, wanted.opt_batch_size, wanted.max_batch_size)
    if asked not in (-1, manifest.batch_size):
        raise ConfigError(
            [
                Problem(
                    "the ONNX file has another batch",
                    "gen_trt_engine.batch_size",
                    f"-1 or {manifest.batch_size}",
                    str(asked),
                    "Export again with export.batch_size -1 for engines of any batch.",
                )
            ]
        )
    return None


def _layers(wanted: TensorRTSpec, precision: str) -> dict[str, str]:
    """Read the wishes for single layers; which are possible depends on what the engine is to be."""
    layers = dict(each.rsplit(":", 1) for each in wanted.layers_precision)
    if layers and precision == "fp32":
        log.warning("%s: an FP32 engine is fp32 in all its layers", LAYERS)
        return {}
    odd = {name: word for name, word in layers.items() if word not in ("fp32", precision)}
    if odd:
        got = ", ".join(f"{name}:{word}" for name, word in odd.items())
        hint = "Other layers cannot be had; see docs/deployment.md."
        raise ConfigError([Problem("unusable layer precision", LAYERS, f"fp32 or {precision}", got, hint)])
    return layers


def _described(config: CenterPoseConfig, onnx: Path) -> Manifest:
    """Describe an ONNX file; where it does not say itself what it is, the experiment does."""
    if not onnx.is_file():
        raise ArtifactError("there is no such ONNX file", where=str(onnx), hint="s6 cog centerpose export makes one.")
    signature, known = described_onnx(onnx)
    require_outputs(signature, known.facts if known else {}, onnx)
    if known is not None:
        return attrs.evolve(known, onnx_sha256=file_sha256(onnx))
    rows, _, height, width = signature.inputs[0].shape
    return Manifest(
        created=utc_now(),
        versions={},
        origin=Origin(plain_hash(dump_experiment(config)), UNKNOWN),
        precision="fp32",
        batch_size=rows if isinstance(rows, int) else None,
        opset=max(entry.version for entry in read_onnx(onnx).opset_import if entry.domain in ("", "ai.onnx")),
        inputs=signature.inputs,
        outputs=signature.outputs,
        facts=needed_facts(config, (width, height)),
        parity=(),
        onnx_sha256=file_sha256(onnx),
    )
