"""Train cogkp and predict with it, for benchmarks.bench_accuracy, as its command line would."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import cogkp
from benchmarks.peers.exchange import read_frames
from benchmarks.peers.holding import Journal, Order, order
from cogkp.progress import Step


class _Counted:
    """Takes the trainer's report of each step as images seen."""

    def __init__(self, journal: Journal, images_per_step: float) -> None:
        self.journal, self.images_per_step, self.steps = journal, images_per_step, 0

    def advance(self, amount: int = 1, **facts: float | str) -> None:
        self.steps += amount
        self.journal.seen(round(self.steps * self.images_per_step) - self.journal.images)


class _Watch:
    """A progress that holds the training at its start."""

    def __init__(self, home: Path, images: int) -> None:
        self.journal, self.images = Journal(home), images

    @contextmanager
    def work(self, label: str, total: int) -> Iterator[Step]:
        self.journal.hold()
        yield _Counted(self.journal, self.images / total)


def learn(todo: Order) -> None:
    """Train with the configuration that the importer wrote; what is not named here is a default."""
    count, settings = len(read_frames(todo.frames).train), todo.settings
    options = cogkp.TrainOptions(
        epochs=todo.epochs, batch_size=settings["batch"], precision=settings["precision"], num_workers=0
    )
    cogkp.train(
        cogkp.load_config(Path(settings["config"])),
        options,
        checkpoint_root=todo.home / "checkpoints",
        log_dir=todo.home / "logs",
        progress=_Watch(todo.home, todo.epochs * count),
    )


def predict(todo: Order) -> None:
    """Predict the held-out frames, in full-frame pixels."""
    from cogkp.config.train import TrainOptions
    from cogkp.training.evaluator import torch_predictor
    from cogkp.training.precision import resolve_precision
    from cogkp.workflows.setup import open_loader, restored_task

    config = cogkp.load_config(Path(todo.settings["config"]))
    task = restored_task(config, str(todo.checkpoint), todo.home / "checkpoints").task
    precision = resolve_precision("fp32")
    predictor = torch_predictor(precision.place_model(task.model).eval(), precision)
    loader = open_loader(task.datasets("validation"), TrainOptions(num_workers=0), shuffle=False)
    found = [task.codec.decode(predictor(batch.image), batch.source_to_crop).uv_source.numpy() for batch in loader]
    np.save(todo.output, np.concatenate(found))


if __name__ == "__main__":
    asked = order()
    {"train": learn, "predict": predict}[asked.verb](asked)
