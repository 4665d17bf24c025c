"""The verb ``export`` of an experiment: from a checkpoint to an ONNX file that was compared with its source."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import attrs
import numpy as np
import numpy.typing as npt

from cogkp.artifacts.manifest import InputFacts, Manifest, Origin, OutputFacts
from cogkp.artifacts.model_files import file_sha256
from cogkp.config.centerpose.io import dump_experiment
from cogkp.config.centerpose.results import onnx_path
from cogkp.config.centerpose.spec import CenterPoseConfig
from cogkp.config.plain import plain_hash
from cogkp.errors import DataError, ExportError
from cogkp.export.deploy import deploy as write_release
from cogkp.inference.parity import verify_onnx
from cogkp.progress import SILENT, Progress
from cogkp.workflows.centerpose_inputs import Shown, evenly, pictures_at_hand
from cogkp.workflows.centerpose_model import restored_experiment
from cogkp.workflows.results_folder import at_work

__all__ = ["ExperimentExport", "export_experiment"]

PARITY_SAMPLES = 4

log = logging.getLogger("cogkp")


@attrs.frozen
class ExperimentExport:
    """What was exported.

    Args:
        folder: of the verb's results.
        onnx: the model.
        manifest: what a consumer must know about it.
        parity: largest difference to the source by name of the value, in its unit.
        units: of these.
        batch_size: fixed; None for any.
        pictures: real ones it was compared on, beside the drawn ones.
    """

    folder: Path
    onnx: Path
    manifest: Path
    parity: Mapping[str, float]
    units: Mapping[str, str]
    batch_size: int | None
    pictures: int


def export_experiment(config: CenterPoseConfig, *, progress: Progress = SILENT) -> ExperimentExport:
    """Export the checkpoint that an experiment names to ONNX, and prove that the file computes the same.

    Args:
        config: the experiment; its ``export`` section says what and how.
        progress: not used; exporting is one step.

    Raises:
        ConfigError: the experiment does not fit together, or names no checkpoint or no folder of results.
        CheckpointError: the checkpoint cannot be used.
        ExportError: there is a file of that name already, or the network cannot be exported.
        ParityError: the exported network differs from its source; it stays under a name that says so.
        OutputError: something cannot be written.
    """
    with at_work(config, "export") as (results, status):
        path = onnx_path(config.export)
        _require_new(path)
        samples = _samples(config)
        manifest, beside = _released(config, path, samples)
        parity = {each.output: each.maximum for each in manifest.parity}
        status.write("SUCCESS", f"{path.name} is exported", kpi={f"parity_{name}": off for name, off in parity.items()})
        return ExperimentExport(
            folder=results.folder,
            onnx=path,
            manifest=beside,
            parity=parity,
            units={each.output: each.unit for each in manifest.parity},
            batch_size=manifest.batch_size,
            pictures=len(samples),
        )


def _require_new(path: Path) -> None:
    if path.exists():
        raise ExportError(
            "there is such a file already",
            where=str(path),
            hint="Remove it, or give another name as export.onnx_file.",
        )


def _released(
    config: CenterPoseConfig, path: Path, samples: Mapping[str, npt.NDArray[np.float32]]
) -> tuple[Manifest, Path]:
    export, checkpoint = config.export, Path(str(config.export.checkpoint))
    task, _ = restored_experiment(config, checkpoint)
    outcome = write_release(
        task,
        onnx_path=path,
        engine_path=None,
        precision="fp32",
        batch_size=None if export.batch_size < 1 else export.batch_size,
        builder="auto",
        origin=Origin(plain_hash(dump_experiment(config)), str(checkpoint), file_sha256(checkpoint)),
        verify=lambda module, file, signature: verify_onnx(module, file, signature, samples),
        log=log.info,
        opset=export.opset_version,
        fold=export.do_constant_folding,
    )
    if export.verbose:
        _tell(outcome.manifest)
    return outcome.manifest, outcome.manifest_path


def _tell(manifest: Manifest) -> None:
    ends: tuple[InputFacts | OutputFacts, ...] = (*manifest.inputs, *manifest.outputs)
    for entry in ends:
        log.info("%s: %s %s", entry.name, entry.dtype, list(entry.shape))
    for each in manifest.parity:
        off = f"differs by {each.maximum:.2g} {each.unit} at most, on '{each.worst_input}', {each.mean:.2g} in the mean"
        log.info("%s %s", each.output, off)


def _samples(config: CenterPoseConfig) -> dict[str, npt.NDArray[np.float32]]:
    """Take a few real pictures where they are at hand; exporting must not depend on them."""
    export, data = config.export, config.dataset
    shown = Shown((export.input_width, export.input_height), data.mean, data.std)
    try:
        return {path.name: shown(path) for path in evenly(pictures_at_hand(config), PARITY_SAMPLES)}
    except DataError as error:
        log.warning("comparing on drawn inputs alone, since a picture cannot be read: %s", error)
        return {}
