"""What is painted lies where it was asked to lie, and covers the area it should."""

import numpy as np
import pytest

from cogkp.data.scene.backdrop import Capsule, blend, cover


def painted(capsule, shape_hw=(60, 80)):
    canvas = np.zeros(shape_hw)
    patch = cover(capsule, shape_hw)
    if patch is not None:
        blend(canvas, patch, 1.0)
    return canvas


def centroid(image):
    v, u = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.array([(image * u).sum(), (image * v).sum()]) / image.sum()


@pytest.mark.parametrize("seed", range(8))
def test_discs_lie_at_their_centres(seed):
    rng = np.random.default_rng(seed)
    center, radius = rng.uniform(15, 45, 2), rng.uniform(1.5, 9)
    image = painted(Capsule.disc((center[0], center[1]), radius))
    assert np.abs(centroid(image) - center).max() < 0.05
    assert image.sum() == pytest.approx(np.pi * radius**2, rel=0.02)


@pytest.mark.parametrize("seed", range(8))
def test_straight_capsules_have_their_middle_and_area(seed):
    rng = np.random.default_rng(seed)
    a, b, radius = rng.uniform(15, 45, 2), rng.uniform(15, 45, 2), rng.uniform(2, 6)
    image = painted(Capsule((a[0], a[1]), (b[0], b[1]), radius, radius))
    assert np.abs(centroid(image) - (a + b) / 2).max() < 0.05
    assert image.sum() == pytest.approx(np.pi * radius**2 + 2 * radius * np.linalg.norm(b - a), rel=0.02)


def test_along_runs_from_one_end_to_the_other():
    patch = cover(Capsule((10.0, 20.0), (30.0, 20.0), 3.0, 5.0), (60, 80))
    row = patch.along[20 - patch.window[0].start]
    columns = np.arange(patch.window[1].start, patch.window[1].stop)
    assert np.allclose(row, np.clip((columns - 10) / 20, 0, 1), atol=1e-6)


def test_bodies_beyond_the_canvas_are_cut_or_left_out():
    assert cover(Capsule.disc((-30.0, 5.0), 3.0), (60, 80)) is None
    half = painted(Capsule.disc((-0.5, 30.0), 6.0))
    assert half.sum() == pytest.approx(np.pi * 36 / 2, rel=0.03)
