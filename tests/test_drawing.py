"""Images of batches say the same as the figures beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cogkp import drawing
from cogkp.tasks.base import Task
from cogkp.tasks.registry import build_task
from cogkp.training.evaluator import evaluate, torch_predictor
from cogkp.training.precision import resolve_precision
from cogkp.visual.figure import error_caption
from cogkp.workflows.setup import spread
from tests.builders.tiny_keypoints import tiny_config


@pytest.fixture
def task(tmp_path: Path) -> Task:
    return build_task(tiny_config(tmp_path, frames=5))


def test_captions_agree_with_the_evaluation(task, monkeypatch):
    seen = []
    monkeypatch.setattr(drawing, "comparison_sheet", lambda comparisons, names, title: seen.extend(comparisons))
    predict = torch_predictor(task.model.eval(), resolve_precision("fp32"))
    batch = spread(task.datasets("evaluation"), 1)
    drawing.draw_comparison(task.codec, predict, batch)
    mean = evaluate(predict, task, [batch]).scalars()["error_mean_px"]
    assert error_caption(seen[0]).startswith(f"mean {mean:.1f} px")
    assert seen[0].name == batch.ids[0]


def test_a_grid_has_a_legend_below(task):
    batch = spread(task.datasets("preview"), 4)
    grid = drawing.draw_batch(task.codec, batch)
    side = grid.shape[1]
    assert side < grid.shape[0] < 1.2 * side
    legend = grid[side:]
    assert len(np.unique(legend.reshape(-1, 3), axis=0)) > 10
