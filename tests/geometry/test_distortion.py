"""A lens bends as OpenCV's does, is undone exactly where it can be, and says where it cannot."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cogkp.errors import GeometryError
from cogkp.geometry.distortion import LENGTHS, distort, distort_jacobian, invertible, undistort
from cogkp.geometry.lens import POINTS_FOR_A_GRID

FULL = np.array([-0.3, 0.1, 1e-3, -2e-3, 0.02, 0.1, -0.02, 0.01, 1e-3, 2e-3, -1e-3, 5e-4, 0.02, -0.03])
SOME = [length for length in LENGTHS if length]


def some_points(count=200, reach=0.5, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).uniform(-reach, reach, (count, 2)))


def lens(*coefficients):
    return torch.tensor(coefficients, dtype=torch.float64)


def full_hd(step=40):
    """Pixels of a 1920x1080 image, corners included, in the plane of a lens of 1000 px."""
    u, v = np.meshgrid(np.append(np.arange(-0.5, 1919, step), 1919.5), np.append(np.arange(-0.5, 1079, step), 1079.5))
    return torch.from_numpy((np.stack([u, v], -1).reshape(-1, 2) - [959.5, 539.5]) / 1000)


@pytest.mark.parametrize("length", SOME)
def test_bends_as_opencv(length):
    xy = some_points()
    expected, _ = cv2.projectPoints(
        np.c_[xy.numpy(), np.ones(len(xy))], np.zeros(3), np.zeros(3), np.eye(3), FULL[:length]
    )
    assert np.abs(distort(xy, torch.from_numpy(FULL[:length])).numpy() - expected[:, 0]).max() < 1e-12


@pytest.mark.parametrize("length", SOME)
def test_is_undone_as_opencv_does_when_it_takes_its_time(length):
    bent = some_points(reach=0.4)
    patience = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 500, 1e-15)
    points, eye = bent.numpy()[:, None].copy(), np.eye(3)
    if hasattr(cv2, "undistortPointsIter"):
        expected = cv2.undistortPointsIter(points, eye, FULL[:length], eye, eye, patience)
    else:  # OpenCV 5 lets the plain function take its time
        expected = cv2.undistortPoints(points, eye, FULL[:length], None, eye, eye, patience)

    xy, valid = undistort(bent, torch.from_numpy(FULL[:length]))

    assert valid.all()
    assert np.abs(xy.numpy() - expected[:, 0]).max() < 1e-10


def test_no_coefficients_move_nothing():
    xy = some_points()
    assert torch.equal(distort(xy, lens()), xy)
    assert torch.equal(undistort(xy, lens()).xy, xy)
    assert undistort(torch.tensor([[np.nan, 0.0]]), torch.zeros(0)).valid.tolist() == [False]


@pytest.mark.parametrize("k", [(-0.30, 0.10), (0.20, 0.0)])
def test_round_trip_at_the_corners_of_full_hd(k):
    coefficients = lens(*k, 0.0, 0.0)
    seen = full_hd()
    xy, valid = undistort(seen, coefficients)
    assert valid.all()
    assert 1000 * (distort(xy, coefficients) - seen).abs().max() < 1e-9


def test_float32_stays_within_a_thousandth_of_a_pixel():
    coefficients, seen = torch.tensor([-0.30, 0.10, 1e-3, -1e-3]), full_hd().float()
    xy, valid = undistort(seen, coefficients)
    assert valid.all()
    assert xy.dtype == torch.float32
    assert 1000 * (xy - undistort(seen.double(), coefficients.double()).xy).abs().max() < 1e-3


@settings(max_examples=60, deadline=None)
@given(
    length=st.sampled_from(LENGTHS),
    parts=st.lists(st.floats(-1, 1), min_size=14, max_size=14),
    seed=st.integers(0, 1000),
)
def test_every_invertible_point_comes_back(length, parts, seed):
    scale = np.array([0.4, 0.2, 0.01, 0.01, 0.1, 0.3, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01, 0.1, 0.1])
    coefficients = torch.from_numpy((np.array(parts) * scale)[:length])
    xy = some_points(60, reach=1.2, seed=seed)
    fine = invertible(xy, coefficients)

    back, valid = undistort(distort(xy, coefficients)[fine], coefficients)

    assert valid.all()
    # Where the map all but folds, a last bit behind the lens is many before it; by a pole it is the other way round.
    behind = (distort(back, coefficients) - distort(xy[fine], coefficients)).abs().amax(-1)
    before = (back - xy[fine]).abs().amax(-1)
    assert (torch.minimum(behind, before) < 1e-12).all()
    assert (before < 1e-5).all()


def test_beyond_the_fold_nothing_is_claimed():
    barrel = lens(-0.3, 0.0, 0.0, 0.0)
    turn = (1 / 0.9) ** 0.5  # d/dr (r - 0.3 r^3) = 0
    highest = turn * (1 - 0.3 * turn**2)
    directions = torch.linspace(0, 6, 40, dtype=torch.float64)
    ring = torch.stack((directions.cos(), directions.sin()), -1)

    assert invertible(0.9999 * turn * ring, barrel).all()
    assert not invertible(1.0001 * turn * ring, barrel).any()
    assert undistort(0.9999 * highest * ring, barrel).valid.all()
    lost = undistort(1.0001 * highest * ring, barrel)
    assert not lost.valid.any()
    assert (lost.xy == 0).all()


def test_a_second_branch_is_never_taken():
    """The map turns back at r = 0.78 and comes up again: outer points share pixels with inner ones."""
    wavy = lens(-0.8, 0.25, 0.0, 0.0)
    outer = torch.tensor([[1.3, 0.0], [0.0, 1.5]], dtype=torch.float64)
    assert not invertible(outer, wavy).any()
    xy, valid = undistort(some_points(500, reach=1.0), wavy)
    assert valid.any()
    assert not valid.all()
    assert invertible(xy[valid], wavy).all()


def test_a_pole_ends_the_lens():
    rational = lens(0.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0)  # x / (1 - r^2)
    assert invertible(lens(0.9, 0.0, 1.1, 0.0).reshape(2, 2), rational).tolist() == [True, False]
    assert undistort(lens(4.7, 0.0).reshape(1, 2), rational).valid.all()


@pytest.mark.parametrize("bad", [[np.nan, 0.0], [0.0, np.inf], [1e30, 0.0], [5.0, 5.0]])
def test_unusable_rows_are_zero_and_leave_gradients_finite(bad):
    xy = torch.tensor([bad, [0.1, 0.2]], requires_grad=True)
    coefficients = torch.tensor([-0.3, 0.1, 1e-3, 1e-3, -0.05], requires_grad=True)

    back, valid = undistort(xy, coefficients)
    back.sum().backward()

    assert valid.tolist() == [False, True]
    assert back[0].tolist() == [0.0, 0.0]
    assert xy.grad[0].tolist() == [0.0, 0.0]
    assert torch.isfinite(xy.grad).all()
    assert torch.isfinite(coefficients.grad).all()


@pytest.mark.parametrize("length", SOME)
def test_gradients_are_right(length):
    inputs = [some_points(6).requires_grad_(), torch.from_numpy(FULL[:length].copy()).requires_grad_()]
    assert torch.autograd.gradcheck(distort, inputs)
    assert torch.autograd.gradcheck(lambda xy, coefficients: undistort(xy, coefficients).xy, inputs, atol=1e-6)


@pytest.mark.parametrize("length", LENGTHS)
def test_the_jacobian_is_the_derivative(length):
    xy, coefficients = some_points(5), torch.from_numpy(FULL[:length].copy())
    whole = torch.autograd.functional.jacobian(lambda xy: distort(xy, coefficients), xy)
    expected = torch.stack([whole[i, :, i] for i in range(5)])
    found = distort_jacobian(xy, coefficients)

    assert found.shape == (5, 2, 2)
    assert (found - expected).abs().max() < 1e-14
    assert distort_jacobian(xy.expand(2, 1, 5, 2), coefficients.expand(3, length)).shape == (2, 3, 5, 2, 2)
    inputs = [xy.requires_grad_(), coefficients.requires_grad_()]
    assert torch.autograd.gradcheck(distort_jacobian, inputs if length else [*inputs[:1], coefficients.detach()])


def test_the_jacobian_past_a_pole_and_a_horizon_is_still_that_of_the_function():
    xy = lens(2.0, 1.0, 60.0, 0.0).reshape(2, 2)
    for coefficients in (lens(0.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0), lens(*[0.0] * 12, 0.9, 0.9)):
        whole = torch.autograd.functional.jacobian(lambda xy, c=coefficients: distort(xy, c), xy)
        found = distort_jacobian(xy, coefficients)
        assert torch.isfinite(found).all()
        assert torch.allclose(found, torch.stack([whole[0, :, 0], whole[1, :, 1]]), atol=1e-12)


@pytest.mark.parametrize("length", SOME)
def test_the_jacobian_of_the_inverse_is_its_inverse(length):
    xy, coefficients = some_points(5), torch.from_numpy(FULL[:length].copy())
    bent = distort(xy, coefficients)
    whole = torch.autograd.functional.jacobian(lambda bent: undistort(bent, coefficients).xy, bent)
    back = torch.stack([whole[i, :, i] for i in range(5)])
    assert torch.allclose(back @ distort_jacobian(xy, coefficients), torch.eye(2, dtype=xy.dtype), atol=1e-12)


@pytest.mark.parametrize("length", SOME)
def test_a_lens_of_zeros_is_no_lens_but_can_be_learnt(length):
    xy, zeros = some_points(6), torch.zeros(length, dtype=torch.float64)
    assert torch.equal(distort(xy, zeros), xy)
    assert torch.equal(undistort(xy, zeros).xy, xy)
    inputs = [xy.requires_grad_(), zeros.requires_grad_()]
    assert torch.autograd.gradcheck(distort, inputs)
    assert torch.autograd.gradcheck(lambda xy, c: undistort(xy, c).xy, inputs, atol=1e-6)
    grown = torch.autograd.grad(undistort(xy, zeros).xy.abs().sum(), zeros)[0]
    assert (grown != 0).all()


@pytest.mark.parametrize("length", SOME)
def test_trailing_zeros_change_nothing(length):
    xy, short = some_points(50), torch.from_numpy(FULL[:length])
    longer = torch.cat((short, short.new_zeros(14 - length)))
    assert torch.equal(undistort(xy, longer).xy, undistort(xy, short).xy)
    assert torch.equal(distort(xy, longer), distort(xy, short))
    learnt = longer.clone().requires_grad_()
    assert torch.allclose(distort(xy, learnt), distort(xy, short), atol=1e-15)
    assert torch.allclose(undistort(xy, learnt).xy, undistort(xy, short).xy, atol=1e-14)


def test_what_one_lens_was_asked_does_not_change_what_it_says_next():
    """Tables are remembered: neither their order nor a gradient mode may leave a trace."""
    coefficients, xy = torch.from_numpy(FULL), some_points(50)
    before = undistort(xy, coefficients)
    with torch.inference_mode():
        undistort(20 * xy, coefficients + 1e-3)
    undistort(100 * xy, coefficients)
    learnt = (coefficients + 1e-3).requires_grad_()
    undistort(20 * xy, learnt).xy.sum().backward()
    assert torch.isfinite(learnt.grad).all()
    assert torch.equal(undistort(xy, coefficients).xy, before.xy)


def test_leading_axes_broadcast():
    coefficients = torch.from_numpy(np.stack([FULL, 0.5 * FULL, 0 * FULL]))
    xy = some_points(7)
    many = undistort(xy, coefficients)
    again = undistort(xy.expand(2, 3, 7, 2), coefficients)

    assert many.xy.shape == (3, 7, 2)
    assert again.valid.shape == (2, 3, 7)
    for i, one in enumerate(coefficients):
        assert torch.allclose(many.xy[i], undistort(xy, one).xy, atol=1e-12)
        assert torch.allclose(again.xy[1, i], many.xy[i], atol=1e-12)
    assert undistort(torch.zeros(0, 2), torch.zeros(5)).xy.shape == (0, 2)


@pytest.mark.parametrize("length", SOME)
def test_many_points_of_full_hd_come_back(length):
    """So many are looked up in a grid of the whole inverse, not searched from the radial part."""
    coefficients, seen = torch.from_numpy(FULL[:length]), full_hd(step=5)
    assert len(seen) > POINTS_FOR_A_GRID
    xy, valid = undistort(seen, coefficients)
    assert valid.all()
    assert 1000 * (distort(xy, coefficients) - seen).abs().max() < 1e-7
    assert (xy[::97] - undistort(seen[::97], coefficients).xy).abs().max() < 1e-10


def test_many_points_past_a_fold_are_told_from_those_before_it():
    folded = lens(-0.4, 0.0, 2e-3, -1e-3)
    seen = full_hd(step=5)
    xy, valid = undistort(seen, folded)
    assert 0.1 < valid.double().mean() < 0.9
    assert invertible(xy[valid], folded).all()
    assert 1000 * (distort(xy, folded) - seen)[valid].abs().max() < 1e-6
    some = slice(None, None, 97)
    assert torch.equal(undistort(seen[some], folded).valid, valid[some])


def test_many_points_equal_few():
    xy, coefficients = some_points(40_000), torch.from_numpy(FULL)
    assert torch.allclose(undistort(xy, coefficients).xy[-9:], undistort(xy[-9:], coefficients).xy, atol=1e-12)


@pytest.mark.parametrize("bad", [torch.zeros(3), torch.zeros(6), torch.zeros(5, dtype=torch.int64)])
def test_wrong_coefficients_are_refused(bad):
    with pytest.raises(GeometryError, match="number of coefficients"):
        undistort(torch.zeros(1, 2), bad)


def test_other_nonsense_is_refused():
    with pytest.raises(GeometryError, match="not finite"):
        distort(torch.zeros(1, 2), torch.tensor([np.nan, 0, 0, 0]))
    with pytest.raises(GeometryError, match="image plane"):
        distort(torch.zeros(2), torch.zeros(4))
