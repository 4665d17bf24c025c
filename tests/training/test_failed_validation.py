"""A validation that fails costs no step of the training before it."""

from __future__ import annotations

import re

import attrs
import pytest

from cogkp.errors import EvaluationError, TrainingError
from cogkp.tasks.registry import build_task
from cogkp.training.plan import plan_training
from cogkp.training.trainer import fit
from tests.builders.tiny_keypoints import tiny_config
from tests.builders.training import OPTIONS, Keeper, loaders, run_training


def test_a_validation_that_cannot_be_judged_does_not_cost_the_epoch(tmp_path):
    config, keeper = tiny_config(tmp_path, validation=2), Keeper()
    labels = tmp_path / "held_out" / "data.jsonl"
    labels.write_text(re.sub(r"\d+\.\d+", "9999.0", labels.read_text()))
    task = build_task(config)
    with pytest.raises(EvaluationError, match="nothing to evaluate"):
        fit(task, plan_training(OPTIONS, frozenset(), None), loaders(task, OPTIONS), [], keeper)
    assert keeper.positions == [(0, 2)]


def test_predictions_that_are_no_numbers_end_the_training_and_name_the_last_good_checkpoint(tmp_path):
    config = tiny_config(tmp_path, validation=2)
    wild = attrs.evolve(OPTIONS, batch_size=8, learning_rate=1e37)
    with pytest.raises(
        TrainingError, match=r"validation after epoch 1: got .* in held_out:1 B, .*No checkpoint was saved"
    ):
        run_training(config, tmp_path / "run", options=wild)
