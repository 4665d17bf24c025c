"""A tiny training, ready to start, as tests and their child processes need it."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import attrs

from cogkp.artifacts.checkpoint import Checkpoint, Provenance
from cogkp.artifacts.runs import RunFolder
from cogkp.config.keypoint.spec import KeypointConfig
from cogkp.config.train import TrainOptions
from cogkp.data.loader import build_loader
from cogkp.tasks.base import Task
from cogkp.tasks.registry import build_task
from cogkp.training.checkpointer import RunCheckpointer
from cogkp.training.plan import plan_training
from cogkp.training.seeding import seed_everything
from cogkp.training.trainer import FitResult, Loaders, fit

OPTIONS = TrainOptions(epochs=3, batch_size=4, learning_rate=3e-3, num_workers=0)


class Watcher:
    """A progress that writes down what it is told."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int]] = []
        self.done = 0
        self.facts = {}

    @contextmanager
    def work(self, label, total):
        self.begun.append((label, total))
        yield self

    def advance(self, amount=1, **facts):
        self.done += amount
        self.facts |= facts


class Keeper:
    """A checkpointer that keeps the positions alone."""

    last = Path("good.pth")

    def __init__(self) -> None:
        self.positions: list[tuple[int, int]] = []

    def save(self, state, *, best=False):
        self.positions.append(state.position)
        return self.last


def provenance(config: KeypointConfig, options: TrainOptions) -> Provenance:
    return Provenance(
        config={"prefix": config.prefix},
        options=attrs.asdict(options),
        points=config.point_names,
        num_classes=config.num_classes,
        data=config.base_dir,
    )


def loaders(task: Task, options: TrainOptions) -> Loaders:
    def open_split(split: str, shuffle: bool):
        return build_loader(
            task.datasets(split),
            batch_size=options.batch_size,
            shuffle=shuffle,
            num_workers=options.num_workers,
            seed=options.seed,
        )

    validation = open_split("validation", False) if task.config.validation.base_dir else None
    return Loaders(open_split("train", True), validation)


def run_training(
    config: KeypointConfig,
    root: Path,
    *,
    options: TrainOptions = OPTIONS,
    given: frozenset[str] = frozenset(),
    restored: Checkpoint | None = None,
    sinks=(),
    progress=None,
) -> tuple[Task, FitResult]:
    """Train as the workflow does; the run folder is ``root``/run."""
    plan = plan_training(options, given, restored)
    seed_everything(plan.options.seed)
    task = build_task(config)
    folder = RunFolder(root / "run", root)
    folder.path.mkdir(parents=True, exist_ok=True)
    keeper = RunCheckpointer(folder, provenance(config, plan.options), plan.options.keep_last)
    extra = () if progress is None else (progress,)
    result = fit(task, plan, loaders(task, plan.options), sinks, keeper, *extra, restored=restored)
    return task, result
