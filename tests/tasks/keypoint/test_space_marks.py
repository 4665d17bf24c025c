"""What is drawn of a pair lies where the cameras see it."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
import torch

from cogkp.geometry.rig import CameraRig
from cogkp.geometry.warp import ImageWarp
from cogkp.tasks.keypoint.codec import KeypointCodec
from cogkp.tasks.keypoint.metrics import KeypointMetrics
from cogkp.tasks.keypoint.metrics_3d import Segment, SpaceMetrics
from cogkp.tasks.keypoint.overlays_3d import epipolar_lines
from cogkp.tasks.keypoint.report_3d import LengthUnit
from tests.builders.stereo_pairs import GEOMETRY, PAIRS, RIG, SEGMENTS, N, batch_of, outputs_of, tools

CODEC = KeypointCodec(256, ("tip", "turn", "end"), segmentation=False)


def metrics_of(world_unit_mm=None) -> KeypointMetrics:
    space = SpaceMetrics(GEOMETRY, CODEC, [Segment(*each) for each in SEGMENTS], LengthUnit.of(world_unit_mm))
    return KeypointMetrics(CODEC, None, space=space)


def distance(line: np.ndarray, uv: np.ndarray) -> float:
    """From a point to a chain of straight pieces."""
    starts, steps = line[:-1], np.diff(line, axis=0)
    known = np.isfinite(starts).all(-1) & np.isfinite(steps).all(-1)
    starts, steps = starts[known], steps[known]
    along = ((uv - starts) * steps).sum(-1) / (steps**2).sum(-1)
    return float(np.linalg.norm(starts + along.clip(0, 1)[:, None] * steps - uv, axis=-1).min())


@pytest.mark.parametrize("rig", [RIG, RIG.select(RIG.names[::-1])], ids=["left first", "right first"])
def test_a_line_passes_through_the_true_match_however_its_lens_bends(rig):
    xyz = tools(2, pairs=20) * torch.tensor([1.4, 1.4, 1.0])  # out to the corners
    uv = rig.project(xyz).uv
    lines = epipolar_lines(rig, uv)
    assert lines.shape == (20, 2, N, 512, 2)
    far = [distance(lines[p, v, n].numpy(), uv[p, v, n].numpy()) for p in range(20) for v in range(2) for n in range(N)]
    assert max(far) < 0.01
    # A point elsewhere on the same ray lies on the same line; a point beside it does not.
    assert distance(lines[0, 1, 0].numpy(), np.add(uv[0, 1, 0].numpy(), (0.0, 2.0))) > 1.9


def test_lines_start_at_the_horizon_and_pixels_that_see_nothing_draw_none():
    uv = RIG.project(tools()).uv.clone()
    uv[0, 0, 1] = torch.nan
    lines = epipolar_lines(RIG, uv)
    assert lines[0, 1, 1].isnan().all()
    assert not lines[0, 1, 0].isnan().all()
    left, right = RIG.cameras
    ray = left.unproject_rays(uv[1, 0, :1]).xyz_camera
    away = ray @ left.world_to_camera[:3, :3] @ right.world_to_camera[:3, :3].mT
    horizon = attrs.evolve(right, world_to_camera=torch.eye(4, dtype=torch.float64)).project(away)
    assert horizon.valid.all()
    torch.testing.assert_close(lines[1, 1, 0, 0], horizon.uv[0], rtol=0, atol=1e-2)


def test_cameras_in_one_place_draw_no_line_that_is_not_finite():
    single = CameraRig(("LL", "LR"), (RIG.cameras[0], RIG.cameras[0]))
    lines = epipolar_lines(single, RIG.project(tools()).uv)
    assert not lines.isinf().any()


def test_marks_of_exact_predictions_agree_with_the_truth_in_both_views_and_in_space():
    warps = [
        ImageWarp.fit((-0.5, -0.5), (640, 512), 256).then(ImageWarp.turn(0.1 * row, 0.9, (127.5, 127.5)))
        for row in range(2 * PAIRS)
    ]
    batch, _ = batch_of(tools(), scale=2.0, warps=warps)
    outputs = outputs_of(batch)
    marks = metrics_of().space_marks(outputs, batch)
    assert [mark.name for mark in marks] == ["view 0", "view 2", "view 4"]
    for pair, mark in enumerate(marks):
        assert mark.known.all()
        assert mark.found.all()
        np.testing.assert_allclose(mark.xyz_true, tools()[pair])
        np.testing.assert_allclose(mark.xyz_found, mark.xyz_true, atol=1e-4)
        for side, view in enumerate(mark.views):
            assert view.row == 2 * pair + side
            np.testing.assert_allclose(view.truth_uv, batch.targets.uv_crop[view.row], atol=1e-3)
            np.testing.assert_allclose(view.predicted_uv, view.truth_uv, atol=1e-3)
            assert max(distance(view.lines_uv[n], view.truth_uv[n]) for n in range(N)) < 0.01
        assert mark.segments == ((0, 1), (1, 2))
        np.testing.assert_allclose(mark.world_to_view, RIG.cameras[0].world_to_camera[:3, :3])


def test_a_point_known_only_in_space_is_marked_where_the_cameras_see_it():
    none = torch.zeros(2 * PAIRS, N, dtype=torch.bool)
    batch, frame = batch_of(tools(), labelled=none, valid=none)
    unsaid = attrs.evolve(batch, targets=batch.targets._replace(uv_crop=torch.zeros(2 * PAIRS, N, 2)))
    seen = ImageWarp(batch.source_to_crop).apply(frame)
    for mark in metrics_of().space_marks(outputs_of(batch), unsaid):
        for view in mark.views:
            assert view.truth_visible.all()
            np.testing.assert_allclose(view.truth_uv, seen[view.row], atol=1e-6)


def test_what_is_not_known_is_not_shown():
    some = torch.ones(2 * PAIRS, N, dtype=torch.bool)
    some[2, 1] = False
    batch, _ = batch_of(tools(), labelled=some, valid=some, located=torch.zeros_like(some))
    mark = metrics_of().space_marks(outputs_of(batch), batch)[1]
    assert mark.known.tolist() == mark.found.tolist() == [True, False, True]
    for view in mark.views:
        assert view.truth_visible.tolist() == view.predicted_visible.tolist() == [True, False, True]
        assert np.isnan(view.lines_uv[1]).all()


def test_marks_are_told_in_the_unit_of_the_report():
    batch, _ = batch_of(tools())
    plain, told = (metrics_of(unit).space_marks(outputs_of(batch), batch)[0] for unit in (None, 30.0))
    assert (plain.unit, told.unit) == ("world units", "mm")
    np.testing.assert_allclose(told.xyz_true, 30 * plain.xyz_true)
    np.testing.assert_allclose(told.xyz_found, 30 * plain.xyz_found)
    np.testing.assert_allclose(told.region, 900 * plain.region)
    assert (np.linalg.eigvalsh(plain.region) > 0).all()


def test_ranked_pairs_are_drawn_from_the_worst_to_the_best():
    batch, _ = batch_of(tools(pairs=8))
    noise = torch.randn(16, N, 2, generator=torch.Generator().manual_seed(5))
    outputs, metrics = outputs_of(batch, offset=noise), metrics_of()
    outputs = outputs._replace(keypoints=outputs.keypoints.detach())
    metrics.update(outputs, batch)
    marks = metrics.space_marks(outputs, batch)
    worst = [np.linalg.norm(mark.xyz_found - mark.xyz_true, axis=-1).max() for mark in marks]
    assert metrics.ranked_pairs() == np.argsort(worst)[::-1].tolist()
