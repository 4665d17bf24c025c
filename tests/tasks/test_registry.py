from __future__ import annotations

import pytest

from cogkp.config.keypoint.spec import KeypointConfig, LossTerm, LossTerms
from cogkp.errors import CogkpError, TrainingError
from cogkp.tasks.keypoint.task import KeypointTask
from cogkp.tasks.registry import build_task


def test_the_class_of_a_configuration_chooses_the_task():
    assert isinstance(build_task(KeypointConfig()), KeypointTask)


def test_an_unknown_class_is_named():
    with pytest.raises(CogkpError, match="expected KeypointConfig, CenterPoseConfig, got dict"):
        build_task({})


def test_a_model_can_be_built_and_described_where_its_loss_cannot_run():
    terms = LossTerms(triangulation_reprojection_loss=LossTerm(weight=1.0))
    task = build_task(KeypointConfig(loss_terms=terms))
    assert task.export_spec(2).inputs["input"].shape == (2, 1, 256, 256)
    with pytest.raises(TrainingError, match="cannot run"):
        _ = task.loss
