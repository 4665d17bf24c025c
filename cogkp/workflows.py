"""The documented verbs as functions: preview, dry run, train, evaluate, deploy.

Each reads a configuration, joins the rooms, writes files where it says, and returns what it did as a frozen value.
Nothing here parses arguments or prints.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import torch

from cogkp.artifacts.atomic import make_folder, write_bytes, write_json
from cogkp.artifacts.checkpoint import Checkpoint, Provenance, load_checkpoint, load_weights
from cogkp.artifacts.manifest import Origin
from cogkp.artifacts.model_files import file_sha256
from cogkp.artifacts.names import engine_path, onnx_name, timestamp
from cogkp.artifacts.runs import LATEST, RunFolder, continue_run, create_run, resolve_restore
from cogkp.config.export import DeployOptions
from cogkp.config.io import config_hash, dump
from cogkp.config.keypoint import KeypointConfig
from cogkp.config.rules import check_training
from cogkp.config.train import TrainOptions
from cogkp.data.loader import BatchLoader, build_loader
from cogkp.data.sample import Batch, collate
from cogkp.errors import ConfigError, DataError, ExportError
from cogkp.export.deploy import deploy as write_release
from cogkp.inference.parity import verify_onnx
from cogkp.pictures import draw_batch, draw_comparison, encode_png
from cogkp.progress import SILENT, Progress
from cogkp.tasks.base import PCK_THRESHOLDS_PX, Split, Task
from cogkp.tasks.registry import build_task
from cogkp.training.checkpointer import RunCheckpointer
from cogkp.training.evaluator import evaluate as measure
from cogkp.training.evaluator import torch_predictor
from cogkp.training.plan import Plan, plan_training
from cogkp.training.precision import resolve_precision
from cogkp.training.seeding import seed_everything
from cogkp.training.sinks import Sink, TensorBoardSink
from cogkp.training.trainer import Loaders, fit, rehearse

__all__ = [
    "DeployResult",
    "DryRunResult",
    "EvaluationResult",
    "TrainResult",
    "deploy",
    "dry_run",
    "evaluate",
    "preview_data",
    "train",
]

log = logging.getLogger("cogkp")

CHECKPOINT_ROOT = Path("checkpoints")
LOG_DIR = Path("logs/cog")
MODELS_ROOT = Path("assets/models")
PICTURED_VIEWS = 16
PARITY_SAMPLES = 8


@attrs.frozen
class DryRunResult:
    """What one optimiser step showed.

    Args:
        loss: total loss of the first batch.
        parts: each active term before its weight.
        parameters: size of the network.
        seconds: the whole of it took.
        log_dir: where the graph was logged, or None.
    """

    loss: float
    parts: Mapping[str, float]
    parameters: int
    seconds: float
    log_dir: Path | None


@attrs.frozen
class TrainResult:
    """How a training ended.

    Args:
        run_dir: folder of the run.
        checkpoint: its newest checkpoint.
        mirror: the same, where ``--restore latest`` finds it.
        epochs: epochs completed over the life of the run.
        interrupted: whether Ctrl-C ended it early.
        seconds: this call took.
        scalars: the last epoch's figures.
        plan: what was to be done, in one line.
    """

    run_dir: Path
    checkpoint: Path
    mirror: Path
    epochs: int
    interrupted: bool
    seconds: float
    scalars: Mapping[str, float]
    plan: str


@attrs.frozen
class EvaluationResult:
    """What an evaluation found.

    Args:
        report: everything, ready for JSON.
        text: the same as a table.
        json_path: the report on disk.
        picture_path: predictions drawn over frames.
    """

    report: Mapping[str, Any]
    text: str
    json_path: Path
    picture_path: Path


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


def preview_data(
    config: KeypointConfig, *, batch_size: int = 32, num_workers: int = 0
) -> Iterator[npt.NDArray[np.uint8]]:
    """Render augmented samples batch by batch, in the order of the recording.

    Yields:
        Square grids, (H, W, 3) uint8 RGB.
    """
    options = TrainOptions(batch_size=batch_size, num_workers=num_workers)
    _require_runnable(config, options)
    task = build_task(config)
    for batch in _loader(task, "preview", options, shuffle=False):
        yield draw_batch(task.codec, batch)


def dry_run(config: KeypointConfig, options: TrainOptions, *, log_dir: Path | None = LOG_DIR) -> DryRunResult:
    """Build data and network, log the graph, and take one optimiser step; nothing is kept."""
    _require_runnable(config, options)
    started = time.perf_counter()
    seed_everything(options.seed)
    task = build_task(config)
    run_log = None if log_dir is None else log_dir / timestamp()
    comparison = rehearse(
        task,
        plan_training(options, frozenset(), None),
        _loader(task, "train", options, shuffle=True),
        _sinks(task, options, run_log),
    )
    return DryRunResult(
        loss=comparison.scalars["loss"],
        parts={name: value for name, value in comparison.scalars.items() if name != "loss"},
        parameters=sum(parameter.numel() for parameter in task.model.parameters()),
        seconds=time.perf_counter() - started,
        log_dir=run_log,
    )


def train(
    config: KeypointConfig,
    options: TrainOptions,
    *,
    restore: str | None = None,
    given: frozenset[str] = frozenset(),
    checkpoint_root: Path = CHECKPOINT_ROOT,
    log_dir: Path | None = LOG_DIR,
    progress: Progress = SILENT,
) -> TrainResult:
    """Train a model, from fresh weights or from a checkpoint.

    Args:
        config: what is trained, on which data.
        options: how; with ``restore``, those not in ``given`` are taken from the checkpoint.
        restore: None, 'latest' or a path.
        given: names of the options that were spelled out.
        checkpoint_root: folder of all runs.
        log_dir: TensorBoard root; None logs nothing.
        progress: shows epochs.
    """
    started = time.perf_counter()
    restored_path = None if restore is None else resolve_restore(restore, checkpoint_root)
    restored = None if restored_path is None else load_checkpoint(restored_path)
    plan = plan_training(options, given, restored)
    _require_runnable(config, plan.options)
    seed_everything(plan.options.seed)
    task = build_task(config)
    if restored is not None:
        load_weights(restored, task.model, str(restored_path))
    loaders = _loaders(task, plan.options)
    folder = _run_folder(restored, restored_path, checkpoint_root)
    log.info("%s", plan.line)
    log.info("%s", task.loss.describe())
    sinks = _sinks(task, plan.options, None if log_dir is None else log_dir / folder.path.name)
    keeper = RunCheckpointer(folder, _provenance(config, plan), restored_path)
    result = fit(task, plan, loaders, sinks, keeper, progress, restored=restored)
    return TrainResult(
        run_dir=folder.path,
        checkpoint=folder.checkpoint,
        mirror=folder.mirror,
        epochs=result.epochs,
        interrupted=result.interrupted,
        seconds=time.perf_counter() - started,
        scalars=result.scalars,
        plan=plan.line,
    )


def evaluate(
    config: KeypointConfig,
    *,
    restore: str = LATEST,
    split: Split | None = None,
    thresholds_px: Sequence[float] = PCK_THRESHOLDS_PX,
    batch_size: int = 32,
    num_workers: int = 0,
    output_dir: Path | None = None,
    checkpoint_root: Path = CHECKPOINT_ROOT,
    progress: Progress = SILENT,
) -> EvaluationResult:
    """Measure a checkpoint on plain, not augmented frames.

    Args:
        config: names the data.
        restore: 'latest' or a path.
        split: 'validation' or 'evaluation'; None takes the validation roots where there are some, else the main ones.
        thresholds_px: distances for the share of hits, pixels of the full frame.
        batch_size: images at once.
        num_workers: loader processes.
        output_dir: where report and picture go; None makes a folder in that of the run.
        checkpoint_root: folder of all runs.
        progress: shows batches.

    Raises:
        EvaluationError: nothing could be measured.
    """
    chosen = split or ("validation" if config.validation.base_dir else "evaluation")
    options = TrainOptions(batch_size=batch_size, num_workers=num_workers)
    _require_runnable(config, options)
    task, path, run = _restored_task(config, restore, checkpoint_root)
    precision = resolve_precision("fp32")
    predict = torch_predictor(precision.place_model(task.model).eval(), precision)
    loader = _loader(task, chosen, options, shuffle=False)
    report = measure(predict, task, loader, progress, metrics=task.metrics(thresholds_px))
    folder = make_folder(output_dir or _home_of(path, run) / f"{chosen}-{timestamp()}")
    picture = draw_comparison(task.codec, predict, _spread(task.datasets(chosen), PICTURED_VIEWS), title=str(path))
    content = {"checkpoint": str(path), "split": chosen, "config_sha256": config_hash(config), **report.to_dict()}
    write_json(folder / "evaluation.json", content)
    write_bytes(folder / "predictions.png", encode_png(picture))
    return EvaluationResult(content, report.text(), folder / "evaluation.json", folder / "predictions.png")


def deploy(
    config: KeypointConfig,
    options: DeployOptions,
    *,
    restore: str | None = None,
    untrained: bool = False,
    checkpoint_root: Path = CHECKPOINT_ROOT,
    models_root: Path = MODELS_ROOT,
    progress: Progress = SILENT,
) -> DeployResult:
    """Export a checkpoint to ONNX, prove that it computes the same, and build an engine.

    Args:
        config: names the network's shape and the data to compare on.
        options: file, batch size, precision tag, engine builder.
        restore: 'latest' or a path; None needs ``untrained``.
        untrained: export fresh weights.
        checkpoint_root: folder of all runs.
        models_root: where unnamed files go.
        progress: shows the steps.

    Raises:
        ExportError: no checkpoint was named; or the export, the comparison or the engine failed.
    """
    task, origin = _deployed_task(config, restore, untrained, checkpoint_root)
    precision = resolve_precision(options.precision).name
    name = onnx_name(config.prefix, options.batch_size, timestamp(), precision)
    onnx_path = models_root / name if options.path is None else Path(options.path)
    samples = _parity_samples(task)
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
    parity = {difference.output: difference.maximum for difference in outcome.manifest.parity}
    return DeployResult(outcome.onnx, outcome.manifest_path, outcome.engine, parity, precision)


def _require_runnable(config: KeypointConfig, options: TrainOptions) -> None:
    problems = check_training(config, options)
    if problems:
        raise ConfigError(problems)


def _loader(task: Task, split: Split, options: TrainOptions, *, shuffle: bool) -> BatchLoader:
    return build_loader(
        task.datasets(split),
        batch_size=options.batch_size,
        shuffle=shuffle,
        num_workers=options.num_workers,
        prefetch_factor=options.prefetch_factor,
        seed=options.seed,
        pin=torch.cuda.is_available(),
    )


def _loaders(task: Task, options: TrainOptions) -> Loaders:
    validation = None
    if task.config.validation.base_dir:
        # A few frames after each epoch: starting processes for them would cost more than it saves.
        validation = _loader(task, "validation", attrs.evolve(options, num_workers=0), shuffle=False)
    return Loaders(_loader(task, "train", options, shuffle=True), validation)


def _sinks(task: Task, options: TrainOptions, log_dir: Path | None) -> list[Sink]:
    if log_dir is None:
        return []

    def draw(batch: Batch[Any], outputs: Any) -> npt.NDArray[np.uint8]:
        return draw_batch(task.codec, batch, outputs)

    return [TensorBoardSink(log_dir, verbose=options.verbose_log, log_interval=options.log_interval, draw=draw)]


def _run_folder(restored: Checkpoint | None, path: Path | None, root: Path) -> RunFolder:
    if restored is None or path is None:
        return create_run(root)
    return continue_run(path, restored.provenance.run, root)


def _provenance(config: KeypointConfig, plan: Plan) -> Provenance:
    return Provenance(
        config=dump(config),
        options=attrs.asdict(plan.options),
        points=config.point_names,
        num_classes=config.num_classes,
        data=config.base_dir,
    )


def _restored_task(config: KeypointConfig, restore: str, root: Path) -> tuple[Task, Path, str]:
    path = resolve_restore(restore, root)
    checkpoint = load_checkpoint(path)
    task = build_task(config)
    load_weights(checkpoint, task.model, str(path))
    if checkpoint.provenance.points != config.point_names:
        trained, asked = ", ".join(checkpoint.provenance.points), ", ".join(config.point_names)
        log.warning("%s was trained for the points %s; the configuration calls them %s", path, trained, asked)
    return task, path, checkpoint.provenance.run


def _home_of(checkpoint: Path, run: str) -> Path:
    """Find the folder of the run whose checkpoint was read, also through the mirror."""
    home = checkpoint.parent / run
    return home if run and home.is_dir() else checkpoint.parent


def _deployed_task(config: KeypointConfig, restore: str | None, untrained: bool, root: Path) -> tuple[Task, Origin]:
    if restore is not None:
        task, path, _ = _restored_task(config, restore, root)
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
        batch = _spread(task.datasets(split), PARITY_SAMPLES) if config.base_dir else None
    except DataError as error:
        log.warning("comparing on drawn inputs alone, since the data cannot be read: %s", error)
        return {}
    if batch is None:
        return {}
    return {name: image.numpy() for name, image in zip(batch.ids, batch.image, strict=True)}


def _spread(dataset: Any, count: int) -> Batch[Any]:
    """Take items evenly spread over a data set."""
    indices = np.unique(np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int))
    return collate([dataset[int(index)] for index in indices])
