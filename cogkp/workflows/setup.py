"""Building blocks of several verbs: data loaders, samples, and the model of a file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import torch

from cogkp.artifacts.checkpoint import Checkpoint, load_weights
from cogkp.artifacts.restore import Restored
from cogkp.artifacts.runs import own_name
from cogkp.config.torchrun import ALONE, Launch, launched
from cogkp.config.train import TrainOptions
from cogkp.data.dataset import ImageDataset
from cogkp.data.images.survey import evenly
from cogkp.data.loader import BatchLoader, build_loader
from cogkp.data.sample import Batch, collate
from cogkp.errors import ArtifactError, CheckpointError
from cogkp.families import family_of
from cogkp.inference.exported import ENGINE_SUFFIXES, ONNX_SUFFIX, open_exported, runner_predictor
from cogkp.tasks.base import Task
from cogkp.tasks.registry import build_task
from cogkp.training.evaluator import Predict, torch_predictor
from cogkp.training.precision import resolve_precision
from cogkp.workflows.image_levels import with_trained_levels


@attrs.frozen(eq=False, kw_only=True)
class OpenedModel:
    """A model ready to predict.

    Args:
        path: its file; a checkpoint by its name in the folder of its run.
        home: the folder of its run.
        task: what its predictions mean.
        predict: images (B, C, H, W) float32 to the task's outputs.
        checkpoint: the file's content; None for an exported model.
        origin: the checkpoint an exported model was made of; empty where nobody wrote it down.
        kind: 'checkpoint', 'onnx' or 'engine'.
        precision: it computes in.
    """

    path: Path
    home: Path
    task: Task
    predict: Predict
    checkpoint: Checkpoint | None = None
    origin: str = ""
    kind: str = "checkpoint"
    precision: str = "fp32"


def open_loader(
    dataset: ImageDataset,
    options: TrainOptions,
    *,
    shuffle: bool,
    launch: Launch = ALONE,
    pin: bool = True,
) -> BatchLoader:
    """Open a data set, or one rank's part of it, as batches; ``pin`` page-locks them where there is a GPU."""
    return build_loader(
        dataset,
        batch_size=options.batch_size,
        shuffle=shuffle,
        num_workers=options.num_workers,
        prefetch_factor=options.prefetch_factor,
        seed=options.seed,
        pin=pin and torch.cuda.is_available(),
        launch=launch,
        parts=options.accumulate,
    )


def spread(dataset: ImageDataset, count: int) -> Batch[Any]:
    """Take items evenly spread over a data set."""
    return collate([dataset[index] for index in evenly(len(dataset), count)])


def require_family(restored: Restored, config: Any) -> None:
    """Refuse the checkpoint of another family than the configuration's; raises CheckpointError."""
    wanted, checkpoint = family_of(config).name, restored.checkpoint
    if checkpoint.family != wanted:
        raise CheckpointError(
            "the checkpoint is of another family",
            where=str(restored.path),
            expected=wanted,
            got=f"{checkpoint.family or 'an unknown family'}: {', '.join(checkpoint.provenance.points)}",
            hint="Give the configuration it was trained with, or a checkpoint of this one's family.",
        )


def restored_task(config: Any, restored: Restored) -> Task:
    """Build a task with a checkpoint's weights, averaged where it has those; CheckpointError if they do not fit."""
    require_family(restored, config)
    task = build_task(with_trained_levels(config, restored.checkpoint))
    load_weights(restored.checkpoint, task.model, str(restored.path), averaged=True)
    return task


def is_exported(path: Path) -> bool:
    """Tell an ONNX file or an engine from a checkpoint by its name."""
    return path.suffix.lower() in (ONNX_SUFFIX, *ENGINE_SUFFIXES)


def gpu_of(device: torch.device | None) -> int:
    """Return the index of a GPU; where none is named, that of this process: of several each has its own."""
    return launched().local_rank if device is None else device.index or 0


@contextmanager
def open_model(config: Any, model: Path | Restored, *, device: torch.device | None = None) -> Iterator[OpenedModel]:
    """Open a model for predictions: a checkpoint that was read, or the file of an exported model.

    ``device`` is where it runs; None takes the GPU of this process when there is one.

    Raises:
        ArtifactError: the file cannot be used, is of another family, or takes other images.
        EngineError: an engine without a GPU.
    """
    if isinstance(model, Restored):
        task = restored_task(config, model)
        precision = resolve_precision("fp32", device)
        predict = torch_predictor(precision.place_model(task.model).eval(), precision)
        path, home = own_name(model.path, model.home), model.home
        yield OpenedModel(path=path, home=home, task=task, predict=predict, checkpoint=model.checkpoint)
        return
    found = open_exported(model, gpu=gpu_of(device))
    family = family_of(config).name
    if found.facts.get("family", family) != family:
        raise ArtifactError(
            "the model is of another family", where=str(model), expected=family, got=str(found.facts["family"])
        )
    task, outputs = family_of(config).part("adapter").fitted(config, found, model)
    with found.runner as runner:
        predict = runner_predictor(runner, outputs)
        yield OpenedModel(
            path=model,
            home=model.parent,
            task=task,
            predict=predict,
            origin=found.checkpoint,
            kind="onnx" if model.suffix.lower() == ONNX_SUFFIX else "engine",
            precision=found.precision,
        )
