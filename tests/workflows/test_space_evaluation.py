"""A stereo recording is judged in space from the command line: figures, JSON and image."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import pytest
from cogkp_cli.app import app
from typer.testing import CliRunner, Result

from cogkp.config.keypoint.io import load
from cogkp.config.train import TrainOptions
from cogkp.data.keypoint.scene.body import POINTS
from cogkp.data.keypoint.synthetic import CALIBRATION_FILE, demo_config, write_recording
from cogkp.workflows.train import train


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with a stereo recording of four pairs and a network trained for one epoch."""
    home = tmp_path_factory.mktemp("stereo")
    write_recording(home / "recording", 4, seed=0)
    write_recording(home / "held_out", 4, seed=1)
    settings = demo_config(home / "recording", home / "held_out")
    settings["stereo_pairing"] = {"enabled": True}
    settings["augmentations"] = [{"type": "crop", "output_size": 64}]
    settings["data_mappings"]["xyz_world"] = [f"truth.xyz_world.{point}" for point in POINTS]
    (home / "keypoint.json").write_text(json.dumps(settings))
    options = TrainOptions(epochs=1, batch_size=4, learning_rate=1e-3, num_workers=0)
    train(load(home / "keypoint.json"), options, checkpoint_root=home / "runs", log_dir=None)
    return home


def evaluate(home: Path, *words: str, config: str = "keypoint.json") -> Result:
    restore = str(home / "runs" / "checkpoint_latest.pth")
    line = ["cog", "evaluate", "--config", str(home / config), "--restore", restore, "-w", "0", "--json", *words]
    return CliRunner().invoke(app, line)


def test_the_command_reports_space_in_world_units_and_in_millimetres(trained, tmp_path):
    plain = json.loads(evaluate(trained, "--output", str(tmp_path / "plain")).stdout)
    told = json.loads(evaluate(trained, "--output", str(tmp_path / "mm"), "--unit-mm", "30").stdout)
    assert (plain["space"]["unit"], told["space"]["unit"]) == ("world units", "mm")
    overall = plain["space"]["overall"]
    assert overall["count"] == 4 * len(POINTS)
    assert [row["name"] for row in plain["space"]["points"]] == list(POINTS)
    assert [row["wanted"] for row in told["space"]["segments"]] == [45.0, 60.0]
    # A network that knows nothing sees all points near the middle, where the rays of both views do meet.
    assert overall["lost"] < overall["count"]
    assert told["space"]["overall"]["median"] == pytest.approx(30 * overall["median"], rel=1e-4)
    assert [row["labels"] for row in plain["space"]["segments"]] == [pytest.approx(1.5), pytest.approx(2.0)]
    written = json.loads((tmp_path / "mm" / "evaluation.json").read_text())
    assert written["space"] == told["space"]
    assert Path(plain["space_picture"]) == tmp_path / "plain" / "predictions_3d.png"
    sheet = cv2.imread(plain["space_picture"])
    assert sheet.shape[0] > sheet.shape[1]  # four pairs under each other


def test_without_pairs_nothing_tells_of_space(trained, tmp_path):
    settings = json.loads((trained / "keypoint.json").read_text())
    settings["stereo_pairing"] = {"enabled": False}
    del settings["loss_terms"]
    (trained / "single.json").write_text(json.dumps(settings))
    result = evaluate(trained, "--output", str(tmp_path / "single"), config="single.json")
    assert "space" not in json.loads(result.stdout)
    written = {path.name for path in (tmp_path / "single").iterdir()}
    assert written == {"evaluation.json", "predictions.png", "report.html"}
    refused = evaluate(trained, "--unit-mm", "30", config="single.json")
    assert refused.exit_code != 0
    assert "no lengths to report in millimetres" in refused.stderr


@pytest.mark.parametrize("size", ["0", "-3", "nan"])
def test_a_unit_without_length_is_refused(trained, size):
    refused = evaluate(trained, "--unit-mm", size)
    assert refused.exit_code == 2
    assert "not a number above 0" in refused.stderr


def test_a_missing_calibration_is_refused_before_any_batch(trained, tmp_path):
    settings = json.loads((trained / "keypoint.json").read_text())
    settings["calibration_file"] = str(tmp_path / CALIBRATION_FILE)
    (trained / "lost.json").write_text(json.dumps(settings))
    refused = evaluate(trained, "--output", str(tmp_path / "none"), config="lost.json")
    assert refused.exit_code != 0
    assert str(tmp_path / CALIBRATION_FILE) in refused.stderr
    assert not (tmp_path / "none").exists()


def test_a_validation_while_training_tells_errors_in_space(trained, caplog):
    options = TrainOptions(epochs=1, batch_size=4, learning_rate=1e-3, num_workers=0)
    with caplog.at_level("INFO", logger="cogkp"):
        train(load(trained / "keypoint.json"), options, checkpoint_root=trained / "again", log_dir=None)
    assert re.search(r"validation .*3-D median [0-9.]+ world units", caplog.text)
