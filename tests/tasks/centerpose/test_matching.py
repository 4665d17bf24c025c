"""Measures of single matches against a slow reading of the description, with an oracle for shared space of its own."""

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cogkp.geometry.cuboid import Cuboids
from cogkp.tasks.centerpose.matching import (
    MEASURES,
    average_precision,
    corner_distances,
    ground_scale,
    match_nearest,
    match_once,
    pose_errors,
)
from tests.builders import boxes
from tests.builders.placed import SIGNS, SIZE_WH, K, box_points, pixels


def random_pairs(rng, count, off):
    poses, sizes = boxes.random_boxes(rng, count, spread=0.3)
    poses[:, 2, 3] += 3.0
    others = poses.copy()
    for pose in others:
        pose[:3, :3] = boxes.turn(rng.normal(0, off, 3)) @ pose[:3, :3]
        pose[:3, 3] += rng.normal(0, 0.2 * off, 3)
    return poses, sizes, others, sizes * rng.uniform(1 - 0.3 * off, 1 + 0.3 * off, sizes.shape)


def view_angles(points, size):
    """Fit the affine map from camera to box; its shift is where the camera stands."""
    with_one = np.concatenate((points, np.ones((9, 1))), 1)
    x, y, z = np.linalg.lstsq(with_one, SIGNS / 2 * size, rcond=None)[0][3]
    return math.degrees(math.atan2(z, x)), math.degrees(math.atan2(y, math.hypot(x, z)))


def slow_errors(pose_a, size_a, pose_b, size_b, turns, closed):
    """a found, b true, as described."""
    uv = pixels(box_points(pose_a, size_a))
    seen = [pixels(box_points(pose_b, size_b, 2 * math.pi * i / turns)) for i in range(turns)]
    pixel = min(np.linalg.norm((uv - each)[1:] / SIZE_WH, axis=1).mean() for each in seen)
    wanted, best = box_points(pose_b, size_b), (-1.0, 0.0, None)
    for angle in np.linspace(0, 2 * math.pi, turns, endpoint=closed):
        points = box_points(pose_a, size_a)
        up = points[3] - points[1]
        turn = cv2.Rodrigues(angle * up / np.linalg.norm(up))[0]
        turned = (points - points[0]) @ turn.T + points[0]
        share = boxes.iou(boxes.pose(turn @ pose_a[:3, :3], pose_a[:3, 3]), size_a, pose_b, size_b)
        add = np.linalg.norm(turned - wanted, axis=1).mean()
        if share > best[0] + 1e-6 or (share > best[0] - 1e-6 and add < best[1]):
            best = (share, add, turned)
    share, _, turned = best
    (az_a, el_a), (az_b, el_b) = view_angles(turned, size_a), view_angles(wanted, size_b)
    rest = abs(az_a - az_b) % (360 / turns)
    add = np.linalg.norm(turned - wanted, axis=1).mean()
    add_s = np.mean([np.linalg.norm(turned - point, axis=1).min() for point in wanted])
    if share <= 0:
        add, add_s = min(add, 1.0), min(add_s, 1.0)
    a, b = size_a / size_a[1], size_b / size_b[1]
    return pixel, share, min(rest, 360 / turns - rest), abs(el_a - el_b), add, add_s, (np.abs(a - b) / b).sum()


def measured(pairs, turns=1, closed=False):
    pose_a, size_a, pose_b, size_b = pairs
    uv = np.array([pixels(box_points(p, s)) for p, s in zip(pose_a, size_a, strict=True)])
    count = len(uv)
    camera, size = torch.from_numpy(K).expand(count, 3, 3), torch.tensor(SIZE_WH).expand(count, 2)
    one, other = boxes.boxes(pose_a, size_a), boxes.boxes(pose_b, size_b)
    return pose_errors(one, torch.from_numpy(uv), other, camera, size, turns, closed=closed)


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize(("turns", "off"), [(1, 0.1), (1, 0.8), (4, 0.5), (12, 0.3)])
def test_measures_are_those_of_the_description(turns, off, closed):
    pairs = random_pairs(np.random.default_rng(turns), 8, off)
    found = measured(pairs, turns, closed)
    expected = np.array([slow_errors(*pair, turns, closed) for pair in zip(*pairs, strict=True)]).T
    for name, values in zip(found._fields, expected, strict=True):
        np.testing.assert_allclose(getattr(found, name).numpy(), values, atol=1e-6, err_msg=name)
    assert (found.iou > 0).any()


def test_boxes_that_share_nothing_are_at_most_so_far_apart():
    poses, sizes, _, _ = random_pairs(np.random.default_rng(0), 3, 0.1)
    away = poses.copy()
    away[:, 0, 3] += 7.0
    found = measured((poses, sizes, away, sizes))
    assert (found.iou == 0).all()
    assert (found.add == 1).all()
    assert (found.add_s == 1).all()


@pytest.mark.parametrize("turns", [2, 4, 100])
def test_turns_of_a_symmetric_object_are_forgiven(turns):
    poses, sizes, _, _ = random_pairs(np.random.default_rng(1), 4, 0.0)
    turned = np.array(
        [boxes.pose(p[:3, :3] @ cv2.Rodrigues(np.array([0, 2 * math.pi / turns, 0.0]))[0], p[:3, 3]) for p in poses]
    )
    found = measured((turned, sizes, poses, sizes), turns)
    assert found.pixel.max() < 1e-9
    assert found.iou.min() > 1 - 1e-9
    assert found.azimuth_deg.max() < 1e-6
    if turns == 4:
        assert measured((turned, sizes, poses, sizes), turns, closed=True).iou.min() < 0.9
    if turns == 2:
        assert measured((turned, sizes, poses, sizes)).azimuth_deg.max() > 90


