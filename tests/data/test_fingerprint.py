"""A fingerprint changes with the data, and with nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import attrs
import pytest
import torch

from cogkp.data.dataset import changes
from cogkp.data.keypoint.dataset import fingerprint, open_roots
from cogkp.geometry.rig import CameraRig
from tests.builders.stereo_pairs import RIG
from tests.builders.tiny_keypoints import tiny_config, write_recording


@pytest.fixture
def config(tmp_path):
    return tiny_config(tmp_path, segmentation=True)


def of(config, *roots: Path, rig: CameraRig | None = None) -> dict:
    return {"train": fingerprint(open_roots([str(root) for root in roots], config.data_mappings), rig)}


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


@pytest.mark.parametrize("damaged", [3, None, "a", [3], [None], [{}], {"a": 1}])
def test_a_record_that_is_none_is_said(config, tmp_path, damaged):
    now = of(config, tmp_path / "train")
    for before, after in (({"train": damaged}, now), (now, {"train": damaged})):
        assert changes(before, after) == ["train data: a record that cannot be read"]


def moved(field: str, place: tuple[int, ...], by: float) -> CameraRig:
    """The rig with one number of its second camera changed."""
    left, right = RIG.cameras
    value = getattr(right, field).clone()
    value[place] += by
    return CameraRig(RIG.names, (left, attrs.evolve(right, **{field: value})))


NUMBERS = {"K": (0, 2), "world_to_camera": (1, 3), "distortion": (4,)}


@pytest.mark.parametrize("field", NUMBERS)
def test_one_number_of_a_camera_is_another_calibration(config, tmp_path, field):
    before = of(config, tmp_path / "train", rig=RIG)
    assert json.loads(json.dumps(before)) == before
    last_bit, changed = (of(config, tmp_path / "train", rig=moved(field, NUMBERS[field], by)) for by in (1e-14, 1e-6))
    assert changes(before, last_bit) == []
    assert changes(before, changed) == ["train data 'train': other calibration"]


def test_cameras_in_another_order_or_of_another_size_are_another_calibration(config, tmp_path):
    before = of(config, tmp_path / "train", rig=RIG)
    larger = tuple(attrs.evolve(camera, size_wh=(640, 512)) for camera in RIG.cameras)
    for rig in (RIG.select(RIG.names[::-1]), CameraRig(RIG.names, larger)):
        assert changes(before, of(config, tmp_path / "train", rig=rig)) == ["train data 'train': other calibration"]


def test_zero_has_no_sign(config, tmp_path):
    plain, minus = (
        CameraRig(RIG.names, tuple(attrs.evolve(camera, distortion=sign * torch.zeros(5)) for camera in RIG.cameras))
        for sign in (1, -1)
    )
    assert of(config, tmp_path / "train", rig=plain) == of(config, tmp_path / "train", rig=minus)


def test_a_calibration_that_was_never_recorded_is_no_change(config, tmp_path):
    bare, calibrated = of(config, tmp_path / "train"), of(config, tmp_path / "train", rig=RIG)
    assert changes(bare, calibrated) == changes(calibrated, bare) == []
