"""Which run was saved last, whatever clocks and copies say."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from cogkp.artifacts.newest import newest_of, notes_for
from cogkp.artifacts.restore import open_checkpoint
from cogkp.artifacts.runs import LATEST, METRICS_NAME, RECORD_NAME, RunFolder
from tests.artifacts.test_restore import at

HOUR = 3600.0


def begin(root: Path, name: str) -> RunFolder:
    """Begin a session, as a training does before it saves anything."""
    run = RunFolder(root / name, root)
    run.path.mkdir(parents=True, exist_ok=True)
    record = run.path / RECORD_NAME
    sessions = json.loads(record.read_text())["sessions"] if record.exists() else []
    record.write_text(json.dumps({"format_version": 1, "sessions": [*sessions, notes_for(run.path, root)]}))
    return run


def save(run: RunFolder, epoch: int, *, dies: str = "") -> None:
    """Save; ``dies`` leaves out the mirror, or every name but the numbered one."""
    where = RunFolder(run.path, run.path) if dies else run
    at(epoch, run.path.name).save(where)
    if dies == "before its names":
        run.checkpoint.unlink()


def aged(folder: Path, seconds: float) -> None:
    """Give all files of a folder another time, as a wrong clock or a copy does."""
    for path in folder.rglob("*"):
        os.utime(path, (time.time() + seconds,) * 2)


@pytest.fixture
def two(tmp_path: Path) -> tuple[RunFolder, RunFolder]:
    """Two runs, of which the second was saved last."""
    first = begin(tmp_path, "20260201-090000")
    save(first, 5)
    second = begin(tmp_path, "20260131-090000")  # the clock was set back in between
    save(second, 2)
    return first, second


def latest(root: Path) -> tuple[str, int]:
    found = open_checkpoint(LATEST, root).checkpoint
    return found.provenance.run, found.state.epoch


@pytest.mark.parametrize("offset", [-2 * HOUR, 60.0, 2 * HOUR])
def test_times_of_files_decide_nothing(two, tmp_path, offset):
    aged(two[0].path, offset)
    assert newest_of(tmp_path) == two[1].mirror
    assert latest(tmp_path) == (two[1].path.name, 2)


def test_a_copy_without_times_and_links_has_the_same_newest_run(two, tmp_path):
    for order in ((0, 1), (1, 0)):
        copy = tmp_path / f"copy{order[0]}"
        copy.mkdir()
        shutil.copyfile(two[1].mirror, copy / two[1].mirror.name)
        for number in order:
            shutil.copytree(two[number].path, copy / two[number].path.name, copy_function=shutil.copyfile)
            aged(copy / two[number].path.name, 10.0 * number * (1 - 2 * order[0]))
        assert latest(copy) == (two[1].path.name, 2)


def test_without_the_mirror_runs_are_ordered_by_what_they_noted_of_each_other(two, tmp_path):
    two[1].mirror.unlink()
    aged(two[0].path, 60.0)
    assert newest_of(tmp_path) == two[1].checkpoint


def test_without_any_note_the_history_decides_and_not_the_time_of_a_copy(two, tmp_path):
    for run, hours in zip(two, (3, 1), strict=True):
        moment = datetime.now(timezone.utc) - timedelta(hours=hours)
        (run.path / METRICS_NAME).write_text(json.dumps({"event": "epoch", "time": moment.isoformat()}) + "\n")
        (run.path / RECORD_NAME).unlink()
    two[1].mirror.unlink()
    aged(two[0].path, 60.0)
    assert newest_of(tmp_path) == two[1].checkpoint


@pytest.mark.parametrize("dies", ["before the mirror", "before its names"])
def test_a_run_that_died_within_its_first_save_is_the_newest_though_its_clock_was_behind(two, tmp_path, dies):
    third = begin(tmp_path, "20260101-000000")
    save(third, 1, dies=dies)
    aged(third.path, -24 * HOUR)
    assert latest(tmp_path) == ("20260101-000000", 1)


def test_a_run_that_was_restored_and_died_before_it_saved_is_not_the_newest(two, tmp_path):
    begin(tmp_path, two[0].path.name)
    assert newest_of(tmp_path) == two[1].mirror


def test_a_run_that_began_before_the_last_save_is_not_the_newest(two, tmp_path):
    third = begin(tmp_path, "third")
    save(two[1], 3)
    save(third, 1, dies="before the mirror")
    assert latest(tmp_path) == (two[1].path.name, 3)


@pytest.mark.parametrize("kept", [0, 100, -1])
def test_a_damaged_mirror_does_not_make_the_first_run_the_newest(two, tmp_path, kept, caplog):
    """The first run began when there was no mirror, which looks like one without a checksum."""
    content = two[1].mirror.read_bytes()
    two[1].mirror.unlink()
    two[1].mirror.write_bytes(content[:kept])
    with caplog.at_level(logging.WARNING, "cogkp"):
        assert latest(tmp_path) == (two[1].path.name, 2)
    assert f"restoring {two[1].checkpoint} instead" in caplog.text


@pytest.mark.parametrize("end", ['{"event": "st', "\0" * 4096, "{}\n[]\n"])
def test_a_history_that_ends_in_half_a_line_tells_its_last_whole_one(two, tmp_path, end):
    for run, hours, text in zip(two, (3, 1), ("", end), strict=True):
        moment = datetime.now(timezone.utc) - timedelta(hours=hours)
        step = json.dumps({"event": "step", "time": moment.isoformat()}) + "\n"
        (run.path / METRICS_NAME).write_text(5000 * step + text)
        (run.path / RECORD_NAME).unlink()
    two[1].mirror.unlink()
    aged(two[1].path, -24 * HOUR)
    assert newest_of(tmp_path) == two[1].checkpoint


def test_a_time_in_the_future_is_warned_of(two, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "cogkp"):
        newest_of(tmp_path)
        assert caplog.messages == []
        aged(two[0].path, 2 * HOUR)
        newest_of(tmp_path)
    (line,) = caplog.messages
    assert str(two[0].checkpoint) in line
    assert "time in the future" in line


def test_runs_of_earlier_releases_are_not_chosen_by_a_time_in_the_future(two, tmp_path):
    for run in two:
        (run.path / RECORD_NAME).unlink()
    aged(two[0].path, 2 * HOUR)
    assert newest_of(tmp_path) == two[1].mirror


@pytest.mark.parametrize(
    "record", ["{", "[]", '{"sessions": []}', '{"sessions": [3]}', '{"sessions": [{"mirror_sha256": 5}]}']
)
def test_a_damaged_record_is_no_obstacle(two, tmp_path, record):
    (two[0].path / RECORD_NAME).write_text(record)
    aged(two[0].path, -HOUR)
    assert newest_of(tmp_path) == two[1].mirror


@pytest.mark.parametrize("noted", [[], {"a": 1}, None, 3])
def test_a_note_that_is_no_checksum_counts_for_nothing(two, noted):
    for run in two:
        record = json.loads((run.path / RECORD_NAME).read_text())
        record["sessions"][-1]["mirror_sha256"] = noted
        (run.path / RECORD_NAME).write_text(json.dumps(record))
    assert newest_of(two[0].path.parent).is_file()
