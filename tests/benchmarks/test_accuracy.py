"""The race is fair: one runs at a time, clocks show processor time, and one error judges what all were given alike."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

import cogkp
from benchmarks.peers import ONE_THREAD
from benchmarks.peers.exchange import (
    Frame,
    Frames,
    errors,
    imported_frames,
    read_frames,
    write_csv,
    write_frames,
)
from benchmarks.peers.holding import order
from benchmarks.peers.race import Runner, order_words, race

SPINNER = """
import sys, time
from pathlib import Path
from benchmarks.peers.holding import Journal
home, seconds = Path(sys.argv[1]), float(sys.argv[2])
journal = Journal(home)
journal.told = -1e9
journal.hold()
first = time.process_time()
with (home / "stamps").open("w", buffering=1) as stamps:
    while (used := time.process_time() - first) < seconds:
        if int(used * 100) > journal.images:
            journal.told = -1e9
            journal.seen(1)
            stamps.write(f"{time.monotonic()}\\n")
            (home / "writing").write_text(str(journal.images))
            (home / "writing").replace(home / "weights.txt")  # it may be stopped in between
raise SystemExit(int(sys.argv[3]))
"""


def some_frames(folder: Path) -> Frames:
    rng = np.random.default_rng(0)

    def frame(number: int) -> Frame:
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), rng.integers(0, 255, (48, 64), np.uint8))
        uv = rng.uniform(0, 48, (3, 2))
        uv[number % 3] = np.nan
        return Frame(path, uv)

    members = [frame(number) for number in range(7)]
    return Frames(("nose", "ear", "tail"), tuple(members[:5]), tuple(members[5:]))


def same(found: tuple[Frame, ...], wanted: tuple[Frame, ...]) -> bool:
    pairs = list(zip(found, wanted, strict=True))
    pictures = [np.array_equal(cv2.imread(str(one.image)), cv2.imread(str(other.image))) for one, other in pairs]
    return all(pictures) and all(np.array_equal(one.uv, other.uv, equal_nan=True) for one, other in pairs)


def test_errors_are_distances_over_all_labelled_points() -> None:
    truth = np.array([[[0.0, 0.0], [10.0, 10.0]], [[np.nan, np.nan], [5.0, 5.0]]])
    found = truth + np.array([3.0, 4.0])
    found[1, 0] = 1e6, 1e6  # where nothing is labelled, nothing can be wrong
    found[1, 1] = 5.0, 6.0
    told = errors(found, truth)
    assert told.mean_px == pytest.approx((5 + 5 + 1) / 3)
    assert told.median_px == 5.0
    assert (told.points, told.missing) == (3, 0.0)


def test_a_point_that_is_not_predicted_is_counted_and_does_not_flatter_silently() -> None:
    truth = np.zeros((2, 2, 2))
    found = np.full((2, 2, 2), np.nan)
    assert errors(found, truth).missing == 1.0
    assert np.isnan(errors(found, truth).mean_px)
    found[0, 0] = 0.0, 2.0
    assert errors(found, truth).missing == 0.75
    assert errors(found, truth).mean_px == 2.0


def test_predictions_of_other_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="predictions are"):
        errors(np.zeros((2, 3, 2)), np.zeros((3, 3, 2)))


def test_frames_survive_the_way_to_another_process(tmp_path: Path) -> None:
    frames = some_frames(tmp_path)
    write_frames(tmp_path / "frames.json", frames)
    again = read_frames(tmp_path / "frames.json")
    assert again.points == frames.points
    assert same(again.train, frames.train)
    assert same(again.held_out, frames.held_out)


def test_the_table_for_lightning_pose_is_what_our_importer_reads_back(tmp_path: Path) -> None:
    frames = some_frames(tmp_path)
    table = write_csv(tmp_path / "peer", frames)
    cogkp.import_dataset(table, tmp_path / "back", format="lightning-pose", validation=0.3)
    again = imported_frames(tmp_path / "back")
    assert again.points == frames.points
    assert (len(again.train), len(again.held_out)) == (5, 2)

    def key(frame: Frame) -> float:
        return float(np.nansum(frame.uv))

    found = tuple(sorted(again.train + again.held_out, key=key))
    assert same(found, tuple(sorted(frames.train + frames.held_out, key=key)))


def test_an_order_arrives_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = order_words("train", frames=tmp_path / "frames.json", home=tmp_path, epochs=3, settings={"batch": 4})
    monkeypatch.setattr(sys, "argv", ["worker", words])
    todo = order()
    assert (todo.verb, todo.frames, todo.home, todo.epochs) == ("train", tmp_path / "frames.json", tmp_path, 3)
    assert todo.settings == {"batch": 4}


@pytest.fixture
def spinner(tmp_path: Path) -> Callable[..., Callable[[], Runner]]:
    script = tmp_path / "spinner.py"
    script.write_text(SPINNER)

    def make(name: str, seconds: float = 30.0, code: int = 0) -> Callable[[], Runner]:
        home = tmp_path / name
        words = [sys.executable, str(script), str(home), str(seconds), str(code)]
        weights = home / "weights.txt"
        newest = lambda: weights if weights.exists() else None  # noqa: E731
        return partial(Runner, name, words, home, newest, {**os.environ, **ONE_THREAD})

    return make


@pytest.mark.skipif(sys.platform != "linux", reason="trainings are stopped and read as Linux does it")
class TestRace:
    def test_one_runs_at_a_time_and_every_clock_shows_its_own_processor_time(
        self, spinner: Callable[..., Callable[[], Runner]], tmp_path: Path
    ) -> None:
        marks = race([spinner("a"), spinner("b")], [0.4, 0.8], 0.2, tmp_path / "marks")
        stamps = [(float(line), name) for name in "ab" for line in (tmp_path / name / "stamps").read_text().split()]
        turns = [name for _, name in sorted(stamps)]
        # Four slices each, and a few short ones on a busy machine; side by side they would change a hundred times.
        assert sum(one != other for one, other in pairwise(turns)) < 16
        for name in "ab":
            for wanted, mark in zip((0.4, 0.8), marks[name], strict=True):
                assert wanted <= mark.clock_s < wanted + 0.3
                assert mark.wall_s >= wanted - 0.05
                # A hundred images a second of processor time; those of a moment before are told.
                assert mark.images == pytest.approx(100 * wanted, abs=35)
                assert mark.checkpoint is not None
                assert int(mark.checkpoint.read_text()) == pytest.approx(mark.images, abs=1)
                assert not mark.finished

    def test_a_training_that_is_done_early_keeps_its_last_weights(
        self, spinner: Callable[..., Callable[[], Runner]], tmp_path: Path
    ) -> None:
        (mark,) = race([spinner("short", 0.2)], [0.6], 0.5, tmp_path / "marks")["short"]
        assert mark.finished
        assert mark.clock_s == 0.6
        assert mark.trained_s == pytest.approx(0.2, abs=0.15)
        assert mark.images == pytest.approx(20, abs=3)
        assert mark.age_s == pytest.approx(0.4, abs=0.15)

    def test_a_training_that_fails_is_loud(self, spinner: Callable[..., Callable[[], Runner]], tmp_path: Path) -> None:
        with pytest.raises(ChildProcessError, match="ended with code 3"):
            race([spinner("bad", 0.1, 3)], [0.5], 0.5, tmp_path / "marks")

    def test_nobody_is_left_running(self, spinner: Callable[..., Callable[[], Runner]], tmp_path: Path) -> None:
        with spinner("left")() as runner:
            runner.wait_for_start()
        assert runner.process.returncode == -9
        assert json.loads((tmp_path / "left" / "journal.jsonl").read_text().splitlines()[0])["images"] == 0
