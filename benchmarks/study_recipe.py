"""Which network and which recipe learn most in the same processor time: named variants on imported sets.

Run, where the sets were imported (``s6 cog import ...``):

    OMP_NUM_THREADS=1 python -m benchmarks.study_recipe mouse=data/mouse/keypoint.json other=data/other/keypoint.json

Each training gets as many epochs as fit into its budget by the time of its first steps; the schedule ends with it.
Averages of the weights change nothing in a training, so several are followed in one, and compared on equal steps.
Trainings that are complete are not repeated.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from benchmarks.harness import provenance
from cogkp.artifacts.checkpoint import TrainingState
from cogkp.config.augment import Crop
from cogkp.config.keypoint.io import load
from cogkp.config.keypoint.spec import HeatmapTerm, KeypointConfig, Network
from cogkp.config.train import TrainOptions
from cogkp.data.loader import build_loader
from cogkp.tasks.base import Task
from cogkp.tasks.registry import build_task
from cogkp.training.evaluator import evaluate, torch_predictor
from cogkp.training.learner import Learner
from cogkp.training.optim import WeightAverage
from cogkp.training.plan import plan_training
from cogkp.training.precision import resolve_precision
from cogkp.training.seeding import seed_everything
from cogkp.training.sinks import EpochEvent, StepEvent
from cogkp.training.trainer import Loaders, fit

DECAYS = (0.0, 0.9, 0.99, 0.998)
WARM_STEPS, TIMED_STEPS = 2, 5


@attrs.frozen(kw_only=True)
class Variant:
    """What differs from the recipe that importers write, trained with ``-b 16 --precision bf16``."""

    batch: int = 16
    precision: str = "bf16"
    heatmap: HeatmapTerm = HeatmapTerm(weight=20.0)
    preset: str = "small"
    input_px: int = 256

    def config(self, imported: KeypointConfig) -> KeypointConfig:
        """Configure a training of an imported set."""
        terms = attrs.evolve(imported.loss_terms, heatmap_regularization_loss=self.heatmap)
        stages = tuple(
            attrs.evolve(stage, output_size=self.input_px) if isinstance(stage, Crop) else stage
            for stage in imported.augmentations
        )
        return attrs.evolve(imported, loss_terms=terms, model=Network(preset=self.preset), augmentations=stages)


VARIANTS = {
    "base": Variant(),
    "large": Variant(preset="large"),
    "resnet18": Variant(preset="resnet18"),
    "batch-32": Variant(batch=32),
    "fp32": Variant(precision="fp32"),
    "input-384": Variant(input_px=384),
    "sigma-4": Variant(heatmap=HeatmapTerm(weight=20.0, sigma_px=4.0)),
    "sigma-9": Variant(heatmap=HeatmapTerm(weight=20.0, sigma_px=9.0)),
    "weight-5": Variant(heatmap=HeatmapTerm(weight=5.0)),
    "weight-80": Variant(heatmap=HeatmapTerm(weight=80.0)),
}


class Averages:
    """A sink that follows the weights with several decays at once."""

    def __init__(self) -> None:
        self.by_decay: dict[float, WeightAverage] = {}

    def start(self, model: nn.Module, example: Tensor) -> None:
        """Begin with the weights as they are."""
        self.by_decay = {decay: WeightAverage(model, decay) for decay in DECAYS if decay}

    def step(self, event: StepEvent) -> None:
        """Follow."""
        for average in self.by_decay.values():
            average.follow(event.model)

    def epoch(self, event: EpochEvent) -> None:
        """Nothing to do."""

    def flush(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""


class NoCheckpoints:
    """Keep nothing: a study needs the figures alone."""

    last: Path | None = None

    def save(self, state: TrainingState, *, best: bool = False) -> Path:
        """Pretend."""
        return Path()


def train_loader(task: Task, options: TrainOptions) -> Any:
    """Open the training data as a training does."""
    data = task.datasets("train")
    return build_loader(data, batch_size=options.batch_size, shuffle=True, num_workers=0, seed=options.seed)


def affordable_epochs(config: KeypointConfig, options: TrainOptions, budget_s: float) -> int:
    """Time a few steps of a network that is thrown away, and count the epochs that the budget allows."""
    task = build_task(config)
    loader = train_loader(task, options)
    learner = Learner.start(task, plan_training(options, frozenset(), None), None, None)
    steps, started = 0, 0.0
    while True:
        for batch in loader:
            if steps == WARM_STEPS:
                started = time.process_time()
            learner.compare(batch)
            learner.update(1e-3)
            steps += 1
            if steps == WARM_STEPS + TIMED_STEPS:
                seconds = (time.process_time() - started) / TIMED_STEPS
                return max(5, round(budget_s / (seconds * len(loader))))


def errors(task: Task, models: Mapping[float, nn.Module]) -> dict[str, dict[str, float]]:
    """Judge each network on the frames set aside; mean and median distance, pixels of the full frame."""
    precision, found = resolve_precision("fp32"), {}
    loader = build_loader(task.datasets("validation"), batch_size=16, shuffle=False, num_workers=0, seed=0)
    for decay, model in models.items():
        report = evaluate(torch_predictor(model.float().eval(), precision), task, loader).to_dict()
        found[str(decay)] = {name: report["overall"][name] for name in ("mean_px", "median_px")}
    return found


def run(variant: Variant, imported: KeypointConfig, seed: int, budget_s: float) -> dict[str, Any]:
    """Train one variant from one seed."""
    config = variant.config(imported)
    options = TrainOptions(batch_size=variant.batch, precision=variant.precision, num_workers=0, seed=seed)
    options = attrs.evolve(options, epochs=affordable_epochs(config, options, budget_s))
    seed_everything(seed)
    task, averages = build_task(config), Averages()
    loaders = Loaders(train_loader(task, options))
    started = time.process_time()
    result = fit(task, plan_training(options, frozenset(), None), loaders, [averages], NoCheckpoints())
    return {
        "seconds": time.process_time() - started,
        "epochs": result.epochs,
        "steps": result.steps,
        "loss": result.scalars["loss"],
        "errors": errors(task, {0.0: task.model, **{d: a.model for d, a in averages.by_decay.items()}}),
    }


def found_or_run(home: Path, name: str, set_name: str, config: Path, seed: int, budget_s: float) -> dict[str, Any]:
    """Read what an earlier call found, or train and keep it."""
    path = home / set_name / f"{name}-{budget_s:g}s-seed{seed}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(run(VARIANTS[name], load(config), seed, budget_s), indent=1), "utf-8")
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def print_table(set_name: str, found: Mapping[str, Iterable[Mapping[str, Any]]]) -> None:
    """Print the held-out mean error of every variant and decay: the median of the seeds, then each of them."""
    print(f"\n{set_name}: mean error of held-out frames, px of the full frame\n")
    print(f"{'variant':<12} {'average':>8} {'median':>8}   seeds")
    for name, runs in found.items():
        for decay in map(str, DECAYS):
            values = [each["errors"][decay]["mean_px"] for each in runs]
            shown = "  ".join(f"{value:6.2f}" for value in values)
            print(f"{name:<12} {decay:>8} {statistics.median(values):>8.2f}   {shown}")
        told = "; ".join(f"{each['steps']} steps in {each['seconds']:.0f} s" for each in runs)
        print(f"{'':<12} {told}")


def main() -> None:
    """Train what is missing and print one table for each set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("sets", nargs="+", metavar="NAME=CONFIG", help="imported sets")
    parser.add_argument("--home", type=Path, default=Path(".benchmarks/recipe"), help="where results are kept")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--budget", type=float, default=120.0, help="processor seconds of one training")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for set_name, config in (each.split("=", 1) for each in args.sets):
        found = {
            name: [found_or_run(args.home, name, set_name, Path(config), seed, args.budget) for seed in args.seeds]
            for name in args.variants
        }
        print_table(set_name, found)
    print()
    for name, value in provenance().items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
