"""Figures in space: known by construction, the same in any frame of reference, and never silently fewer."""

from __future__ import annotations

import json

import attrs
import cv2
import numpy as np
import pytest
import torch

from cogkp.data.sample import Batch
from cogkp.errors import EvaluationError
from cogkp.geometry.camera import PinholeCamera
from cogkp.geometry.heatmap import gaussian_heatmap
from cogkp.geometry.rig import CameraRig
from cogkp.geometry.warp import ImageWarp
from cogkp.models.keypoint import KeypointOutputs
from cogkp.tasks.keypoint.codec import KeypointCodec
from cogkp.tasks.keypoint.metrics import KeypointMetrics
from cogkp.tasks.keypoint.metrics_3d import Segment, SpaceMetrics
from cogkp.tasks.keypoint.report_3d import LengthUnit, SpaceReport
from cogkp.tasks.keypoint.stereo import StereoGeometry
from tests.builders.rigs import rigid
from tests.builders.stereo_pairs import GEOMETRY, PAIRS, RIG, SEGMENTS, N, batch_of, tools

CODEC = KeypointCodec(256, ("tip", "turn", "end"), segmentation=False)


def metrics_of(geometry=GEOMETRY, world_unit_mm=None) -> SpaceMetrics:
    return SpaceMetrics(geometry, CODEC, [Segment(*each) for each in SEGMENTS], LengthUnit.of(world_unit_mm))


def report_of(*measured: tuple[KeypointOutputs, Batch], geometry=GEOMETRY, world_unit_mm=None) -> SpaceReport:
    metrics = metrics_of(geometry, world_unit_mm)
    for outputs, batch in measured:
        metrics.update(outputs, batch)
    return metrics.compute()


def seen_by_opencv(rig: CameraRig, xyz: np.ndarray) -> np.ndarray:
    """(2P, N, 2) pixels in the order of a batch, by code that is not ours."""
    views = []
    for camera in rig.cameras:
        turn = cv2.Rodrigues(camera.world_to_camera[:3, :3].numpy())[0]
        shift, K, lens = camera.world_to_camera[:3, 3].numpy(), camera.K.numpy(), camera.distortion.numpy()
        views.append(cv2.projectPoints(xyz.reshape(-1, 3), turn, shift, K, lens)[0].reshape(*xyz.shape[:2], 2))
    return np.stack(views, 1).reshape(-1, xyz.shape[1], 2)


def predicting(uv_frame: np.ndarray | torch.Tensor, batch: Batch, sigma_px: float = 3.0) -> KeypointOutputs:
    """Outputs that mean these pixels of the full frames, each with a round heatmap about it, crop pixels wide."""
    uv_crop = ImageWarp(batch.source_to_crop).apply(torch.as_tensor(uv_frame).double()).float()
    return KeypointOutputs(uv_crop, gaussian_heatmap(uv_crop, (64, 64), 4.0, sigma_px))


def test_exact_predictions_are_exact_in_space_and_inside_what_they_claim():
    batch, frame = batch_of(tools())
    report = report_of((predicting(frame, batch), batch))
    for row in (*report.points, report.overall):
        assert row.lost == 0
        assert row.p95 < 1e-4
        assert row.reprojection_p95_px < 1e-4
        assert (row.coverage_50, row.coverage_90, row.unstated) == (1.0, 1.0, 0)
    assert [row.count for row in report.points] == [PAIRS] * N
    assert [(row.labels, row.mean) for row in report.segments] == [
        (pytest.approx(length), pytest.approx(length, abs=1e-4)) for _, _, length in SEGMENTS
    ]


