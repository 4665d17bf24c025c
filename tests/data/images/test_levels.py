"""Images of 16 bits that do not fill their range are spread over 0..1; all others are read as ever."""

from __future__ import annotations

import logging

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cogkp.data.images import (
    ImageValues,
    image_size,
    misfit,
    read_colour,
    read_grey,
    read_image,
    stretched,
)
from cogkp.data.images.levels import levels_of

RNG = np.random.default_rng(0)
EIGHT = RNG.integers(0, 256, (24, 32), dtype=np.uint8)
EIGHT[0, :2] = 0, 255
COLOUR = RNG.integers(0, 256, (24, 32, 3), dtype=np.uint8)


def store(path, pixels):
    assert cv2.imwrite(str(path), pixels)
    return path


@pytest.mark.parametrize(
    ("low", "high", "levels"),
    [
        (0, 1023, (0, 1023)),
        (3, 900, (0, 1023)),
        (0, 1024, (0, 2047)),
        (0, 4095, (0, 4095)),
        (200, 3000, (0, 4095)),
        (0, 16383, (0, 16383)),
        (0, 255, (0, 255)),
        (0, 32767, (0, 32767)),
        (0, 32768, None),
        (0, 65535, None),
        (30000, 65535, None),
        (0, 0, None),
        (7000, 7000, None),
        (29300, 31300, (29050, 31550)),
        (65000, 65535, (64934, 65535)),
        (27000, 36000, (25875, 37125)),
        (2000, 2600, (1925, 2675)),
        (10, 40, (0, 255)),
    ],
)
def test_levels_are_those_of_the_camera_or_of_the_band_that_is_used(low, high, levels):
    assert levels_of(low, high) == levels


@given(st.integers(0, 65535), st.integers(0, 65535))
def test_levels_hold_what_was_seen(one, other):
    low, high = sorted((one, other))
    black, white = levels_of(low, high) or (0, 65535)
    assert 0 <= black <= low <= high <= white <= 65535
    assert misfit(low, high, levels_of(low, high), 4.0) == ""


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_levels_make_a_deep_camera_what_8_bits_are(tmp_path, bits):
    plain = store(tmp_path / "8.png", EIGHT)
    deep = store(tmp_path / "16.png", EIGHT.astype(np.uint16) << (bits - 8))
    levels = ImageValues.of([deep]).levels
    assert levels == (0, 2**bits - 1)
    for read in (read_grey, read_colour):
        np.testing.assert_allclose(read(deep, levels=levels), read(plain), atol=1 / 255)
        assert read(deep).max() < 0.26
    np.testing.assert_array_equal(read_image(deep, levels=levels), read_grey(deep, levels=levels))
    np.testing.assert_array_equal(stretched(read_image(deep), levels), read_grey(deep, levels=levels))


def test_a_thermal_camera_shows_its_band_and_clips_beyond(tmp_path):
    band = 29000 + (EIGHT.astype(np.uint16) << 3)
    levels = ImageValues.of([store(tmp_path / "a.png", band)]).levels
    assert np.ptp(read_grey(tmp_path / "a.png")) < 0.04
    shown = read_grey(tmp_path / "a.png", levels=levels)
    assert shown.dtype == np.float32
    assert np.ptp(shown) == pytest.approx(0.8, abs=0.01)
    far = read_grey(store(tmp_path / "b.png", np.array([[0, 65535]], np.uint16)), levels=levels)
    assert far.tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tiff", ".webp", ".pgm"])
def test_8_bits_know_no_levels(tmp_path, suffix):
    path = store(tmp_path / f"a{suffix}", EIGHT)
    assert ImageValues.of([path]).levels is None
    for read in (read_grey, read_colour, read_image):
        np.testing.assert_array_equal(read(path, levels=(10, 20)), read(path))


def test_full_16_bits_and_stated_white_are_read_as_ever(tmp_path):
    deep = store(tmp_path / "a.png", EIGHT.astype(np.uint16) * 257)
    assert ImageValues.of([deep]).levels is None
    np.testing.assert_array_equal(read_grey(deep, levels=(0, 65535)), read_grey(deep))
    (tmp_path / "a.pgm").write_bytes(b"P5 4 3 4095\n" + (np.arange(12) * 300).astype(">u2").tobytes())
    assert ImageValues.of([tmp_path / "a.pgm"]).levels is None
    np.testing.assert_array_equal(read_grey(tmp_path / "a.pgm", levels=(0, 99)), read_grey(tmp_path / "a.pgm"))


def test_levels_are_those_of_all_images_and_missing_ones_are_passed_over(tmp_path):
    dark = store(tmp_path / "dark.png", EIGHT.astype(np.uint16))
    bright = store(tmp_path / "bright.png", EIGHT.astype(np.uint16) * 16)
    plain = store(tmp_path / "plain.png", COLOUR)
    assert ImageValues.of([dark, plain, tmp_path / "missing.png"]).levels == (0, 255)
    assert ImageValues.of([dark, plain, bright]).levels == (0, 4095)
    assert image_size(plain) == (32, 24)


