"""``s6 cog calibration check`` as a user sees it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cogkp.data.calibration import read_calibration
from tests.builders.calibrations import rectified, same, stereo_entries, toed_in, write_storage
from tests.builders.command import run_s6


def run(monkeypatch, capfd, *arguments):
    return run_s6(monkeypatch, capfd, "cog", "calibration", "check", *arguments)


@pytest.fixture
def stereo(tmp_path: Path) -> Path:
    return write_storage(tmp_path / "stereo.yml", stereo_entries(toed_in()))


def test_people_get_lines_and_files(stereo, tmp_path, monkeypatch, capfd):
    code, out, err = run(monkeypatch, capfd, stereo, "--size", 640, 480, "--convert", tmp_path / "ours.json")
    assert (code, err) == (0, "")
    assert "OpenCV FileStorage" in out.splitlines()[0]
    assert "LL to LR: baseline 1.603" in out
    assert out.splitlines()[-2:] == [f"wrote {tmp_path / 'stereo.check.png'}", f"wrote {tmp_path / 'ours.json'}"]
    assert same(read_calibration(tmp_path / "ours.json"), toed_in())


def test_programs_get_json(stereo, tmp_path, monkeypatch, capfd):
    picture = tmp_path / "a.png"
    code, out, err = run(
        monkeypatch, capfd, stereo, "--size", 640, 480, "--names", "UL", "UR", "--output", picture, "--json"
    )
    said = json.loads(out)
    assert code == 0
    assert [camera["name"] for camera in said["cameras"]] == ["UL", "UR"]
    assert (said["picture"], said["converted"], said["consistency"]) == (str(picture), None, None)
    assert f"wrote {picture}" in err


def test_two_files_may_be_named(tmp_path, monkeypatch, capfd):
    entries = stereo_entries(rectified())
    inside = write_storage(tmp_path / "a.xml", {key: entries[key] for key in ("M1", "D1", "M2", "D2")})
    between = write_storage(
        tmp_path / "b.yml", {**{key: entries[key] for key in ("R", "T")}, "size": np.array([640, 480])}
    )
    code, out, _ = run(monkeypatch, capfd, inside, between)
    assert code == 0
    assert "rectified: rows differ by up to 0.00 px" in out


def test_a_problem_is_an_exit_code(tmp_path, monkeypatch, capfd):
    from cogkp.data.keypoint.synthetic import demo_config, write_recording

    calibration = write_recording(tmp_path / "data", 4, seed=0)
    (tmp_path / "config.json").write_text(json.dumps(demo_config(tmp_path / "data", tmp_path / "held_out")))
    arguments = (calibration, "--config", tmp_path / "config.json", "--data", tmp_path / "data")
    code, out, _ = run(monkeypatch, capfd, *arguments)
    assert code == 0, out
    assert "they fit" in out
    code, out, _ = run(monkeypatch, capfd, *arguments, "--names", "LR", "LL")
    assert code == 1
    assert "problem: the cameras look swapped: " in out


WRONG = {
    "no file": (("absent.yml",), 1, "cannot read the calibration @ absent.yml"),
    "not a calibration": (("pyproject.toml",), 1, "holds no camera @ pyproject.toml"),
    "no size": (("stereo.yml",), 1, "--size WIDTH HEIGHT"),
    "half a size": (("stereo.yml", "--size", "640"), 2, "--size"),
    "data alone": (("stereo.yml", "--data", "."), 2, "needs --config"),
    "no such config": (("stereo.yml", "--config", "absent.json"), 2, "absent.json does not exist"),
    "nothing": ((), 2, "FILE"),
}


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_are_told_in_one_line(name, stereo, tmp_path, monkeypatch, capfd):
    arguments, expected, words = WRONG[name]
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    monkeypatch.chdir(tmp_path)
    code, out, err = run(monkeypatch, capfd, *arguments)
    assert (code, out) == (expected, "")
    assert words in err
    assert "Traceback" not in err
    assert expected == 2 or len(err.splitlines()) == 1
