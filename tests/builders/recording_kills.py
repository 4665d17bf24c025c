"""Record in forked processes that are killed at random moments, and read what lies there after each death.

Run as a program, so that the forking process has no threads: ``python -m tests.builders.recording_kills FOLDER KILLS
SEED``. Prints a JSON summary.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
import traceback
from itertools import count
from pathlib import Path

import cv2
import numpy as np

import cogkp
from cogkp.data.keypoint.structured import read_lines

LONGEST_LIFE_S = 0.08
LAST_SEED = 10**9
LONG = "long " * 20_000
"""So much text that a process also dies while the system writes it."""


def image(seed: int, camera: int) -> np.ndarray:
    """A frame that only its seed and its camera make."""
    return np.random.default_rng((seed, camera)).integers(0, 256, (24, 32), dtype=np.uint8)


def be_the_child(root: Path, life: int, threads: int) -> None:
    """Record until death; with several threads, their lines are in no order."""
    try:
        with cogkp.record(root, append=True) as recorder:
            Path(f"{root}.born").touch()

            def work(own: int) -> None:
                for step in count():
                    seed = (life * 8 + own) * 100_000 + step
                    frames = {name: {"image": image(seed, place)} for place, name in enumerate(("LL", "LR"))}
                    recorder.add(frames, debug={"seed": seed, "note": LONG if step % 3 == 0 else ""})

            others = [threading.Thread(target=work, args=(own,), daemon=True) for own in range(1, threads)]
            for other in others:
                other.start()
            work(0)
    except BaseException:
        traceback.print_exc()
    os._exit(1)


def live(root: Path, life: int, threads: int, seconds: float) -> None:
    """Let a child record for so long after it has opened its recording."""
    born = Path(f"{root}.born")
    born.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        be_the_child(root, life, threads)
    while not born.exists():
        time.sleep(0.001)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        raise SystemExit("a recorder ended by itself")


def faults_of(root: Path, seen: list[int]) -> list[str]:
    """Read all lines; those of earlier lives are as they were, and every image is the one that was recorded."""
    lines = [line.content for line in read_lines(root)]
    seeds = [line["debug"]["seed"] for line in lines]
    said = ["earlier lines are others"] * (seeds[: len(seen)] != seen)
    said += ["a moment is there twice"] * (len(set(seeds)) != len(seeds))
    for seed, line in list(zip(seeds, lines, strict=True))[len(seen) :]:
        for place, name in enumerate(("LL", "LR")):
            read = cv2.imread(str(root / line[name]["image"]), cv2.IMREAD_UNCHANGED)
            if read is None or not np.array_equal(read, image(seed, place)):
                said.append(f"{line[name]['image']} is not the image of {seed}")
    seen[:] = seeds
    return said


def main(root: Path, kills: int, seed: int) -> None:
    """Kill one recording again and again."""
    generator, seen = random.Random(seed), []
    summary: dict = {"faults": [], "torn": 0, "orphans": 0}
    for life in range(kills):
        live(root, life, 1 + life % 3, generator.uniform(0.0, LONGEST_LIFE_S))
        summary["torn"] += not ((root / "data.jsonl").read_bytes() or b"\n").endswith(b"\n")
        summary["faults"] += faults_of(root, seen)
    with cogkp.record(root, append=True) as recorder:
        frames = {name: {"image": image(LAST_SEED, place)} for place, name in enumerate(("LL", "LR"))}
        recorder.add(frames, debug={"seed": LAST_SEED})
    summary["faults"] += faults_of(root, seen)
    summary["whole"] = (root / "data.jsonl").read_bytes().count(b"\n") == len(seen)
    summary["lines"] = len(seen)
    summary["orphans"] = len(list(root.glob("*/*.png"))) - 2 * len(seen)
    print(json.dumps(summary))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