@pytest.mark.parametrize(
    ("pixels", "levels", "words"),
    [
        (EIGHT.astype(np.uint16) * 16, None, "nearly black"),
        (EIGHT.astype(np.uint16) * 16, (0, 4095), ""),
        (EIGHT.astype(np.uint16) * 257, (0, 4095), "taken as white"),
        (EIGHT.astype(np.uint16) * 257, None, ""),
        (EIGHT.astype(np.uint16), (0, 4095), "nearly black"),
        (EIGHT.astype(np.uint16) * 16, (29000, 31000), "taken as black"),
        (31000 + EIGHT.astype(np.uint16) * 8, (29000, 31200), "taken as white"),
        (EIGHT, (0, 4095), ""),
    ],
)
def test_a_data_set_far_outside_is_told(tmp_path, caplog, pixels, levels, words):
    paths = [store(tmp_path / f"{n}.png", pixels) for n in range(3)]
    with caplog.at_level(logging.WARNING, "cogkp"):
        ImageValues.of(paths).tell("validation data", levels)
    assert len(caplog.records) == bool(words)
    assert words in caplog.text
    assert not words or "validation data, 3 of 3 images of 16 bits" in caplog.text


def scene(*defects, factor=16, offset=0):
    """Values of a camera of 12 bits, and pixels that are none of the scene: rows, columns, value."""
    pixels = offset + cv2.resize(EIGHT, (320, 240)).astype(np.uint16) * factor
    for rows, columns, value in defects:
        pixels[rows, columns] = value
    return pixels


@pytest.mark.parametrize(
    ("pixels", "levels"),
    [
        (scene((3, 5, 65535)), (0, 4095)),
        (scene((3, slice(5, 9), 40000)), (0, 4095)),
        (scene((slice(0, 9), slice(0, 99, 2), 65535)), (0, 4095)),
        (scene((slice(0, 60), slice(None), 0), factor=8, offset=29000), (28753, 31287)),
        (scene((7, 7, 0), factor=8, offset=29000), (28753, 31287)),
        (scene((slice(0, 9), slice(0, 256), np.arange(256, dtype=np.uint16) * 256)), None),
    ],
    ids=["hot pixel", "defects", "burned-in text", "border", "dead pixel", "a bright object"],
)
def test_defects_text_and_borders_are_none_of_the_scene(tmp_path, pixels, levels):
    """A bright object has all values up to its brightest, which defects and text have not."""
    found = ImageValues.of([store(tmp_path / "a.png", pixels)]).levels
    assert found == (None if levels is None else pytest.approx(levels, abs=70))


def told(caplog, paths, levels):
    caplog.clear()
    with caplog.at_level(logging.WARNING, "cogkp"):
        ImageValues.of(paths).tell("train data", levels)
    return caplog.text


@pytest.mark.parametrize("factors", [(16, 257), (4, 64)])
def test_cameras_of_several_depths_are_told(tmp_path, caplog, factors):
    paths = [store(tmp_path / f"{n}.png", EIGHT.astype(np.uint16) * factors[n % 2]) for n in range(10)]
    assert "5 of 10 images of 16 bits" in (text := told(caplog, paths, ImageValues.of(paths).levels))
    assert "one range" in text
    assert told(caplog, paths[1::2], ImageValues.of(paths[1::2]).levels) == ""


def test_a_single_dark_frame_is_none_of_anybody_s_business(tmp_path, caplog):
    paths = [store(tmp_path / f"{n}.png", EIGHT.astype(np.uint16) * (16 if n else 1)) for n in range(12)]
    assert told(caplog, paths, (0, 4095)) == ""


def test_values_that_few_pixels_stretch_are_told(tmp_path, caplog):
    """Smooth text or lamps: too many values to be defects, too few pixels to be the scene."""
    pixels = scene((0, slice(0, 256), np.arange(256, dtype=np.uint16) * 256))
    paths = [store(tmp_path / "a.png", pixels)]
    assert ImageValues.of(paths).levels is None
    assert "nearly all lie between" in told(caplog, paths, None)
    assert told(caplog, paths, (0, 4095)) == ""


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (EIGHT, ""),
        (EIGHT // 2, ""),
        (EIGHT // 16, "0 to 15 of 255"),
        (EIGHT // 8, "0 to 31 of 255"),
        (100 + EIGHT // 8, "100 to 131 of 255"),
        (np.where(EIGHT < 250, EIGHT // 16, 255).astype(np.uint8), "to 15 of 255"),
        (np.full((24, 32), 9, np.uint8), ""),
    ],
)
def test_dark_or_flat_images_of_8_bits_are_told(tmp_path, caplog, pixels, words):
    text = told(caplog, [store(tmp_path / "a.png", pixels)], None)
    assert bool(text) == bool(words)
    assert words in text
