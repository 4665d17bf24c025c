"""Rotations: agreement with OpenCV, inverses, degenerate input, derivatives."""

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cogkp.errors import GeometryError
from cogkp.geometry.rotation import about_y, quaternion_from_rotation, rotation_from_quaternion, rotation_from_vector

parts = st.lists(st.floats(-3.0, 3.0), min_size=3, max_size=3)


def t(value):
    return torch.as_tensor(value, dtype=torch.float64)


@settings(max_examples=100, deadline=None)
@given(parts)
def test_vectors_turn_as_in_opencv_and_quaternions_undo_matrices(vector):
    expected = cv2.Rodrigues(np.array(vector))[0]
    found = rotation_from_vector(t(vector))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)
    quaternion = quaternion_from_rotation(found)
    assert quaternion[3] >= 0
    assert float(quaternion.norm()) == pytest.approx(1.0)
    np.testing.assert_allclose(rotation_from_quaternion(quaternion).numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(rotation_from_quaternion(-3 * quaternion).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("angle", [0.0, 1e-9, 0.5, math.pi - 1e-9, math.pi])
def test_a_quaternion_is_half_the_turn_about_its_axis(axis, angle):
    vector = torch.zeros(3, dtype=torch.float64)
    vector[axis] = angle
    quaternion = quaternion_from_rotation(rotation_from_vector(vector))
    assert float(quaternion[axis].abs()) == pytest.approx(math.sin(angle / 2), abs=1e-12)
    assert float(quaternion[3]) == pytest.approx(math.cos(angle / 2), abs=1e-9)
    if axis == 1:
        torch.testing.assert_close(about_y(t(angle)), rotation_from_vector(vector))


def test_what_is_no_quaternion_turns_nothing_and_has_a_finite_gradient():
    bad = t([[0, 0, 0, 0], [math.nan, 0, 0, 1], [math.inf, 0, 0, 1], [1e200, 0, 0, 0]]).requires_grad_()
    found = rotation_from_quaternion(bad)
    assert torch.equal(found, torch.eye(3, dtype=torch.float64).expand(4, 3, 3))
    found.sum().backward()
    assert torch.isfinite(bad.grad).all()


def test_derivatives_agree_with_differences_also_at_zero():
    rng = np.random.default_rng(0)
    vectors = t(np.concatenate((np.zeros((1, 3)), rng.normal(size=(5, 3)), 1e-5 * rng.normal(size=(2, 3)))))
    assert torch.autograd.gradcheck(rotation_from_vector, vectors.requires_grad_(), atol=1e-6)
    quaternions = t(rng.normal(size=(5, 4))).requires_grad_()
    assert torch.autograd.gradcheck(rotation_from_quaternion, quaternions)
    away = rotation_from_vector(vectors).detach().requires_grad_()
    assert torch.autograd.gradcheck(quaternion_from_rotation, away)


@pytest.mark.parametrize(
    ("function", "value"),
    [
        (rotation_from_quaternion, torch.zeros(3)),
        (rotation_from_vector, torch.zeros(4)),
        (quaternion_from_rotation, torch.zeros(4, 4)),
        (rotation_from_vector, torch.zeros(3, dtype=torch.int64)),
    ],
)
def test_other_shapes_are_refused(function, value):
    with pytest.raises(GeometryError, match="expected"):
        function(value)


@settings(max_examples=100, deadline=None)
@given(parts)
def test_arrays_and_tensors_are_treated_alike(vector):
    vector = np.array(vector)
    matrix = rotation_from_vector(vector)
    quaternion = quaternion_from_rotation(matrix)
    pairs = [
        (matrix, rotation_from_vector(t(vector))),
        (quaternion, quaternion_from_rotation(t(matrix))),
        (rotation_from_quaternion(quaternion), rotation_from_quaternion(t(quaternion))),
        (about_y(vector), about_y(t(vector))),
    ]
    for array, tensor in pairs:
        assert isinstance(array, np.ndarray)
        np.testing.assert_allclose(array, tensor.numpy(), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(cv2.Rodrigues(vector)[0], matrix, atol=1e-12)
