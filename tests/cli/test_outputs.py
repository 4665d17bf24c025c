"""No command replaces a file that somebody else wrote, and every one does so where it is told to."""

from __future__ import annotations

import json
import stat
from contextlib import nullcontext

import attrs
import pytest

from cogkp.artifacts.evaluations import EVALUATION_NAME, PAGE_NAME
from cogkp.config.centerpose.io import write_experiment
from cogkp.config.keypoint.io import dump
from cogkp.errors import OutputError
from cogkp.files import MARK
from cogkp.workflows.families.centerpose.results_folder import at_work
from tests.builders.box_files import write_set
from tests.builders.command import run_s6
from tests.builders.devices import SWALLOWS, device_node
from tests.builders.tiny_boxes import tiny_experiment
from tests.builders.tiny_keypoints import tiny_config

REFUSED = "will not replace a file that this program did not write"
CAMERA = {
    "image_width": 96,
    "image_height": 76,
    "K": [[80, 0, 48], [0, 80, 38], [0, 0, 1]],
}


@pytest.fixture
def s6(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    return lambda *words: run_s6(monkeypatch, capfd, *words)


@pytest.fixture
def commands(tmp_path):
    """Commands that write a file they are told to, without that file."""
    write_set(tmp_path / "set", 2)
    rig = tmp_path / "rig.toml"
    rig.write_text(
        '[cam_0]\nname = "a"\nsize = [96, 76]\nmatrix = [[80,0,48],[0,80,38],[0,0,1]]\n'
        "distortions = [0,0,0,0,0]\nrotation = [0,0,0]\ntranslation = [0,0,0]\n"
    )
    return {
        "drawing of a calibration": ("cog", "calibration", "check", rig, "--output"),
        "converted calibration": ("cog", "calibration", "check", rig, "--output", tmp_path / "own.png", "--convert"),
        "drawing of labels": ("cog", "centerpose", "validate", tmp_path / "set", "--output"),
        "schema": ("cog", "schema", "--output"),
    }


NAMES = ["drawing of a calibration", "converted calibration", "drawing of labels", "schema"]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_somebody_else_is_replaced_on_request_alone(s6, commands, tmp_path, name):
    out = tmp_path / "out"
    out.write_bytes(b"mine")
    code, _, err = s6(*commands[name], out)
    assert code == 1
    assert f"error: {REFUSED} @ {out}" in err
    assert "checking:" not in err  # it asks before the work
    assert out.read_bytes() == b"mine"
    assert s6(*commands[name], out, "--overwrite")[0] == 0
    assert out.read_bytes() != b"mine"


@pytest.mark.parametrize("name", [name for name in NAMES if name != "converted calibration"])
def test_its_own_file_is_replaced_without_a_word(s6, commands, tmp_path, name):
    assert [s6(*commands[name], tmp_path / "out")[0] for _ in range(2)] == [0, 0]


@pytest.mark.parametrize("name", NAMES)
def test_a_device_stays_a_device(s6, commands, tmp_path, name):
    device = device_node(tmp_path / "null", SWALLOWS)
    assert s6(*commands[name], device)[0] == 0
    assert stat.S_ISCHR(device.stat().st_mode)


@pytest.mark.parametrize("name", NAMES)
def test_a_link_stays_a_link(s6, commands, tmp_path, name):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    assert s6(*commands[name], tmp_path / "link")[0] == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").stat().st_size > 0


@pytest.mark.slow
def test_an_evaluation_takes_no_page_of_somebody_else(s6, tmp_path):
    config = tmp_path / "config.json"
    config.write_text(json.dumps(dump(tiny_config(tmp_path / "data", frames=4))))
    assert s6("cog", "keypoint", "-c", config, "-t", "-e", 1, "-b", 4, "-w", 0, "--no-tb")[0] == 0
    out = tmp_path / "evaluation"
    out.mkdir()
    (out / PAGE_NAME).write_text("mine")
    evaluate = ("cog", "evaluate", "-c", config, "-w", 0, "--output", out)
    code, _, err = s6(*evaluate)
    assert (code, REFUSED in err) == (1, True)
    assert [path.name for path in out.iterdir()] == [PAGE_NAME]
    assert (out / PAGE_NAME).read_text() == "mine"
    (out / PAGE_NAME).unlink()
    assert [s6(*evaluate)[0] for _ in range(2)] == [0, 0]
    assert {EVALUATION_NAME, PAGE_NAME} <= {path.name for path in out.iterdir()}
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["experiment.yaml", "status.json", "metrics.csv", "model_epoch_000.pth"])
def test_results_of_another_program_are_not_written_over(s6, tmp_path, name):
    folder = tmp_path / "results" / "train"
    folder.mkdir(parents=True)
    (folder / name).write_text("of another program")
    spec = tiny_experiment(tmp_path, width=0.125)
    train = attrs.evolve(spec.train, num_epochs=1, checkpoint_interval=1, validation_interval=1)
    written = write_experiment(
        tmp_path / "spec.yaml", attrs.evolve(spec, results_dir=str(tmp_path / "results"), train=train)
    )
    code, _, err = s6("cog", "centerpose", "train", "-e", written)
    assert (code, REFUSED in err) == (1, True)
    assert [path.name for path in folder.iterdir()] == [name]
    assert (folder / name).read_text() == "of another program"
    if name != "model_epoch_000.pth":
        return
    assert s6("cog", "centerpose", "train", "-e", written, "--overwrite")[0] == 0
    assert (folder / name).read_bytes() != b"of another program"


@pytest.mark.parametrize(("text", "code"), [(lambda text: text, 0), (lambda text: text.split("\n", 1)[1], 1)])
def test_results_of_an_earlier_release_are_known_by_their_whole_experiment(tmp_path, text, code):
    spec = attrs.evolve(tiny_experiment(tmp_path), results_dir=str(tmp_path / "results"))
    written = write_experiment(tmp_path / "results" / "evaluate" / "experiment.yaml", spec)
    unmarked = written.read_text().split("\n", 1)[1]
    written.write_text(text(unmarked))
    refused = pytest.raises(OutputError, match=REFUSED) if code else nullcontext()
    with refused, at_work(spec, "evaluate"):
        assert MARK in written.read_text()


def test_a_training_does_not_take_the_mirror_of_another_program(s6, tmp_path):
    config = tmp_path / "config.json"
    config.write_text(json.dumps(dump(tiny_config(tmp_path / "data", frames=4))))
    (tmp_path / "checkpoints").mkdir()
    mirror = tmp_path / "checkpoints" / "checkpoint_latest.pth"
    mirror.write_bytes(b"of another program")
    code, _, err = s6("cog", "keypoint", "-c", config, "-t", "-e", 1, "-b", 4, "-w", 0, "--no-tb")
    assert (code, REFUSED in err) == (1, True)
    assert mirror.read_bytes() == b"of another program"
    assert list(mirror.parent.iterdir()) == [mirror]
