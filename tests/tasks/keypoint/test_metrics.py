from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from cogkp.data.keypoint.targets import KeypointTargets
from cogkp.data.sample import Batch
from cogkp.errors import EvaluationError
from cogkp.geometry.warp import ImageWarp
from cogkp.models.keypoint import KeypointMaskOutputs, KeypointOutputs
from cogkp.tasks.keypoint.codec import KeypointCodec
from cogkp.tasks.keypoint.metrics import KeypointMetrics, KeypointReport, PointRow

S = 8
CODEC = KeypointCodec(S, ("tip", "end"), segmentation=True)
HALF = ImageWarp.resize(0.5, 0.5)


def batch_of(uv_source, valid, labelled=None, mask=None) -> Batch[KeypointTargets]:
    uv = torch.tensor(uv_source)
    count = len(uv)
    seen = torch.tensor(valid)
    masks = torch.full((count, S, S), 255) if mask is None else mask
    said = seen if labelled is None else torch.tensor(labelled)
    targets = KeypointTargets(
        HALF.apply(uv), seen, uv, said, torch.zeros(*uv.shape[:2], 3), torch.zeros_like(seen), masks
    )
    ids = tuple(f"view {row}" for row in range(count))
    matrices = HALF.matrix.expand(count, 3, 3)
    pairs = torch.zeros(0, 2, dtype=torch.int64)
    return Batch(torch.zeros(count, 1, S, S), targets, matrices, torch.full((count, 2), 2 * S), pairs, ids)


def outputs_of(uv_source, logits=None):
    keypoints = HALF.apply(torch.tensor(uv_source))
    heatmaps = torch.full((*keypoints.shape[:2], 2, 2), 0.25)
    return KeypointOutputs(keypoints, heatmaps) if logits is None else KeypointMaskOutputs(keypoints, heatmaps, logits)


def test_figures_equal_a_calculation_by_hand_in_source_pixels():
    truth = [[[4.0, 4.0], [8.0, 8.0]], [[6.0, 6.0], [2.0, 2.0]]]
    found = [[[4.0, 7.0], [8.0, 8.0]], [[6.0, 5.0], [9.0, 9.0]]]
    metrics = KeypointMetrics(CODEC, None, thresholds_px=(1.5, 5.0))
    metrics.update(outputs_of(found), batch_of(truth, [[True, True], [True, False]], [[True, True], [True, True]]))
    report = metrics.compute()
    tip, end = report.points
    assert (tip.count, tip.mean_px, tip.median_px) == (2, pytest.approx(2.0), pytest.approx(2.0))
    assert tip.rmse_px == pytest.approx(np.sqrt(5.0))
    assert tip.p95_px == pytest.approx(2.9)
    assert tip.pck == {1.5: 0.5, 5.0: 1.0}
    assert (end.count, end.outside, end.mean_px) == (1, 1, pytest.approx(0.0, abs=1e-5))
    assert (report.overall.count, report.overall.outside) == (3, 1)
    assert report.views == 2


def test_the_headline_is_short_and_names_only_what_was_measured():
    row = PointRow.of("all", np.array([4.0, 4.4, 9.0]), 0, (2.0,))
    nothing = PointRow.of("all", np.zeros(0), 0, (2.0,))
    assert KeypointReport(3, (row,), row, ()).headline() == "mean 5.80 px, median 4.40 px"
    assert KeypointReport(3, (row,), row, (0.9, 0.96)).headline() == "mean 5.80 px, median 4.40 px, mask IoU 0.930"
    assert KeypointReport(3, (nothing,), nothing, (0.5, None)).headline() == "mask IoU 0.500"


def test_the_order_and_size_of_batches_do_not_matter():
    generator = np.random.default_rng(0)
    truth, found = (generator.uniform(0, 16, (12, 2, 2)).astype(np.float32) for _ in range(2))
    valid = generator.random((12, 2)) < 0.7
    reports = []
    for order, size in ((np.arange(12), 12), (generator.permutation(12), 5)):
        metrics = KeypointMetrics(CODEC, None)
        for start in range(0, 12, size):
            rows = order[start : start + size]
            metrics.update(outputs_of(found[rows]), batch_of(truth[rows], valid[rows]))
        reports.append(metrics.compute().scalars())
    assert reports[0] == pytest.approx(reports[1])


def test_mask_overlap_leaves_unknown_pixels_out():
    mask = torch.zeros(1, S, S, dtype=torch.int64)
    mask[0, :4] = 1
    mask[0, 0] = 255
    guess = torch.zeros(1, S, S, dtype=torch.int64)
    guess[0, :2] = 1
    logits = torch.nn.functional.one_hot(guess, 3).permute(0, 3, 1, 2).float()
    metrics = KeypointMetrics(CODEC, 3)
    uv = [[[4.0, 4.0], [8.0, 8.0]]]
    metrics.update(outputs_of(uv, logits), batch_of(uv, [[True, True]], mask=mask))
    report = metrics.compute()
    assert report.iou == (pytest.approx(32 / 48), pytest.approx(8 / 24), None)
    assert report.scalars()["mask_iou"] == pytest.approx((32 / 48 + 8 / 24) / 2)


def test_a_mask_alone_is_enough_to_evaluate():
    mask = torch.zeros(1, S, S, dtype=torch.int64)
    logits = torch.zeros(1, 2, S, S)
    metrics = KeypointMetrics(CODEC, 2)
    uv = [[[4.0, 4.0], [8.0, 8.0]]]
    metrics.update(outputs_of(uv, logits), batch_of(uv, [[False, False]], mask=mask))
    report = metrics.compute()
    assert report.overall.mean_px is None
    assert report.scalars() == {"mask_iou": 1.0}
    assert json.loads(json.dumps(report.to_dict()))["points"][0]["mean_px"] is None


def test_an_empty_evaluation_says_why():
    metrics = KeypointMetrics(CODEC, None)
    with pytest.raises(EvaluationError, match="holds no image"):
        metrics.compute()
    uv = [[[4.0, 4.0], [8.0, 8.0]]]
    metrics.update(outputs_of(uv), batch_of(uv, [[False, False]]))
    with pytest.raises(EvaluationError, match="none of 1 images has a labelled point or a mask"):
        metrics.compute()
    metrics.update(outputs_of(uv), batch_of(uv, [[False, False]], [[True, False]]))
    with pytest.raises(EvaluationError, match="all 1 labelled points of 2 images lie outside the crop"):
        metrics.compute()


def test_a_prediction_that_is_no_number_is_named():
    uv = [[[4.0, 4.0], [8.0, 8.0]]] * 2
    found = [[[4.0, 4.0], [8.0, 8.0]], [[float("nan"), 4.0], [8.0, 8.0]]]
    with pytest.raises(EvaluationError, match="view 1"):
        KeypointMetrics(CODEC, None).update(outputs_of(found), batch_of(uv, [[True, True]] * 2))


def test_the_table_has_a_line_per_point_of_equal_width():
    metrics = KeypointMetrics(CODEC, 2)
    uv = [[[4.0, 4.0], [8.0, 8.0]]]
    metrics.update(outputs_of(uv, torch.zeros(1, 2, S, S)), batch_of(uv, [[True, False]]))
    lines = metrics.compute().text().splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["point", "tip", "end", "all"]
    assert len({len(line) for line in lines[:4]}) == 1
    assert lines[4] == "mask IoU: - (per class: -, -)"
