"""What the stereo terms change where few pairs are labelled and the others are not: same data, same steps, same seeds.

Run, on an imported stereo set (``s6 cog import stereo-pairs ...``):

    OMP_NUM_THREADS=1 python -m benchmarks.study_few_labels data/adapter --unit-mm 30

Three ways are trained for each seed, which also draws the labelled pairs. All take the same number of steps and see the
same batches where they share data. Runs that are complete are not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import attrs
import numpy as np

import cogkp
from benchmarks.harness import provenance
from cogkp.config.keypoint import Validation
from cogkp.data.structured import read_lines, write_structured

POINTS = ("tip", "turn", "end")
CAMERAS = ("LL", "LR")
LINES_PER_EPOCH = 160
STEREO_TERMS = {
    "triangulation_reprojection_loss": {"weight": 200.0},
    "triangulation_rigidity_loss": {"weight": 100.0},
}
WAYS = ("labelled pairs alone", "with the others, no stereo terms", "with the others and stereo terms")
FIGURES = (
    ("3-D median", "median"),
    ("3-D p95", "p95"),
)


def record_of(root: Path, content: dict[str, Any], *, labelled: bool) -> dict[str, Any]:
    """Copy a line's pictures and, where wanted, its points."""
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
    alone, _, stereo = WAYS
    used = roots[:1] if way == alone else roots
    return {
        "prefix": "few",
        "base_dir": [str(root) for root in used],
        "data_mappings": {
            "x": [f"{camera}.image" for camera in CAMERAS],
            "y": [[f"{camera}.{point}" for point in POINTS] for camera in CAMERAS],
        },
        "sampling": {"enabled": True, "weights": [1.0] * len(used), "samples_per_epoch": LINES_PER_EPOCH},
        "calibration_file": str(data / "train" / "calibration.config.json"),
        "stereo_pairing": {"enabled": True, "use_unlabelled": way == stereo},
        "loss_terms": {"heatmap_regularization_loss": {"weight": 20.0}, **(STEREO_TERMS if way == stereo else {})},
        "validation": {"base_dir": [str(data / "validation")]},
    }


def train(data: Path, home: Path, way: str, args: argparse.Namespace, seed: int) -> tuple[Path, Path]:
    """Train one way with one seed, unless that was done before; return its configuration and checkpoint."""
    roots = split_roots(data / "train", home / f"seed-{seed}", args.labelled, seed)
    folder = home / f"seed-{seed}" / way.replace(" ", "-").replace(",", "")
    checkpoint = folder / "checkpoints" / "checkpoint_latest.pth"
    config = folder / "keypoint.json"
    if not (folder / "done").exists():
        folder.mkdir(parents=True, exist_ok=True)
        config.write_text(json.dumps(config_of(data, roots, way), indent=1), encoding="utf-8")
        options = cogkp.TrainOptions(epochs=args.epochs, batch_size=16, precision="bf16", num_workers=0, seed=seed)
        # Set aside to the end, so that no epoch spends time on looking.
        learnt = attrs.evolve(cogkp.load_config(config), validation=Validation())
        cogkp.train(learnt, options, checkpoint_root=folder / "checkpoints", log_dir=None)
        (folder / "done").touch()
    return config, checkpoint


def figures(config: Path, checkpoint: Path, unit_mm: float) -> dict[str, float]:
    """Evaluate on the pairs that were set aside."""
    result = cogkp.evaluate(
        cogkp.load_config(config),
        restore=str(checkpoint),
        output_dir=checkpoint.parent / "evaluation",
        world_unit_mm=unit_mm,
    )
    space, pixels = result.report["space"]["overall"], result.report["overall"]
    return {"mean px": pixels["mean_px"], **{name: space[key] for name, key in FIGURES}}


def main() -> None:
    """Train what is missing, evaluate all, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", type=Path, help="an imported stereo set: train/, validation/")
    parser.add_argument("--home", type=Path, default=Path("few_labels"), help="where runs are kept")
    parser.add_argument("--labelled", type=int, default=20, help="pairs that keep their labels")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=50, help=f"of {LINES_PER_EPOCH} lines each")
    parser.add_argument("--unit-mm", type=float, default=30.0, help="millimetres in a world unit")
    parser.add_argument("--train-only", action="store_true", help="leave the evaluation for another call")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    rows: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for seed in args.seeds:
        for way in WAYS:
            trained = train(args.data, args.home, way, args, seed)
            if not args.train_only:
                rows[way].append(figures(*trained, args.unit_mm))
    if args.train_only:
        return
    for way, found in rows.items():
        print(way)
        for name in found[0]:
            each = [row[name] for row in found]
            print(f"  {name:<12} mean {np.mean(each):7.2f}   seeds {'  '.join(f'{value:7.2f}' for value in each)}")
    print()
    for name, value in provenance().items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
