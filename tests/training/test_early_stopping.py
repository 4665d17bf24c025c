from __future__ import annotations

import logging

import attrs
import pytest

from cogkp.artifacts.checkpoint import load_checkpoint
from cogkp.training.interrupt import Patience
from cogkp.workflows.train import train
from tests.builders.tiny_keypoints import tiny_config
from tests.builders.training import OPTIONS, run_training

PATIENT = attrs.evolve(OPTIONS, epochs=9, patience=2)


def test_it_ends_so_many_validations_after_the_best():
    ended = [epoch for epoch in range(1, 10) if Patience(3, 0).reason(epoch, {"error": 1.0, "epoch": 4})]
    assert ended == [7, 8, 9]


def test_a_new_course_starts_the_wait_anew():
    ended = [epoch for epoch in range(1, 12) if Patience(3, 6).reason(epoch, {"error": 1.0, "epoch": 4})]
    assert ended == [9, 10, 11]


def test_without_a_limit_or_a_figure_nothing_ends():
    assert not Patience(0, 0).reason(50, {"error": 1.0, "epoch": 1})
    assert not Patience(1, 0).reason(50, None)


def unbeatable(path, epoch: int):
    """The checkpoint, as if its best validation could not be beaten."""
    saved = load_checkpoint(path)
    return attrs.evolve(saved, state=attrs.evolve(saved.state, best={"error": 0.0, "epoch": epoch}))


def test_a_training_stops_and_says_where_and_why_also_when_it_is_restored(tmp_path, caplog):
    config = tiny_config(tmp_path, validation=2)
    _, first = run_training(config, tmp_path, options=attrs.evolve(PATIENT, epochs=1))
    saved = unbeatable(first.checkpoint, 1)
    saved = attrs.evolve(saved, state=attrs.evolve(saved.state, target_epochs=9))
    with caplog.at_level(logging.INFO, "cogkp"):
        _, result = run_training(config, tmp_path, restored=saved, options=PATIENT)
    assert (result.epochs, result.steps, result.interrupted) == (3, 4, False)
    assert (
        "stopped early after epoch 3: no validation was better than the error 0 of epoch 1, patience 2" in caplog.text
    )
    assert result.stopped in caplog.text

    stopped = load_checkpoint(result.checkpoint)
    _, again = run_training(config, tmp_path, restored=stopped)
    assert (again.epochs, again.steps, again.stopped) == (3, 0, result.stopped)
    assert load_checkpoint(again.checkpoint).state.position == (3, 0)

    more = attrs.evolve(PATIENT, epochs=5)
    _, further = run_training(config, tmp_path, options=more, given=frozenset({"epochs"}), restored=stopped)
    assert (further.epochs, bool(further.stopped)) == (5, True)


def test_a_training_that_gets_better_is_left_alone(tmp_path):
    config = tiny_config(tmp_path, validation=2)
    _, result = run_training(config, tmp_path, options=attrs.evolve(PATIENT, epochs=2))
    assert (result.epochs, result.stopped, result.interrupted) == (2, "", False)


def test_the_workflow_hands_the_reason_on(tmp_path):
    config = tiny_config(tmp_path, validation=2)
    options = attrs.evolve(OPTIONS, epochs=60, patience=1, learning_rate=1.0)
    result = train(config, options, checkpoint_root=tmp_path / "runs", log_dir=None)
    assert result.stopped.startswith(f"stopped early after epoch {result.epochs}: ")
    assert not result.interrupted
    best = load_checkpoint(result.best).state
    assert best.epoch == result.epochs - 1
    again = train(config, options, restore="latest", checkpoint_root=tmp_path / "runs", log_dir=None)
    assert (again.stopped, again.epochs) == (result.stopped, result.epochs)


@pytest.mark.parametrize(("norm", "longest"), [(0.5, 0.5), (0.0, float("inf"))])
def test_gradients_are_shortened_to_the_norm_that_was_asked_for(norm, longest):
    from tests.training.test_learner import batch_of, gradients, learner

    batch = attrs.evolve(batch_of(8), image=100 * batch_of(8).image)
    one = learner(clip_norm=norm)
    found = one.compare(batch).gradient_norm
    assert found > 0.5
    assert gradients(one).norm().item() == pytest.approx(min(found, longest), rel=1e-4)
