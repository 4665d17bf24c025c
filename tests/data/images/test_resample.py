"""Resampling: blobs and masks land where the map says, fine texture turns grey, and the outside is marked."""

import cv2
import numpy as np
import pytest
import torch

from cogkp.data.images import MISSING_MASK_IGNORE_INDEX, warp_image, warp_mask
from cogkp.geometry.warp import ImageWarp

SIDE = 160


def blob(side, uv, sigma_px):
    v, u = np.mgrid[:side, :side]
    return np.exp(-((u - uv[0]) ** 2 + (v - uv[1]) ** 2) / (2 * sigma_px**2)).astype(np.float32)


def centroid(weights):
    weights = weights.astype(np.float64)
    v, u = np.mgrid[: weights.shape[0], : weights.shape[1]]
    return np.array([(weights * u).sum(), (weights * v).sum()]) / weights.sum()


def drawn_case(scale, seed):
    """Draw a blob of the same width in the crop, and a map that brings it near the crop's middle."""
    generator = np.random.default_rng(seed)
    side = int(200 / min(scale, 1.0))
    uv = 0.5 * side + generator.uniform(-3, 3, 2)
    target = 0.5 * SIDE + generator.uniform(-1, 1, 2)
    turn = ImageWarp.turn(generator.uniform(-3.1, 3.1), scale, tuple(uv))
    return blob(side, uv, 2.0 / min(scale, 1.0)), uv, turn.then(ImageWarp.translate(*(target - uv)))


@pytest.mark.parametrize("scale", [0.25, 0.3, 0.4, 0.5, 0.62, 0.7, 0.8, 0.9, 1.0, 1.3, 2.0, 4.0])
def test_a_blob_lands_where_its_point_lands(scale):
    for seed in range(8):
        image, uv, warp = drawn_case(scale, seed)
        crop = warp_image(image, warp.matrix.numpy(), (SIDE, SIDE))
        np.testing.assert_allclose(centroid(crop), warp.apply(torch.from_numpy(uv)).numpy(), atol=0.02)


def test_a_blob_lands_where_its_point_lands_in_perspective():
    tilt = torch.eye(3, dtype=torch.float64)
    tilt[2, 0], tilt[2, 1] = 2e-4, -1e-4
    for seed in range(8):
        image, uv, warp = drawn_case(0.5, seed)
        warp = ImageWarp(tilt).then(warp)
        crop = warp_image(image, warp.matrix.numpy(), (SIDE, SIDE))
        # A tilted blob is no longer quite symmetrical, so its centroid leaves the image of its centre a little.
        np.testing.assert_allclose(centroid(crop), warp.apply(torch.from_numpy(uv)).numpy(), atol=0.1)


@pytest.mark.parametrize("scale", [0.25, 0.5, 1.0, 2.0, 4.0])
def test_a_masks_disc_follows_its_point(scale):
    for seed in range(4):
        image, _uv, warp = drawn_case(scale, seed)
        disc = (image > np.exp(-8.0)).astype(np.uint8)
        moved = warp_mask(disc, warp.matrix.numpy(), (SIDE, SIDE)) == 1
        # Whole pixels make the rim ragged: the bound is a fraction of a pixel over some hundred rim pixels.
        np.testing.assert_allclose(centroid(moved), warp.apply(torch.from_numpy(centroid(disc))).numpy(), atol=0.15)


def test_ids_are_the_nearest_pixels_ids():
    mask = np.random.default_rng(0).integers(0, 20, (100, 120), dtype=np.uint8)
    warp = ImageWarp.turn(0.4, 1.7, (50.0, 60.0)).then(ImageWarp.translate(3.3, 4.4))
    v, u = np.mgrid[:128, :128]
    uv = torch.from_numpy(np.stack([u, v], axis=-1).reshape(-1, 2).astype(np.float64))
    column, row = np.floor(warp.inverse().apply(uv).numpy().T + 0.5).astype(int)
    inside = (column >= 0) & (column < 120) & (row >= 0) & (row < 100)
    expected = np.full(128 * 128, MISSING_MASK_IGNORE_INDEX, np.uint8)
    expected[inside] = mask[row[inside], column[inside]]
    moved = warp_mask(mask, warp.matrix.numpy(), (128, 128)).ravel()
    # OpenCV 4 rounds positions to a fraction of a pixel, so that a few ties fall the other way.
    assert (moved == expected).mean() > 0.995


@pytest.mark.parametrize("scale", [0.25, 0.4, 0.5])
def test_fine_texture_turns_grey_instead_of_into_false_patterns(scale):
    v, u = np.mgrid[:512, :512]
    checks = ((u + v) % 2).astype(np.float32)
    warp = ImageWarp.turn(0.2, scale, (255.5, 255.5)).then(ImageWarp.translate(-191.5, -191.5))
    crop = warp_image(checks, warp.matrix.numpy(), (128, 128))
    seen = crop[32:96, 32:96]
    assert abs(float(seen.mean()) - 0.5) < 0.01
    assert float(seen.std()) < 0.1 * float(checks.std())


def test_whole_steps_copy_pixels_exactly():
    image = np.random.default_rng(0).random((50, 60), dtype=np.float32)
    crop = warp_image(image, ImageWarp.translate(-10.0, -5.0).matrix.numpy(), (32, 32))
    np.testing.assert_allclose(crop, image[5:37, 10:42], atol=1e-6)


@pytest.mark.parametrize("factor", [2, 4])
def test_halving_a_smooth_image_agrees_with_area_means(factor):
    image = cv2.GaussianBlur(np.random.default_rng(0).random((128, 128), dtype=np.float32), (0, 0), 6.0)
    crop = warp_image(image, ImageWarp.resize(1 / factor, 1 / factor).matrix.numpy(), (128 // factor,) * 2)
    means = image.reshape(128 // factor, factor, 128 // factor, factor).mean(axis=(1, 3))
    np.testing.assert_allclose(crop[2:-2, 2:-2], means[2:-2, 2:-2], atol=2e-3)


def test_only_the_seen_part_of_a_large_image_matters():
    image = np.random.default_rng(0).random((600, 800), dtype=np.float32)
    warp = ImageWarp.fit((300.0, 200.0), (90.0, 90.0), 64).then(ImageWarp.turn(0.3, 1.0, (31.5, 31.5)))
    whole = warp_image(image, warp.matrix.numpy(), (64, 64))
    changed = image.copy()
    changed[:120], changed[400:], changed[:, :200], changed[:, 500:] = 1, 1, 1, 1
    np.testing.assert_array_equal(warp_image(changed, warp.matrix.numpy(), (64, 64)), whole)


def test_outside_the_frame_images_are_black_and_masks_unknown():
    away = ImageWarp.translate(1000.0, 0.0).matrix.numpy()
    assert not warp_image(np.ones((50, 60), np.float32), away, (32, 40)).any()
    moved = warp_mask(np.ones((50, 60), np.uint8), away, (32, 40))
    assert moved.shape == (40, 32)
    assert (moved == MISSING_MASK_IGNORE_INDEX).all()


def test_a_letterbox_marks_its_bars():
    warp = ImageWarp.fit((-0.5, -0.5), (640, 480), 256).matrix.numpy()
    crop = warp_image(np.ones((480, 640), np.float32), warp, (256, 256))
    mask = warp_mask(np.ones((480, 640), np.uint8), warp, (256, 256))
    np.testing.assert_allclose(crop[33:223], 1.0, atol=1e-6)
    assert not crop[:31].any()
    assert (mask[32:224] == 1).all()
    assert (mask[:32] == MISSING_MASK_IGNORE_INDEX).all()
