from __future__ import annotations

import attrs
import pytest
import torch
from torch import nn

from cogkp.artifacts.checkpoint import load_checkpoint
from cogkp.artifacts.restore import open_checkpoint
from cogkp.config.train import TrainOptions
from cogkp.errors import ConfigError
from cogkp.training.optim import WeightAverage
from cogkp.workflows.evaluate import evaluate
from cogkp.workflows.setup import restored_task
from cogkp.workflows.train import train
from tests.builders.tiny_keypoints import tiny_config
from tests.builders.training import OPTIONS, run_training
from tests.training.test_trainer import Stopper

AVERAGED = attrs.evolve(OPTIONS, ema_decay=0.8)


def same(first, second) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_the_average_is_the_recursion_written_out():
    model = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    average = WeightAverage(model, 0.5)
    expected = model[0].weight.item()
    for step in range(1, 20):
        with torch.no_grad():
            model[0].weight.fill_(step)
            model[1].running_var.fill_(10.0 * step)
            model[1].num_batches_tracked.fill_(step)
        average.follow(model)
        kept = min(0.5, step / (step + 9))
        expected = kept * expected + (1 - kept) * step
    assert float(average.model[0].weight) == pytest.approx(expected)
    assert expected == pytest.approx(18.0, abs=1e-3)
    assert float(average.model[1].running_var) == pytest.approx(10 * expected, rel=1e-4)
    assert int(average.model[1].num_batches_tracked) == 19
    assert model[0].weight.item() == 19


def test_weights_that_stand_still_are_their_own_average():
    model = nn.Linear(3, 3)
    average = WeightAverage(model, 0.999)
    for _ in range(5):
        average.follow(model)
    assert same(average.weights(), dict(model.state_dict()))


def test_an_average_changes_nothing_in_the_training_and_is_what_is_validated(tmp_path):
    config = tiny_config(tmp_path, validation=2)
    _, plain = run_training(config, tmp_path / "plain")
    task, result = run_training(config, tmp_path / "averaged", options=AVERAGED)
    raw, found = (load_checkpoint(one.checkpoint).state for one in (plain, result))
    assert same(raw.weights, found.weights)
    assert raw.average is None
    assert found.averaged_steps == 6
    assert not same(found.weights, found.average)
    assert same(found.average, dict(task.model.state_dict()))
    assert not task.model.training
    assert result.scalars["validation/error_mean_px"] != plain.scalars["validation/error_mean_px"]


@pytest.mark.parametrize("stop_after", [1, 2, 5])
def test_stopping_and_going_on_gives_the_same_average(tmp_path, stop_after):
    config = tiny_config(tmp_path, validation=2)
    _, done = run_training(config, tmp_path / "whole", options=AVERAGED)
    _, part = run_training(config, tmp_path / "parts", options=AVERAGED, sinks=[Stopper(stop_after)])
    _, rest = run_training(config, tmp_path / "parts", restored=load_checkpoint(part.checkpoint))
    whole, resumed = (load_checkpoint(one.checkpoint).state for one in (done, rest))
    assert same(whole.weights, resumed.weights)
    assert same(whole.average, resumed.average)
    assert (whole.averaged_steps, whole.best) == (resumed.averaged_steps, resumed.best)
    assert rest.scalars == done.scalars


def test_an_average_may_begin_and_end_with_a_restore(tmp_path):
    config, given = tiny_config(tmp_path), frozenset({"epochs", "ema_decay"})
    _, plain = run_training(config, tmp_path)
    saved = load_checkpoint(plain.checkpoint)
    _, begun = run_training(config, tmp_path, options=AVERAGED, given=given, restored=saved)
    averaged = load_checkpoint(begun.checkpoint)
    assert averaged.state.averaged_steps == 6
    _, ended = run_training(config, tmp_path, options=OPTIONS, given=given, restored=averaged)
    assert load_checkpoint(ended.checkpoint).state.average is None


def test_evaluation_and_deployment_read_the_average(tmp_path):
    config = tiny_config(tmp_path, validation=2)
    trained = train(config, AVERAGED, checkpoint_root=tmp_path / "runs", log_dir=None)
    report = evaluate(config, model=str(trained.checkpoint), split="validation").report
    assert report["overall"]["mean_px"] == pytest.approx(trained.scalars["validation/error_mean_px"], rel=1e-5)

    task = restored_task(config, open_checkpoint(str(trained.checkpoint), tmp_path / "runs"))  # as a deployment does
    assert same(dict(task.model.state_dict()), load_checkpoint(trained.checkpoint).state.average)


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_a_decay_outside_its_range_is_refused(decay):
    with pytest.raises(ConfigError, match="ema_decay"):
        TrainOptions(ema_decay=decay)
