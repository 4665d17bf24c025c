"""``s6 cog centerpose validate`` as a user sees it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from cogkp_cli.app import main

from cogkp.geometry.camera_frame import CameraFrame
from tests.builders.box_files import annotation, spoilt, write, write_set


def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["s6", "cog", "centerpose", "validate", *map(str, arguments)])
    try:
        code = main()
    except SystemExit as stop:
        code = stop.code
    out, err = capfd.readouterr()
    return int(code or 0), out, err


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_set(tmp_path / "set", 3)


def test_people_get_lines_and_a_drawing(folder, monkeypatch, capfd):
    code, out, _ = run(monkeypatch, capfd, folder)
    assert code == 0
    lines = out.splitlines()
    assert "3 files, 3 boxes, camera_frame objectron" in lines[0]
    assert lines[-2:] == ["no problems: the files agree", "wrote set.check.png"]
    assert Path("set.check.png").is_file()


def test_programs_get_json(folder, monkeypatch, capfd):
    write(folder, "broken", "{")
    code, out, err = run(monkeypatch, capfd, folder, "--json", "--output", folder.parent / "a.png")
    said = json.loads(out)
    assert code == 1
    assert (said["files"], said["boxes"], len(said["problems"])) == (4, 3, 1)
    assert said["reprojection_px"]["largest"] < 1e-6
    assert said["residual_px_by_camera_frame"]["opencv"] is None  # infinite: behind the camera
    assert [each["name"] for each in said["per_file"]] == ["0000", "0001", "0002"]
    assert "broken.json" in err


def test_wrong_axes_and_tolerance(folder, monkeypatch, capfd):
    for index in range(3):
        content = spoilt(annotation(index, CameraFrame.OPENGL), "camera_data.camera_frame")
        content["objects"][0]["projected_cuboid"][1][0] += 3
        write(folder, f"{index:04d}", content)
    code, out, _ = run(monkeypatch, capfd, folder)
    assert code == 1
    assert "Declare camera_frame 'opengl'." in out
    assert run(monkeypatch, capfd, folder, "--camera-frame", "opengl")[0] == 1
    assert run(monkeypatch, capfd, folder, "--camera-frame", "opengl", "--tolerance", 5)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "expected", "words"),
    [
        ((), 2, "DIR"),
        (("absent",), 1, "the data set's folder does not exist @ absent"),
        (("set", "--camera-frame", "unity"), 2, "unity"),
        (("set", "--tolerance", "0"), 2, "above 0"),
    ],
)
def test_wrong_use_is_told(folder, monkeypatch, capfd, arguments, expected, words):
    code, out, err = run(monkeypatch, capfd, *arguments)
    assert (code, out) == (expected, "")
    assert words in err
    assert "Traceback" not in err
