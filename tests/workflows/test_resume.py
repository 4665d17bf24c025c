"""A restored training: what must agree, what is said where it does not, and what the run folder tells afterwards."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import attrs
import cv2
import numpy as np
import pytest
import torch

from cogkp.artifacts.checkpoint import load_checkpoint
from cogkp.artifacts.runs import RunFolder, locked
from cogkp.config.augment import Crop, Noise
from cogkp.config.keypoint.io import load, structure
from cogkp.data.keypoint.synthetic import CALIBRATION_FILE, demo_config, write_recording
from cogkp.errors import CheckpointError, DataError, OutputError, TrainingError
from cogkp.workflows.train import train
from tests.builders.small_disk import on_a_small_disk
from tests.builders.tiny_keypoints import tiny_config
from tests.builders.training import OPTIONS

SHORT = attrs.evolve(OPTIONS, epochs=1, log_interval=1, keep_last=3)
FURTHER = {"restore": "latest", "given": frozenset({"epochs"})}


@pytest.fixture
def config(tmp_path):
    return tiny_config(tmp_path, validation=2)


def trained(config, root: Path, options=SHORT, **more):
    return train(config, options, checkpoint_root=root / "runs", log_dir=None, **more)


def history(run: Path) -> list[tuple]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(line["event"], line["epoch"], line.get("step_of_epoch")) for line in lines]


def test_a_run_folder_explains_itself(config, tmp_path):
    result = trained(config, tmp_path)
    names = {path.name for path in result.run_dir.iterdir()}
    numbered = "checkpoint_000001_e1_s0.pth"
    assert names == {
        "run_config.json",
        "run.json",
        "metrics.jsonl",
        "metrics.csv",
        "report.html",
        "evaluation.json",
        "predictions.png",
        "checkpoint_latest.pth",
        "checkpoint_best.pth",
        numbered,
    }
    assert result.best == result.run_dir / "checkpoint_best.pth"
    assert load(result.run_dir / "run_config.json") == config
    (session,) = json.loads((result.run_dir / "run.json").read_text())["sessions"]
    assert session["plan"] == result.plan
    assert session["options"] == attrs.asdict(SHORT)
    assert session["versions"].keys() >= {"python", "cogkp", "torch", "numpy"}
    assert session["machine"].keys() >= {"host", "cpu", "cores", "threads", "gpus"}
    assert session["command"]
    assert [(part["root"], part["lines"]) for part in session["data"]["train"]] == [("train", 8)]
    assert [(part["root"], part["lines"]) for part in session["data"]["validation"]] == [("held_out", 2)]
    assert history(result.run_dir) == [("step", 1, 1), ("step", 1, 2), ("epoch", 1, None)]
    line = json.loads((result.run_dir / "metrics.jsonl").read_text().splitlines()[-1])
    assert line["validation/error_mean_px"] == result.scalars["validation/error_mean_px"]


def test_a_training_that_goes_on_keeps_the_history_and_adds_a_session(config, tmp_path):
    first = trained(config, tmp_path)
    with (first.run_dir / "metrics.jsonl").open("a") as file:  # a process that died after its last save
        file.write('{"event": "step", "epoch": 2, "step_of_epoch": 1, "step": 3}\n{"event": "st')
    second = trained(config, tmp_path, **FURTHER)
    assert second.run_dir == first.run_dir
    steps = [("step", 1, 1), ("step", 1, 2), ("epoch", 1, None), ("step", 2, 1), ("step", 2, 2), ("epoch", 2, None)]
    assert history(first.run_dir) == steps
    sessions = json.loads((first.run_dir / "run.json").read_text())["sessions"]
    assert [session["plan"].split()[0] for session in sessions] == ["train", "resume"]
    assert sessions[1]["restored"] == str(first.mirror)
    assert sessions[1]["changes"] == []


def other(config):
    return attrs.evolve(config, augmentations=(Crop(output_size=64, margin=0.6), Noise(sigma=(0.0, 0.1))))


def test_another_configuration_is_refused_with_every_difference(config, tmp_path):
    result = trained(config, tmp_path)
    before = result.checkpoint.read_bytes()
    with pytest.raises(CheckpointError, match=r"configuration changed.*checkpoint_latest\.pth") as caught:
        trained(other(config), tmp_path, **FURTHER)
    assert "augmentations[0].margin" in str(caught.value)
    assert "augmentations[1].sigma" in str(caught.value)
    assert "--allow-config-change" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert result.checkpoint.read_bytes() == before


def test_another_configuration_is_taken_where_asked_and_said(config, tmp_path, caplog):
    trained(config, tmp_path)
    with caplog.at_level(logging.WARNING, "cogkp"):
        result = trained(other(config), tmp_path, allow_config_change=True, **FURTHER)
    assert "augmentations[0].margin" in caplog.text
    assert load(result.run_dir / "run_config.json") == other(config)
    changes = json.loads((result.run_dir / "run.json").read_text())["sessions"][-1]["changes"]
    assert any("margin" in line for line in changes)
    assert load_checkpoint(result.checkpoint).state.best["epoch"] == 2


def add_line(root: Path) -> None:
    image = np.zeros((90, 120), np.uint8)
    cv2.imwrite(str(root / "B" / "new.png"), image)
    with (root / "data.jsonl").open("a") as file:
        file.write(json.dumps({"B": {"image": "B/new.png", "tip": [50, 40], "end": [60, 50]}}) + "\n")


class Stop:
    """A progress during which somebody presses Ctrl-C after some steps."""

    def __init__(self, after: int) -> None:
        self.left = after

    def work(self, label, total):
        from contextlib import nullcontext

        return nullcontext(self)

    def advance(self, amount=1, **facts):
        import signal

        self.left -= amount
        if self.left == 0:
            signal.raise_signal(signal.SIGINT)


def test_other_data_is_said_and_the_epoch_under_way_starts_again(config, tmp_path, caplog):
    stopped = trained(config, tmp_path, attrs.evolve(SHORT, epochs=2), progress=Stop(3))
    assert load_checkpoint(stopped.checkpoint).state.position == (1, 1)
    add_line(tmp_path / "train")
    with caplog.at_level(logging.WARNING, "cogkp"):
        result = trained(config, tmp_path, restore="latest")
    assert "the data changed since" in caplog.text
    assert "train data 'train': lines 8 -> 9" in caplog.text
    assert "the data changed, so the epoch under way starts again" in result.plan
    assert history(result.run_dir)[-4:] == [("step", 2, 1), ("step", 2, 2), ("step", 2, 3), ("epoch", 2, None)]


def test_another_calibration_of_stereo_pairs_is_said(tmp_path, caplog):
    write_recording(tmp_path / "train", 4, seed=0)
    settings = demo_config(tmp_path / "train", tmp_path / "train")
    settings["augmentations"] = [{"type": "crop", "output_size": 64}]
    del settings["validation"]
    config = structure(settings)
    trained(config, tmp_path)
    file = tmp_path / "train" / CALIBRATION_FILE
    cameras = json.loads(file.read_text())
    file.write_text(json.dumps(cameras))  # the same numbers on one line
    with caplog.at_level(logging.WARNING, "cogkp"):
        trained(config, tmp_path, **FURTHER)
    assert "the data changed" not in caplog.text
    cameras["LR"]["intrinsic"][0][0] += 0.01
    file.write_text(json.dumps(cameras))
    with caplog.at_level(logging.WARNING, "cogkp"):
        result = trained(config, tmp_path, **FURTHER)
    assert "the data changed since" in caplog.text
    assert "train data 'train': other calibration" in caplog.text
    changes = json.loads((result.run_dir / "run.json").read_text())["sessions"][-1]["changes"]
    assert changes == ["train data 'train': other calibration"]


def test_the_same_data_elsewhere_is_a_changed_configuration_only(config, tmp_path, caplog):
    trained(config, tmp_path)
    moved = tmp_path / "moved" / "train"
    shutil.copytree(tmp_path / "train", moved)
    with caplog.at_level(logging.WARNING, "cogkp"):
        trained(attrs.evolve(config, base_dir=(str(moved),)), tmp_path, allow_config_change=True, **FURTHER)
    assert "base_dir" in caplog.text
    assert "the data changed" not in caplog.text


def test_going_on_from_an_older_save_leaves_the_run_alone(config, tmp_path, caplog):
    first = trained(config, tmp_path, attrs.evolve(SHORT, epochs=2))
    before = {path.name: path.read_bytes() for path in first.run_dir.iterdir()}
    with caplog.at_level(logging.WARNING, "cogkp"):
        second = trained(
            config, tmp_path, restore=str(first.run_dir / "checkpoint_000001_e1_s0.pth"), given=frozenset({"epochs"})
        )
    assert second.run_dir != first.run_dir
    assert "its run went further than this checkpoint" in caplog.text
    assert {path.name: path.read_bytes() for path in first.run_dir.iterdir()} == before
    assert history(second.run_dir) == history(first.run_dir)
    assert second.best == second.run_dir / "checkpoint_best.pth"


def test_a_damaged_newest_save_costs_one_save_and_not_the_run(config, tmp_path, caplog):
    first = trained(config, tmp_path, attrs.evolve(SHORT, epochs=2))
    content = first.mirror.read_bytes()
    first.mirror.write_bytes(content[: len(content) // 3])
    with caplog.at_level(logging.WARNING, "cogkp"):
        second = trained(config, tmp_path, restore="latest")
    assert "instead, saved after 1 epochs and 0 steps" in caplog.text
    assert (second.run_dir, second.epochs) == (first.run_dir, 2)
    expected = torch.load(tmp_path / "runs" / first.run_dir.name / "checkpoint_best.pth", weights_only=True)
    assert expected["kind"] == "cogkp checkpoint"
    assert load_checkpoint(second.checkpoint).state.finished


def test_a_faulty_validation_picture_does_not_cost_the_epoch(config, tmp_path):
    (tmp_path / "held_out" / "B" / "1.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"1\.png"):
        trained(config, tmp_path)
    (run,) = (path for path in (tmp_path / "runs").iterdir() if path.is_dir())
    assert load_checkpoint(run / "checkpoint_latest.pth").state.position == (0, 2)


def test_lost_numbers_name_the_saves_before_the_last(config, tmp_path):
    run = RunFolder(trained(config, tmp_path, attrs.evolve(SHORT, epochs=2)).run_dir, tmp_path / "runs")
    (_, oldest) = run.saves()
    wild = attrs.evolve(SHORT, learning_rate=1e37, checkpoint_interval="1")
    given = frozenset({"epochs", "learning_rate", "checkpoint_interval"})
    with pytest.raises(TrainingError, match="became NaN or infinite") as caught:
        trained(config, tmp_path, wild, restore="latest", given=given)
    bad, good, before = run.saves()
    assert before == oldest
    assert f"The last good checkpoint is {run.checkpoint}; where it fails again at once, " in str(caught.value)
    assert f"go back to an earlier one: {good}, {before}. Check these samples" in str(caught.value)
    with pytest.raises(TrainingError, match="became NaN or infinite") as again:
        trained(config, tmp_path, restore="latest")
    assert run.saves() == [bad, good, before]
    assert f"{run.checkpoint}; where it fails again at once, go back to an earlier one: {good}" in str(again.value)
    assert trained(config, tmp_path, restore=str(good), given=frozenset({"epochs"})).epochs == 3


def test_two_trainings_cannot_write_into_one_folder(config, tmp_path):
    first = trained(config, tmp_path)
    before = first.checkpoint.read_bytes()
    with locked(first.run_dir), pytest.raises(OutputError, match="another training writes into this run folder"):
        trained(config, tmp_path, **FURTHER)
    assert first.checkpoint.read_bytes() == before


ON_A_SMALL_DISK = """
    import subprocess, sys
    from pathlib import Path
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=30m", "none", sys.argv[1]], check=True)
    from cogkp.artifacts.checkpoint import load_checkpoint
    from cogkp.errors import OutputError
    from tests.builders.tiny_keypoints import tiny_config
    from tests.workflows.test_resume import FURTHER, SHORT, trained
    disk = Path(sys.argv[1])
    config = tiny_config(Path(sys.argv[2]))
    first = trained(config, disk)
    (disk / "filler").write_bytes(bytes(15_000_000))
    for number in range(2):
        if number:
            (disk / "filler").unlink()
            subprocess.run(["mount", "-o", "remount,ro", sys.argv[1]], check=True)
        try:
            trained(config, disk, **FURTHER)
        except OutputError as error:
            print(error)
        print([load_checkpoint(path).state.epoch for path in sorted(disk.rglob("checkpoint_*.pth"))])
        print(sorted(path.name for path in first.run_dir.iterdir()))
