"""Overlap of boxes: known values, an independent oracle, Monte Carlo, laws, degenerate boxes, derivatives."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cogkp.errors import GeometryError
from cogkp.geometry.cuboid import Cuboids, symmetry_angles
from cogkp.geometry.iou3d import CHUNK, MARGIN, best_turn_iou3d, iou3d
from cogkp.geometry.rotation import rotation_from_vector
from tests.builders.boxes import boxes, corners, iou, pose, random_boxes, turn

UNIT = boxes(pose(), [1.0, 1.0, 1.0])
seeds = st.integers(0, 2**32 - 1)


def value(pose_a, size_a, pose_b, size_b):
    return float(iou3d(boxes(pose_a, size_a), boxes(pose_b, size_b)))


def y_turn(degrees):
    return turn([0.0, math.radians(degrees), 0.0])


@pytest.mark.parametrize(
    ("rotation", "location", "size", "expected"),
    [
        (None, (0, 0, 0), (1, 1, 1), 1.0),
        (None, (0.5, 0, 0), (1, 1, 1), 1 / 3),
        (y_turn(45), (0, 0, 0), (1, 1, 1), 0.7071068),
        (None, (0, 0, 0), (0.5, 0.5, 0.5), 0.125),
        (y_turn(30), (0.2, 0.1, 0), (1, 1.5, 0.8), 0.4197954),
        (None, (3, 0, 0), (1, 1, 1), 0.0),
        (turn([0.3, 0, 0]), (0, 1.6, 0), (1, 1, 1), 0.0),
    ],
)
def test_known_values(rotation, location, size, expected):
    other = boxes(pose(rotation, location), size)
    assert float(iou3d(UNIT, other)) == pytest.approx(expected, abs=1e-7)
    assert float(iou3d(other, UNIT)) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("spread", [0.05, 0.3, 0.6])
@pytest.mark.parametrize("thinnest", [0.3, 0.001])
def test_agrees_with_cutting_one_box_by_the_other(spread, thinnest):
    rng = np.random.default_rng(7)
    (poses_a, sizes_a), (poses_b, sizes_b) = (random_boxes(rng, 60, spread, thinnest) for _ in range(2))
    expected = [iou(*pair) for pair in zip(poses_a, sizes_a, poses_b, sizes_b, strict=True)]
    found = iou3d(boxes(poses_a, sizes_a), boxes(poses_b, sizes_b)).numpy()
    assert max(expected) > 0.05
    np.testing.assert_allclose(found, expected, atol=1e-9, rtol=1e-9)


def test_agrees_with_counting_random_points():
    rng = np.random.default_rng(3)
    points = rng.uniform(-0.5, 0.5, (200_000, 3))
    for _ in range(5):
        (pose_a, pose_b), (size_a, size_b) = random_boxes(rng, 2, 0.2, 0.5)
        space = points * size_a @ pose_a[:3, :3].T + pose_a[:3, 3]
        local = (space - pose_b[:3, 3]) @ pose_b[:3, :3]
        shared = (np.abs(local) <= size_b / 2).all(1).mean() * size_a.prod()
        counted = shared / (size_a.prod() + size_b.prod() - shared)
        assert value(pose_a, size_a, pose_b, size_b) == pytest.approx(counted, abs=0.006)


# Faces in one plane, edges in one line, corners in one point: where counting twice or not at all would show.
@pytest.mark.parametrize("common", [None, turn([0.4, -1.1, 0.7]), turn([0, 0.3, 0])])
@pytest.mark.parametrize("location", [(0, 0, 0), (0.25, 0, 0), (0, 0.25, 0.25), (0.25, 0.25, 0.25), (0, -0.5, 0)])
@pytest.mark.parametrize("size", [(1, 1, 1), (0.5, 1, 1), (0.5, 0.5, 1), (0.5, 0.5, 0.5), (1.5, 1, 0.5), (2, 2, 2)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_boxes_whose_faces_lie_in_one_plane(common, location, size, dtype):
    low = np.maximum(-0.5, np.array(location) - np.array(size) / 2)
    high = np.minimum(0.5, np.array(location) + np.array(size) / 2)
    shared = np.prod(np.maximum(high - low, 0))
    expected = shared / (1 + np.prod(size) - shared)
    motion = pose(common, (3.1, -0.7, 2.2))
    first, second = boxes(motion, (1, 1, 1), dtype), boxes(motion @ pose(None, location), size, dtype)
    tolerance = 1e-8 if dtype == torch.float64 else 5e-6
    assert float(iou3d(first, second)) == pytest.approx(expected, abs=tolerance)
    assert float(iou3d(second, first)) == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("angle", [0.0, 1e-16, 1e-13, 1e-11, 1e-10, 1e-9, 1e-8, 1e-7, 1e-5])
@pytest.mark.parametrize("offset", [0.0, 1e-16, 1e-12, 1e-10, -1e-10, 0.7e-9, -1e-9, 1e-8, -1e-8, 1e-6])
def test_nearly_parallel_faces_in_nearly_one_plane(angle, offset):
    rng = np.random.default_rng(int(1e3 * angle))
    common = pose(turn(rng.normal(size=3)), rng.normal(size=3))
    other = common @ pose(turn([angle, -0.6 * angle, 0.3 * angle]), (offset, 0.25, -offset))
    assert value(common, (1, 1, 1), other, (1, 1, 1)) == pytest.approx(0.6, abs=1e-6 + 2 * abs(offset) + 2 * angle)


def test_thousands_of_faces_in_nearly_one_plane_spoil_nothing():
    rng = np.random.default_rng(0)
    count = 20_000
    angle = 10 ** rng.uniform(-17, -4, (count, 1)) * rng.normal(size=(count, 3)) * (rng.random((count, 3)) < 0.6)
    offset = 10 ** rng.uniform(-17, -4, (count, 3)) * rng.choice([-1, 0, 1], (count, 3))
    # Distances next to the one by which faces are taken apart, where it would do most harm.
    nasty = MARGIN * rng.choice([-0.5, 0.5, -0.75], (count, 3)) * (1 + 0.03 * rng.normal(size=(count, 3)))
    offset = np.where(rng.random((count, 3)) < 0.3, nasty, offset)
    location = rng.choice([-0.25, 0.0, 0.25, 0.5], (count, 3)) + offset
    size = rng.choice([0.5, 0.75, 1.0, 1.5], (count, 3))
    low, high = np.maximum(-0.5, location - size / 2), np.minimum(0.5, location + size / 2)
    shared = (high - low).clip(0).prod(1)
    expected = torch.tensor(shared / (1 + size.prod(1) - shared))
    inner = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    inner[:, :3, :3], inner[:, :3, 3] = rotation_from_vector(torch.tensor(angle)), torch.tensor(location)
    common = torch.tensor(pose(turn([0.4, -1.1, 0.7]), (3.1, -0.7, 2.2)))
    first, second = Cuboids(common, torch.ones(3, dtype=torch.float64)), Cuboids(common @ inner, torch.tensor(size))
    tilt = torch.tensor(np.abs(angle).sum(1))
    for found in (iou3d(first, second), iou3d(second, first)):
        assert ((found - expected).abs() < 1e-5 + 3 * tilt).all()
        assert ((found - expected).abs() < 1e-8 + 3 * tilt).double().mean() > 0.99


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_bottle_turned_about_its_axis_keeps_its_height(dtype):
    first = boxes(pose(turn([0.4, 0.2, -0.9]), (1.0, 2.0, 5.0)), (1.0, 3.0, 1.0), dtype)
    angles = torch.from_numpy(symmetry_angles(100))
    turned = iou3d(first, first.turned(angles))
    fold = torch.remainder(angles, math.pi / 2)
    shared = 2 / (1 + fold.sin() + fold.cos())  # of two unit squares: an octagon around their common circle
    expected = shared / (2 - shared)
    torch.testing.assert_close(turned.double(), expected, atol=2e-6 if dtype == torch.float32 else 1e-8, rtol=0)


@settings(max_examples=60, deadline=None)
@given(seeds, st.floats(0.0, 0.8))
def test_order_motion_scale_and_unit_do_not_matter(seed, spread):
    rng = np.random.default_rng(seed)
    (pose_a, pose_b), (size_a, size_b) = random_boxes(rng, 2, spread)
    found = value(pose_a, size_a, pose_b, size_b)
    assert 0 <= found <= 1
    assert value(pose_b, size_b, pose_a, size_a) == pytest.approx(found, abs=1e-10)
    motion = pose(turn(rng.normal(size=3)), rng.normal(0, 10, 3))
    assert value(motion @ pose_a, size_a, motion @ pose_b, size_b) == pytest.approx(found, abs=1e-9)
    factor = torch.tensor(10.0 ** rng.uniform(-6, 6), dtype=torch.float64)
    scaled = [boxes(pose_a, size_a).scaled(factor), boxes(pose_b, size_b).scaled(factor)]
    assert float(iou3d(*scaled)) == pytest.approx(found, abs=1e-10)


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_a_box_inside_another_shares_its_own_volume(seed):
    rng = np.random.default_rng(seed)
    outer, size = random_boxes(rng, 1)
    factor, smaller = rng.uniform(0.1, 1.0, 3), rng.uniform(0.3, 1.0)
    room = 0.5 * (1 - factor) * size[0]
    inner = outer[0] @ pose(None, room * rng.uniform(-1, 1, 3))
    full = value(outer[0], size[0], inner, factor * size[0])
    assert full == pytest.approx(factor.prod(), abs=1e-10)
    assert value(outer[0], size[0], inner, smaller * factor * size[0]) == pytest.approx(
        smaller**3 * factor.prod(), abs=1e-10
    )


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_a_larger_box_never_shares_less(seed):
    rng = np.random.default_rng(seed)
    (pose_a, pose_b), (size_a, size_b) = random_boxes(rng, 2, 0.3)
    growth = torch.linspace(0.05, 3.0, 40, dtype=torch.float64)
    grown = Cuboids(torch.tensor(pose_b).expand(40, 4, 4), growth[:, None] * torch.tensor(size_b))
    ratio = iou3d(boxes(pose_a, size_a), grown)
    shared = ratio / (1 + ratio) * (size_a.prod() + grown.volume)
    assert (shared.diff() > -1e-9).all()
    assert float(shared[-1]) == pytest.approx(size_a.prod(), abs=1e-9) or ratio[-1] < 1


@pytest.mark.parametrize("location", [(1, 0, 0), (1, 1, 0), (1, 1, 1), (1 + 1e-13, 0, 0), (1e6, 0, 0), (1e200, 0, 0)])
@pytest.mark.parametrize("common", [None, turn([0.4, -1.1, 0.7])])
def test_boxes_that_touch_or_are_far_apart_share_nothing(location, common):
    motion = pose(common)
    assert value(motion, (1, 1, 1), motion @ pose(None, location), (1, 1, 1)) == pytest.approx(0, abs=1e-15)
    if max(location) > 2:
        assert value(motion, (1, 1, 1), motion @ pose(None, location), (1, 1, 1)) == 0


def degenerate():
    nan, inf = math.nan, math.inf
    flat = [(1.0, 0.0, 1.0), (0.0, 0.0, 0.0), (1.0, -1.0, 1.0), (nan, 1.0, 1.0), (inf, 1.0, 1.0)]
    yield from (boxes(pose(), size) for size in flat)
    yield boxes(np.full((4, 4), nan), (1.0, 1.0, 1.0))
    yield boxes(pose(None, (inf, 0, 0)), (1.0, 1.0, 1.0))
    yield boxes(pose(np.zeros((3, 3))), (1.0, 1.0, 1.0))
    yield boxes(pose(np.ones((3, 3))), (1.0, 1.0, 1.0))


@pytest.mark.parametrize("bad", list(degenerate()))
def test_what_is_no_box_shares_nothing_and_spoils_no_gradient(bad):
    leaves = [tensor.clone().requires_grad_() for tensor in (bad.cuboid_to_camera, bad.size_xyz)]
    good = [tensor.clone().requires_grad_() for tensor in (UNIT.cuboid_to_camera, UNIT.size_xyz)]
    broken = Cuboids(*leaves)
    total = iou3d(Cuboids(*good), broken) + iou3d(broken, Cuboids(*good)) + iou3d(broken, broken)
    assert total.item() == 0
    total.backward()
    assert all(torch.isfinite(leaf.grad).all() for leaf in (*leaves, *good))


@pytest.mark.parametrize("location", [(0, 0, 0), (0.5, 0, 0), (1, 0, 0), (5, 0, 0), (0.1, 0.2, 0.3)])
def test_gradient_is_finite_where_faces_are_parallel(location):
    leaf = torch.tensor(pose(None, location)).requires_grad_()
    size = torch.ones(3, dtype=torch.float64, requires_grad=True)
    iou3d(UNIT, Cuboids(leaf, size)).backward()
    assert torch.isfinite(leaf.grad).all()
    assert torch.isfinite(size.grad).all()
    if 0 < location[0] < 1:
        assert leaf.grad[0, 3] < 0


@pytest.mark.parametrize("seed", range(6))
def test_derivatives_agree_with_differences(seed):
    rng = np.random.default_rng(seed)
    (pose_a, pose_b), sizes = random_boxes(rng, 2, 0.1)
    location, size = (torch.tensor(v).requires_grad_() for v in (pose_b[:3, 3], sizes[1]))
    angle = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    first = boxes(pose_a, sizes[0])

    def share(location, size, angle):
        matrix = torch.cat((torch.tensor(pose_b[:3, :3]), location[:, None]), 1)
        matrix = torch.cat((matrix, torch.tensor([[0.0, 0.0, 0.0, 1.0]], dtype=torch.float64)))
        return iou3d(first, Cuboids(matrix, size).turned(angle))

    assert share(location, size, angle).item() > 0.05
    assert torch.autograd.gradcheck(share, (location, size, angle), atol=1e-6)


def test_leading_axes_broadcast_and_chunks_join():
    rng = np.random.default_rng(0)
    first, second = boxes(*random_boxes(rng, 40)), boxes(*random_boxes(rng, 35))
    table = iou3d(first[:, None], second)
    assert table.shape == (40, 35)
    assert table.numel() > CHUNK
    for row, column in ((0, 0), (29, 10), (39, 34)):
        assert table[row, column] == iou3d(first[row], second[column])
    shared_size = Cuboids(second.cuboid_to_camera, torch.ones(3, dtype=torch.float64))
    assert iou3d(first[:, None], shared_size).shape == (40, 35)
    assert iou3d(first[:0], second[0]).shape == (0,)


def test_the_best_turn_is_found_among_all():
    rng = np.random.default_rng(5)
    first, second = (boxes(*random_boxes(rng, 12, 0.2)) for _ in range(2))
    angles = symmetry_angles(100)
    best = best_turn_iou3d(first, second, angles)
    every = iou3d(first.turned(angles), second)
    assert every.shape == (100, 12)
    torch.testing.assert_close(best.iou, every.amax(0))
    assert (best.angle_index == every.argmax(0)).all()
    assert (best.iou >= iou3d(first, second)).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_dtype_in_float32_or_better_out(dtype):
    pose_a = torch.eye(4, dtype=dtype)
    found = iou3d(Cuboids(pose_a, torch.ones(3, dtype=dtype)), Cuboids(pose_a, torch.full((3,), 0.5, dtype=dtype)))
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert float(found) == pytest.approx(0.125)


def test_inputs_are_only_read():
    rng = np.random.default_rng(1)
    first = boxes(*random_boxes(rng, 3))
    before = first.cuboid_to_camera.clone(), first.size_xyz.clone()
    iou3d(first, first.turned(symmetry_angles(3)))
    assert torch.equal(before[0], first.cuboid_to_camera)
    assert torch.equal(before[1], first.size_xyz)


def test_refusals_name_what_is_wrong():
    three, two = boxes([pose()] * 3, [[1, 1, 1]] * 3), boxes([pose()] * 2, [[1, 1, 1]] * 2)
    with pytest.raises(GeometryError, match=r"got \(3,\) and \(2,\)"):
        iou3d(three, two)
    with pytest.raises(GeometryError, match="expected \\(S,\\)"):
        best_turn_iou3d(three, three, torch.zeros(0))


def test_the_oracle_itself_knows_a_box():
    assert corners(pose(), (2, 2, 2)).max() == 1
    assert iou(pose(), (1, 1, 1), pose(None, (0.5, 0, 0)), (1, 1, 1)) == pytest.approx(1 / 3)
