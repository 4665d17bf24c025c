from __future__ import annotations

import logging
import math

import attrs
import pytest
import torch
from torch import nn

from cogkp.training.learner import BatchResult
from cogkp.training.sanity import Watchdog
from cogkp.training.sinks import StepEvent
from cogkp.workflows.train import train
from tests.builders.tiny_keypoints import tiny_config
from tests.builders.training import OPTIONS


class TwoHeads(nn.Module):
    """A network one head of which nobody asks."""

    def __init__(self, *, asked: float | None) -> None:
        super().__init__()
        self.body = nn.Linear(2, 3)
        self.point_head = nn.Linear(3, 2)
        self.mask_head = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
        self.asked = asked

    def loss(self) -> torch.Tensor:
        features = self.body(torch.ones(1, 2))
        points = self.point_head(features).square().sum()
        return points if self.asked is None else points + self.asked * self.mask_head(features).sum()


def watched(caplog, *, steps: int, asked: float | None, losses=math.sin, limit: int = 50, keep=None) -> list[str]:
    """The warnings of a training of so many steps."""
    torch.manual_seed(0)
    model, dog = TwoHeads(asked=asked), Watchdog(limit)
    if keep:
        model.get_submodule(keep).requires_grad_(False)
    dog.start(model, torch.zeros(1, 2))
    with caplog.at_level(logging.WARNING, "cogkp"):
        for step in range(steps):
            model.zero_grad()
            model.loss().backward()
            comparison = BatchResult(None, {"loss": float(losses(step))}, 1.0)
            dog.step(StepEvent(0, step + 1, step + 1, 1e-3, comparison, model, None))
        dog.close()
    return caplog.messages


@pytest.mark.parametrize("asked", [0.0, None])
def test_a_head_without_gradient_is_named_once(caplog, asked):
    """Its gradient may be zero, or there may be none at all."""
    (said,) = watched(caplog, steps=120, asked=asked)
    assert said.startswith("no gradient reached mask_head (21 weights) in the first 50 steps: ")


def test_a_head_that_heard_once_is_not_silent(caplog):
    assert watched(caplog, steps=60, asked=1e-6) == []


def test_a_frozen_part_is_not_missed(caplog):
    assert watched(caplog, steps=60, asked=0.0, keep="mask_head") == []


def test_a_loss_that_stands_still_is_told_once(caplog):
    (said,) = watched(caplog, steps=120, asked=1.0, losses=lambda _step: 0.7)
    assert said.startswith("the loss was 0.7 in each of the first 50 steps: ")


@pytest.mark.parametrize("moved", [1, 25, 49])
def test_a_loss_that_moved_once_is_none(caplog, moved):
    assert watched(caplog, steps=60, asked=1.0, losses=lambda step: 0.7 + 1e-4 * (step == moved)) == []


@pytest.mark.parametrize(("steps", "warnings"), [(9, 0), (10, 2), (49, 2), (50, 2), (51, 2)])
def test_a_short_training_is_judged_at_its_end(caplog, steps, warnings):
    assert len(watched(caplog, steps=steps, asked=0.0, losses=lambda _step: 0.0)) == warnings


def test_a_training_that_stands_still_is_warned_of_and_goes_on(tmp_path, caplog):
    options = attrs.evolve(OPTIONS, epochs=6, learning_rate=1e-30, overfit_one_batch=True)
    with caplog.at_level(logging.WARNING, "cogkp"):
        result = train(tiny_config(tmp_path), options, checkpoint_root=tmp_path / "runs", log_dir=None)
    assert result.epochs == 6
    (said,) = [line for line in caplog.messages if "first 12 steps" in line]
    assert said.startswith("the loss was ")


def test_a_training_that_learns_is_not_warned_of(tmp_path, caplog):
    options = attrs.evolve(OPTIONS, epochs=6)
    with caplog.at_level(logging.WARNING, "cogkp"):
        train(tiny_config(tmp_path, segmentation=True), options, checkpoint_root=tmp_path / "runs", log_dir=None)
    assert caplog.messages == []
