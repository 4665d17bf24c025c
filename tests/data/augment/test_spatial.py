"""Drawn maps: ranges, regions, composition, and nothing random outside training."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cogkp.config.augment import Affine, Blur, Crop, Flip, default_stages
from cogkp.data.augment import AugmentPipeline
from cogkp.errors import ConfigError

SIZE_WH = (640, 480)
UV = np.array([[100.0, 50.0], [300.0, 150.0], [0.0, 0.0]])
LABELLED = np.array([True, True, False])


def drawn(*stages, training=True, seed=0, uv=UV, labelled=LABELLED, size_wh=SIZE_WH):
    pipeline = AugmentPipeline(stages, training)
    return pipeline.sample_warp(size_wh, uv, labelled, np.random.default_rng(seed))


def moved(warp, *points):
    return warp.apply(torch.from_numpy(np.array(points, np.float64))).numpy()


def test_the_frame_is_letterboxed():
    np.testing.assert_allclose(moved(drawn(Crop()), [-0.5, -0.5], [639.5, 479.5]), [[-0.5, 31.5], [255.5, 223.5]])


def test_a_box_is_cut_where_it_is_and_its_first_pixel_comes_first():
    warp = drawn(Crop(output_size=64, region="box", box=(10.0, 20.0, 64.0, 64.0)))
    np.testing.assert_allclose(moved(warp, [10.0, 20.0], [73.0, 83.0]), [[0.0, 0.0], [63.0, 63.0]], atol=1e-9)


def test_a_box_that_is_not_given_is_refused():
    with pytest.raises(ConfigError, match="needs a box"):
        drawn(Crop(region="box"))


def test_points_are_surrounded_with_their_margin():
    warp = drawn(Crop(output_size=256, region="points", margin=0.25), training=False)
    # 200 px wide, plus a quarter on each side: 300 px show as 256, the labelled pair in the middle.
    np.testing.assert_allclose(moved(warp, [200.0, 100.0]), [[127.5, 127.5]])
    np.testing.assert_allclose(np.diff(moved(warp, *UV[:2])[:, 0]), [200.0 * 256 / 300])


def test_a_single_point_gets_the_smallest_square():
    warp = drawn(Crop(region="points", min_size_px=32.0), training=False, labelled=np.array([True, False, False]))
    np.testing.assert_allclose(moved(warp, [100.0, 50.0]), [[127.5, 127.5]])
    assert float(warp.matrix[0, 0]) == pytest.approx(256 / 32)


@pytest.mark.parametrize(
    ("uv", "labelled"), [(UV, np.zeros(3, bool)), (np.full((3, 2), -1e6), LABELLED), (UV[:0], LABELLED[:0])]
)
def test_without_a_labelled_point_in_the_frame_the_whole_frame_is_cut(uv, labelled):
    warp = drawn(Crop(region="points"), uv=uv, labelled=labelled)
    np.testing.assert_array_equal(warp.matrix, drawn(Crop()).matrix)


def test_jitter_moves_the_square_by_no_more_than_its_share():
    stage = Crop(region="points", margin=0.25, jitter=0.1)
    middles = np.array([moved(drawn(stage, seed=seed), [200.0, 100.0])[0] for seed in range(200)])
    assert np.abs(middles - 127.5).max() <= 0.1 * 256 + 1e-9
    assert np.abs(middles - 127.5).max() > 0.09 * 256


def test_turn_scale_and_shift_stay_in_their_ranges_and_reach_them():
    stage = Affine(rotation_deg=(-20.0, 30.0), scale=(0.5, 2.0), shift=0.1)
    warps = [drawn(Crop(), stage, seed=seed) for seed in range(300)]
    plain = float(drawn(Crop()).matrix[0, 0])
    angles = [math.degrees(math.atan2(float(w.matrix[1, 0]), float(w.matrix[0, 0]))) for w in warps]
    scales = [math.sqrt(float(torch.linalg.det(w.matrix))) / plain for w in warps]
    shifts = [np.abs(moved(w, [319.5, 239.5])[0] - 127.5).max() for w in warps]
    assert -20.0 <= min(angles) < -15.0
    assert 25.0 < max(angles) <= 30.0
    assert 0.5 <= min(scales) < 0.55
    assert 1.8 < max(scales) <= 2.0
    assert np.median(scales) == pytest.approx(1.0, abs=0.15), "scales are drawn evenly in their logarithm"
    assert 24.0 < max(shifts) <= 25.6 + 1e-9


def test_a_stage_acts_as_often_as_it_should():
    acts = [bool(drawn(Crop(), Flip(probability=0.3), seed=seed).mirrored) for seed in range(400)]
    assert sum(acts) / 400 == pytest.approx(0.3, abs=0.07)


def test_outside_training_only_the_crop_is_left():
    plain = drawn(Crop()).matrix
    for seed in range(5):
        stages = (Flip(probability=1.0), *default_stages())
        np.testing.assert_array_equal(drawn(*stages, training=False, seed=seed).matrix, plain)


def test_a_mirror_gives_swapped_points_each_others_names():
    pipeline = AugmentPipeline((Crop(), Flip(probability=1.0, swap=((0, 2),))), training=True)
    warp = pipeline.sample_warp(SIZE_WH, UV, LABELLED, np.random.default_rng(0))
    assert pipeline.point_order(warp, 4).tolist() == [2, 1, 0, 3]
    assert pipeline.point_order(drawn(Crop()), 4).tolist() == [0, 1, 2, 3]


@given(st.integers(0, 2**32 - 1))
def test_stages_before_and_after_the_crop_compose_in_their_order(seed):
    stages = (Affine(), Flip(), Crop(output_size=64, region="points"), Blur(), Affine(), Flip())
    warp = drawn(*stages, seed=seed)
    back = warp.inverse().apply(warp.apply(torch.from_numpy(UV))).numpy()
    np.testing.assert_allclose(back, UV, atol=1e-7)
    np.testing.assert_array_equal(warp.matrix, drawn(*stages, seed=seed).matrix)
