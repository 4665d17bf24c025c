"""What frames contribute adds up to the tables, whatever the batches were."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
import torch

from cogkp.measures.figures import ALL, intervals
from cogkp.tasks.keypoint.codec import KeypointCodec
from cogkp.tasks.keypoint.metrics import KeypointMetrics
from cogkp.tasks.keypoint.metrics_3d import SpaceMetrics
from cogkp.tasks.keypoint.report_3d import LengthUnit
from tests.builders.stereo_pairs import GEOMETRY, PAIRS, N, batch_of, outputs_of, tools
from tests.tasks.keypoint.test_metrics import CODEC
from tests.tasks.keypoint.test_metrics import batch_of as single_batch
from tests.tasks.keypoint.test_metrics import outputs_of as single_outputs

POINTS = ("tip", "turn", "end")


def measured(chunks):
    """Evaluate random points of several batches with masks."""
    generator = torch.Generator().manual_seed(0)
    metrics = KeypointMetrics(CODEC, 2)
    for number, count in enumerate(chunks):
        true = 16 * torch.rand(count, 2, 2, generator=generator)
        found = true + torch.randn(count, 2, 2, generator=generator)
        valid = torch.rand(count, 2, generator=generator) < 0.7
        mask = torch.randint(0, 2, (count, 8, 8), generator=generator)
        mask[torch.rand(mask.shape, generator=generator) < 0.1] = 255
        batch = single_batch(true.tolist(), valid.tolist(), mask=mask)
        batch = attrs.evolve(batch, ids=tuple(f"{number}.{row}" for row in range(count)))
        metrics.update(single_outputs(found.tolist(), torch.randn(count, 2, 8, 8, generator=generator)), batch)
    return metrics.compute()


def test_figures_of_the_evidence_are_those_of_the_table():
    report = measured([4, 1, 7])
    found = {(f.key, f.of, f.name): each.value for f, each in intervals(report.evidence, resamples=20).items()}
    assert report.evidence.frames == tuple(f"{n}.{row}" for n, count in enumerate([4, 1, 7]) for row in range(count))
    for row in report.rows:
        assert found["pixels", row.name, "mean"] == pytest.approx(row.mean_px)
        assert found["pixels", row.name, "median"] == pytest.approx(row.median_px)
        assert found["pixels", row.name, "within 2 px"] == pytest.approx(row.pck[2.0])
    assert found["mask_iou", ALL, "share"] == pytest.approx(report.mean_iou)
    assert found["mask_iou", "class 1", "share"] == pytest.approx(report.iou[1])


def test_both_views_of_a_pair_are_one_frame():
    codec = KeypointCodec(256, POINTS, segmentation=False)
    metrics = KeypointMetrics(codec, None, space=SpaceMetrics(GEOMETRY, codec, [], LengthUnit.of(10.0)))
    for seed in (0, 1):
        batch, _ = batch_of(tools(seed))
        ids = tuple(f"{seed} {name}" for name in batch.ids)
        batch = attrs.evolve(batch, ids=ids)
        assert batch.items() == [0, 0, 1, 1, 2, 2]
        with torch.no_grad():
            metrics.update(outputs_of(batch, offset=torch.tensor([0.5, -0.25])), batch)
    report = metrics.compute()
    pixels, space = report.evidence.measures
    assert report.evidence.frames == tuple(f"{seed} view {2 * pair}" for seed in (0, 1) for pair in range(PAIRS))
    np.testing.assert_array_equal(pixels.frame, np.repeat(np.arange(2 * PAIRS), 2))
    np.testing.assert_array_equal(space.frame, np.arange(2 * PAIRS))
    assert (pixels.values.shape, space.values.shape) == ((4 * PAIRS, N), (2 * PAIRS, N))
    assert (space.unit, space.values.mean()) == ("mm", pytest.approx(report.space.overall.mean))


def test_images_without_a_label_are_frames_that_measured_nothing():
    metrics = KeypointMetrics(CODEC, None)
    points = [[[4.0, 4.0], [8.0, 8.0]]] * 3
    metrics.update(single_outputs(points), single_batch(points, [[True, True], [False, False], [True, False]]))
    (pixels,) = metrics.compute().evidence.measures
    np.testing.assert_array_equal(np.isnan(pixels.values), [[False, False], [True, True], [False, True]])
    assert pixels.frame.tolist() == [0, 1, 2]


def test_tables_say_what_the_text_says():
    report = measured([12])
    tables = report.tables()
    assert [len(row) for table in tables for row in table.rows] == [
        len(table.head) for table in tables for _ in table.rows
    ]
    assert all(cell in report.text() for row in tables[0].rows for cell in row)
    assert report.notes() == [line for line in report.text().splitlines() if line in report.notes()]
