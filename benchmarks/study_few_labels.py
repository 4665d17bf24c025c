"""What the stereo terms change where few pairs are labelled and the others are not: same data, same steps, same seeds.

Run, on an imported stereo set (``s6 cog import stereo-pairs ...``):

    OMP_NUM_THREADS=1 python -m benchmarks.study_few_labels data/adapter --unit-mm 30

For each seed, which also draws the labelled pairs, a network learns the labelled pairs. Then it trains on in three ways
of as many steps, each of which sees as many labelled images. Runs that are complete are not repeated.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import attrs
import numpy as np

import cogkp
from benchmarks.harness import provenance
from cogkp.config.keypoint.spec import Validation
from cogkp.data.keypoint.structured import read_lines, write_structured

POINTS = ("tip", "turn", "end")
CAMERAS = ("LL", "LR")
LINES_PER_EPOCH = 160
LABELLED_IMAGES = 16
FINE_RATE = 2e-3
STEREO_TERMS = {
    "triangulation_reprojection_loss": {"weight": 10000.0},
    "triangulation_rigidity_loss": {"weight": 1000.0},
}
START, ALONE, OTHERS, STEREO = "labelled", "labelled-on", "with-others", "with-others-and-stereo-terms"
WORDS = {
    START: "the start: labelled pairs",
    ALONE: "labelled pairs, trained on",
    OTHERS: "with the others, no stereo terms",
    STEREO: "with the others and stereo terms",
}


def record_of(root: Path, content: dict[str, Any], *, labelled: bool) -> dict[str, Any]:
    """Copy a line's images and, where wanted, its points."""
    return {
        camera: {
            "image": root / content[camera]["image"],
            **{point: content[camera][point] if labelled else None for point in POINTS},
        }
        for camera in CAMERAS
    }


def split_roots(source: Path, home: Path, count: int, seed: int) -> tuple[Path, Path]:
    """Write the labelled pairs of one seed, and all the others without their labels."""
    lines = [line.content for line in read_lines(source)]
    chosen = set(np.random.default_rng(seed).choice(len(lines), count, replace=False).tolist())
    roots = home / "labelled", home / "unlabelled"
    for root, labelled in zip(roots, (True, False), strict=True):
        if not root.exists():
            picked = [line for number, line in enumerate(lines) if (number in chosen) is labelled]
            write_structured(root, [record_of(source, line, labelled=labelled) for line in picked])
    return roots


def config_of(data: Path, roots: tuple[Path, Path], way: str) -> dict[str, Any]:
    """Configure one way."""
    used = roots if way in {OTHERS, STEREO} else roots[:1]
    return {
        "prefix": "few",
        "base_dir": [str(root) for root in used],
        "data_mappings": {
            "x": [f"{camera}.image" for camera in CAMERAS],
            "y": [[f"{camera}.{point}" for point in POINTS] for camera in CAMERAS],
        },
        "sampling": {
            "enabled": True,
            "weights": [1.0] * len(used),
            "samples_per_epoch": LINES_PER_EPOCH * len(used),
        },
        "calibration_file": str(data / "train" / "calibration.config.json"),
        "stereo_pairing": {"enabled": True, "use_unlabelled": way == STEREO},
        "loss_terms": {"heatmap_regularization_loss": {"weight": 20.0}, **(STEREO_TERMS if way == STEREO else {})},
        "validation": {"base_dir": [str(data / "validation")]},
    }


def train(data: Path, folder: Path, way: str, options: cogkp.TrainOptions, start: Path | None) -> tuple[Path, Path]:
    """Train one way, unless that was done before; return its configuration and its checkpoint."""
    config, result = folder / way / "keypoint.json", folder / way / "trained.pth"
    if not result.exists():
        config.parent.mkdir(parents=True, exist_ok=True)
        roots = folder / "roots" / "labelled", folder / "roots" / "unlabelled"
        config.write_text(json.dumps(config_of(data, roots, way), indent=1), encoding="utf-8")
        # Set aside to the end, so that no epoch spends time on looking.
        learnt = attrs.evolve(cogkp.load_config(config), validation=Validation())
        done = cogkp.train(
            learnt,
            options,
            restore=None if start is None else str(start),
            given=frozenset({"epochs", "batch_size", "learning_rate"}),
            allow_config_change=True,
            checkpoint_root=folder / way / "checkpoints",
            log_dir=None,
        )
        shutil.copyfile(done.checkpoint, result)
    return config, result


def trained_ways(data: Path, folder: Path, args: argparse.Namespace, seed: int) -> dict[str, tuple[Path, Path]]:
    """Train everything of one seed."""
    split_roots(data / "train", folder / "roots", args.labelled, seed)
    options = cogkp.TrainOptions(
        epochs=args.epochs, batch_size=LABELLED_IMAGES, precision="bf16", num_workers=0, seed=seed
    )
    start = train(data, folder, START, options, None)
    ways = {START: start}
    for way in (ALONE, OTHERS, STEREO):
        images = LABELLED_IMAGES if way == ALONE else 2 * LABELLED_IMAGES
        further = attrs.evolve(options, epochs=args.further, batch_size=images, learning_rate=FINE_RATE)
        # A restored run goes on in the folder of its checkpoint, so each way starts from a copy of its own.
        own = folder / way / "start.pth"
        own.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(start[1], own)
        ways[way] = train(data, folder, way, further, own)
    return ways


def figures(config: Path, checkpoint: Path, unit_mm: float) -> dict[str, float]:
    """Evaluate on the pairs that were set aside."""
    settings = cogkp.load_config(config)
    folder = checkpoint.parent / "evaluation"
    report = cogkp.evaluate(settings, model=str(checkpoint), output_dir=folder, world_unit_mm=unit_mm).report
    space = report["space"]["overall"]
    return {
        "3-D median mm": space["median"],
        "3-D mean mm": space["mean"],
        "3-D p95 mm": space["p95"],
        "mean px": report["overall"]["mean_px"],
    }


def main() -> None:
    """Train what is missing, evaluate all, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", type=Path, help="an imported stereo set: train/, validation/")
    parser.add_argument("--home", type=Path, default=Path("few_labels"), help="where runs are kept")
    parser.add_argument("--labelled", type=int, default=20, help="pairs that keep their labels")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=50, help=f"of {LINES_PER_EPOCH} lines, on labelled pairs")
    parser.add_argument("--further", type=int, default=15, help="epochs of each way after that")
    parser.add_argument("--unit-mm", type=float, default=30.0, help="millimetres in a world unit")
    parser.add_argument("--train-only", action="store_true", help="leave the evaluation for another call")
    args = parser.parse_args()
    ways = [trained_ways(args.data, args.home / f"seed-{seed}", args, seed) for seed in args.seeds]
    if args.train_only:
        return
    for way, words in WORDS.items():
        found = [figures(*each[way], args.unit_mm) for each in ways]
        print(words)
        for name in found[0]:
            values = [row[name] for row in found]
            print(f"  {name:<14} mean {np.mean(values):7.2f}   seeds {'  '.join(f'{value:7.2f}' for value in values)}")
    print()
    for name, value in provenance().items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
