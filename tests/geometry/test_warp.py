"""Image maps: known cases, inverses, agreement with OpenCV, derivatives against autograd, and stated refusals."""

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cogkp.errors import GeometryError
from cogkp.geometry.warp import ImageWarp

POINTS = torch.tensor([[0.0, 0.0], [13.5, -4.25], [640.0, 480.0], [1e-3, 77.7]], dtype=torch.float64)

coordinates = st.floats(-1000.0, 1000.0)


@st.composite
def warps(draw):
    scale = math.exp(draw(st.floats(-2.0, 2.0)))
    turn = ImageWarp.turn(draw(st.floats(-7.0, 7.0)), scale, (draw(coordinates), draw(coordinates)))
    moved = turn.then(ImageWarp.translate(draw(coordinates), draw(coordinates)))
    return moved.then(ImageWarp.mirror(640)) if draw(st.booleans()) else moved


def perspective():
    return ImageWarp(torch.tensor([[1.1, 0.1, 5.0], [-0.2, 0.9, 3.0], [1e-4, -2e-4, 1.0]], dtype=torch.float64))


def test_resizing_keeps_the_corners_of_pixel_areas():
    corners = torch.tensor([[-0.5, -0.5], [639.5, 479.5]], dtype=torch.float64)
    expected = torch.tensor([[-0.5, -0.5], [255.5, 95.5]], dtype=torch.float64)
    torch.testing.assert_close(ImageWarp.resize(256 / 640, 96 / 480).apply(corners), expected)


@pytest.mark.parametrize("scale", [0.25, 0.5, 2.0, 3.0])
def test_resizing_agrees_with_opencv(scale):
    # A linear ramp stays a linear ramp: each new pixel shows where OpenCV took it from.
    ramp = np.tile(np.arange(64, dtype=np.float32), (64, 1))
    resized = cv2.resize(ramp, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    middle = len(resized) // 2
    taken = torch.tensor([float(resized[middle, middle]), 0.0], dtype=torch.float64)
    assert ImageWarp.resize(scale, scale).apply(taken)[0] == pytest.approx(middle, abs=1e-4)


def test_turning_moves_u_towards_v_and_keeps_its_centre():
    quarter = ImageWarp.turn(math.pi / 2, 2.0, (10.0, 20.0))
    torch.testing.assert_close(quarter.apply(torch.tensor([10.0, 20.0])), torch.tensor([10.0, 20.0]))
    torch.testing.assert_close(quarter.apply(torch.tensor([11.0, 20.0])), torch.tensor([10.0, 22.0]))


def test_a_mirror_swaps_the_first_and_the_last_column():
    assert ImageWarp.mirror(640).apply(torch.tensor([0.0, 3.0])).tolist() == [639.0, 3.0]
    assert bool(ImageWarp.mirror(640).mirrored)
    assert not bool(ImageWarp.identity().mirrored)


@given(
    st.tuples(st.floats(1.0, 4000.0), st.floats(1.0, 4000.0)),
    st.tuples(coordinates, coordinates),
    st.sampled_from([32, 256, 512]),
)
def test_a_fitted_rectangle_touches_two_sides_is_centred_and_unstretched(size_wh, corner, side):
    corners = torch.tensor([corner, (corner[0] + size_wh[0], corner[1] + size_wh[1])], dtype=torch.float64)
    (left, top), (right, bottom) = ImageWarp.fit(corner, size_wh, side).apply(corners).tolist()
    assert left + right == pytest.approx(side - 1.0, abs=1e-6)
    assert top + bottom == pytest.approx(side - 1.0, abs=1e-6)
    assert max(right - left, bottom - top) == pytest.approx(side)
    assert (right - left) * size_wh[1] == pytest.approx((bottom - top) * size_wh[0])


@given(warps())
def test_the_way_there_and_back_moves_nothing(warp):
    torch.testing.assert_close(warp.then(warp.inverse()).apply(POINTS), POINTS, atol=1e-7, rtol=1e-9)


@given(warps(), warps(), warps())
def test_maps_follow_each_other_in_reading_order(first, second, third):
    one_by_one = third.apply(second.apply(first.apply(POINTS)))
    torch.testing.assert_close(first.then(second).then(third).apply(POINTS), one_by_one, atol=1e-6, rtol=1e-9)
    torch.testing.assert_close(first.then(second.then(third)).apply(POINTS), one_by_one, atol=1e-6, rtol=1e-9)


@given(warps())
def test_points_agree_with_opencv(warp):
    expected = cv2.perspectiveTransform(POINTS.numpy()[None], warp.matrix.numpy())[0]
    np.testing.assert_allclose(warp.apply(POINTS).numpy(), expected, rtol=1e-9, atol=1e-6)


def test_points_agree_with_opencv_in_perspective():
    expected = cv2.perspectiveTransform(POINTS.numpy()[None], perspective().matrix.numpy())[0]
    np.testing.assert_allclose(perspective().apply(POINTS).numpy(), expected, rtol=1e-12)


def test_pixels_agree_with_opencv():
    image = np.zeros((100, 120), np.float32)
    image[40, 60] = 1.0
    warp = ImageWarp.turn(0.5, 3.0, (60.0, 40.0)).then(ImageWarp.translate(-2.0, 5.0))
    moved = cv2.warpAffine(image, warp.matrix[:2].numpy(), (120, 100))
    v, u = np.unravel_index(moved.argmax(), moved.shape)
    assert warp.apply(torch.tensor([60.0, 40.0])).tolist() == pytest.approx([u, v], abs=1e-5)


@pytest.mark.parametrize("shape", [(2,), (1, 2), (3, 1, 2), (3, 4, 2)])
def test_shapes_of_one_map(shape):
    assert perspective().apply(torch.zeros(shape)).shape == shape
    assert perspective().jacobian(torch.zeros(shape)).shape == (*shape, 2)


def test_a_batch_of_maps_moves_each_its_own_points():
    warps = [ImageWarp.resize(2.0, 2.0), perspective(), ImageWarp.mirror(10)]
    batch = ImageWarp(torch.stack([warp.matrix for warp in warps]))
    together = batch.apply(POINTS.expand(3, -1, -1))
    for warp, moved, slope in zip(warps, together, batch.jacobian(POINTS.expand(3, -1, -1)), strict=True):
        torch.testing.assert_close(warp.apply(POINTS), moved)
        torch.testing.assert_close(warp.jacobian(POINTS), slope)
    torch.testing.assert_close(batch.inverse().apply(together), POINTS.expand(3, -1, -1))
    assert batch.mirrored.tolist() == [False, False, True]


@pytest.mark.parametrize("warp", [perspective(), ImageWarp.turn(0.3, 0.7, (5.0, 6.0)), ImageWarp.identity()])
def test_the_jacobian_is_the_derivative(warp):
    for point, slope in zip(POINTS, warp.jacobian(POINTS), strict=True):
        torch.testing.assert_close(torch.autograd.functional.jacobian(warp.apply, point), slope)


def test_gradients_reach_points_and_map():
    matrix = perspective().matrix.clone().requires_grad_()
    points = POINTS.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda m, p: ImageWarp(m).apply(p), (matrix, points))
    assert torch.autograd.gradcheck(lambda m, p: ImageWarp(m).jacobian(p), (matrix, points))
    assert torch.autograd.gradcheck(lambda m: ImageWarp(m).inverse().matrix, (matrix,))


