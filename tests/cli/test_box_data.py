"""``s6 cog centerpose import`` and ``render`` as a user sees them."""

from __future__ import annotations

import json
from pathlib import Path

from cogkp import cli_api
from cogkp.geometry.camera_frame import CameraFrame
from tests.builders.box_files import write_set
from tests.builders.command import run_s6


def run(monkeypatch, capfd, *arguments):
    return run_s6(monkeypatch, capfd, "cog", "centerpose", *arguments)


def test_rendered_parts_differ_and_pass_their_own_check(tmp_path, monkeypatch, capfd):
    home = tmp_path / "boxes"
    code, out, err = run(
        monkeypatch, capfd, "render", home, "--images", 5, "--validation", 0.4, "--size", 96, 72, "--symmetric", 2
    )
    assert (code, out.splitlines()[0]) == (0, "train: 3 images, val: 2 images"), err
    train, val = home / "train", home / "val"
    assert f"dataset.train_data={train} dataset.val_data={val} dataset.category=carton" in out
    assert "dataset.num_symmetry=2" in out
    found = cli_api.check_box_labels(home, output=tmp_path / "look.png").report
    assert len(found.checked) == 5
    assert not found.problems
    assert not {file.read_bytes() for file in train.glob("*.jpg")} & {file.read_bytes() for file in val.glob("*.jpg")}
    code, _, err = run(monkeypatch, capfd, "render", home, "--images", 1)
    assert code != 0
    assert str(train) in err
    assert "Traceback" not in err


def test_an_import_says_where_everything_lies(tmp_path, monkeypatch, capfd):
    source, home = tmp_path / "source", tmp_path / "home"
    write_set(source / "train", 2, CameraFrame.OPENGL)
    write_set(source / "val", 1, CameraFrame.OPENGL)
    code, out, err = run(monkeypatch, capfd, "import", "cuboid-opengl", source, home, "--json")
    assert code == 0, err
    said = json.loads(out)
    assert said["counts"] == {"train": 2, "val": 1}
    assert {part: Path(folder) for part, folder in said["folders"].items()} == {
        part: home / part for part in ("train", "val")
    }
    code, _, err = run(monkeypatch, capfd, "import", "cuboid", source, tmp_path / "other")
    assert code != 0
    assert "cuboid-opengl" in err
