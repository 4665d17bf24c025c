"""The history reads as if nothing had happened."""

from __future__ import annotations

import json

import pytest
import torch

from cogkp.errors import OutputError
from cogkp.training.history import HistorySink, lines_before
from cogkp.training.learner import BatchResult
from cogkp.training.sinks import EpochEvent, StepEvent

MODEL, EXAMPLE = torch.nn.Linear(1, 1), torch.zeros(1)


def step(epoch: int, done: int, loss: float = 1.0) -> StepEvent:
    return StepEvent(epoch, done, epoch * 3 + done, 0.1, BatchResult(None, {"loss": loss}, 2.0), MODEL, None)


def epoch(number: int) -> EpochEvent:
    return EpochEvent(number, 3 * number + 3, 0.1, {"loss": 1.0, "validation/error_mean_px": 3.5})


def told(path, events, **settings):
    sink = HistorySink(path, **{"log_interval": 1, **settings})
    sink.start(MODEL, EXAMPLE)
    for event in events:
        (sink.step if isinstance(event, StepEvent) else sink.epoch)(event)
    sink.flush()
    sink.close()
    return [json.loads(line) for line in path.read_text().splitlines()]


WHOLE = [step(0, 1), step(0, 2), step(0, 3), epoch(0), step(1, 1), step(1, 2), step(1, 3), epoch(1)]


def without_time(lines):
    return [{name: value for name, value in line.items() if name != "time"} for line in lines]


@pytest.mark.parametrize("died", range(len(WHOLE) + 1))
@pytest.mark.parametrize(
    ("position", "rest"), [((0, 0), 0), ((0, 2), 2), ((0, 3), 3), ((1, 0), 4), ((1, 1), 5), ((1, 3), 7), ((2, 0), 8)]
)
def test_dying_anywhere_after_a_save_and_going_on_gives_the_same_lines(tmp_path, died, position, rest):
    whole = told(tmp_path / "whole.jsonl", WHOLE)
    path = tmp_path / "metrics.jsonl"
    told(path, WHOLE[: max(died, rest)])
    with path.open("a") as file:
        file.write('{"event": "step", "epo')
    assert without_time(told(path, WHOLE[rest:], restored=position)) == without_time(whole)


def test_a_run_that_goes_on_elsewhere_takes_its_history_along(tmp_path):
    told(tmp_path / "old.jsonl", WHOLE)
    lines = told(tmp_path / "new.jsonl", [step(1, 2)], restored=(1, 1), earlier=tmp_path / "old.jsonl")
    assert [line["step"] for line in lines] == [1, 2, 3, 3, 4, 5]
    assert len((tmp_path / "old.jsonl").read_text().splitlines()) == len(WHOLE)


def test_a_new_run_begins_anew_and_steps_are_thinned_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("something else\n")
    lines = told(path, WHOLE, log_interval=4)
    assert [(line["event"], line["step"]) for line in lines] == [("step", 1), ("epoch", 3), ("step", 5), ("epoch", 6)]
    assert lines[1]["validation/error_mean_px"] == 3.5


def test_what_is_no_number_is_null(tmp_path):
    (line,) = told(tmp_path / "metrics.jsonl", [step(0, 1, float("nan"))])
    assert line["loss"] is None


@pytest.mark.parametrize("text", ["", "no json", "[]", '{"event": "step"}', '{"epoch": "x"}', "\x00\xff"])
def test_lines_that_are_none_are_dropped(tmp_path, text):
    (tmp_path / "metrics.jsonl").write_text(text)
    assert lines_before(tmp_path / "metrics.jsonl", (9, 9)) == []
    assert lines_before(tmp_path / "none.jsonl", (9, 9)) == []


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(OutputError, match=r"metrics\.jsonl"):
        told(tmp_path / "metrics.jsonl", [])
