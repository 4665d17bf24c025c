"""What the trainer costs over a bare loop, and what precision, memory format and compiling change in a step.

Run: OMP_NUM_THREADS=1 python -m benchmarks.bench_trainer
     OMP_NUM_THREADS=1 python -m benchmarks.bench_trainer --only steps --compile
     python -m benchmarks.bench_trainer --device cuda --precision fp32 bf16 fp16 --compile
     OMP_NUM_THREADS=1 python -m benchmarks.bench_trainer --family centerpose --side 128 --batch 8 --precision fp32

Both loops have the family's default network and loss, the same loader and precision, and take turns within one
training: for keypoints batches of 16 at 256 x 256, for boxes DLA34 and whatever batch and side is asked for. On a CPU
processor time is counted, on a GPU the time until it has finished.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import cv2
import numpy as np
import torch
from torch import nn

from benchmarks.bench_loader import textured_frame
from benchmarks.harness import Timing, compare, provenance, summary, table
from cogkp.artifacts.checkpoint import Provenance
from cogkp.artifacts.runs import create_run
from cogkp.config.centerpose.spec import CenterPoseConfig, DatasetSpec, ExportSection
from cogkp.config.keypoint.spec import DataMappings, HeatmapTerm, KeypointConfig, LossTerms, Sampling
from cogkp.config.train import TrainOptions
from cogkp.data.boxes.synthetic import render_boxes
from cogkp.data.keypoint.structured import write_structured
from cogkp.data.loader import BatchLoader
from cogkp.data.sample import Batch
from cogkp.tasks.base import Task
from cogkp.tasks.registry import build_task
from cogkp.training.allocator import keep_large_blocks
from cogkp.training.checkpointer import RunCheckpointer
from cogkp.training.history import HistorySink
from cogkp.training.optim import build_optimizer
from cogkp.training.plan import plan_training
from cogkp.training.precision import Precision, compiled
from cogkp.training.sanity import Watchdog
from cogkp.training.sinks import EpochEvent, StepEvent, TensorBoardSink
from cogkp.training.trainer import Loaders, fit
from cogkp.workflows.setup import open_loader

POINTS = ("tip", "turn", "end")
FRAMES = 8
CROP = 256
SLICE_STEPS = 4


class Setting(NamedTuple):
    """What is trained."""

    family: str
    batch: int
    side: int

    def config(self, root: Path, steps_per_epoch: int) -> KeypointConfig | CenterPoseConfig:
        """Write data and configure a training with epochs of a known length."""
        if self.family == "centerpose":
            return boxes_config(pictures(root / "boxes", self.batch * steps_per_epoch), self.side)
        return config_of(recording(root / "data"), self.batch * steps_per_epoch)


def recording(root: Path) -> Path:
    """Write a few labelled frames, where they are not there yet."""
    if root.exists():
        return root
    generator = np.random.default_rng(0)
    lines = [
        {
            "B": {
                "image": textured_frame(generator),
                **{point: generator.uniform(120, 360, 2).tolist() for point in POINTS},
            }
        }
        for _ in range(FRAMES)
    ]
    write_structured(root, lines, suffix=".png")
    return root


def config_of(root: Path, samples: int) -> KeypointConfig:
    """Configure as importers do, with epochs of a known length."""
    return KeypointConfig(
        base_dir=(str(root),),
        data_mappings=DataMappings(x=("B.image",), y=(tuple(f"B.{point}" for point in POINTS),)),
        sampling=Sampling(enabled=True, weights=(1.0,), samples_per_epoch=samples),
        loss_terms=LossTerms(heatmap_regularization_loss=HeatmapTerm(weight=20.0)),
    )


def pictures(root: Path, count: int) -> Path:
    """Render a few images of boxes, and repeat them under other names until there are enough."""
    folder = root.with_name(f"{root.name}-{count}")
    if folder.exists():
        return folder
    rendered = root if root.exists() else render_boxes(root, images=FRAMES, seed=0, size_wh=(640, 480))
    folder.mkdir()
    labels = sorted(rendered.rglob("*.json"))
    for number in range(count):
        for path in labels[number % len(labels)].parent.glob(f"{labels[number % len(labels)].stem}.*"):
            shutil.copy(path, folder / f"{number:05d}{path.suffix}")
    return folder


def boxes_config(folder: Path, side: int) -> CenterPoseConfig:
    """Configure the default network of the object-pose family."""
    data = DatasetSpec(train_data=str(folder), category="carton", input_res=side, output_res=side // 4)
    return CenterPoseConfig(dataset=data, export=ExportSection(input_width=side, input_height=side))


def batches_of(loader: BatchLoader) -> Iterator[Batch[Any]]:
    """Go through the loader, epoch after epoch."""
    for epoch in itertools.count():
        loader.set_epoch(epoch)
        yield from loader


@attrs.define(eq=False)
class BareLoop:
    """What one would write by hand: no log, no checks, no checkpoint, no way back."""

    task: Task
    batches: Iterator[Batch[Any]]
    precision: Precision
    model: nn.Module
    network: Callable[[torch.Tensor], Any]
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler

    @classmethod
    def make(
        cls, task: Task, batches: Iterator[Batch[Any]], precision: Precision, *, compile: bool = False
    ) -> BareLoop:
        """Take over a task's network."""
        model = precision.place_model(task.model).train()
        scaler = torch.amp.GradScaler(precision.device.type, enabled=precision.name == "fp16")
        network = compiled(model) if compile else model
        return cls(task, batches, precision, model, network, build_optimizer(model, 1e-3), scaler)

    def step(self) -> None:
        """Train on one batch."""
        batch = next(self.batches).to(self.precision.device)
        self.optimizer.zero_grad(set_to_none=True)
        with self.precision.autocast():
            outputs = self.network(self.precision.place_image(batch.image))
        self.scaler.scale(self.task.loss(outputs, batch).total).backward()
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()