def test_boxes_grow_until_they_stand_on_the_ground():
    poses, sizes, _, _ = random_pairs(np.random.default_rng(3), 5, 0.0)
    true = boxes.boxes(poses, sizes)
    small = true.scaled(torch.full((5,), 0.3, dtype=torch.float64))
    unknown = torch.full((5, 2, 3), torch.nan, dtype=torch.float64)
    assert torch.allclose(ground_scale(small, true, unknown).factor, torch.full((5,), 1 / 0.3).double())
    lower = torch.stack((true.points()[:, 0] * 2, true.cuboid_to_camera[:, :3, 1]), 1)
    told = ground_scale(small, true, lower)
    assert told.valid.all()
    assert (told.factor > 1.5 / 0.3).all()  # the known ground lies behind the true boxes, and it counts
    useless = torch.zeros(5, 2, 3, dtype=torch.float64)
    assert torch.equal(ground_scale(small, true, useless).factor, ground_scale(small, true, unknown).factor)


def test_matches_are_nearest_and_once():
    rng = np.random.default_rng(0)
    found, true = torch.from_numpy(rng.uniform(0, 600, (5, 9, 2))), torch.from_numpy(rng.uniform(0, 600, (3, 9, 2)))
    distance = corner_distances(found, true, torch.tensor([600, 800]))
    expected = [
        [
            math.sqrt(sum(((a - b) / (600, 800)) @ ((a - b) / (600, 800)) for a, b in zip(f[1:], t[1:], strict=True)))
            for t in true.numpy()
        ]
        for f in found.numpy()
    ]
    np.testing.assert_allclose(distance, expected)
    assert match_nearest(distance).tolist() == np.argmin(expected, 1).tolist()
    once = match_once(distance)
    assert sorted(once.tolist()) == [-1, -1, 0, 1, 2]
    assert once[np.argmin(np.min(expected, 1))] == np.argmin(np.min(expected, 0))
    assert distance.isfinite().all()
    assert match_once(distance[:, :0]).tolist() == [-1] * 5
    assert match_once(distance[:0]).tolist() == []


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 6), st.integers(0, 6), st.integers(0, 10_000))
def test_single_matches_leave_no_nearer_pair_apart(found, true, seed):
    """Whoever is not together has a partner as near; of boxes as near to one object the likelier has it."""
    distance = torch.from_numpy(np.random.default_rng(seed).integers(0, 5, (found, true)).astype(float))
    once = match_once(distance)
    held = once[once >= 0].tolist()
    assert len(held) == len(set(held)) == min(found, true)
    for d in range(found):
        for t in range(true):
            if once[d] == t:
                continue
            own = distance[d, once[d]] if once[d] >= 0 else np.inf
            other = once.tolist().index(t) if t in held else None
            theirs = np.inf if other is None else distance[other, t]
            assert min(own, theirs) <= distance[d, t]
            if own > distance[d, t] == theirs:
                assert other < d


def test_a_false_box_far_away_takes_no_object():
    assert match_once(torch.tensor([[5.0], [0.0]])).tolist() == [-1, 0]
    assert match_once(torch.tensor([[1.0], [1.0]])).tolist() == [0, -1]


def slow_precision(hit, confidence, positives):
    """Interpolated precision, summed over the steps of recall."""
    ranked = [hit[k] for k in sorted(range(len(hit)), key=lambda k: -confidence[k])]
    curve, right = [], 0
    for rank, each in enumerate(ranked, 1):
        right += bool(each)
        curve.append((min(right / positives, 1.0), right / rank))
    area, before = 0.0, 0.0
    for k, (recall, _) in enumerate(curve):
        area += (recall - before) * max(precision for _, precision in curve[k:])
        before = recall
    return area


def test_average_precision_is_the_area_under_the_envelope():
    rng = np.random.default_rng(0)
    for count, positives in ((0, 3), (1, 1), (30, 20), (30, 9)):
        hits, confidence = rng.random((count, 4)) < (0.1, 0.4, 0.8, 1.0), rng.random(count)
        found = average_precision(hits, confidence, positives)
        expected = [slow_precision(hits[:, h], confidence, positives) for h in range(4)]
        np.testing.assert_allclose(found, expected, atol=1e-12)
        assert ((found >= 0) & (found <= 1)).all()


def test_thresholds_are_the_published_ones():
    assert {measure.field: (measure.thresholds[10], measure.thresholds[-1]) for measure in MEASURES} == {
        "iou": (0.5, 1.0),
        "pixel": (0.05, 0.1),
        "azimuth_deg": (15.0, 30.0),
        "elevation_deg": (10.0, 20.0),
        "scale": (0.5, 1.0),
        "add": (0.5, 1.0),
        "add_s": (0.5, 1.0),
    }
    iou, pixel = MEASURES[:2]
    assert iou.hits(np.array([0.5, np.nan])).sum(1).tolist() == [11, 0]
    assert pixel.hits(np.array([0.05, np.nan])).sum(1).tolist() == [11, 0]


def test_many_matches_are_measured_as_one_by_one():
    pairs = random_pairs(np.random.default_rng(5), 6, 0.4)
    whole = measured(pairs, 4)
    for k in range(6):
        single = measured(tuple(part[k : k + 1] for part in pairs), 4)
        for one, other in zip(whole, single, strict=True):
            torch.testing.assert_close(one[k : k + 1], other, rtol=1e-9, atol=1e-9)
    assert isinstance(boxes.boxes(*pairs[:2]), Cuboids)
