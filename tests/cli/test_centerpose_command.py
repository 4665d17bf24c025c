"""The verbs of ``s6 cog centerpose`` as a user sees them."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import attrs
import pytest

from cogkp.config.centerpose.io import write_experiment
from cogkp.geometry.camera_frame import CameraFrame
from tests.builders.box_files import annotation, spoilt, write, write_set
from tests.builders.command import run_s6
from tests.builders.said_objects import truth_of, write_said
from tests.builders.tiny_boxes import SIDE, tiny_experiment


def run(monkeypatch, capfd, *arguments, name="validate"):
    return run_s6(monkeypatch, capfd, "cog", "centerpose", name, *arguments)


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


def test_a_check_that_compared_nothing_is_no_success(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    entry = annotation()["objects"][0]
    write(tmp_path / "set", "a", {"objects": [{"projected_cuboid": entry["projected_cuboid"]}]})
    code, out, _ = run(monkeypatch, capfd, "set")
    assert code == 1
    assert "nothing was compared" in out
    assert "agree" not in out


def test_a_middle_that_stands_last_is_told(tmp_path, monkeypatch, capfd):
    """A file states the place of its object and the camera, and nothing else but pixels."""
    monkeypatch.chdir(tmp_path)
    content = annotation()
    entry = content["objects"][0]
    uv = entry["projected_cuboid"]
    content["objects"] = [
        {key: entry[key] for key in ("class", "location", "quaternion_xyzw")} | {"projected_cuboid": [*uv[1:], uv[0]]}
    ]
    write(tmp_path / "set", "a", content)
    code, out, _ = run(monkeypatch, capfd, "set")
    assert code == 1
    assert "It falls on point 9: the middle comes first" in out


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


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """A spec of rendered images, the model of a training of no step, and a model that says what is labelled."""
    home = tmp_path_factory.mktemp("experiment")
    config = tiny_experiment(home, pictures=4)
    narrow = attrs.evolve(config.model, backbone=attrs.evolve(config.model.backbone, width=0.125))
    config = attrs.evolve(
        config,
        results_dir=str(home / "results"),
        model=narrow,
        dataset=attrs.evolve(config.dataset, inference_data=config.dataset.test_data),
        train=attrs.evolve(config.train, num_epochs=1),
    )
    write_said(home / "said.onnx", truth_of(config), SIDE)
    return write_experiment(home / "box.yaml", config)


def said(spec):
    return f"trt_engine={spec.with_name('said.onnx')}"


def verb(name, monkeypatch, capfd, *arguments):
    return run(monkeypatch, capfd, *arguments, name=name)


def test_train_evaluate_and_infer_as_the_lines_say(rendered, monkeypatch, capfd, tmp_path):
    code, out, err = verb(
        "train", monkeypatch, capfd, "-e", rendered, f"results_dir={tmp_path}", "dataset.test_data=null"
    )
    assert code == 0, err
    assert "train: 1/1" in err
    lines = out.splitlines()
    assert lines[0].startswith("epochs: 1; loss ")
    latest = tmp_path / "train" / "centerpose_model_latest.pth"
    assert lines[1] == f"checkpoint: {latest}"
    assert lines[2] == f"best: {tmp_path / 'train' / 'centerpose_model_best.pth'}"
    assert lines[-1].startswith("next: s6 cog centerpose evaluate -e ")
    words = shlex.split(lines[-1].removeprefix("next: "))
    code, out, err = verb("evaluate", monkeypatch, capfd, *words[4:])
    assert code == 0, err
    assert "published protocol" in out
    assert out.splitlines()[-1].startswith("AP at 3-D IoU 0.5 0.")
    assert f"wrote {tmp_path / 'evaluate' / 'report.html'}" in out
    whole = tmp_path / "train" / "experiment.yaml"
    code, out, err = verb("inference", monkeypatch, capfd, "-e", whole, f"inference.checkpoint={latest}")
    assert code == 0, err
    assert out.splitlines()[0] == f"images: 4, objects: 0; wrote {tmp_path / 'inference'}"


def test_programs_get_the_facts_of_each_verb(rendered, monkeypatch, capfd, tmp_path):
    common = ("--experiment_spec", rendered, f"results_dir={tmp_path}", "--json")
    code, out, _ = verb("train", monkeypatch, capfd, *common, "train.is_dry_run=true")
    dry = json.loads(out)
    assert (code, dry["checkpoint"], dry["interrupted"]) == (0, None, False)
    assert dry["scalars"]["loss"] > 0
    code, out, _ = verb("evaluate", monkeypatch, capfd, *common, f"evaluate.{said(rendered)}")
    facts = json.loads(out)
    assert (code, facts["images"], facts["reference"]["precision"]["iou"][10]) == (0, 4, 1.0)
    code, out, _ = verb("inference", monkeypatch, capfd, *common, f"inference.{said(rendered)}")
    facts = json.loads(out)
    assert (code, facts["pictures"], facts["objects"], facts["problems"]) == (0, 4, 4, [])


def test_unusable_pictures_are_told_and_make_the_exit_code_1(rendered, monkeypatch, capfd, tmp_path):
    (tmp_path / "in").mkdir()
    source = min((rendered.parent / "boxes").glob("*.json"))
    for suffix in (".json", ".jpg"):
        (tmp_path / "in" / f"good{suffix}").write_bytes(source.with_suffix(suffix).read_bytes())
    (tmp_path / "in" / "bad.jpg").write_bytes(b"no image")
    code, out, err = verb(
        "inference",
        monkeypatch,
        capfd,
        *("-e", rendered, f"results_dir={tmp_path}/out", f"inference.{said(rendered)}"),
        f"dataset.inference_data={tmp_path}/in",
    )
    assert code == 1
    assert "images: 1, objects: 1" in out
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "bad.jpg" in line


@pytest.mark.parametrize("name", ["train", "evaluate", "inference"])
@pytest.mark.parametrize(
    ("arguments", "expected", "words"),
    [
        ((), 2, "--experiment_spec_file"),
        (("-e", "absent.yaml"), 2, "absent.yaml"),
        (("-e", "SPEC", "dataset.batch_size=0"), 2, "dataset.batch_size"),
        (("-e", "SPEC", "dataset.bach_size=2"), 2, "Did you mean 'batch_size'?"),
        (("-e", "SPEC", "results_dir=null"), 2, "results_dir"),
        (("-e", "SPEC", "dataset"), 2, "dataset"),
    ],
)
def test_wrong_use_of_a_verb_is_told(rendered, monkeypatch, capfd, tmp_path, name, arguments, expected, words):
    monkeypatch.chdir(tmp_path)
    given = [rendered if word == "SPEC" else word for word in arguments]
    code, out, err = verb(name, monkeypatch, capfd, *given)
    assert (code, out) == (expected, "")
    assert words in err
    assert "Traceback" not in err