"""


ON_A_SMALL_LOG_DISK = """
    import subprocess, sys
    from contextlib import nullcontext
    from pathlib import Path
    import attrs
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", sys.argv[1]], check=True)
    from cogkp.artifacts.checkpoint import load_checkpoint
    from cogkp.errors import OutputError
    from cogkp.workflows.train import train
    from tests.builders.tiny_keypoints import tiny_config
    from tests.workflows.test_resume import SHORT, history
    disk, root = Path(sys.argv[1]), Path(sys.argv[2])
    config = tiny_config(root)

    class Fill:
        left = 3

        def work(self, label, total):
            return nullcontext(self)

        def advance(self, amount=1, **facts):
            self.left -= amount
            if self.left == 0:
                with (disk / "filler").open("wb", buffering=0) as filler:
                    try:
                        while filler.write(bytes(4096)):
                            pass
                    except OSError:
                        pass

    def trained(**more):
        options = attrs.evolve(SHORT, epochs=16)
        return train(config, options, checkpoint_root=root / "runs", log_dir=disk / "log", **more)

    try:
        trained(progress=Fill())
    except OutputError as error:
        print(error)
    saved = load_checkpoint(root / "runs" / "checkpoint_latest.pth")
    told = history(root / "runs" / saved.provenance.run)
    print([name for name, *_ in told].count("epoch"), *saved.state.position)
    (disk / "filler").unlink()
    print(trained(restore="latest").epochs)
"""


def test_a_full_disk_under_the_board_is_told_and_costs_no_epoch(tmp_path):
    full, saved, end = on_a_small_disk(ON_A_SMALL_LOG_DISK, tmp_path).splitlines()
    assert f"cannot write @ {tmp_path / 'disk' / 'log'}" in full
    assert "got the disk is full. Free some space" in full
    told, epoch, step = map(int, saved.split())
    assert 0 < epoch < 16
    assert (epoch, step) == (told, 0)
    assert end == "16"


def test_a_full_and_a_read_only_disk_are_told_and_cost_nothing(tmp_path):
    full, saved, names, read_only, still, unchanged = on_a_small_disk(ON_A_SMALL_DISK, tmp_path).splitlines()
    assert "got the disk is full. Free some space" in full
    assert "read-only file system" in read_only.lower()
    assert saved == still == "[1, 1, 1]"
    assert names == unchanged
    assert "run.lock" not in names
