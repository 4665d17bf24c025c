"""``s6 cog benchmark``: tables for people, one JSON object for programs, one line for each mistake."""

from __future__ import annotations

import json

import pytest

from tests.builders.command import run_s6
from tests.builders.keypoint_model import keypoint_config, keypoint_task
from tests.builders.model_files import write_onnx
from tests.builders.tiny_objects import TinyObjects

QUICK = ("--runs", 2, "--warmup", 1, "--starts", 0, "--threads", 1, "--size", 64, 48)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_onnx(folder / "tool.onnx", keypoint_task(keypoint_config(region="points")), None)
    write_onnx(folder / "objects.onnx", TinyObjects())
    return folder


def test_two_models_side_by_side(home, tmp_path, monkeypatch, capfd):
    code, out, err = run_s6(
        monkeypatch,
        capfd,
        *("cog", "benchmark", home / "tool.onnx", home / "objects.onnx", "--batch", 1, *QUICK),
        *("--box", 3, 4, 40, 41, "-o", tmp_path / "figures.json"),
    )
    assert code == 0, err
    assert "from image file to answer" in out
    assert "a fresh process" not in out
    assert "no box was given" not in out
    assert out.splitlines()[-1] == f"wrote {tmp_path / 'figures.json'}"
    assert len(json.loads((tmp_path / "figures.json").read_text())["times"]) == 2


def test_json_is_one_object(home, monkeypatch, capfd):
    words = ("cog", "benchmark", home / "tool.onnx", "--json", "--fixed-buffers", "--batch", 1, "--batch", 3, *QUICK)
    code, out, err = run_s6(monkeypatch, capfd, *words)
    assert code == 0
    found = json.loads(out)
    assert [each["batch"] for each in found["times"]] == [1, 3]
    assert found["settings"]["fixed_buffers"] is True
    assert "no box was given" in " ".join(found["notes"])
    assert "from image file to answer" in err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 2, "MODEL"),
        (("missing.onnx",), 1, "there is no such model"),
        (("objects.onnx", "--batch", "8"), 1, "does not take this batch"),
        (("objects.onnx", "--size", "0", "9"), 2, "no size of an image"),
        (("objects.onnx", "--images", "nothing"), 1, "folder of images"),
        (("objects.onnx", "--runs", "0"), 2, "--runs"),
    ],
)
def test_mistakes_are_told_in_one_line(home, monkeypatch, capfd, words, code, said):
    monkeypatch.chdir(home)
    found, out, err = run_s6(monkeypatch, capfd, "cog", "benchmark", *words)
    assert found == code
    assert said in err
    assert "Traceback" not in err + out
