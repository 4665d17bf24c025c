"""The axis of every log only rises, whatever a restored training changes."""

from __future__ import annotations

import csv
import json
from itertools import pairwise
from pathlib import Path

import attrs
import pytest

from cogkp.artifacts.checkpoint import load_checkpoint
from cogkp.training.interrupt import Interrupt
from cogkp.workflows.train import train
from tests.builders.tiny_boxes import tiny_experiment
from tests.builders.tiny_keypoints import tiny_config
from tests.builders.training import OPTIONS


class StopAfter:
    """A logger that asks to stop after a step, as a scheduler does."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def start(self, model, example) -> None: ...
    def epoch(self, event) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...

    def step(self, event) -> None:
        import signal

        self.left -= 1
        if not self.left:
            signal.raise_signal(signal.SIGTERM)


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def rises(numbers) -> bool:
    return all(a < b for a, b in pairwise(numbers))


def points(folder: Path) -> list[int]:
    """Steps of the scalars in TensorBoard's files, in the order they were written."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import directory_check  # noqa: F401 - the package is there

    found = []
    for path in sorted(folder.glob("events.out.tfevents.*"), key=lambda path: int(path.name.rpartition(".")[2])):
        data = path.read_bytes()
        while data:
            length = int.from_bytes(data[:8], "little")
            event = Event.FromString(data[12 : 12 + length])
            found += [event.step] * any(value.tag == "train/loss" for value in event.summary.value)
            data = data[16 + length :]
    return found


@pytest.mark.parametrize(("first", "second"), [(2, 8), (8, 2), (4, 4)])
@pytest.mark.parametrize("stop_at", [None, 3])
def test_steps_rise_after_a_restore_with_another_batch_size(tmp_path, first, second, stop_at):
    config = tiny_config(tmp_path)
    options = attrs.evolve(OPTIONS, epochs=2, batch_size=first, log_interval=1)
    places = {"checkpoint_root": tmp_path / "runs", "log_dir": tmp_path / "logs"}
    stop = [] if stop_at is None else [StopAfter(stop_at)]
    begun = train(config, options, sinks=stop, report=False, **places)
    taken = load_checkpoint(begun.checkpoint).state.steps_taken
    again = train(
        config,
        attrs.evolve(options, batch_size=second),
        restore="latest",
        given=frozenset({"batch_size"} | ({"epochs"} if not begun.interrupted else set())),
        report=False,
        **places,
    )
    told = lines(again.run_dir)
    assert rises([line["step"] for line in told if line["event"] == "step"])
    assert rises([line["step"] for line in told if line["event"] == "epoch"])
    assert rises(points(tmp_path / "logs" / again.run_dir.name))
    with (again.run_dir / "metrics.csv").open() as file:
        assert rises([int(row["step"]) for row in csv.DictReader(file)])
    state = load_checkpoint(again.checkpoint).state
    assert state.steps_taken == told[-1]["step"] > taken


def test_status_rises_too_and_its_end_stays_ahead(tmp_path):
    config = tiny_experiment(tmp_path, width=0.125)
    config = attrs.evolve(config, results_dir=str(tmp_path / "results"))

    def trained(batch: int, epochs: int):
        data, section = attrs.evolve(config.dataset, batch_size=batch), attrs.evolve(config.train, num_epochs=epochs)
        section = attrs.evolve(section, checkpoint_interval=1, validation_interval=epochs)
        return train(attrs.evolve(config, dataset=data, train=section), report=False)

    trained(1, 2)
    found = trained(4, 4)
    status = [json.loads(line) for line in (found.run_dir / "status.json").read_text().splitlines()]
    told = [line for line in status if "max_step" in line]
    assert [line["step"] for line in told] == [4, 8, 9, 10]
    assert all(line["step"] <= line["max_step"] for line in told)
    assert [line["step"] for line in lines(found.run_dir) if line["event"] == "epoch"] == [4, 8, 9, 10]


def test_a_second_signal_of_a_scheduler_does_not_tear_the_save():
    import signal

    interrupt = Interrupt()
    for _ in range(3):
        interrupt(signal.SIGTERM, None)
    assert interrupt.signal == signal.SIGTERM
    with pytest.raises(KeyboardInterrupt):
        interrupt(signal.SIGINT, None)
