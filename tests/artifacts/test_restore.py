"""Which file is taken where the one that was asked for is damaged."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import attrs
import pytest
from torch import nn

from cogkp.artifacts.checkpoint import Checkpoint
from cogkp.artifacts.restore import good_neighbours, older_saves, open_checkpoint, was_left_behind
from cogkp.artifacts.runs import BEST, LATEST, RunFolder
from cogkp.errors import CheckpointError
from tests.artifacts.test_checkpoint import make_checkpoint


def at(epoch: int, run: str = "r", step: int = 0) -> Checkpoint:
    made = make_checkpoint(nn.Linear(2, 3))
    return attrs.evolve(
        made,
        state=attrs.evolve(made.state, epoch=epoch, step=step),
        provenance=attrs.evolve(made.provenance, run=run),
    )


def run_of(root: Path, *epochs: int, name: str = "r", keep: int = 3, best: int = -1) -> RunFolder:
    run = RunFolder(root / name, root)
    run.path.mkdir(exist_ok=True)
    for epoch in epochs:
        at(epoch, name).save(run, keep_last=keep, best=epoch == best)
    return run


def damage(path: Path) -> None:
    """Replace a file by the half of it, as a disk may after a power cut; other names of it keep their content."""
    half = path.read_bytes()[: path.stat().st_size // 2]
    path.unlink()
    path.write_bytes(half)


def rot(path: Path) -> None:
    """Flip a bit in place, under all names of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_latest_is_the_newest_state(tmp_path):
    run = run_of(tmp_path, 1, 2)
    found = open_checkpoint(LATEST, tmp_path)
    assert (found.path, found.checkpoint.state.epoch) == (run.mirror, 2)
    assert found.run(tmp_path) == run


def test_best_is_the_best_validation_of_the_run_that_was_saved_last(tmp_path):
    run_of(tmp_path, 1, 2, best=1, name="older")
    run = run_of(tmp_path, 3, 5, 7, best=5, name="newer")
    found = open_checkpoint(BEST, tmp_path)
    assert (found.path, found.checkpoint.state.epoch) == (run.best, 5)


def test_best_is_refused_where_the_newest_run_validated_nothing(tmp_path):
    run_of(tmp_path, 1, 2, best=1, name="older")
    run = run_of(tmp_path, 3, name="newer")
    with pytest.raises(CheckpointError, match=r"validation\.base_dir") as caught:
        open_checkpoint(BEST, tmp_path)
    assert caught.value.problem.where == str(run.best)


def test_a_damaged_best_is_refused_and_its_good_neighbours_named(tmp_path):
    run = run_of(tmp_path, 1, 2, best=1)
    damage(run.best)
    with pytest.raises(CheckpointError, match="Good ones beside it"):
        open_checkpoint(BEST, tmp_path)


def test_a_damaged_latest_falls_back_to_the_save_before_with_a_warning_that_names_both(tmp_path, caplog):
    run = run_of(tmp_path, 1, 2, 3)
    rot(run.mirror)
    with caplog.at_level(logging.WARNING, "cogkp"):
        found = open_checkpoint(LATEST, tmp_path)
    assert (found.path, found.checkpoint.state.epoch) == (run.saves()[1], 2)
    (line,) = caplog.messages
    assert str(run.mirror) in line
    assert f"restoring {found.path} instead, saved after 2 epochs and 0 steps" in line
    assert not was_left_behind(found, tmp_path)


def test_a_damaged_mirror_falls_back_to_its_own_run_and_not_to_another(tmp_path):
    first, second = run_of(tmp_path, 5, name="a"), run_of(tmp_path, 1, name="b")
    damage(second.mirror)
    assert open_checkpoint(LATEST, tmp_path).path == second.checkpoint
    rot(second.checkpoint)
    with pytest.raises(CheckpointError, match=r"damaged|cut off"):
        open_checkpoint(LATEST, tmp_path)
    assert first.checkpoint.is_file()


def test_each_tenth_of_a_file_is_not_enough(tmp_path):
    run = run_of(tmp_path, 1, 2)
    whole = run.mirror.read_bytes()
    for tenth in range(10):
        run.mirror.write_bytes(whole[: len(whole) * tenth // 10])
        assert open_checkpoint(LATEST, tmp_path).checkpoint.state.epoch == 1


def test_the_best_is_the_last_resort(tmp_path):
    run = run_of(tmp_path, 1, 2, keep=1, best=1)
    rot(run.mirror)
    assert open_checkpoint(LATEST, tmp_path).path == run.best


def test_a_damaged_path_is_refused_and_its_good_neighbours_are_named(tmp_path):
    run = run_of(tmp_path, 1, 2, 3, best=2)
    newest, middle, oldest = run.saves()
    rot(newest)
    damage(oldest)
    for asked in (str(run.path), str(run.checkpoint), str(newest)):
        with pytest.raises(CheckpointError) as caught:
            open_checkpoint(asked, tmp_path)
        assert "the checkpoint is damaged" in str(caught.value)
        assert caught.value.problem.hint == f"Good ones beside it: {middle}, {run.best}." or (
            caught.value.problem.hint == f"Good ones beside it: {run.best}, {middle}."
        )
    assert good_neighbours(middle) == []  # the best is the same file


def test_older_saves_are_named_once_and_newest_first(tmp_path):
    run = run_of(tmp_path, 1, 2, 3, best=2)
    newest, middle, oldest = run.saves()
    for second, path in enumerate((oldest, middle, newest)):  # a file system may count in steps longer than a save
        os.utime(path, (second, second))
    assert older_saves(run.checkpoint) == older_saves(newest) == [middle, oldest]
    assert older_saves(run.best) == [oldest]
    assert older_saves(oldest) == older_saves(run.path / "none.pth") == []


def test_a_damaged_path_without_neighbours_says_what_to_do(tmp_path):
    run = run_of(tmp_path, 1)
    rot(run.checkpoint)
    with pytest.raises(CheckpointError, match="Restore another file"):
        open_checkpoint(str(run.checkpoint), tmp_path)


def test_latest_is_the_run_own_file_where_its_process_died_before_the_mirror_followed(tmp_path):
    run = run_of(tmp_path, 1)
    at(2).save(RunFolder(run.path, run.path))  # a root of its own has no mirror
    found = open_checkpoint(LATEST, tmp_path)
    assert (found.path, found.checkpoint.state.epoch) == (run.checkpoint, 2)


def test_latest_is_the_run_that_died_within_its_first_save_and_not_the_one_before(tmp_path):
    older = run_of(tmp_path, 7, name="older")
    newer = RunFolder(tmp_path / "newer", tmp_path)
    at(1, "newer").save(RunFolder(newer.path, newer.path))
    found = open_checkpoint(LATEST, tmp_path)
    assert (found.path, found.run(tmp_path)) == (newer.checkpoint, newer)
    newer.checkpoint.unlink()
    found = open_checkpoint(LATEST, tmp_path)
    assert (found.path, found.run(tmp_path)) == (newer.saves()[0], newer)
    assert older.mirror.samefile(older.checkpoint)


def test_an_older_save_was_left_behind_and_the_newest_was_not(tmp_path):
    run = run_of(tmp_path, 1, 2)
    older, newest = open_checkpoint(str(run.saves()[1]), tmp_path), open_checkpoint(str(run.path), tmp_path)
    assert was_left_behind(older, tmp_path)
    assert not was_left_behind(newest, tmp_path)
