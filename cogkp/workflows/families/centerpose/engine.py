"""The ``gen_trt_engine`` section: optimization profile, precision of layers, INT8 calibration and what it costs."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from cogkp.artifacts.calibration_cache import CalibrationCache, graph_sha256, read_calibration, write_calibration
from cogkp.artifacts.manifest import UNKNOWN, Manifest, Origin, utc_now
from cogkp.artifacts.names import file_sha256
from cogkp.config.centerpose.io import dump_experiment
from cogkp.config.centerpose.rules import engine_size_problems
from cogkp.config.centerpose.spec import CalibrationSpec, CenterPoseConfig, EngineSpec, TensorRTSpec
from cogkp.config.converter import plain_hash
from cogkp.data.boxes.view import BoxInput
from cogkp.data.images import Levels, read_colour
from cogkp.data.images.survey import evenly, find_images
from cogkp.errors import ArtifactError, ConfigError, DataError, Problem
from cogkp.exporter.engine_options import EngineOptions
from cogkp.exporter.int8_onnx import quantised, read_by_convolutions
from cogkp.exporter.tensorrt_build import choose_builder
from cogkp.exporter.typed_onnx import read_onnx
from cogkp.inference.exported import described_onnx, image_reading
from cogkp.inference.onnxruntime_runner import OnnxRuntimeRunner
from cogkp.inference.ranges import largest_values
from cogkp.progress import Progress
from cogkp.tasks.centerpose.processor import processor_of
from cogkp.tasks.centerpose.quantization_error import Agreement
from cogkp.tasks.centerpose.task import needed_facts
from cogkp.workflows.adapter import EngineJob, EngineRequest
from cogkp.workflows.families.centerpose.model import require_outputs
from cogkp.workflows.families.centerpose.results_folder import AtWork

log = logging.getLogger("cogkp")

COMPARED = 8
CALIBRATION = "gen_trt_engine.tensorrt.calibration"
Batch = npt.NDArray[np.float32]
PRECISIONS = {"FP32": "fp32", "FP16": "fp16", "INT8": "int8"}
LAYERS = "gen_trt_engine.tensorrt.layers_precision"


def available_images(config: CenterPoseConfig) -> tuple[Path, ...]:
    """List the images of the first of an experiment's folders that has any; none where they cannot be had."""
    data = config.dataset
    for folder in (data.val_data, data.test_data, data.train_data, data.inference_data):
        if folder is None or not Path(folder).is_dir():
            continue
        try:
            return find_images(Path(folder))
        except DataError as error:
            log.warning("%s", error)
    return ()


def with_int8_layers(
    config: CenterPoseConfig,
    onnx: Path,
    manifest: Manifest,
    layers: Mapping[str, str],
    folder: Path,
    progress: Progress,
) -> tuple[Path, dict[str, float]]:
    """Write a copy of an ONNX file whose convolutions compute with 8 bits, and compare both on images.

    ``layers`` says 'fp32' or 'int8' for single layers, ``folder`` where the copy goes. Returns the copy, and how far it
    moves what is found, by name.

    Raises:
        DataError: there are too few images, or one cannot be read.
        ArtifactError: the file of ranges is something else.
        EngineError: ``layers`` cannot be had.
    """
    wanted, model = config.gen_trt_engine.tensorrt.calibration, read_onnx(onnx)
    images = [path for each in wanted.cal_image_dir for path in find_images(Path(each))]
    read = calibration_images(images, manifest, onnx, progress)
    largest = _largest(wanted, onnx, model, manifest, read)
    copy = folder / onnx.name
    copy.write_bytes(quantised(model, largest, layers).SerializeToString())
    threshold = config.inference.visualization_threshold
    return copy, _cost(onnx, copy, manifest, read, threshold)


@attrs.frozen(kw_only=True)
class ImageBatches:
    """Images as batches, as many rows at a time as the network takes.

    Args:
        levels: of black and white in images of 16 bits.
        rows: fixed number of rows; None for any.
    """

    paths: Sequence[Path]
    view: BoxInput
    oriented: bool
    levels: Levels | None
    rows: int | None
    progress: Progress

    def batches(self, count: int, size: int, label: str) -> Iterator[Batch]:
        """Read some of them, evenly spread; where the last batch is short, it begins again with the first images."""
        chosen, rows = [self.paths[row] for row in evenly(len(self.paths), count)], self.rows or size
        with self.progress.work(label, -(-len(chosen) // rows)) as step:
            for start in range(0, len(chosen), rows):
                group = [chosen[(start + row) % len(chosen)] for row in range(rows)]
                images = (read_colour(path, oriented=self.oriented, levels=self.levels) for path in group)
                yield np.stack([self.view.of(image)[0] for image in images])
                step.advance()


def calibration_images(paths: Sequence[Path], manifest: Manifest, onnx: Path, progress: Progress) -> ImageBatches:
    """Read images as the network was trained on them, which its manifest says."""
    oriented, levels = image_reading(manifest.facts, str(onnx))
    return ImageBatches(
        paths=paths,
        view=processor_of(manifest.facts, str(onnx)).view,
        oriented=oriented,
        levels=levels,
        rows=manifest.batch_size,
        progress=progress,
    )


def _largest(
    wanted: CalibrationSpec, onnx: Path, model: Any, manifest: Manifest, images: ImageBatches
) -> Mapping[str, float]:
    """Read the ranges, or find them and write them down."""
    path, names, key = Path(str(wanted.cal_cache_file)), read_by_convolutions(model), graph_sha256(model)
    known = read_calibration(path)
    if known is not None and known.graph_sha256 == key and set(names) <= known.largest.keys():
        log.info("ranges of %d images read from %s", known.pictures, path)
        return known.largest
    if known is not None:
        log.warning("%s belongs to another network; it is made anew", path)
    count = wanted.cal_batch_size * wanted.cal_batches
    if len(images.paths) < count:
        raise DataError(
            "too few images to calibrate with",
            where=f"{CALIBRATION}.cal_image_dir",
            expected=f"cal_batch_size * cal_batches, so {count}",
            got=str(len(images.paths)),
        )
    largest = largest_values(onnx, names, images.batches(count, wanted.cal_batch_size, "calibrate"))
    write_calibration(path, CalibrationCache(key, count, largest))
    log.info("ranges of %d images written to %s", count, path)
    return largest


def _cost(onnx: Path, copy: Path, manifest: Manifest, images: ImageBatches, threshold: float) -> dict[str, float]:
    """Run both on images; say how far what they find is apart."""
    agreement = Agreement(threshold, int(manifest.facts["stride_px"]))
    name = manifest.inputs[0].name
    with (
        OnnxRuntimeRunner(onnx, manifest.signature, threads=1) as before,
        OnnxRuntimeRunner(copy, manifest.signature, threads=1) as after,
    ):
        for batch in images.batches(COMPARED, 1, "compare"):
            agreement = agreement.joined(before.infer({name: batch}), after.infer({name: batch}))
    log.log(logging.WARNING if agreement.is_poor else logging.INFO, "8 bits against float32: %s", agreement.text())
    return agreement.figures


@contextmanager
def engine_job(config: CenterPoseConfig, asked: EngineRequest, work: AtWork) -> Iterator[EngineJob]:
    """Describe the engine that an experiment's ``gen_trt_engine`` section asks for.

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
        key, expected = "gen_trt_engine.batch_size", f"-1 or {manifest.batch_size}"
        hint = "Export again with export.batch_size -1 for engines of any batch."
        raise ConfigError([Problem("the ONNX file has another batch", key, expected, str(asked), hint)])
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
