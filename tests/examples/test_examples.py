"""Each example runs as a user would run it, on data small enough for a test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from cogkp.config.keypoint.io import dump
from cogkp.data.keypoint.synthetic import write_recording
from cogkp.files import write_json
from tests.builders.keypoint_model import keypoint_config, keypoint_task, scene
from tests.builders.model_files import write_onnx
from tests.builders.tiny_keypoints import tiny_config

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


def test_triangulate_labels(tmp_path):
    write_recording(tmp_path / "recording", 2, seed=0)
    said = run("triangulate_labels.py", tmp_path / "recording")
    assert "6 of 6 points found, reprojection 0.0000 px" in said
    assert "tip to turn: 1.5000 +- 0.0000" in said


def test_own_sink(tmp_path):
    write_json(tmp_path / "keypoint.json", dump(tiny_config(tmp_path, validation=2)))
    said = run("own_sink.py", tmp_path / "keypoint.json", 2).splitlines()
    assert "parameters, input (" in said[0]
    assert said[1].startswith("epoch 1: ")
    assert (tmp_path / "diary.txt").is_file()


def test_ask_a_model(tmp_path):
    write_onnx(tmp_path / "tool.onnx", keypoint_task(keypoint_config()))
    cv2.imwrite(str(tmp_path / "image.png"), scene())
    said = run("ask_a_model.py", tmp_path / "tool.onnx", tmp_path / "image.png", tmp_path / "image.png").splitlines()
    assert said[0].startswith("<keypoint model ")
    assert [line.split(" at ")[0] for line in said[1:4]] == [f"image.png: {name}" for name in ("tip", "turn", "end")]
    assert said[1:4] == said[4:]
    assert len(json.loads((tmp_path / "image.found.json").read_text())["points"]) == 3
    assert (tmp_path / "image.found.png").stat().st_size > 1000


@pytest.mark.slow
def test_stereo_terms(tmp_path):
    said = run("stereo_terms.py", tmp_path, 16, 1).splitlines()
    assert [line.split(" stereo terms")[0] for line in said] == ["without", "with"]
    assert all("in space" in line for line in said)


def test_every_example_is_run_here():
    named = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert all(path.name in named for path in EXAMPLES.glob("*.py"))
