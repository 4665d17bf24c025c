"""Every kind of bad input a user can hand over: one clear line, non-zero exit, no traceback, nothing lost."""

from __future__ import annotations

import io
import json
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import cv2
import numpy as np
import pytest
import torch
from cogkp_cli.app import main

from cogkp.artifacts.checksum import verified, with_checksum

SIZE = 64


@attrs.frozen
class Project:
    """A small valid data set, its configuration, and the folder commands run in."""

    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / "data"

    @property
    def lines(self) -> Path:
        return self.root / "data.jsonl"

    def edit_line(self, number: int, edit: Callable[[dict[str, Any]], None]) -> None:
        records = [json.loads(line) for line in self.lines.read_text().splitlines()]
        edit(records[number])
        self.lines.write_text("".join(json.dumps(record) + "\n" for record in records))

    def edit_config(self, edit: Callable[[dict[str, Any]], None]) -> None:
        path = self.folder / "config.json"
        config = json.loads(path.read_text())
        edit(config)
        path.write_text(json.dumps(config))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    generator = np.random.default_rng(0)
    (tmp_path / "data").mkdir()
    records = []
    for index in range(4):
        cv2.imwrite(str(tmp_path / "data" / f"{index}.png"), generator.integers(0, 255, (SIZE, SIZE), np.uint8))
        cv2.imwrite(str(tmp_path / "data" / f"mask{index}.png"), np.eye(SIZE, dtype=np.uint8))
        records.append({"B": {"image": f"{index}.png", "mask": f"mask{index}.png", "tip_point": [10 + index, 20]}})
    (tmp_path / "data" / "data.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    config = {
        "base_dir": "data",
        "data_mappings": {"x": ["B.image"], "y": [["B.tip_point"]], "mask": ["B.mask"]},
        "targets": {"keypoints": True, "segmentation": True},
        "num_segmentation_classes": 2,
        "augmentations": [{"type": "crop", "output_size": SIZE}],
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.chdir(tmp_path)
    return Project(tmp_path)


@attrs.frozen
class Outcome:
    """What a user sees of one command."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    def call(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["s6", *arguments])
        capfd.readouterr()
        try:
            code = main()
        except SystemExit as stop:
            code = stop.code
        out, err = capfd.readouterr()
        return Outcome(int(code or 0), out, err)

    return call


TRAIN = ("cog", "keypoint", "-c", "config.json", "--train", "-e", "1", "-b", "4", "-w", "0", "--no-tb")


def refused(outcome: Outcome, *words: str) -> None:
    assert outcome.code not in (0, None)
    assert "Traceback" not in outcome.out + outcome.err
    missing = [word for word in words if word not in outcome.err]
    assert not missing, f"{missing} not in: {outcome.err}"


def truncate(path: Path, share: float = 0.5) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def huge(path: Path) -> None:
    cv2.imwrite(str(path), np.zeros((10_000, 10_000), np.uint8))


def outside_link(project: Project) -> None:
    (project.folder / "secret.png").write_bytes((project.root / "0.png").read_bytes())
    (project.root / "link.png").symlink_to(project.folder / "secret.png")
    project.edit_line(1, lambda line: line["B"].update(image="link.png"))


def half_jpeg(project: Project) -> None:
    path = project.root / "1.jpg"
    cv2.imwrite(str(path), cv2.imread(str(project.root / "1.png")))
    truncate(path)
    project.edit_line(1, lambda line: line["B"].update(image="1.jpg"))


def set_point(value: Any) -> Callable[[Project], None]:
    return lambda project: project.edit_line(1, lambda line: line["B"].update(tip_point=value))


def set_image(value: str) -> Callable[[Project], None]:
    return lambda project: project.edit_line(1, lambda line: line["B"].update(image=value))


def break_line(project: Project) -> None:
    project.lines.write_text(project.lines.read_text() + '{"B": \n')


DATA_FAULTS: dict[str, tuple[Callable[[Project], object], tuple[str, ...]]] = {
    "missing root": (lambda p: p.edit_config(lambda c: c.update(base_dir="nowhere")), ("nowhere",)),
    "no root given": (lambda p: p.edit_config(lambda c: c.update(base_dir=[])), ("base_dir",)),
    "root without lines": (lambda p: p.lines.unlink(), ("data.jsonl",)),
    "empty lines file": (lambda p: p.lines.write_text(""), ("data.jsonl",)),
    "broken line": (break_line, ("data.jsonl", "5")),
    "missing image": (lambda p: (p.root / "1.png").unlink(), ("1.png",)),
    "zero-byte image": (lambda p: (p.root / "1.png").write_bytes(b""), ("1.png",)),
    "no image at all": (lambda p: (p.root / "1.png").write_text("hello, this is no image"), ("1.png",)),
    "truncated PNG": (lambda p: truncate(p.root / "1.png"), ("1.png",)),
    "truncated JPEG": (half_jpeg, ("1.jpg",)),
    "100 megapixels": (lambda p: huge(p.root / "1.png"), ("1.png", "pixel")),
    "path up and out": (set_image("../config.json"), ("../config.json",)),
    "absolute path": (set_image("/etc/hostname"), ("/etc/hostname",)),
    "link out": (outside_link, ("link.png",)),
    "point of strings": (set_point(["a", "b"]), ("tip_point", "data.jsonl")),
    "point of three": (set_point([1, 2, 3]), ("tip_point", "data.jsonl")),
    "point as a word": (set_point("middle"), ("tip_point", "data.jsonl")),
    "mask of another size": (lambda p: cv2.imwrite(str(p.root / "mask1.png"), np.zeros((8, 8), np.uint8)), ("mask1",)),
    "mask of unknown class": (
        lambda p: cv2.imwrite(str(p.root / "mask1.png"), np.full((SIZE, SIZE), 7, np.uint8)),
        ("mask1", "7"),
    ),
}


@pytest.mark.parametrize("name", DATA_FAULTS)
def test_faulty_data_is_refused(name: str, project: Project, run: Callable[..., Outcome]) -> None:
    spoil, words = DATA_FAULTS[name]
    spoil(project)
    refused(run(*TRAIN), *words)
    assert not list(project.folder.glob("checkpoints/**/*.pth")), "nothing was trained, so nothing may be saved"


@pytest.mark.parametrize("point", [None, [float("nan"), 3.0], [-400.0, 9000.0]], ids=["null", "NaN", "outside"])
def test_unusable_points_are_masked_not_fatal(point: Any, project: Project, run: Callable[..., Outcome]) -> None:
    set_point(point)(project)
    assert run(*TRAIN).code == 0


CONFIG_FAULTS: dict[str, tuple[Callable[[dict[str, Any]], object], tuple[str, ...]]] = {
    "unknown key": (lambda c: c.update(colour="red"), ("colour",)),
    "misspelt key": (lambda c: c["targets"].update(sgementation=True), ("sgementation", "segmentation")),
    "wrong type": (lambda c: c["targets"].update(keypoints="yes"), ("targets.keypoints", "'yes'")),
    "out of range": (lambda c: c.update(num_segmentation_classes=1), ("num_segmentation_classes", "1")),
    "unknown stage": (lambda c: c["augmentations"].append({"type": "crp"}), ("crp", "crop")),
    "two crops": (lambda c: c["augmentations"].append({"type": "crop"}), ("crop",)),
    "odd crop": (lambda c: c["augmentations"][0].update(output_size=100), ("output_size", "100")),
    "classes missing": (lambda c: c.update(num_segmentation_classes=None), ("num_segmentation_classes",)),
}


@pytest.mark.parametrize("name", CONFIG_FAULTS)
def test_faulty_configuration_is_refused(name: str, project: Project, run: Callable[..., Outcome]) -> None:
    spoil, words = CONFIG_FAULTS[name]
    project.edit_config(spoil)
    outcome = run(*TRAIN)
    refused(outcome, *words)
    assert outcome.code == 2


def test_all_configuration_faults_are_told_at_once(project: Project, run: Callable[..., Outcome]) -> None:
    for spoil, _ in CONFIG_FAULTS.values():
        project.edit_config(spoil)
    outcome = run(*TRAIN)
    refused(outcome, "colour", "sgementation", "targets.keypoints", "crp")
    assert outcome.code == 2


def test_a_file_in_the_way_of_the_checkpoints(project: Project, run: Callable[..., Outcome]) -> None:
    (project.folder / "checkpoints").write_text("I was here first")
    refused(run(*TRAIN), "checkpoints")
    assert (project.folder / "checkpoints").read_text() == "I was here first"


class Bomb:
    """A pickle that writes a file where it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def trained(project: Project, run: Callable[..., Outcome]) -> Path:
    assert run(*TRAIN).code == 0
    return project.folder / "checkpoints" / "checkpoint_latest.pth"


RESTORE = ("cog", "evaluate", "--config", "config.json", "--restore", "latest")


def test_a_truncated_checkpoint_is_named(trained: Path, run: Callable[..., Outcome]) -> None:
    for tenth in range(10):
        whole = trained.read_bytes()
        truncate(trained, tenth / 10)
        refused(run(*RESTORE), "checkpoint_latest.pth")
        trained.write_bytes(whole)
    assert run(*RESTORE).code == 0


def test_a_damaged_newest_checkpoint_costs_one_save(trained: Path, run: Callable[..., Outcome]) -> None:
    assert run(*TRAIN, "--restore", "latest").code == 0
    truncate(trained)
    again = run(*TRAIN, "--restore", "latest")
    assert again.code == 0
    assert "warning: the checkpoint" in again.err
    assert "checkpoint_latest.pth" in again.err
    assert "checkpoint_000001_e1_s0.pth instead" in again.err


def test_a_named_checkpoint_that_is_damaged_is_refused_with_its_neighbours(
    trained: Path, run: Callable[..., Outcome]
) -> None:
    assert run(*TRAIN, "--restore", "latest").code == 0
    (newest,) = trained.parent.glob("*/checkpoint_000002_e2_s0.pth")
    truncate(newest)
    refused(run(*TRAIN, "--restore", str(newest)), newest.name, "Good ones beside it:", "checkpoint_000001_e1_s0.pth")


def test_another_configuration_is_refused_unless_asked(
    trained: Path, project: Project, run: Callable[..., Outcome]
) -> None:
    before = trained.read_bytes()
    project.edit_config(lambda c: c["augmentations"][0].update(margin=0.9))
    refused(run(*TRAIN, "--restore", "latest"), "augmentations[0].margin", "--allow-config-change")
    assert trained.read_bytes() == before
    assert run(*TRAIN, "--restore", "latest", "--allow-config-change").code == 0


@pytest.mark.parametrize("words", [("--checkpoint-interval", "often"), ("--checkpoint-interval", "0")])
def test_an_interval_that_is_none(words: tuple[str, ...], project: Project, run: Callable[..., Outcome]) -> None:
    outcome = run(*TRAIN, *words)
    refused(outcome, "checkpoint_interval", "a number of steps or a time")
    assert outcome.code == 2


def test_a_malicious_checkpoint_is_not_executed(trained: Path, run: Callable[..., Outcome], tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    torch.save({"weights": Bomb(mark)}, trained)
    refused(run(*RESTORE), "checkpoint_latest.pth")
    trained.write_bytes(pickle.dumps(Bomb(mark)))
    refused(run(*RESTORE), "checkpoint_latest.pth")
    assert not mark.exists()


def test_a_checkpoint_of_another_shape_is_refused(trained: Path, project: Project, run: Callable[..., Outcome]) -> None:
    before = trained.read_bytes()
    project.edit_config(lambda c: c["data_mappings"].update(y=[["B.tip_point", "B.other_point"]]))
    refused(run(*TRAIN, "--restore", "latest"), "checkpoint_latest.pth")
    assert trained.read_bytes() == before


def test_a_checkpoint_that_is_not_there(project: Project, run: Callable[..., Outcome]) -> None:
    refused(run(*RESTORE), "checkpoint_latest.pth")
    refused(run("cog", "keypoint", "-c", "config.json", "--deploy", "--no-engine"), "--deploy-untrained")


VERBS = ("train", "evaluate", "inference", "export", "gen_trt_engine")


@pytest.mark.parametrize("verb", VERBS)
def test_the_configuration_of_another_family_is_refused(
    verb: str, project: Project, run: Callable[..., Outcome]
) -> None:
    outcome = run("cog", "centerpose", verb, "-e", "config.json")
    refused(outcome, "config.json holds a KeypointConfig, not a CenterPoseConfig: give a file that ends in .yaml")
    assert outcome.code == 2


@pytest.mark.parametrize("words", [("keypoint", "--train"), ("keypoint", "--dry-run"), ("calibration", "check")])
def test_an_experiment_is_no_keypoint_configuration(
    words: tuple[str, ...], project: Project, run: Callable[..., Outcome]
) -> None:
    (project.folder / "box.yaml").write_text("results_dir: out\n")
    outcome = run("cog", *words, *(["c.json"] if words[0] == "calibration" else []), "--config", "box.yaml")
    refused(outcome, "box.yaml holds a CenterPoseConfig, not a KeypointConfig: give a file that ends in .json")
    assert outcome.code == 2


def test_a_training_does_not_go_on_from_another_family(
    trained: Path, project: Project, run: Callable[..., Outcome]
) -> None:
    document = torch.load(io.BytesIO(verified(trained.read_bytes())), weights_only=True)
    document["provenance"]["family"] = "centerpose"
    buffer = io.BytesIO()
    torch.save(document, buffer)
    (project.folder / "other.pth").write_bytes(with_checksum(buffer.getvalue()))
    project.edit_config(lambda c: c["augmentations"][0].update(margin=0.9))
    outcome = run(*TRAIN, "--restore", "other.pth")
    refused(outcome, "the checkpoint is of another family @ other.pth")
    assert "margin" not in outcome.err