class Turns:
    """A sink that lets the bare loop have its turn after every few steps of the trainer, and times both."""

    def __init__(self, bare: BareLoop, clock: Callable[[], float]) -> None:
        self.bare = bare
        self.clock = clock
        self.seconds: dict[str, list[float]] = {"bare loop": [], "trainer": []}
        self.steps = 0
        self.began = 0.0

    def start(self, model: nn.Module, example: torch.Tensor) -> None:
        """Wait for the first steps: those warm up."""

    def step(self, event: StepEvent) -> None:
        """Count; after a slice, take as many bare steps."""
        self.steps += 1
        if self.steps % SLICE_STEPS:
            return
        ended = self.clock()
        for _ in range(SLICE_STEPS):
            self.bare.step()
        now = self.clock()
        if self.steps > SLICE_STEPS:
            self.seconds["trainer"].append((ended - self.began) / SLICE_STEPS)
            self.seconds["bare loop"].append((now - ended) / SLICE_STEPS)
        self.began = now

    def epoch(self, event: EpochEvent) -> None:
        """Hear nothing: what an epoch's end costs is in the slice."""

    def flush(self) -> None:
        """Keep nothing back."""

    def close(self) -> None:
        """End."""


def clock_of(device: torch.device) -> Callable[[], float]:
    """Count processor time on a CPU, and the time until all is done on a GPU."""
    if device.type == "cpu":
        return time.process_time

    def finished() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return finished


def overhead(
    setting: Setting, root: Path, precision: Precision, rounds: int, steps_per_epoch: int, workers: int
) -> list[Timing]:
    """Train with the trainer and its usual sinks, the bare loop in between."""
    epochs = -(-SLICE_STEPS * (rounds + 1) // steps_per_epoch)
    config = setting.config(root, steps_per_epoch)
    options = TrainOptions(
        epochs=epochs, batch_size=setting.batch, learning_rate=1e-3, num_workers=workers, precision=precision.name
    )
    loaders = [open_loader(build_task(config).datasets("train"), options, shuffle=True) for _ in range(2)]
    turns = Turns(BareLoop.make(build_task(config), batches_of(loaders[0]), precision), clock_of(precision.device))
    folder = create_run(root / "checkpoints")
    sinks = [HistorySink(folder.metrics), TensorBoardSink(root / "logs" / folder.path.name), Watchdog(), turns]
    keeper = RunCheckpointer(folder, Provenance(config={}, options={}, points=POINTS, num_classes=None, data=()), 2)
    plan = plan_training(options, frozenset(), None)
    fit(build_task(config), plan, Loaders(loaders[1]), sinks, keeper, device=precision.device)
    return summary(turns.seconds)


def steps(setting: Setting, root: Path, args: argparse.Namespace, device: torch.device) -> list[Timing]:
    """Time a bare step on one batch that is there already, in each way."""
    config, options = setting.config(root, 1), TrainOptions(batch_size=setting.batch)
    batch = next(iter(open_loader(build_task(config).datasets("train"), options, shuffle=True)))
    ways: dict[str, Callable[[], object]] = {}
    plain = BareLoop.make(build_task(config), itertools.repeat(batch), Precision("fp32", device))
    plain.model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    for name in args.precision:
        ways[f"{name}, channels last"] = BareLoop.make(
            build_task(config), itertools.repeat(batch), Precision(name, device)
        ).step
    ways["fp32, channels first"] = plain.step
    for name in args.precision if args.compile else ():
        ways[f"{name}, channels last, compiled"] = BareLoop.make(
            build_task(config), itertools.repeat(batch), Precision(name, device), compile=True
        ).step
    clock = clock_of(device)
    for name, way in ways.items():
        start, began = clock(), time.perf_counter()
        way()
        print(f"first step, {name}: {clock() - start:.1f} s counted, {time.perf_counter() - began:.1f} s by the clock")
    return compare(ways, rounds=args.rounds, clock=clock)


def main() -> None:
    """Print a table for each question."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--family", default="keypoint", choices=("keypoint", "centerpose"))
    parser.add_argument("--batch", type=int, default=16, help="images of a step")
    parser.add_argument(
        "--side", type=int, default=CROP, help="pixels of a side of the network's input, for centerpose"
    )
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"], choices=("fp32", "bf16", "fp16"))
    parser.add_argument("--compile", action="store_true", help="also time steps of the compiled network")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", choices=("overhead", "epochs", "steps"), help="answer one question")
    parser.add_argument("--short-epoch", type=int, default=7, help="steps per epoch where its end is counted, too")
    parser.add_argument("-w", "--num-workers", type=int, default=0)
    args = parser.parse_args()
    cv2.setNumThreads(0)
    keep_large_blocks()
    device, setting = torch.device(args.device), Setting(args.family, args.batch, args.side)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        long = SLICE_STEPS * (args.rounds + 1)
        for name, length in itertools.product(args.precision, (long, args.short_epoch)):
            if args.only in {None, "overhead" if length == long else "epochs"}:
                timings = overhead(setting, root, Precision(name, device), args.rounds, length, args.num_workers)
                table(f"{name}, one step of {setting.batch} images, epochs of {length} steps", timings)
        if args.only in {None, "steps"}:
            table(f"one bare step of {setting.batch} images that are in memory", steps(setting, root, args, device))
    for key, value in provenance().items():
        print(f"{key}: {value}")


if __name__ == "__main__":
    main()
