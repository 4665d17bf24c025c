"""Names in the files of others reach no terminal, log, table or page unescaped."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.builders.box_files import write_set
from tests.builders.command import run_s6
from tests.builders.tiny_keypoints import write_recording

POINT = "tip\x1b[31m\u202e\nerror: gone"
FOLDER = "tr\x1b]0;ain\x07\u2066"
CAMERA = "B\x9b\r"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A recording whose point, camera and folder have names that a terminal would obey."""
    monkeypatch.chdir(tmp_path)
    for name in (FOLDER, f"other {FOLDER}"):
        rename(write_recording(tmp_path / name, 6, masks=False))
    config = {
        "base_dir": [FOLDER],
        "data_mappings": {"x": [f"{CAMERA}.image"], "y": [[f"{CAMERA}.{POINT}", f"{CAMERA}.end"]]},
        "augmentations": [{"type": "crop", "output_size": 64}],
        "validation": {"base_dir": [f"other {FOLDER}"]},
    }
    (tmp_path / "c.json").write_text(json.dumps(config))
    return tmp_path


def rename(root):
    lines = [json.loads(line)["B"] for line in (root / "data.jsonl").read_text().splitlines()]
    lines = [{CAMERA: {"image": line["image"], POINT: line["tip"], "end": line["end"]}} for line in lines]
    (root / "data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def obeyed(text):
    return [letter for letter in "\x1b\x07\x9b\r\u202e\u2066" if letter in text]


def test_a_training_and_its_evaluation_show_names(project, monkeypatch, capfd):
    words = ("cog", "keypoint", "-c", "c.json")
    code, out, err = run_s6(monkeypatch, capfd, *words, "--train", "-e", "1", "-b", "3", "-w", "0")
    assert code == 0, err
    code, more_out, more_err = run_s6(monkeypatch, capfd, "cog", "evaluate", "-c", "c.json")
    told = out + err + more_out + more_err
    assert not obeyed(told)
    assert "\nerror: gone" not in told
    assert "tip\\x1b[31m\\u202e\\nerror: gone" in told
    written = [path for path in project.rglob("*") if path.suffix in (".csv", ".html", ".json", ".jsonl", ".txt")]
    ours = [path for path in written if not {FOLDER, f"other {FOLDER}"} & set(path.parts) and path.name != "c.json"]
    assert {path.suffix for path in ours} >= {".csv", ".html", ".json", ".jsonl"}
    for path in ours:
        text = path.read_text(encoding="utf-8")
        assert not obeyed(text), path
        assert "\nerror: gone" not in text, path
    events = b"".join(path.read_bytes() for path in project.rglob("events.out*"))
    assert b"tip\x1b" not in events


def test_a_fault_in_the_data_shows_names(project, monkeypatch, capfd):
    lines = project / FOLDER / "data.jsonl"
    lines.write_text(lines.read_text().replace("B/1.png", "B/\\u001b[2J.png"))
    code, out, err = run_s6(monkeypatch, capfd, "cog", "keypoint", "-c", "c.json", "--train", "-e", "1")
    assert code == 1
    assert not obeyed(out + err)
    assert "\\x1b[2J.png" in err
    assert len(err.splitlines()) == 1


def test_an_unknown_key_of_a_config_is_shown(project, monkeypatch, capfd):
    config = json.loads((project / "c.json").read_text())
    (project / "c.json").write_text(json.dumps(config | {"x\x1b[2J\nerror: none\udc80": 1}))
    code, out, err = run_s6(monkeypatch, capfd, "cog", "keypoint", "-c", "c.json", "--train")
    assert code == 2
    assert not obeyed(out + err)
    assert "x\\x1b[2J\\nerror: none\\udc80" in err
    assert len([line for line in err.splitlines() if line.startswith("error: none")]) == 0


def test_paths_and_documents_of_others_stay_on_their_lines(project, monkeypatch, capfd):
    """Of the folder of results, of a configuration, and of an evaluation that somebody else wrote."""
    for name in (LINE, f"{LINE}/c.json"):
        code, out, err = run_s6(monkeypatch, capfd, "cog", "keypoint", "-c", project / f"{name}.json")
        assert code in (0, 1)
        assert not forged(out + err)
    folder = project / LINE
    folder.mkdir(exist_ok=True)
    shutil.copy(project / "c.json", folder / "c.json")
    for name in (FOLDER, f"other {FOLDER}"):
        shutil.copytree(project / name, folder / name)
    monkeypatch.chdir(folder)
    train = ("cog", "keypoint", "-c", folder / "c.json", "--train", "-e", "1", "-b", "3", "-w", "0", "--no-tb")
    told = [run_s6(monkeypatch, capfd, *train), run_s6(monkeypatch, capfd, "cog", "evaluate", "-c", folder / "c.json")]
    (document,) = folder.glob("checkpoints/*/validation-*/evaluation.json")
    content = json.loads(document.read_text())
    content["checkpoint"] = content["run"] = f"run\n{LINE}"
    document.write_text(json.dumps(content))
    told.append(run_s6(monkeypatch, capfd, "cog", "compare", document, document, "--output", folder / "page.html"))
    for code, out, err in told:
        assert code == 0, err
        assert not forged(out + err)
    assert not obeyed((folder / "page.html").read_text())


def test_results_of_boxes_stay_on_their_lines(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    write_set(tmp_path / "boxes", 2)
    data = {f"{part}_data": "boxes" for part in ("train", "val", "test", "inference")}
    model = f"{LINE}/train/centerpose_model_latest.pth"
    spec = {
        "results_dir": LINE,
        "dataset": {**data, "category": "crate", "batch_size": 2, "workers": 0, "input_res": 64, "output_res": 16},
        "model": {"head_conv": 32, "backbone": {"width": 0.125}},
        "train": {"num_epochs": 1},
        "export": {"input_width": 64, "input_height": 64},
        **{verb: {"checkpoint": model} for verb in ("evaluate", "inference")},
    }
    spec["export"]["checkpoint"] = model
    (tmp_path / "s.yaml").write_text(json.dumps(spec))
    for verb in ("train", "evaluate", "inference", "export"):
        code, out, err = run_s6(monkeypatch, capfd, "cog", "centerpose", verb, "-e", "s.yaml")
        assert code == 0, err
        assert not forged(out + err), verb
    for path in tmp_path.rglob("*.txt"):
        assert not forged(path.read_text()), path


LINE = "a\x1b[2J\nerror: forged"


def forged(text):
    return obeyed(text) or [line for line in text.splitlines() if line.startswith("error: forged")]
