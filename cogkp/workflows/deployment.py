"""Deploy a checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import attrs
import numpy as np
import numpy.typing as npt

from cogkp.artifacts.manifest import Origin
from cogkp.artifacts.model_files import file_sha256
from cogkp.artifacts.names import engine_path, onnx_name, timestamp
from cogkp.config.export import DeployOptions
from cogkp.config.keypoint.io import config_hash
from cogkp.config.keypoint.spec import KeypointConfig
from cogkp.data.dataset import Split
from cogkp.errors import DataError, EngineError, ExportError
from cogkp.export.deploy import deploy as write_release
from cogkp.export.tensorrt_build import choose_builder
from cogkp.inference.parity import verify_onnx
from cogkp.tasks.base import Task
from cogkp.tasks.registry import build_task
from cogkp.training.precision import resolve_precision
from cogkp.training.seeding import seed_everything
from cogkp.workflows.setup import CHECKPOINT_ROOT, restored_task, spread

__all__ = ["DeployResult", "deploy", "missing_builder"]

WITHOUT_ENGINE = "--no-engine leaves the engine out."
MODELS_ROOT = Path("assets/models")
PARITY_SAMPLES = 8

log = logging.getLogger("cogkp")


@attrs.frozen
class DeployResult:
    """What was deployed.

    Args:
        onnx: the model.
        manifest: what a consumer must know about it.
        engine: the TensorRT engine, or None.
        parity: largest difference to the source per output, in its unit.
        precision: the tag in the name.
    """

    onnx: Path
    manifest: Path
    engine: Path | None
    parity: Mapping[str, float]
    precision: str


def missing_builder(options: DeployOptions) -> str:
    """Say why no engine could be built here, and what to do; empty where one can, or where none is wanted.

    Worth asking before a long training whose deployment would end without its engine.
    """
    if not options.engine:
        return ""
    try:
        choose_builder(options.builder)
    except EngineError as error:
        return str(_or_without(error))
    return ""


def _or_without(error: EngineError) -> EngineError:
    """Add that a deployment may do without an engine."""
    problem = error.problem
    hint = f"{problem.hint} {WITHOUT_ENGINE}".lstrip()
    return EngineError(problem.what, where=problem.where, expected=problem.expected, got=problem.got, hint=hint)


def deploy(
    config: KeypointConfig,
    options: DeployOptions,
    *,
    restore: str | None = None,
    untrained: bool = False,
    checkpoint_root: Path = CHECKPOINT_ROOT,
    models_root: Path = MODELS_ROOT,
) -> DeployResult:
    """Export a checkpoint to ONNX, prove that it computes the same, and build an engine.

    Args:
        config: names the network's shape and the data to compare on.
        options: file, batch size, precision tag, engine builder.
        restore: 'latest', 'best' or a path; None needs ``untrained``.
        untrained: export fresh weights.
        checkpoint_root: folder of all runs.
        models_root: where unnamed files go.

    Raises:
        ExportError: no checkpoint was named; or the export, the comparison or the engine failed.
    """
    task, origin = _deployed_task(config, restore, untrained, checkpoint_root)
    precision = resolve_precision(options.precision).name
    name = onnx_name(config.prefix, options.batch_size, timestamp(), precision)
    onnx_path = models_root / name if options.path is None else Path(options.path)
    samples = _parity_samples(task)
    try:
        outcome = write_release(
            task,
            onnx_path=onnx_path,
            engine_path=engine_path(onnx_path) if options.engine else None,
            precision=precision,
            batch_size=options.batch_size,
            builder=options.builder,
            origin=origin,
            verify=lambda module, path, signature: verify_onnx(module, path, signature, samples),
            log=log.info,
        )
    except EngineError as error:
        raise _or_without(error) from error
    parity = {difference.output: difference.maximum for difference in outcome.manifest.parity}
    return DeployResult(outcome.onnx, outcome.manifest_path, outcome.engine, parity, precision)


def _deployed_task(config: KeypointConfig, restore: str | None, untrained: bool, root: Path) -> tuple[Task, Origin]:
    if restore is not None:
        task, path, *_ = restored_task(config, restore, root)
        return task, Origin(config_hash(config), str(path), file_sha256(path))
    if not untrained:
        raise ExportError(
            "no checkpoint to deploy",
            expected="--restore, or --train in the same call",
            hint="Add --deploy-untrained to export fresh weights.",
        )
    seed_everything(0)
    return build_task(config), Origin(config_hash(config))


def _parity_samples(task: Task) -> dict[str, npt.NDArray[np.float32]]:
    """Take a few real inputs where the data is at hand; deployment must not depend on it."""
    config = task.config
    split: Split = "validation" if config.validation.base_dir else "evaluation"
    try:
        batch = spread(task.datasets(split), PARITY_SAMPLES) if config.base_dir else None
    except DataError as error:
        log.warning("comparing on drawn inputs alone, since the data cannot be read: %s", error)
        return {}
    if batch is None:
        return {}
    return {name: image.numpy() for name, image in zip(batch.ids, batch.image, strict=True)}