def test_points_on_the_horizon_stay_finite_in_value_and_gradient():
    matrix = torch.eye(3, dtype=torch.float64)
    matrix[2] = torch.tensor([1.0, 0.0, 0.0])
    matrix.requires_grad_()
    point = torch.tensor([[0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    moved = ImageWarp(matrix).apply(point)
    moved.sum().backward()
    assert torch.isfinite(moved).all()
    assert torch.isfinite(point.grad).all()
    assert torch.isfinite(matrix.grad).all()


def test_single_precision_points_lose_nothing_but_their_own_rounding():
    points = POINTS.float()
    assert perspective().apply(points).dtype == torch.float32
    torch.testing.assert_close(perspective().apply(points), perspective().apply(points.double()).float())


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: ImageWarp.resize(0.0, 1.0),
        lambda: ImageWarp.resize(math.nan, 1.0),
        lambda: ImageWarp.translate(math.inf, 0.0),
        lambda: ImageWarp.turn(0.0, 1e-9, (0.0, 0.0)),
        lambda: ImageWarp.fit((0.0, 0.0), (0.0, 10.0), 256),
        lambda: ImageWarp.fit((0.0, 0.0), (math.nan, 10.0), 256),
        lambda: ImageWarp(torch.eye(2)),
        lambda: ImageWarp(torch.eye(3, dtype=torch.int64)),
        lambda: ImageWarp(torch.zeros(3, 3)).inverse(),
        lambda: ImageWarp.identity().apply(torch.zeros(4, 3)),
        lambda: ImageWarp.identity().apply(torch.zeros(4, 2, dtype=torch.int64)),
    ],
)
def test_what_is_no_map_or_no_point_is_refused(wrong):
    with pytest.raises(GeometryError) as caught:
        wrong()
    assert "\n" not in str(caught.value)
