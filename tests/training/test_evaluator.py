from __future__ import annotations

import pytest
import torch
from torch import nn

from cogkp.data.loader import build_loader
from cogkp.errors import EvaluationError
from cogkp.tasks.registry import build_task
from cogkp.training.evaluator import evaluate, evaluating, torch_predictor
from cogkp.training.precision import resolve_precision
from tests.builders.tiny_keypoints import tiny_config, write_recording


def test_any_callable_can_be_evaluated_and_batching_does_not_matter(tmp_path):
    task = build_task(tiny_config(tmp_path, frames=5, segmentation=True))
    predict = torch_predictor(task.model.eval(), resolve_precision("fp32", torch.device("cpu")))
    reports = [
        evaluate(predict, task, build_loader(task.datasets("evaluation"), batch_size=size)).scalars() for size in (2, 5)
    ]
    assert reports[0] == pytest.approx(reports[1], rel=1e-3)
    assert reports[0].keys() >= {"error_mean_px", "mask_iou", "pck_5px"}


def test_a_recording_without_labels_is_no_evaluation(tmp_path):
    config = tiny_config(tmp_path, frames=1)
    write_recording(tmp_path / "bare", 2, labelled=False)
    task = build_task(config)
    loader = build_loader(build_task(_with_root(config, tmp_path / "bare")).datasets("evaluation"), batch_size=2)
    predict = torch_predictor(task.model.eval(), resolve_precision("fp32", torch.device("cpu")))
    with pytest.raises(EvaluationError, match="none of 2 images"):
        evaluate(predict, task, loader)


def _with_root(config, root):
    import attrs

    return attrs.evolve(config, base_dir=(str(root),))


def test_every_part_of_a_network_gets_its_own_mode_back():
    model = nn.Sequential(nn.BatchNorm2d(2), nn.Dropout())
    model.train()
    model[0].eval()
    with evaluating(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == [True, False, True]
