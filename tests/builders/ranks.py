"""Trainings that one process and two ranks can run alike, and what came of them.

Run as a program by torchrun: ``torchrun --nproc-per-node 2 -m tests.builders.ranks FOLDER``. Each rank writes what it
found to ``FOLDER/rank<N>.pt``. The data are written before, by :func:`prepare`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from cogkp.artifacts.checkpoint import load_checkpoint
from cogkp.artifacts.runs import RunFolder
from cogkp.config.keypoint.io import structure
from cogkp.config.keypoint.spec import KeypointConfig
from cogkp.config.train import TrainOptions
from cogkp.data.keypoint.synthetic import demo_config, write_recording
from cogkp.data.loader import build_loader
from cogkp.errors import CogkpError
from cogkp.geometry.heatmap import expectation, spatial_softmax
from cogkp.models.keypoint import KeypointMaskOutputs
from cogkp.tasks.registry import build_task
from cogkp.training.checkpointer import RunCheckpointer
from cogkp.training.distributed import Ranks, joined
from cogkp.training.plan import plan_training
from cogkp.training.seeding import capture_rng, seed_everything
from cogkp.training.trainer import Loaders, fit
from tests.builders.training import provenance

LINES = 5  # pairs in a paired training, else twice as many images; no multiple of any batch used here
STOPPED_AFTER = 3


class TinyNet(nn.Module):
    """A few convolutions with BatchNorm in float64, where sums taken in another order differ by next to nothing."""

    def __init__(self, points: int, classes: int, dropout: float) -> None:
        super().__init__()
        layers = [self.layer(1, 8), self.layer(8, 8), self.layer(8, 8, 1)]
        self.body = nn.Sequential(*layers, nn.Dropout(dropout))
        self.points, self.classes = nn.Conv2d(8, points, 1), nn.Conv2d(8, classes, 1)
        self.double()

    @staticmethod
    def layer(entering: int, leaving: int, stride: int = 2) -> nn.Sequential:
        convolution = nn.Conv2d(entering, leaving, 3, stride, 1, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(leaving), nn.ReLU())

    def forward(self, image: Tensor) -> KeypointMaskOutputs:
        features = self.body(image.double() - 0.5)
        heatmaps = spatial_softmax(4.0 * self.points(features))
        logits = nn.functional.interpolate(self.classes(features), scale_factor=4.0)
        return KeypointMaskOutputs(expectation(heatmaps, 4), heatmaps, logits)


@attrs.frozen
class Scenario:
    """One training.

    Args:
        paired: whether stereo pairs are trained, with all their losses; else single views.
        options: of the training.
        real: whether the library's own network is trained, in float32.
        dropout: share of the tiny network's features.
    """

    options: TrainOptions
    paired: bool = False
    real: bool = False
    dropout: float = 0.0


OPTIONS = TrainOptions(
    epochs=2, batch_size=4, learning_rate=3e-3, ema_decay=0.5, clip_norm=0.5, num_workers=0, precision="fp32"
)
SCENARIOS = {
    # 10 images in batches of 4, 4, 2; 5 pairs in batches of 2, 2, 1, the last of which each rank has whole
    "views": Scenario(OPTIONS),
    "pairs": Scenario(OPTIONS, paired=True),
    # batches of 6 and 4 images, in two parts of 3 and 2
    "parts": Scenario(attrs.evolve(OPTIONS, batch_size=6, accumulate=2)),
    "real": Scenario(attrs.evolve(OPTIONS, epochs=1), paired=True, real=True),
}
DROPOUT = Scenario(OPTIONS, dropout=0.3)


def prepare(folder: Path) -> None:
    """Render the recordings, and take some labels and masks away, so that no part has as many as another."""
    for name, seed, lines in (("train", 1, LINES), ("held_out", 2, 3)):
        write_recording(folder / name, lines, seed=seed)
    path = folder / "train" / "data.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for number in (1, 3, 4):
        marks = lines[number]["debug"]["training_targets"]["keypoint3_mask"]["LL"]
        del marks[next(name for name in marks if name != "mask")]
        if number == 3:
            del marks["mask"]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def config_of(folder: Path, scenario: Scenario) -> KeypointConfig:
    plain = demo_config(folder / "train", folder / "held_out")
    plain["augmentations"][0]["output_size"] = 64
    for name in ("triangulation_reprojection_loss", "triangulation_rigidity_loss"):
        plain["loss_terms"].setdefault(name, {})["weight"] = 0.5 if scenario.paired else 0.0
    if scenario.paired:
        plain["stereo_pairing"]["use_unlabelled"] = True
    else:
        plain.pop("stereo_pairing")
        plain.pop("calibration_file")
    return structure(plain)


@attrs.define
class Curve:
    """A sink that writes every figure down, and may press Ctrl-C after some steps."""

    stop_after: int | None = None
    steps: list[dict[str, float]] = attrs.field(factory=list)
    epochs: list[dict[str, float]] = attrs.field(factory=list)

    def start(self, model, example):
        pass

    def step(self, event):
        self.steps.append({**event.comparison.scalars, "norm": event.comparison.gradient_norm})
        if len(self.steps) == self.stop_after:
            os.kill(os.getpid(), signal.SIGINT)

    def epoch(self, event):
        self.epochs.append(dict(event.scalars))

    def flush(self):
        pass

    def close(self):
        pass


def run(
    folder: Path,
    name: str,
    scenario: Scenario,
    ranks: Ranks,
    *,
    stop_after: int | None = None,
    restored: Path | None = None,
    spoil: Callable[[Any], None] | None = None,
) -> dict[str, Any]:
    """Train, and return the curve, the weights, the random streams and the file; ``spoil`` may change the task."""
    config = config_of(folder, scenario)
    checkpoint = None if restored is None else load_checkpoint(restored)
    plan = plan_training(scenario.options, frozenset(), checkpoint)
    seed_everything(plan.options.seed)
    task = build_task(config)
    if not scenario.real:
        task.model = TinyNet(config.num_keypoints, config.num_classes, scenario.dropout)
    if spoil is not None:
        spoil(task)
    home = RunFolder(folder / name, folder / "runs")
    home.path.mkdir(parents=True, exist_ok=True)
    home.root.mkdir(exist_ok=True)
    keeper = RunCheckpointer(home, provenance(config, plan.options))
    curve = Curve(stop_after)
    result = fit(task, plan, _loaders(task, plan.options, ranks), [curve], keeper, restored=checkpoint, ranks=ranks)
    return {
        "steps": curve.steps,
        "epochs": curve.epochs,
        "weights": {key: tensor.clone() for key, tensor in task.model.state_dict().items()},
        "norms": sorted({type(module).__name__ for module in task.model.modules() if "Norm" in type(module).__name__}),
        "rng": capture_rng()["torch"],
        "interrupted": result.interrupted,
        "saved": str(result.checkpoint),
    }


def _loaders(task, options: TrainOptions, ranks: Ranks) -> Loaders:
    def opened(split: str, shuffle: bool):
        return build_loader(
            task.datasets(split),
            batch_size=options.batch_size,
            shuffle=shuffle,
            seed=options.seed,
            launch=ranks.launch,
            parts=options.accumulate,
        )

    return Loaders(opened("train", True), opened("validation", False))


def _error_of(*given: Any, **more: Any) -> tuple[str, str, bool]:
    try:
        run(*given, **more)
    except CogkpError as error:
        return type(error).__name__, str(error), getattr(error, "reported", False)
    raise AssertionError("it trained")


def _blind_second_rank(ranks: Ranks) -> Callable[[Any], None]:
    """Make the second rank's network answer with no number for the second image of its part."""

    def blind(_module, _inputs, outputs):
        spoilt = torch.zeros(len(outputs.keypoints), 1, 1, dtype=torch.float64)
        spoilt[1] = torch.nan
        return outputs._replace(keypoints=outputs.keypoints + spoilt)

    def spoil(task):
        if not ranks.first:
            task.model.register_forward_hook(blind)

    return spoil


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    with joined() as ranks:
        found: dict[str, Any] = {
            name: run(folder, f"two-{name}", scenario, ranks) for name, scenario in SCENARIOS.items()
        }
        found["undisturbed"] = run(folder, "undisturbed", DROPOUT, ranks)
        stop = STOPPED_AFTER if ranks.first else None
        found["stopped"] = run(folder, "stopped", DROPOUT, ranks, stop_after=stop)
        saved = folder / "stopped" / "checkpoint_latest.pth"
        found["resumed"] = run(folder, "stopped", DROPOUT, ranks, restored=saved)
        blind = _blind_second_rank(ranks)
        found["not a number"] = _error_of(folder, "blind", SCENARIOS["views"], ranks, spoil=blind)
        torch.save(found, folder / f"rank{ranks.launch.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
