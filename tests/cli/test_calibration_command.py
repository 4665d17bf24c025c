"""``s6 cog calibration check`` as a user sees it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cogkp.data.calibration import read_calibration, write_calibration
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
    lines = (tmp_path / "data" / "data.jsonl").read_text()
    (tmp_path / "data" / "data.jsonl").write_text(lines.splitlines()[0] + "\n")
    code, out, _ = run(monkeypatch, capfd, *arguments)
    assert code == 0
    assert "too few to tell whether they fit" in out
    nobody = json.loads(lines.splitlines()[0])
    targets = nobody["debug"]["training_targets"]["keypoint3_mask"]
    targets["LL"] |= dict.fromkeys(("tip", "turn", "end"))
    (tmp_path / "data" / "data.jsonl").write_text(json.dumps(nobody) + "\n")
    code, out, _ = run(monkeypatch, capfd, *arguments)
    assert code == 1
    assert "problem: no labelled pair could be compared" in out
    assert "fit" not in out.split("problem:")[1]
    (tmp_path / "data" / "data.jsonl").write_text(lines)
    code, out, _ = run(monkeypatch, capfd, *arguments, "--names", "LR", "LL")
    assert code == 1
    assert "problem: the cameras look swapped: " in out


def test_bad_cameras_are_findings_beside_the_good_ones(tmp_path, monkeypatch, capfd):
    rig = toed_in()
    write_calibration(rig, tmp_path / "rig.json")
    content = json.loads((tmp_path / "rig.json").read_text())
    broken = {**content["LL"], "intrinsic": [[0, 0, 320], [0, 700, 240], [0, 0, 1]]}
    (tmp_path / "rig.json").write_text(json.dumps({**content, "side": content["LR"], "back camera": broken}))
    code, out, err = run(monkeypatch, capfd, tmp_path / "rig.json", "--output", tmp_path / "a.png")
    assert (code, err) == (1, "")
    assert "LL to LR: baseline 1.603" in out
    problems = [line for line in out.splitlines() if line.startswith("problem: ")]
    assert len(problems) == 2
    assert "camera back camera" in problems[0]
    assert "focal length" in problems[0]
    assert problems[1].endswith("LR and side")
    code, out, _ = run(monkeypatch, capfd, tmp_path / "rig.json", "--output", tmp_path / "a.png", "--json")
    said = json.loads(out)
    assert code == 1
    assert [camera["name"] for camera in said["cameras"]] == ["LL", "LR", "side"]
    assert said["problems"] == [line.removeprefix("problem: ") for line in problems]


def test_labels_that_fit_overrule_the_names(tmp_path, monkeypatch, capfd):
    from cogkp.data.keypoint.synthetic import demo_config, write_recording

    calibration = write_recording(tmp_path / "data", 6, seed=0)
    config = demo_config(tmp_path / "data", tmp_path / "held_out")
    mappings = config["data_mappings"]
    mappings = {**mappings, "x": mappings["x"][::-1], "y": mappings["y"][::-1]}
    if mappings.get("mask"):
        mappings["mask"] = mappings["mask"][::-1]
    pairing = {**config.get("stereo_pairing", {}), "cameras": ["UL", "UR"]}
    off = {"triangulation_reprojection_loss": {"weight": 0.0}, "triangulation_rigidity_loss": {"weight": 0.0}}
    config = {**config, "data_mappings": mappings, "stereo_pairing": pairing}
    config["loss_terms"] = {**config.get("loss_terms", {}), **off}
    (tmp_path / "config.json").write_text(json.dumps(config))
    content = json.loads(calibration.read_text())
    (tmp_path / "rig.json").write_text(json.dumps({"UL": content["LR"], "UR": content["LL"]}))
    alone = (tmp_path / "rig.json", "--output", tmp_path / "a.png")
    assert "UR stands to the left of UL: are the cameras exchanged" in run(monkeypatch, capfd, *alone)[1]
    code, out, _ = run(monkeypatch, capfd, *alone, "--config", tmp_path / "config.json", "--data", tmp_path / "data")
    assert code == 0, out
    assert "they fit" in out
    assert "are the cameras exchanged" not in out


@pytest.mark.parametrize("text", ['{"a":' * 100_000, "- " * 100_000, "<a>" * 100_000])
def test_deeply_nested_files_end_in_one_line(text, tmp_path, monkeypatch, capfd):
    (tmp_path / "deep.yml").write_text("%YAML:1.0\n" * (text[0] != "<") + text)
    code, out, err = run(monkeypatch, capfd, tmp_path / "deep.yml", "--size", 96, 76)
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert "nested deeper than" in err


def test_two_files_of_ros_are_a_pair(tmp_path, monkeypatch, capfd):
    for name, move in (("left", 0.0), ("right", -30.0)):
        content = {
            "image_width": 640.0,
            "image_height": "480",
            "camera_name": name,
            "camera_matrix": {"rows": 3, "cols": 3, "data": [500, 0, 320, 0, 500, 240, 0, 0, 1]},
            "distortion_coefficients": None,
            "rectification_matrix": {"rows": 3, "cols": 3, "data": [1, 0, 0, 0, 1, 0, 0, 0, 1]},
            "projection_matrix": {"data": [500, 0, 320, move, 0, 500, 240, 0, 0, 0, 1, 0]},
        }
        (tmp_path / f"{name}.yaml").write_text(json.dumps(content))
    pair = [tmp_path / f"{name}.yaml" for name in ("left", "right")]
    for files in (pair, [tmp_path]):
        code, out, err = run(monkeypatch, capfd, *files, "--output", tmp_path / "a.png")
        assert (code, err) == (0, "")
        assert "left to right: baseline 0.06 (right +0.06" in out
        assert "\n  rectified: " in out


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
