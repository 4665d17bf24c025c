from __future__ import annotations

import attrs
import pytest

from cogkp.artifacts.checkpoint import Checkpoint, Provenance, TrainingState
from cogkp.config.train import TrainOptions
from cogkp.errors import CheckpointError
from cogkp.training.optim import Schedule
from cogkp.training.plan import plan_training

SAVED = TrainOptions(epochs=50, batch_size=8, learning_rate=3e-3, seed=5, precision="bf16")
DEFAULTS = TrainOptions()


def checkpoint(epoch: int, step: int = 0, target: int = 50, options=None) -> Checkpoint:
    state = TrainingState(
        weights={},
        optimizer={},
        schedule=Schedule.over(3e-3, 50).to_dict(),
        rng={},
        epoch=epoch,
        step=step,
        target_epochs=target,
    )
    saved = attrs.asdict(SAVED) if options is None else options
    provenance = Provenance(config={}, options=saved, points=("tip",), num_classes=None, data=(), run="20260101-000000")
    return Checkpoint(state=state, provenance=provenance)


def plan(found, *given: str, **options):
    return plan_training(attrs.evolve(DEFAULTS, **options), frozenset(given), found)


def test_a_fresh_start_does_what_the_options_say():
    fresh = plan(None, epochs=7, learning_rate=0.1)
    assert (fresh.epoch, fresh.step, fresh.last_epoch) == (0, 0, 7)
    assert fresh.schedule == Schedule.over(0.1, 7)


def test_an_interrupted_run_finishes_its_own_target_with_its_own_options():
    resumed = plan(checkpoint(12, step=3))
    assert (resumed.epoch, resumed.step, resumed.last_epoch) == (12, 3, 50)
    assert resumed.options == SAVED
    assert resumed.schedule == Schedule.over(3e-3, 50)
    assert resumed.line == (
        "resume run 20260101-000000 after 12 of 50 epochs and 3 steps, finish its 50 epochs, "
        "batch 8, learning rate 0.003"
    )


def test_one_is_one():
    assert plan(None, epochs=1).line.startswith("train 1 epoch, batch 32")
    further = plan(checkpoint(1, step=1, target=1), "epochs", epochs=1)
    assert "after 1 of 1 epoch and 1 step, train 1 further epoch to 2" in further.line
    assert "finish its 1 epoch, " in plan(checkpoint(0, step=3, target=1)).line


def test_options_that_are_spelled_out_win_over_the_saved_ones():
    resumed = plan(checkpoint(12), "num_workers", "learning_rate", num_workers=0, learning_rate=0.5)
    assert resumed.options == attrs.evolve(SAVED, num_workers=0, learning_rate=0.5)
    assert resumed.schedule == attrs.evolve(Schedule.over(3e-3, 50), base_rate=0.5)


def test_another_batch_size_starts_the_epoch_under_way_again():
    resumed = plan(checkpoint(12, step=3), "batch_size", batch_size=16)
    assert (resumed.epoch, resumed.step) == (12, 0)
    assert "starts again with the new batch size" in resumed.line


def test_a_finished_run_trains_the_default_number_more():
    more = plan(checkpoint(50))
    assert (more.epoch, more.last_epoch) == (50, 150)
    assert more.options == attrs.evolve(SAVED, epochs=100)
    assert more.schedule == Schedule.over(3e-3, 100, first_epoch=50)


@pytest.mark.parametrize("done", [12, 50])
def test_a_number_of_epochs_means_so_many_further_ones_on_a_fresh_course(done):
    more = plan(checkpoint(done, step=3 if done < 50 else 0), "epochs", epochs=20)
    assert (more.epoch, more.step, more.last_epoch) == (done, 0, done + 20)
    assert more.schedule == Schedule.over(3e-3, 20, first_epoch=done)
    assert f"train 20 further epochs to {done + 20}" in more.line


def test_a_further_training_takes_the_given_rate():
    more = plan(checkpoint(50), "epochs", "learning_rate", epochs=20, learning_rate=0.5)
    assert more.schedule == Schedule.over(0.5, 20, first_epoch=50)


def test_the_plan_is_one_line():
    plans = [plan(None), plan(checkpoint(12)), plan(checkpoint(50)), plan(checkpoint(12), "epochs", epochs=1)]
    assert all(one.line and "\n" not in one.line for one in plans)


@pytest.mark.parametrize("options", [{"epochz": 3}, {"epochs": -1}])
def test_options_that_are_none_are_refused(options):
    with pytest.raises(CheckpointError, match="training options"):
        plan(checkpoint(3, options=options))


def test_every_epoch_is_validated_unless_asked_otherwise_and_the_last_one_always():
    every = plan(None, epochs=5)
    assert [every.validates(epoch) for epoch in range(5)] == [True] * 5
    some = attrs.evolve(every, validate_every=2)
    assert [some.validates(epoch) for epoch in range(5)] == [False, True, False, True, True]


def test_a_validation_follows_every_so_many_epochs_and_the_last_one():
    plan = attrs.evolve(plan_training(TrainOptions(epochs=7), frozenset(), None), validate_every=3)
    assert [epoch for epoch in range(plan.last_epoch) if plan.validates(epoch)] == [2, 5, 6]
