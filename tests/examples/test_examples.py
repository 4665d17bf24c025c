"""Each example runs as a user would run it, on data small enough for a test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, *arguments: object) -> str:
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_first_model_then_look_at_its_samples(tmp_path):
    said = run("first_model.py", tmp_path, 4, 1)
    assert "mask IoU" in said
    assert "px of the trained network" in said
    said = run("look_at_samples.py", tmp_path / "keypoint.json")
    assert all(f"{point}: crop" in said for point in ("tip", "turn", "end"))


def test_read_opencv_calibration(tmp_path):
    said = run("read_opencv_calibration.py", tmp_path)
    assert "OpenCV FileStorage" in said
    assert "LL to LR: baseline 60" in said
    assert (tmp_path / "stereo.check.png").stat().st_size > 10_000
    assert (tmp_path / "calibration.config.json").is_file()


def test_every_example_is_run_here():
    named = Path(__file__).read_text()
    assert all(path.name in named for path in EXAMPLES.glob("*.py"))
