"""The table of epochs is that of the history, also where a training died and went on."""

from __future__ import annotations

import csv
import json

import pytest
import torch

from cogkp.training.history import EpochTableSink, HistorySink
from cogkp.training.learner import BatchResult
from cogkp.training.sinks import EpochEvent, StepEvent

MODEL, EXAMPLE = torch.nn.Linear(1, 1), torch.zeros(1)
STEP = StepEvent(1, 1, 4, 0.1, BatchResult(None, {"loss": 1.0}, 2.0), MODEL, None)


def epoch(number: int, **figures: float) -> EpochEvent:
    return EpochEvent(number, 3 * number + 3, 0.1, {"loss": 1.0 / (number + 1), **figures})


def trained(folder, events, restored=None):
    history = HistorySink(folder / "metrics.jsonl", log_interval=1, restored=restored)
    table = EpochTableSink(folder / "metrics.csv", history.kept)
    for sink in (history, table):
        sink.start(MODEL, EXAMPLE)
        for event in events:
            (sink.step if isinstance(event, StepEvent) else sink.epoch)(event)
        sink.flush()
        sink.close()


def rows(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def of_history(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    names = rows(folder)[0].keys()
    return [
        {name: "" if line.get(name) is None else str(line[name]) for name in names}
        for line in lines
        if line["event"] == "epoch"
    ]


EPOCHS = [epoch(n, **{"validation/error_mean_px": 5.0 - n}) for n in range(4)]


@pytest.mark.parametrize("died", range(5))
@pytest.mark.parametrize("restored", [(0, 0), (1, 0), (1, 1), (2, 0)])
def test_a_run_that_dies_and_goes_on_has_each_epoch_once(tmp_path, died, restored):
    trained(tmp_path, EPOCHS[: max(died, restored[0])])
    trained(tmp_path, EPOCHS[restored[0] :], restored)
    assert [row["epoch"] for row in rows(tmp_path)] == ["1", "2", "3", "4"]
    assert rows(tmp_path) == of_history(tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_columns_keep_their_order_and_figures_may_come_late_or_be_no_number(tmp_path):
    trained(tmp_path, [epoch(0, b=1.0), STEP, epoch(1, a=2.0, b=float("nan")), epoch(2)])
    assert (tmp_path / "metrics.csv").read_text().splitlines() == [
        "epoch,step,learning_rate,loss,a,b",
        "1,3,0.1,1.0,,1.0",
        "2,6,0.1,0.5,2.0,",
        "3,9,0.1,0.3333333333333333,,",
    ]


def test_a_new_run_takes_away_what_lay_there(tmp_path):
    (tmp_path / "metrics.csv").write_text("old\n")
    trained(tmp_path, [STEP])
    assert not (tmp_path / "metrics.csv").exists()


def test_the_head_shows_control_characters(tmp_path):
    trained(tmp_path, [epoch(0, **{"tip\x1b[31m\n": 1.0})])
    text = (tmp_path / "metrics.csv").read_text()
    assert "tip\\x1b[31m\\n" in text
    assert len(text.splitlines()) == 2
