"""Boxes: the documented order of points, frames, symmetry, sizes, fitting, and true size from the scene."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cogkp.errors import GeometryError
from cogkp.geometry.camera import PinholeCamera
from cogkp.geometry.camera_frame import CameraFrame, frame_to_frame, objectron_projection
from cogkp.geometry.cuboid import (
    EDGES,
    FACES,
    Cuboids,
    Plane,
    fit_cuboids,
    relative_size,
    scale_from_height,
    scale_from_plane,
    symmetry_angles,
)
from tests.builders.boxes import array_boxes, boxes, corners, floor_under, pose, random_boxes, turn

NAN, INF = math.nan, math.inf
FRAMES = list(CameraFrame)
seeds = st.integers(0, 2**32 - 1)


def t(value, dtype=torch.float64):
    return torch.as_tensor(value, dtype=dtype)


def test_points_are_in_the_documented_order():
    points = boxes(pose(), (2, 4, 6)).points()
    assert points[0].tolist() == [0, 0, 0]
    for x in (0, 1):
        for y in (0, 1):
            for z in (0, 1):
                expected = [(2 * x - 1) * 1.0, (2 * y - 1) * 2.0, (2 * z - 1) * 3.0]
                assert points[1 + 4 * x + 2 * y + z].tolist() == expected


def test_edges_run_along_one_axis_and_are_twelve():
    points = boxes(pose(), (2, 4, 6)).points()
    steps = torch.stack([points[b] - points[a] for a, b in EDGES])
    expected = torch.diag(t([2, 4, 6])).repeat_interleave(4, 0)
    assert torch.equal(steps, expected)
    assert len({frozenset(edge) for edge in EDGES}) == 12


def test_faces_lie_where_they_say_and_face_inwards():
    points = boxes(pose(), (2, 4, 6)).points()
    outward = t([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])
    for face, direction in zip(FACES, outward, strict=True):
        corner = points[list(face)]
        assert (corner @ direction > 0).all()
        for k in range(4):
            normal = torch.linalg.cross(corner[(k + 1) % 4] - corner[k], corner[(k + 2) % 4] - corner[(k + 1) % 4])
            assert normal @ direction < 0


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_points_are_those_of_the_pose_and_fitting_undoes_them(seed):
    poses, sizes = random_boxes(np.random.default_rng(seed), 4, spread=3.0)
    made = array_boxes(poses, sizes)
    expected = np.stack([corners(*each) for each in zip(poses, sizes, strict=True)])
    np.testing.assert_allclose(made.points()[:, 1:], expected, atol=1e-12)
    found = fit_cuboids(made.points())
    assert found.valid.all()
    assert found.residual.max() < 1e-12
    np.testing.assert_allclose(found.cuboids.cuboid_to_camera, made.cuboid_to_camera, atol=1e-9, rtol=0)
    np.testing.assert_allclose(found.cuboids.size_xyz, made.size_xyz, rtol=1e-7, atol=1e-7)


def test_a_fit_to_noisy_points_is_best_among_poses_nearby():
    rng = np.random.default_rng(0)
    (matrix,), (size,) = random_boxes(rng, 1)
    noisy = array_boxes(matrix, size).points() + 0.02 * rng.normal(size=(9, 3))
    found = fit_cuboids(noisy)
    best = found.cuboids.cuboid_to_camera

    def cost(matrix):
        return np.square(array_boxes(matrix, found.cuboids.size_xyz).points() - noisy).sum()

    assert float(found.residual) == pytest.approx(math.sqrt(cost(best) / 9))
    for _ in range(50):
        near = best @ pose(turn(rng.normal(0, 0.01, 3)), rng.normal(0, 0.003, 3))
        assert cost(near) >= cost(best)


def test_what_is_no_box_is_not_fitted():
    good = array_boxes(pose(), (1, 1, 1)).points()
    line, point, missing = good * [1, 0, 0], good * 0, good.copy()
    missing[3, 1] = NAN
    flat = array_boxes(pose(turn([0.1, 0.2, 0.3])), (1, 0, 2)).points()
    found = fit_cuboids(np.stack((good, line, point, missing, flat)))
    assert found.valid.tolist() == [True, False, False, False, True]
    assert np.isfinite(found.cuboids.cuboid_to_camera).all()
    assert (found.cuboids.size_xyz[1:4] == 0).all()
    np.testing.assert_allclose(found.cuboids[4].points(), flat, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("source", FRAMES)
@pytest.mark.parametrize("target", FRAMES)
def test_frames_are_rotations_that_undo_each_other(source, target):
    there, back = frame_to_frame(source, target), frame_to_frame(target, source)
    assert np.array_equal(there @ back, np.eye(3))
    assert np.linalg.det(there) == pytest.approx(1.0)
    made = boxes(*random_boxes(np.random.default_rng(0), 3))
    moved = made.in_frame(source, target)
    torch.testing.assert_close(moved.points(), made.points() @ t(there).mT)
    torch.testing.assert_close(moved.in_frame(target, source).points(), made.points())


def test_frames_mean_what_they_say():
    seen = np.array([1.0, 2.0, 5.0])  # right of the middle, below it, ahead
    assert (frame_to_frame(CameraFrame.OPENCV, CameraFrame.OPENGL) @ seen).tolist() == [1, -2, -5]
    assert (frame_to_frame(CameraFrame.OPENCV, CameraFrame.OBJECTRON) @ seen).tolist() == [2, 1, -5]
    assert CameraFrame("objectron") is CameraFrame.OBJECTRON


def test_the_clip_matrix_of_objectron_sees_what_the_camera_sees():
    rng = np.random.default_rng(0)
    K, size_wh = np.array([[661.0, 0, 303.5], [0, 665.0, 391.25], [0, 0, 1]]), (600, 800)
    xyz = rng.uniform((-1, -1, 2), (1, 1, 6), (50, 3))
    in_file = xyz @ frame_to_frame(CameraFrame.OPENCV, CameraFrame.OBJECTRON).T
    clip = np.concatenate((in_file, np.ones((50, 1))), -1) @ objectron_projection(K, size_wh).T
    down, right = ((clip[:, :2] / clip[:, 3:] + 1) / 2).T
    expected = PinholeCamera(t(K), torch.eye(4, dtype=torch.float64), size_wh).project(t(xyz)).uv
    torch.testing.assert_close(t(np.stack((right * 600, down * 800), -1)), expected)
    real = objectron_projection(np.array([[662.166, 0, 300], [0, 662.164, 400], [0, 0, 1]]), size_wh)
    assert real[0, 0] == pytest.approx(1.65541, abs=1e-5)
    assert real[1, 1] == pytest.approx(2.20722, abs=1e-5)
    with pytest.raises(GeometryError, match="image size"):
        objectron_projection(K, (0, 800))


def test_a_turn_leaves_the_vertical_axis_and_takes_front_to_the_side():
    made = boxes(*random_boxes(np.random.default_rng(1), 2))
    quarter = made.turned(t(math.pi / 2))
    before, after = made.cuboid_to_camera, quarter.cuboid_to_camera
    torch.testing.assert_close(after[:, :, (1, 3)], before[:, :, (1, 3)])
    torch.testing.assert_close(after[:, :, 2], before[:, :, 0])  # the front now looks where +x did


def test_turned_points_are_those_rotated_in_the_camera_frame():
    made = boxes(*random_boxes(np.random.default_rng(2), 3))
    angles = symmetry_angles(7)
    turned = made.turned(angles)
    assert turned.shape == (7, 3)
    up = made.points()[:, 3] - made.points()[:, 1]
    up = up / up.norm(dim=-1, keepdim=True)
    for s, angle in enumerate(angles):
        rotation = t(np.stack([turn(u.numpy() * angle) for u in up]))
        middle = made.points()[:, :1]
        torch.testing.assert_close(turned.points()[s], (made.points() - middle) @ rotation.mT + middle)


def test_symmetry_angles_are_those_of_labels_and_of_the_evaluation():
    np.testing.assert_allclose(symmetry_angles(12), 2 * math.pi * np.arange(12) / 12, rtol=1e-7)
    np.testing.assert_allclose(symmetry_angles(100, closed=True), np.linspace(0, 2 * math.pi, 100), rtol=1e-7)
    assert symmetry_angles(1).tolist() == symmetry_angles(1, closed=True).tolist() == [0.0]
    with pytest.raises(GeometryError, match="count >= 1, got 0"):
        symmetry_angles(0)


def test_relative_sizes_have_unit_height_and_no_sign():
    sizes = t([[0.1, -0.2, 0.4], [1, 0, 1], [NAN, 1, 1], [1e300, 1e-300, 1], [0, 2, 0]]).requires_grad_()
    found = relative_size(sizes)
    assert found[0].tolist() == pytest.approx([0.5, 1.0, 2.0])
    assert (found[1:4] == 0).all()
    assert found[4].tolist() == [0, 1, 0]
    found.sum().backward()
    assert torch.isfinite(sizes.grad).all()


def test_scaling_moves_no_pixel():
    made = boxes(pose(turn([0.3, 0.1, 0.2]), (0.1, 0.2, 5)), (1, 1, 2))
    camera = PinholeCamera(t([[500, 0, 320], [0, 500, 240], [0, 0, 1]]), torch.eye(4, dtype=torch.float64), (640, 480))
    grown = made.scaled(t(0.17))
    torch.testing.assert_close(camera.project(grown.points()).uv, camera.project(made.points()).uv)
    torch.testing.assert_close(grown.size_xyz, 0.17 * made.size_xyz)


@settings(max_examples=30, deadline=None)
@given(seeds, st.floats(0.01, 100.0))
def test_height_and_ground_give_back_the_true_size(seed, factor):
    rng = np.random.default_rng(seed)
    tilt = turn([rng.uniform(-0.4, 0.4), 0, rng.uniform(-0.2, 0.2)])
    upright = tilt @ turn([math.pi, 0, 0]) @ turn([0, rng.uniform(-3, 3), 0])
    true = boxes(pose(upright, (rng.normal(), 1.0 + rng.uniform(), 6.0)), rng.uniform(0.3, 1.0, 3))
    down = tilt @ [0, 1, 0]
    plane = Plane(*map(t, floor_under(array_boxes(true.cuboid_to_camera, true.size_xyz), down)))
    torch.testing.assert_close(plane.normal, t(-down))
    assert ((true.points() - plane.center) @ plane.normal > -1e-9).all()
    unknown = true.scaled(t(1 / factor))
    for scale in (
        scale_from_plane(unknown.points(), plane),
        scale_from_plane(unknown.points(), Plane(plane.center, 3 * plane.normal)),
        scale_from_height(unknown.size_xyz, true.size_xyz[1]),
    ):
        assert scale.valid
        torch.testing.assert_close(unknown.scaled(scale.factor).points(), true.points())


def test_unknown_scales_are_one_and_not_valid():
    points = boxes(pose(None, (0, 1, 5)), (1, 1, 1)).points()
    cases = [
        scale_from_plane(points, Plane(t([0, 0, 0]), t([0, 0, 0]))),
        scale_from_plane(points, Plane(t([0, 1, 0]), t([0, NAN, 0]))),
        scale_from_plane(points, Plane(t([0, -1, 0]), t([0, -1, 0]))),
        scale_from_height(t([1, 0, 1]), t(0.2)),
        scale_from_height(t([1, 1, 1]), t(-0.2)),
        scale_from_height(t([1, 1, 1]), t(INF)),
    ]
    assert [bool(case.valid) for case in cases] == [False] * 6
    assert [float(case.factor) for case in cases] == [1.0] * 6


def test_annotation_values_place_a_box():
    location, quaternion = t([0.1, 0.2, -1.0]), t([0.0, 0.0, math.sin(0.3), math.cos(0.3)])
    made = Cuboids.placed(location, 2 * quaternion, t([1, 2, 3]))
    expected = pose(turn([0, 0, 0.6]), location.numpy())
    torch.testing.assert_close(made.cuboid_to_camera, t(expected))


def test_derivatives_of_points_agree_with_differences():
    poses, sizes = random_boxes(np.random.default_rng(0), 2)
    leaves = t(poses).requires_grad_(), t(sizes).requires_grad_(), t([0.2, 0.9]).requires_grad_()
    assert torch.autograd.gradcheck(lambda p, s, a: Cuboids(p, s).turned(a).points(), leaves)
    factor = t([2.0, 0.5]).requires_grad_()
    assert torch.autograd.gradcheck(lambda p, s, f: Cuboids(p, s).scaled(f).points(), (*leaves[:2], factor))


def test_half_precision_boxes_have_points_in_float32():
    made = Cuboids(torch.eye(4, dtype=torch.bfloat16), torch.ones(3, dtype=torch.bfloat16))
    assert made.points().dtype == torch.float32
    assert made.volume == 1


@pytest.mark.parametrize(
    ("poses", "sizes"),
    [
        (torch.eye(3), torch.ones(3)),
        (torch.eye(4), torch.ones(2)),
        (torch.eye(4, dtype=torch.int64), torch.ones(3)),
        (torch.eye(4).expand(2, 4, 4), torch.ones(3, 3)),
    ],
)
def test_refusals(poses, sizes):
    with pytest.raises(GeometryError, match="expected"):
        Cuboids(poses, sizes)


def test_points_of_another_count_are_refused():
    with pytest.raises(GeometryError, match=r"got \(8, 3\)"):
        fit_cuboids(np.zeros((8, 3)))


def test_arrays_and_tensors_are_treated_alike():
    poses, sizes = random_boxes(np.random.default_rng(3), 5, spread=3.0)
    one, other = array_boxes(poses, sizes), boxes(poses, sizes)
    angles, factor = symmetry_angles(3), np.linspace(0.5, 2, 5)
    plane = Plane(np.array([0.0, 1.0, 9.0]), np.array([0.1, -1.0, 0.2]))
    pairs = [
        (one.points(), other.points()),
        (one.turned(angles).points(), other.turned(angles).points()),
        (one.scaled(factor).points(), other.scaled(t(factor)).points()),
        (one.in_frame(*FRAMES[:2]).points(), other.in_frame(*FRAMES[:2]).points()),
        (one.volume, other.volume),
        (one[2:].size_xyz, other[2:].size_xyz),
        (relative_size(sizes), relative_size(t(sizes))),
    ]
    scales = scale_from_plane(one.points(), plane), scale_from_plane(other.points(), Plane(*map(t, plane)))
    pairs += zip(*scales, strict=True)
    pairs += zip(scale_from_height(sizes, factor), scale_from_height(t(sizes), t(factor)), strict=True)
    for array, tensor in pairs:
        assert isinstance(array, np.ndarray)
        assert isinstance(tensor, torch.Tensor)
        np.testing.assert_allclose(array, tensor.numpy(), rtol=1e-12, atol=1e-12)


def test_arrays_of_half_precision_have_points_in_float32():
    made = Cuboids(np.eye(4, dtype=np.float16), np.ones(3, np.float16))
    assert made.points().dtype == np.float32
    with pytest.raises(GeometryError, match="floating"):
        Cuboids(np.eye(4, dtype=int), np.ones(3))
