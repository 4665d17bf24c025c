from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from cogkp.artifacts.runs import CHECKPOINT_NAME, LATEST, RunFolder, continue_run, create_run, resolve_restore
from cogkp.errors import CheckpointError, OutputError


def clock() -> datetime:
    return datetime(2026, 1, 31, 12, 0, 0)


def test_runs_of_the_same_second_get_different_folders(tmp_path):
    runs = [create_run(tmp_path / "checkpoints", clock) for _ in range(3)]
    assert [run.path.name for run in runs] == ["20260131-120000", "20260131-120000-2", "20260131-120000-3"]
    assert all(run.path.is_dir() for run in runs)


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "checkpoints").write_text("")
    with pytest.raises(OutputError, match="checkpoints"):
        create_run(tmp_path / "checkpoints", clock)


def test_the_mirror_follows_and_older_content_of_the_run_does_not_leak_into_it(tmp_path):
    first, second = create_run(tmp_path, clock), create_run(tmp_path, clock)
    first.save(b"one")
    second.save(b"two")
    assert first.mirror.read_bytes() == b"two"
    first.save(b"three")
    assert (first.checkpoint.read_bytes(), second.checkpoint.read_bytes()) == (b"three", b"two")
    assert first.mirror.read_bytes() == b"three"
    assert sorted(path.name for path in tmp_path.rglob("*.tmp")) == []


def test_a_run_saved_again_and_again_leaves_two_files(tmp_path):
    run = create_run(tmp_path, clock)
    for number in range(5):
        run.save(bytes([number]))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(files) == sorted([run.checkpoint, run.mirror])


def test_latest_is_the_mirror_and_else_the_newest_run(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint yet"):
        resolve_restore(LATEST, tmp_path)
    run = create_run(tmp_path, clock)
    run.save(b"x")
    assert resolve_restore(LATEST, tmp_path) == run.mirror
    run.mirror.unlink()
    assert resolve_restore(LATEST, tmp_path) == run.checkpoint


def test_a_path_may_be_a_file_or_a_run_folder(tmp_path):
    run = create_run(tmp_path, clock)
    run.save(b"x")
    assert resolve_restore(str(run.checkpoint), tmp_path) == run.checkpoint
    assert resolve_restore(str(run.path), tmp_path) == run.checkpoint
    with pytest.raises(CheckpointError, match=r"nowhere\.pth"):
        resolve_restore("nowhere.pth", tmp_path)


def test_a_restored_run_goes_on_in_its_own_folder(tmp_path):
    run = create_run(tmp_path, clock)
    run.save(b"x")
    assert continue_run(run.checkpoint, run.path.name, tmp_path, clock) == run
    assert continue_run(run.mirror, run.path.name, tmp_path, clock) == run


@pytest.mark.parametrize("name", ["gone", ""])
def test_a_mirror_whose_run_is_gone_starts_a_new_folder(tmp_path, name):
    (tmp_path / CHECKPOINT_NAME).write_bytes(b"x")
    run = continue_run(tmp_path / CHECKPOINT_NAME, name, tmp_path, clock)
    assert run == RunFolder(tmp_path / "20260131-120000", tmp_path)


def test_a_run_folder_outside_the_root_is_continued_there(tmp_path):
    other = tmp_path / "copied"
    other.mkdir()
    (other / CHECKPOINT_NAME).write_bytes(b"x")
    run = continue_run(other / CHECKPOINT_NAME, "20200101-000000", tmp_path / "checkpoints", clock)
    run.save(b"y")
    assert Path(other / CHECKPOINT_NAME).read_bytes() == b"y"
    assert run.mirror.read_bytes() == b"y"
