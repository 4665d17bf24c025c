"""A fingerprint changes with the data, and with nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cogkp.data.datasets import open_roots
from cogkp.data.fingerprint import changes, fingerprint
from tests.builders.tiny_keypoints import tiny_config, write_recording


@pytest.fixture
def config(tmp_path):
    return tiny_config(tmp_path, segmentation=True)


def of(config, *roots: Path) -> dict:
    return {"train": fingerprint(open_roots([str(root) for root in roots], config.data_mappings))}


def edited(root: Path, change) -> None:
    lines = [json.loads(line) for line in (root / "data.jsonl").read_text().splitlines()]
    change(lines)
    (root / "data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_it_is_plain_and_the_same_wherever_the_folder_lies(config, tmp_path):
    root = tmp_path / "train"
    before = of(config, root)
    assert json.loads(json.dumps(before)) == before
    shutil.copytree(root, tmp_path / "copies" / "train")
    assert changes(before, of(config, tmp_path / "copies" / "train")) == []


CHANGES = {
    "label": (lambda root: edited(root, lambda lines: lines[3]["B"]["tip"].reverse()), "other labels"),
    "label taken away": (lambda root: edited(root, lambda lines: lines[3]["B"].pop("tip")), "other labels"),
    "order": (lambda root: edited(root, lambda lines: lines.reverse()), "other file names or sizes, other labels"),
    "a line less": (
        lambda root: edited(root, lambda lines: lines.pop()),
        "lines 8 -> 7, images 8 -> 7, other file names or sizes, other labels",
    ),
    "picture": (lambda root: (root / "B" / "2.png").write_bytes(b"x" * 10), "other file names or sizes"),
    "mask": (lambda root: (root / "B" / "2_mask.png").write_bytes(b"x" * 10), "other file names or sizes"),
    "no mask": (
        lambda root: edited(root, lambda lines: lines[3]["B"].pop("mask")),
        "other file names or sizes, other labels",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_is_said(config, tmp_path, name):
    change, said = CHANGES[name]
    before = of(config, tmp_path / "train")
    change(tmp_path / "train")
    assert changes(before, of(config, tmp_path / "train")) == [f"train data 'train': {said}"]


def test_another_root_is_said(config, tmp_path):
    before = of(config, tmp_path / "train")
    more = write_recording(tmp_path / "more", 2)
    assert changes(before, of(config, tmp_path / "train", more)) == ["train data: 1 -> 2 roots"]


def test_what_was_never_recorded_is_no_change(config, tmp_path):
    assert changes({}, of(config, tmp_path / "train")) == []
