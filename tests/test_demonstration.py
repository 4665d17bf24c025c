"""The demonstration reaches its end, leaves what it names, and says the same as the files."""

from __future__ import annotations

import json

import cv2
import pytest

import cogkp


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return cogkp.demo(tmp_path_factory.mktemp("demo"), frames=8, epochs=2)


def test_every_named_file_is_there(result):
    assert all(path.exists() for path in result.files.values())
    assert all(str(path) in result.text for path in result.files.values())


def test_the_table_tells_what_the_evaluation_file_tells(result):
    report = json.loads(result.files["evaluation"].read_text())
    rows = {row["name"]: row for row in [*report["points"], report["overall"]]}
    assert list(result.points) == ["tip", "turn", "end", "all"]
    for name, row in result.points.items():
        assert row["median_px"] == rows[name]["median_px"]
        assert f"{row['p95_px']:.2f}" in result.text
    in_space = {row["name"]: row for row in [*report["space"]["points"], report["space"]["overall"]]}
    for name, row in result.points.items():
        assert row["median_3d"] == in_space[name]["median"]
    assert {name: known for name, (_, known) in result.segments.items()} == {"tip-turn": 1.5, "turn-end": 2.0}
    assert result.mask_iou == report["mask_iou"]["mean"]


def test_the_exported_model_computes_what_was_trained(result):
    assert 0.0 <= result.drift_px <= 0.02


def test_the_pictures_can_be_looked_at(result):
    for name in ("preview", "predictions", "predictions in 3-D"):
        picture = cv2.imread(str(result.files[name]))
        assert picture is not None
        assert picture.std() > 5.0


def test_nothing_outside_the_named_folder_is_touched(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cogkp.demo(tmp_path / "here", frames=2, epochs=1)
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
