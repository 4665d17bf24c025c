from __future__ import annotations

import logging

from cogkp.training.history import EpochLines


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def told(caplog, seconds: float, epochs: int, headline: str = "") -> list[str]:
    clock = Clock()
    lines = EpochLines(epochs, clock)
    with caplog.at_level(logging.INFO, "cogkp"):
        for epoch in range(epochs):
            clock.now += seconds
            lines.log_epoch(epoch, 3.2149 / (epoch + 1), headline, seconds)
    return [record.getMessage() for record in caplog.records]


def test_an_epoch_is_one_short_line(caplog):
    lines = told(caplog, 8.2, 12, "validation mean 5.61 px, mask IoU 0.930")
    assert len(lines) == 12
    assert lines[0] == "epoch 1/12: loss 3.21, validation mean 5.61 px, mask IoU 0.930, 8.2 s"


def test_without_validation_the_loss_is_told(caplog):
    assert told(caplog, 60.0, 1) == ["epoch 1/1: loss 3.21, 60.0 s"]


def test_epochs_that_fly_by_are_told_now_and_then_the_first_and_the_last_always(caplog):
    numbers = [int(line.split("/")[0].removeprefix("epoch ")) for line in told(caplog, 0.25, 70)]
    assert numbers == [1, 21, 41, 61, 70]