def test_known_offsets_give_the_figures_numpy_gives():
    xyz = tools(1, pairs=20).numpy()
    offsets = np.random.default_rng(0).normal(0, 0.1, xyz.shape)
    batch, _ = batch_of(torch.from_numpy(xyz))
    report = report_of((predicting(seen_by_opencv(RIG, xyz + offsets), batch), batch))
    errors = np.linalg.norm(offsets, axis=-1)
    for row, wanted in zip((*report.points, report.overall), (*errors.T, errors.ravel()), strict=True):
        assert row.count == wanted.size
        figures = (wanted.mean(), np.median(wanted), np.percentile(wanted, 95), np.sqrt((wanted**2).mean()))
        assert (row.mean, row.median, row.p95, row.rmse) == pytest.approx(figures, rel=1e-3)
        assert row.reprojection_p95_px < 1e-3  # the views agree on a wrong place
    found = xyz + offsets
    for row, (start, end, length) in zip(report.segments, SEGMENTS, strict=True):
        lengths = np.linalg.norm(found[:, end] - found[:, start], axis=-1)
        assert row.mean == pytest.approx(lengths.mean(), rel=1e-4)
        assert row.mean_error_percent == pytest.approx(100 * (lengths.mean() - length) / length, abs=1e-2)
        assert row.median_error == pytest.approx(np.median(abs(lengths - length)), rel=1e-2)
        assert row.spread == pytest.approx(lengths.std(), rel=1e-3)
    scalars = report.scalars()
    assert scalars["segment_error_mean"] == pytest.approx(np.mean([row.mean_error for row in report.segments]))
    assert scalars["space_error_median"] == report.overall.median


def level_rig() -> CameraRig:
    K = torch.tensor([[300.0, 0.0, 159.5], [0.0, 300.0, 127.5], [0.0, 0.0, 1.0]], dtype=torch.float64)
    aside = torch.eye(4, dtype=torch.float64)
    aside[0, 3] = -1.5
    return CameraRig(("LL", "LR"), tuple(PinholeCamera(K, pose, (320, 256)) for pose in (torch.eye(4).double(), aside)))


def test_views_that_disagree_by_height_alone_meet_halfway():
    rig = level_rig()
    batch, frame = batch_of(tools(), rig=rig)
    apart = torch.tensor([[0.0, 0.7], [0.0, -0.7]], dtype=torch.float64).repeat(PAIRS, 1)[:, None]
    report = report_of((predicting(frame + apart, batch), batch), geometry=StereoGeometry(rig))
    assert report.overall.reprojection_median_px == pytest.approx(0.7, abs=1e-4)
    assert report.overall.reprojection_p95_px == pytest.approx(0.7, abs=1e-4)
    assert report.overall.p95 < 1e-4


