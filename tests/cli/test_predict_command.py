"""``s6 cog predict`` as a user calls it: what is printed and written, exit codes, and processes that are stopped."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import cv2
import pytest

from tests.builders.command import run_s6
from tests.builders.keypoint_model import keypoint_config, keypoint_task, scene
from tests.builders.model_files import write_onnx
from tests.builders.processes import S6, start, until
from tests.builders.rendered_pair import write_calibration, write_folders
from tests.builders.videos import cut, write_video


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_onnx(tmp_path_factory.mktemp("model") / "any.onnx", keypoint_task(keypoint_config()), None)


@pytest.fixture
def predict(model, monkeypatch, capfd, tmp_path):
    monkeypatch.chdir(tmp_path)
    return lambda *words: run_s6(monkeypatch, capfd, "cog", "predict", model, *words)


def write_images(folder, count=3):
    folder.mkdir()
    for number in range(count):
        cv2.imwrite(str(folder / f"{number}.png"), scene(number))
    return folder


def test_lines_are_written_and_the_rest_is_said(predict, tmp_path):
    write_images(tmp_path / "in")
    code, out, err = predict("in", "-o", "out.jsonl", "--min-confidence", "0")
    assert code == 0
    assert out.splitlines()[0].startswith("3 frames in ")
    assert out.splitlines()[1:] == ["wrote out.jsonl"]
    assert "predict: 3/3" in err
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 3


def test_without_an_output_a_file_is_named_by_the_time(predict, tmp_path):
    write_images(tmp_path / "in")
    code, out, _ = predict("in/0.png", "in/2.png", "--min-confidence", "0")
    (written,) = tmp_path.glob("predictions-*.jsonl")
    assert (code, out.splitlines()[-1]) == (0, f"wrote {written.name}")
    assert [json.loads(line)["name"] for line in written.read_text().splitlines()] == ["0.png", "2.png"]


def test_stdout_carries_lines_alone(predict, tmp_path):
    write_images(tmp_path / "in")
    code, out, err = predict("in", "-o", "-", "--min-confidence", "0")
    assert code == 0
    assert [json.loads(line)["frame"] for line in out.splitlines()] == [0, 1, 2]
    assert "3 frames in" in err


def test_json_is_one_object(predict, tmp_path):
    write_images(tmp_path / "in")
    (tmp_path / "in" / "9.png").write_bytes(b"no image")
    code, out, err = predict("in", "-o", "out.jsonl", "--json")
    told = json.loads(out)
    assert (code, told["frames"], told["points"], told["files"]) == (1, 3, 9, ["out.jsonl"])
    assert "9.png" in told["problems"][0]
    assert told["interrupted"] is False
    assert "9.png" in err
    assert "Traceback" not in err


def test_cameras_are_named_by_their_sources(predict, tmp_path):
    write_folders(tmp_path)
    rig = write_calibration(tmp_path / "rig.json")
    code, _, err = predict("LL=LL", "LR=LR", "--calibration", rig, "-o", "out.jsonl", "--draw", "--unit-mm", "2")
    assert code == 0, err
    assert "paired by the name of the file" in err
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["unit"] for line in lines] == ["mm"] * 5
    assert len(list((tmp_path / "out-drawn").glob("*.jpg"))) == 5


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["nowhere"], 1, "there is no such source @ nowhere"),
        (["LL=in", "in"], 2, "name all of them"),
        (["LL=in", "LL=in"], 2, "each camera can have one source"),
        (["LL=in", "LR=in"], 1, "the cameras are not known"),
        (["in", "--shard", "3"], 2, "give K/N"),
        (["in", "--shard", "3/2"], 1, "k/n with 1 <= k <= n"),
        (["in", "--pair", "luck"], 2, "give one of number, name, time"),
        (["in", "--format", "xml"], 2, "give one of jsonl"),
        (["in", "--every", "0"], 2, "--every"),
        (["in", "--boxes", "1,2,3,4"], 1, "needs no telling where"),
        (["in", "-o", "out.txt"], 1, "ending is not that of the format"),
        (["in", "-o", "in/0.png/x.jsonl"], 1, "cannot write @ in"),
        (["in", "-o", "/proc/x.jsonl"], 1, "/proc/x.jsonl"),
        (["in", "--start", "9"], 1, "no frame is left"),
        (["in/*.gif"], 1, "no file fits the pattern"),
        (["93"], 1, "the camera cannot be opened @ camera 93"),
    ],
)
def test_mistakes_are_one_line(predict, tmp_path, words, code, says):
    write_images(tmp_path / "in")
    found, _, err = predict(*words)
    assert found == code, err
    assert says in err.replace("\n", " ")
    assert "Traceback" not in err
    assert len([line for line in err.splitlines() if "error" in line.lower()]) == 1


def test_a_model_that_is_none_is_one_line(predict, tmp_path, monkeypatch, capfd):
    write_images(tmp_path / "in")
    (tmp_path / "m.onnx").write_bytes(b"no model")
    for name, says in (("m.onnx", "m.onnx"), ("none.onnx", "no such"), ("in/0.png", "not a model file")):
        code, _, err = run_s6(monkeypatch, capfd, "cog", "predict", name, "in")
        assert code == 1
        assert says in err
        assert "Traceback" not in err


def test_a_video_that_is_cut_off_ends_with_what_there_was(predict, tmp_path):
    cut(write_video(tmp_path / "v.avi", fourcc="MJPG", images=[scene(n) for n in range(12)]), 0.75)
    code, _, err = predict("v.avi", "-o", "out.jsonl", "--min-confidence", "0")
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert code == 1
    assert f"the video ends early @ v.avi frame {len(lines)}" in err
    assert 3 < len(lines) < 12


def words_over(folder, model, frames=4000):
    video = write_video(folder / "v.avi", fourcc="MJPG", images=[scene(0)] * frames)
    return [str(S6), "cog", "predict", str(model), str(video), "-o", "out.jsonl", "--draw"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_a_partial_result_that_is_whole(model, tmp_path, number, code):
    # What is ignored here, as in a job of a shell's background, would stay ignored there.
    process = start(words_over(tmp_path, model), tmp_path, preexec_fn=lambda: signal.signal(number, signal.SIG_DFL))
    out = tmp_path / "out.jsonl"
    until(lambda: out.exists() and out.stat().st_size > 3000, process)
    process.send_signal(number)
    said, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(len(lines)))
    assert 0 < len(lines) < 4000
    assert "what was found so far is written" in said
    drawn = cv2.VideoCapture(str(tmp_path / "out-drawn" / "v.mp4"))
    assert drawn.get(cv2.CAP_PROP_FRAME_COUNT) == len(lines)


def test_a_killed_process_leaves_whole_lines(model, tmp_path):
    process = start(words_over(tmp_path, model)[:-1], tmp_path)
    out = tmp_path / "out.jsonl"
    until(lambda: out.exists() and out.stat().st_size > 3000, process)
    process.kill()
    process.communicate(timeout=60)
    for line in out.read_text().splitlines():
        json.loads(line)
    assert out.read_text().endswith("\n")


def test_a_reader_that_goes_away_ends_it_quietly(model, tmp_path):
    words = [*words_over(tmp_path, model)[:-3], "-o", "-"]
    process = start(words, tmp_path)
    assert json.loads(process.stdout.readline())["frame"] == 0
    process.stdout.close()
    with process.stderr as stream:
        err = stream.read()
    assert process.wait(timeout=120) == 1
    assert "4000/4000" not in err
    assert "Traceback" not in err
    assert "error" not in err


def test_ranks_take_parts_that_join(model, tmp_path):
    write_images(tmp_path / "in", 5)
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(S6)]
    words = [sys.executable, *words, "cog", "predict", str(model), "in", "-o", "out.jsonl", "--min-confidence", "0"]
    process = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
    assert process.returncode == 0, process.stderr
    parts = sorted(tmp_path.glob("out-*.jsonl"))
    assert [path.name for path in parts] == ["out-1of2.jsonl", "out-2of2.jsonl"]
    names = [json.loads(line)["name"] for path in parts for line in path.read_text().splitlines()]
    assert names == [f"{number}.png" for number in range(5)]
