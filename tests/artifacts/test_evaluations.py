"""Evaluations are found by any of their names, and what cannot be used is said to be so."""

from __future__ import annotations

import json
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from cogkp.artifacts.evaluations import (
    PARTS,
    find_evaluations,
    is_evaluation_file,
    read_evaluation,
    write_evaluation,
)
from cogkp.artifacts.run_record import training_seconds
from cogkp.artifacts.runs import RunFolder
from cogkp.errors import ArtifactError
from cogkp.files import MARK

CONTENT = {
    "checkpoint": "runs/a/checkpoint_latest.pth",
    "split": "validation",
    "prefix": "tool",
    "created": "2026-01-31T09:05:07+00:00",
    "overall": {"mean_px": 1.0},
    "config": {},
    "training": {"config": {}, "options": {}, "data": {}, "epochs": 3},
    "versions": {},
    "machine": {},
    "data": [],
}
EVIDENCE = {"frames": ["ä"], "measures": [], "ratios": []}


def written(path: Path, **changes) -> Path:
    write_evaluation(path, CONTENT | changes, EVIDENCE)
    return path


def test_a_document_comes_back_whole_and_its_errors_are_one_line(tmp_path):
    path = written(tmp_path / "evaluation.json")
    assert read_evaluation(path) == {"format_version": 2, "generator": MARK, **CONTENT, "per_frame": EVIDENCE}
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[-2].startswith('  "per_frame": {"frames":["ä"]')


@pytest.mark.parametrize("name", ["report.html", "predictions.png", "report.txt"])
def test_what_an_earlier_release_left_beside_its_document_is_ours(tmp_path, name):
    """It marked nothing, so that only the document tells."""
    beside = tmp_path / name
    beside.write_text("no mark")
    assert not is_evaluation_file(beside)
    document = written(tmp_path / "evaluation.json")
    assert is_evaluation_file(beside) == (name == "report.txt")
    earlier = {key: value for key, value in json.loads(document.read_text()).items() if key != "generator"}
    document.write_text(json.dumps(earlier))
    assert is_evaluation_file(beside)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no json", "cannot be read"),
        ("[]", "no evaluation"),
        ('{"loss": 1}', "no evaluation"),
        ('{"overall": {}}', "another format.*got format 1. Measure it again"),
        ('{"overall": {}, "format_version": 9}', "another format.*Use the release that wrote it"),
        ('{"overall": {}, "format_version": 2, "per_frame": {}}', "damaged.*expected checkpoint, split"),
    ],
)
def test_what_is_no_evaluation_is_refused(tmp_path, text, said):
    (tmp_path / "evaluation.json").write_text(text)
    with pytest.raises(ArtifactError, match=said):
        read_evaluation(tmp_path / "evaluation.json")


@pytest.mark.parametrize("part", PARTS)
def test_every_missing_part_is_named(tmp_path, part):
    content = json.loads(json.dumps(CONTENT))
    *above, last = part.split(".")
    place = content
    for step in above:
        place = place[step]
    del place[last]
    write_evaluation(tmp_path / "evaluation.json", content, EVIDENCE)
    with pytest.raises(ArtifactError, match=rf"damaged.*expected {part}\."):
        read_evaluation(tmp_path / "evaluation.json")


def test_an_evaluation_is_found_by_file_folder_and_name_newest_first(tmp_path):
    run = tmp_path / "runs" / "a"
    old, own, new = (written(run / name / "evaluation.json") for name in ("validation-1", "", "evaluation-2"))
    for age, path in enumerate((new, own, old)):
        os.utime(path, (1e9 - age, 1e9 - age))
    for named in (str(run), "a"):
        assert find_evaluations(named, tmp_path / "runs") == [new, own, old]
    assert find_evaluations(str(old), tmp_path) == [old]
    assert find_evaluations(str(old.parent), tmp_path) == [old]


def test_what_is_not_there_is_told(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "checkpoint.pth").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"no such run @ b: expected a run folder"):
        find_evaluations("b", tmp_path)
    with pytest.raises(ArtifactError, match=r"nothing was evaluated here yet.*s6 cog evaluate --restore"):
        find_evaluations("a", tmp_path)
    with pytest.raises(ArtifactError, match=r"no evaluation @ .*checkpoint\.pth"):
        find_evaluations("checkpoint.pth", tmp_path)


def test_the_time_of_a_training_is_that_of_its_sessions(tmp_path):
    folder = RunFolder(tmp_path, tmp_path)
    assert training_seconds(folder.path) is None
    begin = datetime(2026, 1, 31, tzinfo=timezone.utc)

    def at(seconds: float) -> str:
        return (begin + timedelta(seconds=seconds)).isoformat()

    sessions = [{"started": at(0)}, {"started": at(1000)}, {"started": "?"}]
    (tmp_path / "run.json").write_text(json.dumps({"format_version": 1, "sessions": sessions}))
    assert training_seconds(folder.path) is None
    lines = [{"time": at(60)}, {"time": at(120)}, {"time": at(1030)}, {"time": "nonsense"}, []]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*map(json.dumps, lines), "half a li"]))
    assert training_seconds(folder.path) == 150.0


def test_a_history_without_a_session_says_no_time(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"event": "step", "time": "2026-01-31T09:05:07+00:00"}\n')
    assert training_seconds(tmp_path) is None
    (tmp_path / "run.json").write_text('{"sessions": [{"started": "2026-01-31T09:05:00+00:00"}]}')
    assert training_seconds(tmp_path) == 7.0