def noisy(batch: Batch, frame: torch.Tensor, scale: float = 1.0) -> KeypointOutputs:
    noise = torch.randn(frame.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    return predicting(frame + scale * noise, batch, sigma_px=1.5)


def numbers(report: SpaceReport) -> dict[str, list[float]]:
    rows = [attrs.asdict(row) for row in (*report.points, report.overall, *report.segments)]
    return {f"{n} {name}": value for n, row in enumerate(rows) for name, value in row.items() if name != "name"}


@pytest.mark.parametrize("exact", [True, False], ids=["exact places", "labels"])
def test_a_rigid_motion_of_the_world_changes_no_figure(exact):
    located = torch.full((2 * PAIRS, N), exact)
    xyz = tools()
    motion = torch.from_numpy(rigid(np.random.default_rng(3)))
    moved_rig = CameraRig(
        RIG.names,
        tuple(attrs.evolve(c, world_to_camera=c.world_to_camera @ torch.linalg.inv(motion)) for c in RIG.cameras),
    )
    moved = xyz @ motion[:3, :3].mT + motion[:3, 3]
    plain, frame = batch_of(xyz, located=located)
    turned, _ = batch_of(moved, located=located, rig=moved_rig)
    here = report_of((noisy(plain, frame), plain))
    there = report_of((noisy(turned, frame), turned), geometry=StereoGeometry(moved_rig))
    assert numbers(here) == pytest.approx(numbers(there), rel=1e-4, abs=1e-6)
    assert here.overall.mean > 0.01


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_frames_that_are_scaled_copies_change_no_figure(scale):
    plain, frame = batch_of(tools(pairs=20))
    scaled, scaled_frame = batch_of(tools(pairs=20), scale=scale)
    here, there = (
        report_of((noisy(b, f, s), b)) for b, f, s in ((plain, frame, 2.0), (scaled, scaled_frame, 2 * scale))
    )
    assert numbers(here) == pytest.approx(numbers(there), rel=1e-3, abs=1e-4)
    assert 0.0 < here.overall.coverage_90 < 1.0


def test_the_order_of_rows_pairs_and_batches_does_not_matter():
    batch, frame = batch_of(tools(pairs=6))
    outputs = noisy(batch, frame)
    whole = report_of((outputs, batch))
    rows = torch.tensor([7, 0, 3, 2, 1, 6, 4, 10, 5, 8, 11, 9])  # new place -> old row
    place = torch.argsort(rows)
    shuffled = attrs.evolve(
        batch,
        targets=type(batch.targets)(*(field[rows] for field in batch.targets)),
        source_to_crop=batch.source_to_crop[rows],
        source_size_wh=batch.source_size_wh[rows],
        pairs=place[batch.pairs].flip(0),
        ids=tuple(batch.ids[row] for row in rows.tolist()),
    )
    mixed = KeypointOutputs(*(field[rows] for field in outputs))
    assert numbers(report_of((mixed, shuffled))) == pytest.approx(numbers(whole), rel=1e-6)
    parts = [attrs.evolve(batch, pairs=some) for some in batch.pairs.split(4)]
    assert numbers(report_of(*((outputs, part) for part in parts))) == pytest.approx(numbers(whole), rel=1e-6)


def crossed(batch: Batch, frame: torch.Tensor, pair: int, point: int) -> KeypointOutputs:
    """Predictions of one point whose rays part before the cameras."""
    bad = frame.clone()
    bad[2 * pair, point, 0], bad[2 * pair + 1, point, 0] = 5.0, 310.0
    return predicting(bad, batch)


def test_a_point_that_cannot_be_triangulated_is_counted_and_nothing_else_changes():
    batch, frame = batch_of(tools(pairs=4))
    metrics = metrics_of()
    metrics.update(crossed(batch, frame, pair=2, point=1), batch)
    report = metrics.compute()
    assert [(row.count, row.lost) for row in report.points] == [(4, 0), (4, 1), (4, 0)]
    assert (report.overall.count, report.overall.lost) == (12, 1)
    assert report.overall.p95 < 1e-4
    assert [row.count for row in report.segments] == [3, 3]
    assert metrics.ranked_pairs()[0] == 2
    assert sorted(metrics.ranked_pairs()) == [0, 1, 2, 3]


def test_pairs_are_ranked_by_their_worst_point_and_left_out_where_nothing_is_known():
    xyz = tools(pairs=4).numpy()
    offsets = np.zeros_like(xyz)
    offsets[:, 0, 0], offsets[:, 2, 1] = (0.1, 0.4, 0.0, 0.2), (0.3, 0.0, 0.1, 0.0)
    unknown = torch.ones(8, N, dtype=torch.bool)
    unknown[6:] = False
    batch, _ = batch_of(torch.from_numpy(xyz), valid=unknown, labelled=unknown, located=unknown)
    metrics = metrics_of()
    for part in batch.pairs.split(3):
        metrics.update(predicting(seen_by_opencv(RIG, xyz + offsets), batch), attrs.evolve(batch, pairs=part))
    assert metrics.ranked_pairs() == [1, 0, 2]


def assert_no_nan(report: SpaceReport) -> None:
    json.dumps(report.to_dict(), allow_nan=False)
    assert all(np.isfinite(value) for value in report.scalars().values())
    assert "nan" not in report.text()


def test_where_everything_is_lost_there_are_counts_and_no_figures():
    batch, frame = batch_of(tools(pairs=1))
    bad = frame.clone()
    bad[0, :, 0], bad[1, :, 0] = 5.0, 310.0
    report = report_of((predicting(bad, batch), batch))
    assert (report.overall.count, report.overall.lost) == (3, 3)
    assert (report.overall.mean, report.overall.reprojection_median_px, report.overall.coverage_90) == (None,) * 3
    assert [(row.count, row.mean) for row in report.segments] == [(0, None), (0, None)]
    assert report.scalars() == {}
    assert report.headline() == ""
    assert_no_nan(report)


def test_where_nothing_is_known_there_is_nothing_to_rank_or_report():
    none = torch.zeros(2 * PAIRS, N, dtype=torch.bool)
    batch, frame = batch_of(tools(), labelled=none, valid=none, located=none)
    metrics = metrics_of()
    assert metrics.ranked_pairs() == []
    assert metrics.compute().overall.count == 0
    metrics.update(predicting(frame, batch), batch)
    assert metrics.ranked_pairs() == []
    assert (metrics.compute().overall.count, metrics.compute().overall.lost) == (0, 0)
    assert_no_nan(metrics.compute())


def test_labels_are_the_truth_only_where_no_exact_place_is_known():
    xyz = tools(pairs=4)
    batch, frame = batch_of(xyz)
    aside = torch.tensor([0.5, 0.0, 0.0], dtype=torch.float64)
    located = batch.targets.located.clone()
    located[:4] = False
    mixed = attrs.evolve(
        batch, targets=batch.targets._replace(xyz_world=batch.targets.xyz_world + aside, located=located)
    )
    metrics = metrics_of()
    metrics.update(predicting(frame, batch), mixed)
    report = metrics.compute()
    assert report.overall.count == 12
    assert report.overall.rmse == pytest.approx(0.5 * np.sqrt(0.5), rel=1e-3)
    assert set(metrics.ranked_pairs()[:2]) == {2, 3}


def test_a_point_counts_where_both_crops_show_it():
    none = torch.zeros(2 * PAIRS, N, dtype=torch.bool)
    xyz = tools()
    batch, frame = batch_of(xyz, labelled=none, valid=none)
    assert report_of((predicting(frame, batch), batch)).overall.count == PAIRS * N  # places without labels
    # A crop about the tip of the first view alone leaves the other points out.
    u, v = frame[0, 0].tolist()
    narrow = ImageWarp.fit((u - 10, v - 10), (20, 20), 256)
    warps = [narrow] + [ImageWarp.fit((-0.5, -0.5), (320, 256), 256)] * (2 * PAIRS - 1)
    cut, _ = batch_of(xyz, labelled=none, valid=none, warps=warps)
    rows = report_of((predicting(frame, cut), cut)).points
    assert [row.count for row in rows] == [PAIRS, PAIRS - 1, PAIRS - 1]
    # A crop that shows more than the frame does not show what lies beside the frame.
    aside = (xyz + torch.tensor([0.0, 3.5, 0.0])).double()
    wide = [ImageWarp.fit((-320.5, -256.5), (960, 768), 256)] * (2 * PAIRS)
    black, below = batch_of(aside, labelled=none, valid=none, warps=wide)
    in_frame = ((below >= -0.5) & (below <= torch.tensor([319.5, 255.5]))).all(-1).reshape(PAIRS, 2, N).all(1)
    assert 0 < in_frame.sum() < in_frame.numel()
    rows = report_of((predicting(below, black), black)).points
    assert [row.count for row in rows] == in_frame.sum(0).tolist()
    # A label knows better than the calibration whether its crop shows the point.
    outside = torch.ones(2 * PAIRS, N, dtype=torch.bool)
    outside[3, 2] = False
    said, _ = batch_of(xyz, valid=outside)
    assert [row.count for row in report_of((predicting(frame, said), said)).points] == [PAIRS, PAIRS, PAIRS - 1]


def test_honest_predictions_are_covered_as_often_as_they_say():
    batch, frame = batch_of(tools(pairs=500))
    sigma = 3.0  # crop pixels; the crop shows the frame at 256 / 320 of its size
    noise = torch.randn(frame.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    report = report_of((predicting(frame + sigma * noise / 0.8, batch, sigma), batch))
    assert 0.87 <= report.overall.coverage_90 <= 0.93
    assert 0.46 <= report.overall.coverage_50 <= 0.54
    sure = report_of((predicting(frame + sigma * noise / 0.8, batch, sigma / 2), batch))
    assert sure.overall.coverage_90 < 0.6


def test_labels_that_meet_nowhere_are_counted_and_explained():
    swapped = StereoGeometry(RIG.select(RIG.names[::-1]))
    none = torch.zeros(2 * PAIRS, N, dtype=torch.bool)
    batch, frame = batch_of(tools(), located=none)
    bad = frame.clone()
    bad[0, 0, 0], bad[1, 0, 0] = 5.0, 310.0
    crooked = attrs.evolve(batch, targets=batch.targets._replace(uv_source=bad.float()))
    report = report_of((predicting(frame, batch), crooked))
    assert report.labels_lost == 1
    assert report.overall.count == PAIRS * N - 1
    assert "1 labelled pairs of pixels meet nowhere" in report.text()
    assert "meet nowhere" not in report_of((predicting(frame, batch), batch)).text()
    assert report_of((predicting(frame, batch), batch), geometry=swapped).overall.reprojection_median_px > 0.5


def test_millimetres_multiply_every_length_and_nothing_else():
    batch, frame = batch_of(tools())
    plain = report_of((noisy(batch, frame), batch))
    told = report_of((noisy(batch, frame), batch), world_unit_mm=30.0)
    assert (plain.unit, told.unit) == ("world units", "mm")
    for here, there in zip((*plain.points, plain.overall), (*told.points, told.overall), strict=True):
        assert (there.mean, there.median, there.p95, there.rmse) == pytest.approx(
            [30 * value for value in (here.mean, here.median, here.p95, here.rmse)]
        )
        assert there.reprojection_median_px == pytest.approx(here.reprojection_median_px)
        assert (there.coverage_50, there.coverage_90) == (here.coverage_50, here.coverage_90)
    assert [row.wanted for row in told.segments] == [45.0, 60.0]
    assert told.segments[0].spread == pytest.approx(30 * plain.segments[0].spread)
    assert told.segments[0].mean_error_percent == pytest.approx(plain.segments[0].mean_error_percent)
    assert told.headline() == f"3-D median {told.overall.median:.3f} mm"


@pytest.mark.parametrize("size", [0.0, -1.0, float("nan"), float("inf")])
def test_a_world_unit_needs_a_length(size):
    with pytest.raises(EvaluationError, match="must have a length"):
        LengthUnit.of(size)


def test_the_tables_are_as_wide_in_every_line():
    batch, frame = batch_of(tools())
    lines = report_of((noisy(batch, frame), batch)).text().splitlines()
    assert lines[0] == "in space, world units; reprojection in pixels of the sensor:"
    assert [line.split()[0] for line in lines[1:6]] == ["point", "tip", "turn", "end", "all"]
    assert len({len(line) for line in lines[1:6]}) == 1
    assert [line.split()[0] for line in lines[7:]] == ["segment", "tip-turn", "turn-end"]
    assert len({len(line) for line in lines[7:]}) == 1


def test_the_report_of_pixels_carries_that_of_space():
    batch, frame = batch_of(tools())
    metrics = KeypointMetrics(CODEC, None, space=metrics_of())
    metrics.update(noisy(batch, frame), batch)
    report = metrics.compute()
    content = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert content["space"]["overall"]["median"] == report.space.overall.median
    assert report.headline().endswith(f", {report.space.headline()}")
    assert report.space.scalars().items() <= report.scalars().items()
    assert report.text().endswith(report.space.text())
    plain = KeypointMetrics(CODEC, None)
    plain.update(predicting(frame, batch), batch)
    assert "space" not in plain.compute().to_dict()
    assert plain.ranked_pairs() == []
    assert plain.space_marks(predicting(frame, batch), batch) == []


def test_places_alone_are_enough_to_evaluate():
    none = torch.zeros(2 * PAIRS, N, dtype=torch.bool)
    batch, frame = batch_of(tools(), labelled=none, valid=none)
    metrics = KeypointMetrics(CODEC, None, space=metrics_of())
    metrics.update(predicting(frame, batch), batch)
    report = metrics.compute()
    assert report.overall.mean_px is None
    assert report.space.overall.median < 1e-4
    blind = attrs.evolve(batch, targets=batch.targets._replace(located=none))
    metrics = KeypointMetrics(CODEC, None, space=metrics_of())
    metrics.update(predicting(frame, blind), blind)
    with pytest.raises(EvaluationError, match="none of 6 images has a labelled point"):
        metrics.compute()
