"""Square crops of the object-pose family: published matrices, OpenCV's affine map, the half pixel, refusals."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cogkp.errors import GeometryError
from cogkp.geometry.letterbox import letterbox, square_crop
from cogkp.geometry.plane_map import fit_map, map_points


@pytest.mark.parametrize(
    ("size_wh", "side", "expected"),
    [
        ((600, 800), 512, (0.64, 64.0, 0.0)),
        ((600, 800), 128, (0.16, 16.0, 0.0)),
        ((800, 600), 512, (0.64, 0.0, 64.0)),
        ((512, 512), 512, (1.0, 0.0, 0.0)),
        ((640, 480), 128, (0.2, 0.0, 16.0)),
    ],
)
def test_known_matrices(size_wh, side, expected):
    scale, left, top = expected
    matrix = [[scale, 0, left], [0, scale, top], [0, 0, 1]]
    np.testing.assert_allclose(letterbox(size_wh, side), matrix, atol=1e-9, rtol=0)


@given(st.floats(-3, 3), st.floats(1, 2000), st.tuples(st.floats(-500, 2000), st.floats(-500, 2000)))
def test_three_points_of_the_turned_square_land_where_opencv_puts_them(angle, length, center):
    up = 0.5 * length * np.array([math.sin(angle), -math.cos(angle)])
    right = np.array([-up[1], up[0]])
    source = np.array([center, center + up, center + right])
    target = np.float32([[64, 64], [64, 0], [128, 64]])
    found = map_points(square_crop(center, length, 128, angle), source)
    np.testing.assert_allclose(found, target, atol=1e-7)
    expected = cv2.getAffineTransform(np.float32([[0, 0], up, right]), target - 64)[:, :2]
    np.testing.assert_allclose(square_crop(center, length, 128, angle)[:2, :2], expected, atol=1e-4 * 128 / length)


def test_the_half_pixel_is_all_that_differs_from_fitting_pixel_areas():
    ours, fitted = letterbox((600, 800), 512), fit_map((-0.5, -0.5), (600, 800), 512)
    difference = np.zeros((3, 3))
    difference[:2, 2] = 0.5 * (1 - 0.64)
    np.testing.assert_allclose(ours - fitted, difference, rtol=1e-7, atol=1e-7)


def test_crops_without_area_are_refused():
    for size_wh in ((0, 5), (5, -1), (math.nan, 5)):
        with pytest.raises(GeometryError, match="area"):
            letterbox(size_wh, 512)
    for length in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(GeometryError, match="area"):
            square_crop((0.0, 0.0), length, 512)
