"""Race cogkp against Lightning Pose and SLEAP-NN: same frames, same clock, one thread, from random weights. Linux only.

Run, with the folder that holds the sets mirror-mouse of Lightning Pose and openfield of DeepLabCut:

    python -m benchmarks.bench_accuracy SETS mouse
    python -m benchmarks.bench_accuracy SETS openfield

The peers are installed into environments of their own below ``.benchmarks/peers`` (about 7 GB). First all run for
a minute, which tells how many epochs fill the time of those whose learning rate follows a plan; then they race.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import cogkp
from benchmarks.harness import provenance
from benchmarks.peers import ROOT
from benchmarks.peers.contestants import CONTESTANTS
from benchmarks.peers.exchange import Errors, Frames, errors, imported_frames, write_frames
from benchmarks.peers.race import Mark, Runner, race

SOURCES = {
    "mouse": ("lightning-pose", "mirror-mouse/CollectedData.csv"),
    "openfield": ("deeplabcut", "openfield"),
}
NAMES = ("cogkp", "lightning-pose-bf16", "sleap-nn-bf16")
ENDLESS = 100_000
FILLED = 0.93  # of the time is planned for, so that a machine that is slower later still comes to the end of the plan


class Setting(NamedTuple):
    """One set, ready to be raced on."""

    name: str
    data: Path
    frames: Frames
    file: Path
    home: Path


def prepare(sets: Path, name: str, home: Path) -> Setting:
    """Import a set as our users would, and write the same frames down for the peers."""
    form, source = SOURCES[name]
    data = home / "data"
    if not (data / "keypoint.json").exists():
        cogkp.import_dataset(sets / source, data, format=form, seed=0)
    frames = imported_frames(data)
    write_frames(home / "frames.json", frames)
    return Setting(name, data, frames, home / "frames.json", home)


def run(
    setting: Setting, epochs: dict[str, int], label: str, marks_s: Sequence[float], slice_s: float
) -> dict[str, list[Mark]]:
    """Race on one set."""
    starts = [partial(_start, setting, name, setting.home / label / name, count) for name, count in epochs.items()]
    return race(starts, marks_s, slice_s, setting.home / label / "marks")


def _start(setting: Setting, name: str, home: Path, epochs: int) -> Runner:
    contestant = CONTESTANTS[name]
    settings = contestant.settings(setting.name, setting.data)
    return contestant.start(name, setting.file, home, epochs, settings)


def planned_epochs(setting: Setting, names: Sequence[str], args: argparse.Namespace) -> dict[str, int]:
    """Find, in a short race, how many epochs fill the time; those without a plan get no end."""
    half, whole = args.probe / 2, args.probe
    marks = run(setting, dict.fromkeys(names, ENDLESS), "probe", [half, whole], args.slice / 4)
    horizon_s, found = 60.0 * args.minutes[-1], dict[str, int]()
    print(f"\n{'':<30} {'images/s':>9}  in the second half of {whole:.0f} s")
    for name in names:
        first, second = marks[name]
        rate = (second.images - first.images) / (second.trained_s - first.trained_s)
        print(f"{CONTESTANTS[name].title:<30} {rate:>9.2f}")
        epochs = max(1, round(FILLED * rate * horizon_s / len(setting.frames.train)))
        found[name] = epochs if CONTESTANTS[name].plans else ENDLESS
    return found


def judge(setting: Setting, label: str, name: str, mark: Mark) -> tuple[Errors, float]:
    """Predict with the weights of a mark; the second value is the share of points its defaults keep to themselves."""
    if mark.checkpoint is None:
        nothing = np.full((len(setting.frames.held_out), len(setting.frames.points), 2), np.nan)
        return errors(nothing, _truth(setting)), 1.0
    contestant = CONTESTANTS[name]
    settings = contestant.settings(setting.name, setting.data)
    found = contestant.predict(setting.file, setting.home / label / name, settings, mark.checkpoint)
    told = mark.checkpoint.with_suffix(".told.npy")
    silent = errors(np.load(told), _truth(setting)).missing if told.exists() else 0.0
    return errors(found, _truth(setting)), silent


def _truth(setting: Setting) -> np.ndarray:
    return np.stack([frame.uv for frame in setting.frames.held_out])


def report(setting: Setting, epochs: dict[str, int], marks: dict[str, list[Mark]], label: str) -> dict[str, Any]:
    """Judge all marks, print one table, and return it for a file."""
    rows: list[dict[str, Any]] = []
    for name in marks:
        for mark in marks[name]:
            found, silent = judge(setting, label, name, mark)
            rows.append({"name": name, "epochs": epochs[name], "silent": silent, **mark._asdict(), **found._asdict()})
    print(
        f"\n{setting.name}: {len(setting.frames.train)} frames to learn from, {len(setting.frames.held_out)} held out"
    )
    heads = (
        "min",
        "mean px",
        "median px",
        "p95 px",
        "points",
        "missing",
        "silent",
        "images",
        "images/s",
        "wall s",
        "age s",
    )
    print(f"{'':<30} {' '.join(f'{head:>9}' for head in heads)}")
    for row in rows:
        clock = row["clock_s"]
        values = (clock / 60, row["mean_px"], row["median_px"], row["p95_px"], row["points"], row["missing"])
        values = (*values, row["silent"], row["images"], row["images"] / row["trained_s"], row["wall_s"], row["age_s"])
        print(f"{CONTESTANTS[row['name']].title:<30} {' '.join(f'{value:>9.2f}' for value in values)}")
    return {"set": setting.name, "rows": rows}


def main() -> None:
    """Prepare, plan, race and judge one set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("sets", type=Path, help="folder of the sets")
    parser.add_argument("set", choices=sorted(SOURCES))
    parser.add_argument("--minutes", type=float, nargs="+", default=[5.0, 10.0, 20.0], help="when weights are judged")
    parser.add_argument("--contestants", nargs="+", choices=sorted(CONTESTANTS), default=list(NAMES))
    parser.add_argument("--epochs", type=int, nargs="+", help="one for each, instead of the short race")
    parser.add_argument("--slice", type=float, default=60.0, help="seconds a contestant runs at a time")
    parser.add_argument("--probe", type=float, default=60.0, help="seconds each runs in the short race")
    parser.add_argument("--probe-only", action="store_true", help="only measure how fast they train")
    parser.add_argument("--home", type=Path, default=ROOT / ".benchmarks" / "accuracy", help="where runs are kept")
    args = parser.parse_args()
    home = args.home.absolute() / args.set
    home.mkdir(parents=True, exist_ok=True)
    setting = prepare(args.sets, args.set, home)
    if args.epochs:
        epochs = dict(zip(args.contestants, args.epochs, strict=True))
    else:
        epochs = planned_epochs(setting, args.contestants, args)
    if not args.probe_only:
        label = "-".join(f"{minutes:g}" for minutes in args.minutes)
        marks = run(setting, epochs, label, [60.0 * minutes for minutes in args.minutes], args.slice)
        found = report(setting, epochs, marks, label)
        (home / f"{label}.json").write_text(json.dumps(found, indent=1, default=str), encoding="utf-8")
    for name in args.contestants:
        print(f"{CONTESTANTS[name].title}: {CONTESTANTS[name].versions()}, {epochs[name]} epochs")
        print(f"  {json.dumps(CONTESTANTS[name].settings(args.set, setting.data))}")
    for key, value in provenance().items():
        print(f"{key}: {value}")


if __name__ == "__main__":
    main()
