"""Where the time went: laps add up, splits begin anew, advice comes once."""

from __future__ import annotations

import json
import logging

import pytest

from cogkp.training.history import HistorySink
from cogkp.training.stopwatch import DATA, FORWARD_BACKWARD, UPDATE, VALIDATE_SAVE, DataAdvice, Stopwatch, share_text
from tests.builders.tiny_keypoints import tiny_config
from tests.builders.training import run_training
from tests.training.test_epoch_lines import Clock


def run(watch: Stopwatch, clock: Clock, laps) -> None:
    for what, seconds in laps:
        clock.now += seconds
        watch.lap(what)


def test_laps_add_up_and_unclaimed_time_is_the_rest():
    clock = Clock()
    watch = Stopwatch(clock)
    run(watch, clock, [(DATA, 1.0), (FORWARD_BACKWARD, 5.0), ("", 2.0), (DATA, 1.0), (VALIDATE_SAVE, 1.0)])
    assert watch.shares() == {DATA: 0.2, FORWARD_BACKWARD: 0.5, UPDATE: 0.0, VALIDATE_SAVE: 0.1}
    assert watch.seconds == 10.0


def test_a_split_tells_of_the_time_since_the_one_before():
    clock = Clock()
    watch = Stopwatch(clock)
    run(watch, clock, [(DATA, 3.0), (UPDATE, 1.0)])
    assert watch.split()[DATA] == 0.75
    run(watch, clock, [(DATA, 1.0), (UPDATE, 3.0)])
    assert watch.split()[DATA] == 0.25
    assert watch.shares()[DATA] == 0.5


def test_no_time_at_all_is_no_error():
    assert set(Stopwatch(Clock()).split().values()) == {0.0}


@pytest.mark.parametrize(
    ("workers", "said"),
    [(0, "raise --num-workers, which is 0 (4 cores here)"), (4, "its 4 loader processes keep all 4 cores busy")],
)
def test_advice_comes_once_and_fits_the_machine(caplog, workers, said):
    advice = DataAdvice(workers, cores=4)
    with caplog.at_level(logging.WARNING, "cogkp"):
        advice.consider(5.0, {DATA: 0.9})
        advice.consider(50.0, {DATA: 0.4})
        assert not caplog.records
        advice.consider(50.0, {DATA: 0.63})
        advice.consider(90.0, {DATA: 0.7})
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"waited 63 % of the time for data: {said}")


def test_shares_in_words():
    shares = {DATA: 0.254, UPDATE: 0.001, FORWARD_BACKWARD: 0.7}
    assert share_text(shares) == "25 % waiting for data, 70 % forward and backward"


def test_a_large_rest_is_named():
    shares = {DATA: 0.01, FORWARD_BACKWARD: 0.1}
    assert share_text(shares) == "1 % waiting for data, 10 % forward and backward, 89 % other"


def test_a_training_says_where_its_time_went(tmp_path, caplog):
    path = tmp_path / "metrics.jsonl"
    with caplog.at_level(logging.INFO, "cogkp"):
        run_training(tiny_config(tmp_path, validation=2), tmp_path, sinks=[HistorySink(path)])
    assert [record.getMessage() for record in caplog.records][-1].startswith("time: ")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    epochs = [line for line in lines if line["event"] == "epoch"]
    assert len(epochs) == 3
    for line in epochs:
        shares = {name: value for name, value in line.items() if name.startswith("time/")}
        assert shares.keys() == {"time/data", "time/forward_backward", "time/update", "time/validate_save"}
        assert all(value > 0 for value in shares.values())
        assert 0.8 < sum(shares.values()) <= 1.001
