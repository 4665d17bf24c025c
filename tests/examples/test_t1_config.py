"""The example config of a T1 rig reads what a pipeline records, once it is told where that and the calibration lie."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

import cogkp
from cogkp.config.keypoint.io import dump, structure
from cogkp.data.keypoint.importers.stereo_pairs import read_stereo_pairs
from cogkp.data.keypoint.scene.render import calibration, render_frame, stereo_head
from cogkp.data.keypoint.structured import read_lines
from cogkp.data.keypoint.synthetic import CALIBRATION_FILE, demo_config, write_recording
from cogkp.errors import ConfigError
from cogkp.files import write_json
from tests.builders.shared_data import shared
from tests.examples.test_examples import EXAMPLES

CONFIG = EXAMPLES / "configs" / "cog" / "data" / "T1-v3m-3kp-mask.json"
SCOPE = "debug.training_targets.keypoint3_mask"
TERMS = (
    "supervised_keypoint",
    "segmentation",
    "heatmap_regularization",
    "triangulation_reprojection",
    "triangulation_rigidity",
)
OPTIONS = cogkp.TrainOptions(epochs=1, batch_size=2, num_workers=0, learning_rate=1e-3)


def pointed_at(root: Path):
    """What a user changes: where the recording and its calibration lie."""
    content = json.loads(CONFIG.read_text())
    return structure({**content, "base_dir": str(root), "calibration_file": str(root / CALIBRATION_FILE)})


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    root = tmp_path_factory.mktemp("T1") / "recording"
    write_recording(root, 4, seed=3)
    return root


def check_that_it_trains(root: Path, runs: Path) -> None:
    """Every term of the loss is computed, of points, masks and pairs."""
    scalars = cogkp.train(pointed_at(root), OPTIONS, checkpoint_root=runs, log_dir=None).scalars
    assert {f"{name}_loss" for name in TERMS} <= set(scalars)
    assert all(np.isfinite(value) for value in scalars.values())
    assert scalars["triangulated_share"] > 0.5


def test_it_asks_for_the_keys_of_the_documented_scope_and_for_no_others():
    mappings = cogkp.load_config(CONFIG).data_mappings
    targets = {f"{SCOPE}.{camera}.{name}" for camera in ("LL", "LR") for name in ("tip", "turn", "end", "mask")}
    assert set(mappings.datakeys) == {"LL.image", "LR.image", f"{SCOPE}.valid"} | targets
    for camera, image, points, mask in zip(("LL", "LR"), mappings.x, mappings.y, mappings.mask, strict=True):
        assert image == f"{camera}.image"
        assert points == tuple(f"{SCOPE}.{camera}.{name}" for name in ("tip", "turn", "end"))
        assert mask == f"{SCOPE}.{camera}.mask"


def test_it_says_what_is_missing_before_anything_is_read():
    with pytest.raises(ConfigError, match="base_dir"):
        cogkp.train(cogkp.load_config(CONFIG), OPTIONS, log_dir=None)


def test_it_trains_as_the_demo_does():
    """The settings are those whose accuracy the demo shows; exact places in space are known to a rendering alone."""
    demo = dump(structure(demo_config(Path("recording"), Path("held_out"))))
    example = dump(cogkp.load_config(CONFIG))
    for document in (demo, example):
        document["data_mappings"]["xyz_world"] = None
        for place in ("prefix", "base_dir", "calibration_file", "validation"):
            del document[place]
    assert example == demo


def test_it_trains_on_the_recording_of_the_demo(recording, tmp_path):
    check_that_it_trains(recording, tmp_path / "runs")


PIPELINE = """
import sys
import cogkp
from cogkp.data.keypoint.scene.render import render_frame

with cogkp.record(sys.argv[1], append=True) as recorder:
    for index in range(int(sys.argv[2]), 10_000):
        views = render_frame(7, index).views
        targets = {
            name: {**dict(zip(("tip", "turn", "end"), view.uv)), "mask": view.mask} for name, view in views.items()
        }
        recorder.add(
            {name: {"image": view.image} for name, view in views.items()},
            debug={"training_targets": {"keypoint3_mask": {"valid": True, **targets}}},
            time_s=index / 30,
        )
        print(index, flush=True)
"""


def test_it_trains_on_what_a_pipeline_recorded_until_it_was_killed_twice(tmp_path):
    root, generator = tmp_path / "recording", random.Random(5)
    for start in (0, 100):
        words = [sys.executable, "-c", PIPELINE, str(root), str(start)]
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=env) as pipeline:
            told = [pipeline.stdout.readline() for _ in range(3)]
            time.sleep(generator.uniform(0.0, 0.1))
            pipeline.kill()
        assert told == [f"{start + step}\n" for step in range(3)]
    write_json(root / CALIBRATION_FILE, calibration(stereo_head()))
    lines = [line.content for line in read_lines(root)]
    assert len(lines) >= 6
    frame = render_frame(7, 1).views["LR"]
    assert lines[1]["debug"]["training_targets"]["keypoint3_mask"]["LR"]["turn"] == frame.uv[1].tolist()
    assert np.array_equal(cv2.imread(str(root / lines[1]["LR"]["image"]), cv2.IMREAD_UNCHANGED), frame.image)
    check_that_it_trains(root, tmp_path / "runs")


def test_it_trains_on_recorded_photographs(tmp_path):
    """Files of a real rig, whose calibration is in units of which the tool's links measure 1.5 and 2."""
    pairs = read_stereo_pairs(shared("adapter-stereo"))
    names = ("tip", "turn", "end", "mask")
    with cogkp.record(tmp_path / "recording") as recorder:
        for line in pairs.lines[:4]:
            views = {camera: line.record[camera] for camera in ("LL", "LR")}
            targets = {camera: {name: view[name] for name in names} for camera, view in views.items()}
            recorder.add(
                {camera: {"image": view["image"]} for camera, view in views.items()},
                debug={"training_targets": {"keypoint3_mask": {"valid": True, **targets}}},
            )
    for line, written in zip(pairs.lines[:4], read_lines(tmp_path / "recording"), strict=True):
        source = line.record["LR"]["image"]
        assert (tmp_path / "recording" / written.content["LR"]["image"]).read_bytes() == source.read_bytes()
    write_json(tmp_path / "recording" / CALIBRATION_FILE, pairs.calibration)
    check_that_it_trains(tmp_path / "recording", tmp_path / "runs")
