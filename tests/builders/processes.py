"""Trainings of both families as processes of the installed command, small enough for a test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from cogkp.config.centerpose.io import write_experiment
from cogkp.config.keypoint.io import dump
from tests.builders.tiny_boxes import tiny_experiment
from tests.builders.tiny_keypoints import tiny_config

S6 = Path(sys.executable).with_name("s6")
FAMILIES = ("keypoint", "centerpose")
PATIENCE_S = 240.0


def words_of(family: str, folder: Path, *, epochs: int, workers: int = 0) -> list[str]:
    """Write data and configuration of a family, and return the command that trains on them in that folder."""
    if family == "keypoint":
        config = folder / "config.json"
        config.write_text(json.dumps(dump(tiny_config(folder / "data"))))
        flags = ["-t", "-e", str(epochs), "-b", "2", "-w", str(workers), "--no-tb", "--log-interval", "1"]
        return [str(S6), "cog", "keypoint", "-c", str(config), *flags]
    spec = tiny_experiment(folder, width=0.125)
    spec = attrs.evolve(
        spec,
        dataset=attrs.evolve(spec.dataset, batch_size=2, workers=workers),
        train=attrs.evolve(spec.train, num_epochs=epochs, checkpoint_interval=epochs),
        results_dir=str(folder / "results"),
    )
    written = write_experiment(folder / "spec.yaml", spec)
    return [str(S6), "cog", "centerpose", "train", "-e", str(written)]


def start(words: list[str], folder: Path, **streams: Any) -> subprocess.Popen[str]:
    """Start a command in a folder and a process group of its own; output is kept where nothing else is said."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(words, cwd=folder, text=True, start_new_session=True, env=env, **streams)


def until(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for something that a process is to bring about."""
    end = time.monotonic() + PATIENCE_S
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)


def steps_in(folder: Path) -> int:
    """Count the lines of steps in the histories below a folder."""
    return sum(path.read_text().count('"step_of_epoch"') for path in folder.rglob("metrics.jsonl"))


def children_of(process: subprocess.Popen[str]) -> list[int]:
    """List the processes that a process has started and that still live."""
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(word) for word in listed.read_text().split()]
