from __future__ import annotations

import os
import shutil
from datetime import datetime
from pathlib import Path

import pytest

from cogkp.artifacts.newest import resolve_restore
from cogkp.artifacts.runs import (
    CHECKPOINT_NAME,
    LATEST,
    RunFolder,
    continue_run,
    create_run,
    home_of,
    in_use,
)
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
    first.save(b"one", (1, 0))
    second.save(b"two", (1, 0))
    assert first.mirror.read_bytes() == b"two"
    first.save(b"three", (1, 0))
    assert (first.checkpoint.read_bytes(), second.checkpoint.read_bytes()) == (b"three", b"two")
    assert first.mirror.read_bytes() == b"three"
    assert sorted(path.name for path in tmp_path.rglob("*.tmp")) == []


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_last_few_saves_stay(tmp_path, keep):
    run = create_run(tmp_path, clock)
    for number in range(5):
        run.save(bytes([number]), (number, 2), keep_last=keep)
    kept = [f"checkpoint_00000{number}_e{number - 1}_s2.pth" for number in range(5, 5 - keep, -1)]
    assert [path.name for path in run.saves()] == kept
    assert [path.read_bytes() for path in run.saves()] == [bytes([number]) for number in range(4, 4 - keep, -1)]
    assert names(run.path) == sorted([CHECKPOINT_NAME, *kept])
    assert run.checkpoint.read_bytes() == run.mirror.read_bytes() == bytes([4])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_best_stays_whatever_is_dropped(tmp_path):
    run = create_run(tmp_path, clock)
    for number in range(5):
        run.save(bytes([number]), (number, 0), best=number in (0, 2))
    assert (run.best.read_bytes(), run.checkpoint.read_bytes()) == (bytes([2]), bytes([4]))
    assert len(run.saves()) == 1


def test_numbers_go_on_where_an_earlier_process_stopped_between_two_names(tmp_path):
    run = create_run(tmp_path, clock)
    run.save(b"one", (1, 0), keep_last=3)
    (run.path / "checkpoint_000002_e2_s0.pth").write_bytes(b"its names never followed")
    run.save(b"three", (2, 0), keep_last=2)
    assert [path.name for path in run.saves()] == ["checkpoint_000003_e2_s0.pth", "checkpoint_000002_e2_s0.pth"]


def test_what_a_dying_process_left_half_written_is_swept_and_nothing_else(tmp_path):
    run = create_run(tmp_path, clock)
    run.save(b"x", (1, 0))
    kept = {*names(run.path), ".mine", "notes.json"}
    for name in (".checkpoint_000002_e2_s0.a8_x.pth", ".checkpoint_latest.0f.pth", ".run.z9.json", ".metrics.1.jsonl"):
        (run.path / name).write_bytes(b"half")
    for name in (".mine", "notes.json"):
        (run.path / name).write_text("")
    with in_use(run):
        assert set(names(run.path)) == kept | {"run.lock"}
    assert set(names(run.path)) == kept


@pytest.mark.parametrize("left", [[], ["run.json", "run_config.json", "metrics.jsonl"]])
def test_a_run_that_came_to_nothing_leaves_no_folder(tmp_path, left):
    run = create_run(tmp_path, clock)
    with in_use(run):
        for name in left:
            (run.path / name).write_text("")
    assert not run.path.exists()


def test_what_lay_there_before_stays_where_nothing_was_learnt(tmp_path):
    run = create_run(tmp_path, clock)
    (run.path / "run.json").write_text("older")
    with in_use(run):
        (run.path / "run_config.json").write_text("")
    assert names(run.path) == ["run.json"]


def test_a_run_whose_first_steps_are_known_stays(tmp_path):
    run = create_run(tmp_path, clock)
    with in_use(run):
        run.metrics.write_text("{}\n")
    assert names(run.path) == ["metrics.jsonl"]


def test_latest_is_the_mirror_and_else_the_newest_run(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint yet"):
        resolve_restore(LATEST, tmp_path)
    run = create_run(tmp_path, clock)
    run.save(b"x", (1, 0))
    assert resolve_restore(LATEST, tmp_path) == run.mirror
    run.mirror.unlink()
    assert resolve_restore(LATEST, tmp_path) == run.checkpoint


def earlier(*files: Path) -> None:
    """Let files be a minute old, so that the clock of the disk decides nothing here."""
    for file in files:
        os.utime(file, ns=(0, file.stat().st_mtime_ns - 60_000_000_000))


@pytest.mark.parametrize("mirrored", [True, False])
@pytest.mark.parametrize("named", [CHECKPOINT_NAME, "checkpoint_000001_e1_s0.pth"])
def test_latest_is_the_run_that_died_within_its_first_save(tmp_path, named, mirrored):
    """A save makes the numbered file, then the run's name for it, then the mirror: two moments to die before that."""
    older, newer = create_run(tmp_path, clock), create_run(tmp_path, clock)
    older.save(b"older", (7, 0))
    earlier(older.checkpoint)
    RunFolder(newer.path, newer.path).save(b"newer", (1, 0))  # a root of its own has no mirror
    if named != CHECKPOINT_NAME:
        newer.checkpoint.unlink()
    if not mirrored:
        older.mirror.unlink()
    assert resolve_restore(LATEST, tmp_path) == newer.path / named


def test_latest_is_not_the_run_that_was_copied_last(tmp_path):
    run, other = create_run(tmp_path / "here", clock), create_run(tmp_path / "here", clock)
    other.save(b"other", (7, 0))
    run.save(b"newest", (1, 0))
    earlier(run.checkpoint, other.checkpoint)
    shutil.copytree(other.path, tmp_path / "here" / "backup", copy_function=shutil.copyfile)
    assert resolve_restore(LATEST, tmp_path / "here") == run.mirror
    shutil.copytree(tmp_path / "here", tmp_path / "there", copy_function=shutil.copyfile)
    copied = tmp_path / "there" / CHECKPOINT_NAME
    earlier(copied)
    assert resolve_restore(LATEST, tmp_path / "there") == copied


def test_a_path_may_be_a_file_or_a_run_folder(tmp_path):
    run = create_run(tmp_path, clock)
    run.save(b"x", (1, 0))
    assert resolve_restore(str(run.checkpoint), tmp_path) == run.checkpoint
    assert resolve_restore(str(run.path), tmp_path) == run.checkpoint
    with pytest.raises(CheckpointError, match=r"nowhere\.pth"):
        resolve_restore("nowhere.pth", tmp_path)


def test_a_restored_run_goes_on_in_its_own_folder(tmp_path):
    run = create_run(tmp_path, clock)
    run.save(b"x", (1, 0))
    assert continue_run(run.checkpoint, run.path.name, tmp_path, clock) == run
    assert continue_run(run.mirror, run.path.name, tmp_path, clock) == run


def test_links_and_other_roots_lead_to_the_run_behind_a_mirror(tmp_path):
    run = create_run(tmp_path / "first", clock)
    run.save(b"x", (1, 0))
    link = tmp_path / "link.pth"
    link.symlink_to(run.mirror)
    for mirror in (run.mirror, link):
        assert home_of(mirror, run.path.name) == run.path
        assert continue_run(mirror, run.path.name, tmp_path / "second", clock).path == run.path
    assert home_of(link, "gone") == tmp_path


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
    run.save(b"y", (1, 0))
    assert Path(other / CHECKPOINT_NAME).read_bytes() == b"y"
    assert run.mirror.read_bytes() == b"y"
