from __future__ import annotations

import pytest
import torch
from torch import nn

from cogkp.training.optim import WEIGHT_DECAY, MultiStep, Schedule, build_optimizer, set_rate

STEPS = 4


@pytest.mark.parametrize("epochs", [1, 3, 5, 12, 100])
def test_after_the_warm_up_the_rate_equals_torchs_step_lr(epochs):
    schedule = Schedule.over(1e-2, epochs)
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1e-2)
    step_size = epochs // 5 if epochs >= 5 else 1
    reference = torch.optim.lr_scheduler.StepLR(optimizer, step_size=step_size, gamma=0.33)
    for epoch in range(epochs):
        assert schedule.rate(epoch, STEPS - 1, STEPS) == pytest.approx(reference.get_last_lr()[0])
        optimizer.step()
        reference.step()


def test_the_warm_up_rises_to_the_base_rate_and_stays_inside_the_first_epoch():
    short = Schedule.over(0.1, 10)
    rates = [short.rate(0, step, STEPS) for step in range(STEPS)]
    assert rates == sorted(rates)
    assert rates[0] > 0
    assert rates[-1] == pytest.approx(0.1)
    long = [short.rate(0, step, 1000) for step in range(1000)]
    assert long[short.warmup_steps - 1 :] == [pytest.approx(0.1)] * (1001 - short.warmup_steps)
    assert short.rate(1, 0, 1000) == pytest.approx(0.1)


def test_a_later_course_is_the_same_course_moved():
    early, late = Schedule.over(0.1, 10), Schedule.over(0.1, 10, first_epoch=7)
    for epoch in range(10):
        assert early.rate(epoch, 1, STEPS) == late.rate(epoch + 7, 1, STEPS)


def test_a_course_survives_being_saved():
    schedule = Schedule.over(0.1, 10, first_epoch=7)
    assert Schedule.from_dict(schedule.to_dict()) == schedule


def test_norms_and_biases_are_not_decayed():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1, bias=False))
    decayed, kept = build_optimizer(model, 0.1).param_groups
    assert {id(p) for p in decayed["params"]} == {id(model[0].weight), id(model[2].weight)}
    assert {id(p) for p in kept["params"]} == {id(model[0].bias), id(model[1].weight), id(model[1].bias)}
    assert (decayed["weight_decay"], kept["weight_decay"]) == (WEIGHT_DECAY, 0.0)


def test_a_frozen_parameter_is_left_out():
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    optimizer = build_optimizer(model, 0.1)
    assert [p for group in optimizer.param_groups for p in group["params"]] == [model.weight]


def test_the_rate_reaches_every_group():
    optimizer = build_optimizer(nn.Linear(2, 2), 0.1)
    set_rate(optimizer, 0.5)
    assert {group["lr"] for group in optimizer.param_groups} == {0.5}


@pytest.mark.parametrize("falls", [(), (2,), (1, 3, 4)])
def test_a_course_of_steps_equals_torchs_multi_step_lr(falls):
    schedule = MultiStep(1e-2, falls, 0.1)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1e-2)
    reference = torch.optim.lr_scheduler.MultiStepLR(optimizer, list(falls), gamma=0.1)
    for epoch in range(6):
        assert schedule.rate(epoch, 0, STEPS) == pytest.approx(reference.get_last_lr()[0])
        optimizer.step()
        reference.step()


def test_without_decay_it_is_torchs_adam():
    torch.manual_seed(0)
    ours, theirs = nn.Linear(3, 2), nn.Linear(3, 2)
    theirs.load_state_dict(ours.state_dict())
    optimizers = build_optimizer(ours, 0.1, 0.0), torch.optim.Adam(theirs.parameters(), lr=0.1)
    for _ in range(5):
        inputs = torch.randn(4, 3)
        for model, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            model(inputs).square().sum().backward()
            optimizer.step()
    for mine, reference in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(mine, reference, atol=1e-6)
