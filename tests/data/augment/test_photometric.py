"""Changed pixels: known cases, ranges, inputs left alone, and the generator as the only chance."""

import numpy as np
import pytest

from cogkp.config.augment import Blur, Crop, Cutout, Intensity, Noise, default_stages
from cogkp.data.augment import AugmentPipeline
from cogkp.data.augment.photometric import change_pixels

CROP = np.random.default_rng(0).random((64, 64), dtype=np.float32)
GREY = np.full((64, 64), 0.5, np.float32)

ALWAYS = [Intensity(probability=1.0), Blur(probability=1.0), Noise(probability=1.0), Cutout(probability=1.0)]


def generator(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("stage", [*ALWAYS, Crop()])
def test_a_stage_keeps_shape_and_type_and_writes_nothing_into_its_input(stage):
    before = CROP.copy()
    changed = change_pixels(stage, CROP, generator())
    np.testing.assert_array_equal(CROP, before)
    assert (changed.shape, changed.dtype) == (CROP.shape, np.float32)
    np.testing.assert_array_equal(changed, change_pixels(stage, CROP, generator()))


@pytest.mark.parametrize("stage", ALWAYS)
def test_a_stage_acts_and_acts_differently_each_time(stage):
    first, second = (change_pixels(stage, CROP, generator(seed)) for seed in (1, 2))
    assert not np.array_equal(first, CROP)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("stage", [type(stage)(probability=0.0) for stage in ALWAYS])
def test_a_stage_of_probability_zero_never_acts(stage):
    np.testing.assert_array_equal(change_pixels(stage, CROP, generator()), CROP)


def test_fixed_ranges_give_known_intensities():
    plain = {"probability": 1.0, "brightness": 0.0, "contrast": (1.0, 1.0), "gamma": (1.0, 1.0)}
    np.testing.assert_allclose(change_pixels(Intensity(**plain), CROP, generator()), CROP, atol=1e-6)
    squared = change_pixels(Intensity(**plain | {"gamma": (2.0, 2.0)}), CROP, generator())
    np.testing.assert_allclose(squared, CROP**2, atol=1e-6)
    doubled = change_pixels(Intensity(**plain | {"contrast": (2.0, 2.0)}), CROP, generator())
    np.testing.assert_allclose(doubled, 2.0 * CROP - 0.5, atol=1e-6)


def test_brightness_reaches_both_ends_of_its_range():
    stage = Intensity(probability=1.0, brightness=0.2, contrast=(1.0, 1.0), gamma=(1.0, 1.0))
    shifts = [float(change_pixels(stage, GREY, generator(seed)).mean()) - 0.5 for seed in range(100)]
    assert -0.2 <= min(shifts) < -0.17
    assert 0.17 < max(shifts) <= 0.2


def test_noise_has_the_width_it_was_asked_for():
    noise = change_pixels(Noise(probability=1.0, sigma=(0.1, 0.1)), GREY, generator()) - GREY
    assert float(noise.std()) == pytest.approx(0.1, rel=0.03)
    assert abs(float(noise.mean())) < 0.005


def test_blur_keeps_the_mean_and_spreads_a_dot_as_wide_as_it_was_asked_for():
    dot = np.zeros((65, 65), np.float32)
    dot[32, 32] = 1.0
    spread = change_pixels(Blur(probability=1.0, sigma_px=(2.0, 2.0)), dot, generator())
    _v, u = np.mgrid[:65, :65]
    assert float(spread.sum()) == pytest.approx(1.0, abs=1e-5)
    assert float((spread * (u - 32) ** 2).sum()) == pytest.approx(4.0, rel=0.02)


def test_cutout_covers_rectangles_of_the_right_size_with_one_grey():
    stage = Cutout(probability=1.0, count=1, size=(0.25, 0.25))
    for seed in range(20):
        changed = change_pixels(stage, CROP, generator(seed))
        rows, columns = np.nonzero(changed != CROP)
        assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (16, 16)
        assert len(np.unique(changed[rows, columns])) == 1


def test_a_cutout_as_large_as_the_crop_fits():
    assert np.ptp(change_pixels(Cutout(probability=1.0, size=(1.0, 1.0)), CROP, generator())) == 0


def test_the_pipeline_clips_once_at_the_end_and_does_nothing_outside_training():
    stages = (Crop(output_size=64), Intensity(probability=1.0, contrast=(5.0, 5.0)), Noise(probability=1.0))
    changed = AugmentPipeline(stages, training=True).photometric(CROP, generator())
    assert changed.dtype == np.float32
    assert (changed.min(), changed.max()) == (0.0, 1.0)
    np.testing.assert_array_equal(
        AugmentPipeline(default_stages(), training=False).photometric(CROP, generator()), CROP
    )
