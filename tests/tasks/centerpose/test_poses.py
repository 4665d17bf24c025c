"""From decoded objects to pixels, poses and JSON: what was put in comes out again."""

import json
import math

import attrs
import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cogkp.data.sample import Encoded, Sample, collate
from cogkp.errors import GeometryError
from cogkp.geometry.camera_frame import CameraFrame
from cogkp.geometry.cuboid import Plane
from cogkp.tasks.centerpose.codec import CenterPoseCodec
from cogkp.tasks.centerpose.decode import DecodeRules
from cogkp.tasks.centerpose.detections import MISSING, DecodedObjects, FilterRules, find_objects, soft_suppression
from cogkp.tasks.centerpose.poses import PoseRules, find_poses
from cogkp.tasks.centerpose.prediction import inference_record
from cogkp.tasks.centerpose.targets import TargetRules
from tests.builders.perfect_maps import perfect_maps
from tests.builders.placed import SIZE_WH, K, placed
from tests.builders.warps import letterbox, square_crop

RULES = TargetRules(side=256, max_objs=6)
CODEC = CenterPoseCodec(RULES, DecodeRules(20), category="crate")
WARPS = {"letterbox": letterbox(SIZE_WH, 256), "turned": square_crop((300.0, 400.0), 900.0, 256, math.radians(20))}
STILL = np.eye(3)


def boxes(depths=(2.0, 3.0), camera=K):
    """Boxes beside each other, well inside the image."""
    poses = np.tile(np.eye(4), (len(depths), 1, 1))
    for k, depth in enumerate(depths):
        poses[k, :3, :3] = cv2.Rodrigues(np.array([2.6 - 0.2 * k, 0.4 - 0.9 * k, 0.2]))[0]
        poses[k, :3, 3] = (-0.18 + 0.36 * k) * depth, (0.1 - 0.3 * k) * depth, depth
    sizes = np.array([[0.3, 0.4, 0.25], [0.5, 0.35, 0.3]])[: len(depths)]
    return attrs.evolve(placed(poses, sizes, [1] * len(depths)), K=camera)


def batch_of(*labels, warp=WARPS["letterbox"], codec=CODEC):
    samples = [
        Sample(np.zeros((3, 256, 256), np.float32), each, warp, SIZE_WH, f"no {k}") for k, each in enumerate(labels)
    ]
    return collate([(Encoded(sample, codec.encode(sample)),) for sample in samples])


def maps_of(batch):
    first = torch.zeros_like(batch.targets.objects.ind[:, 0])
    return perfect_maps(batch.targets.objects.pick(first), RULES.cells)


def found_in(batch, codec=CODEC, **how):
    detections = codec.decode(maps_of(batch), batch.source_to_crop)
    return find_poses(detections, batch.targets.truth.K.numpy(), **how)


@pytest.mark.parametrize("warp", WARPS.values(), ids=WARPS)
def test_encoded_boxes_come_back_to_the_pixel(warp):
    labels = boxes()
    batch = batch_of(labels, warp=warp)
    found = CODEC.decode(maps_of(batch), batch.source_to_crop)
    assert len(found) == 2
    assert found.peaked.all()
    for m in range(2):
        nearest = min(range(2), key=lambda k: np.abs(labels.uv_source[0, k, 1:] - found.uv_direct[m]).max())
        for uv in (found.uv_direct, found.uv_peaks):
            np.testing.assert_allclose(uv[m], labels.uv_source[0, nearest, 1:], atol=2e-3)
        size = labels.size_xyz[nearest]
        np.testing.assert_allclose(found.relative_size[m], size / size[1], atol=1e-5)


def by_depth(poses):
    return sorted(poses, key=lambda pose: pose.cuboid_to_camera[2, 3] * pose.size_xyz[1])


def test_poses_are_the_true_ones_up_to_scale_then_in_metres():
    labels = boxes()
    batch = batch_of(labels)
    relative = by_depth(found_in(batch))
    for pose, truth, size in zip(relative, labels.cuboid_to_camera, labels.size_xyz, strict=True):
        assert not pose.metric
        assert pose.residual_px < 2e-3
        np.testing.assert_allclose(pose.cuboid_to_camera[:3, :3], truth[:3, :3], atol=1e-3)
        np.testing.assert_allclose(pose.cuboid_to_camera[:3, 3] * size[1], truth[:3, 3], rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(pose.size_xyz, size / size[1], atol=1e-4)


def test_a_known_height_makes_lengths_true():
    labels = boxes(depths=(2.0,))
    (pose,) = found_in(batch_of(labels), height=np.array([0.4]))
    assert pose.metric
    np.testing.assert_allclose(pose.cuboid_to_camera, labels.cuboid_to_camera[0], atol=2e-3)
    np.testing.assert_allclose(pose.size_xyz, labels.size_xyz[0], atol=1e-4)


def test_the_ground_makes_lengths_true_where_it_is_known():
    labels = boxes(depths=(2.0,))
    pose, size = labels.cuboid_to_camera[0], labels.size_xyz[0]
    up, unknown = pose[:3, 1], np.full(3, np.nan)
    middle = pose[:3, 3] - 0.5 * size[1] * up
    ground = Plane(np.stack((middle, unknown)), np.stack((up, unknown)))
    one, other = found_in(batch_of(labels, labels), ground=ground)
    assert (one.metric, other.metric) == (True, False)
    np.testing.assert_allclose(one.cuboid_to_camera, pose, atol=2e-3)
    both = found_in(batch_of(labels, labels), ground=ground, height=np.array([np.nan, 0.4]))
    assert [each.metric for each in both] == [True, True]


def test_each_picture_has_its_own_camera():
    wide = K * np.array([[0.8], [0.8], [1.0]])
    batch = batch_of(boxes((2.0,)), boxes((2.0,), camera=wide))
    one, other = found_in(batch)
    assert one.residual_px < 2e-3
    assert other.cuboid_to_camera[2, 3] == pytest.approx(0.8 * one.cuboid_to_camera[2, 3], rel=0.2)
    np.testing.assert_allclose(one.cuboid_to_camera[2, 3] * 0.4, 2.0, atol=1e-3)


def test_intrinsics_of_zero_are_refused_with_advice():
    with pytest.raises(GeometryError, match="Calibrate the camera"):
        found_in(batch_of(attrs.evolve(boxes(), K=np.zeros((3, 3)))))


def test_peaks_outvote_corners_seen_from_the_centre():
    """Corners seen from the centre are off by many pixels, their peaks are not; trust decides."""
    batch = batch_of(boxes((2.0,)))
    maps = maps_of(batch)
    maps.hps[:, ::2] += 1.5
    detections = CODEC.decode(maps, batch.source_to_crop)
    truth = batch.targets.truth.cuboid_to_camera[0, 0, :3, 3].numpy() / 0.4
    off = [
        np.linalg.norm(
            next(iter(find_poses(detections, batch.targets.truth.K.numpy(), PoseRules(*w)))).cuboid_to_camera[:3, 3]
            - truth
        )
        for w in ((1.0, 0.0), (1.0, 1.0), (1.0, 100.0))
    ]
    assert off[0] > 1.5 * off[1] > 10 * off[2]


def test_objects_without_a_pose_are_dropped():
    batch = batch_of(boxes())
    detections = CODEC.decode(maps_of(batch), batch.source_to_crop)
    camera = batch.targets.truth.K.numpy()
    flat = attrs.evolve(
        detections, relative_size=detections.relative_size * np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    )
    assert len(find_poses(flat, camera)) == 1
    assert len(find_poses(detections, camera, PoseRules(max_residual_px=1e-12))) == 0
    nothing = detections.pick(np.zeros(2, bool))
    assert inference_record("a.png", find_poses(nothing, camera), "crate") == {
        "image_name": "a.png",
        "objects": [],
    }


def decoded_of(scores, count=1, seed=0):
    draw, k = torch.Generator().manual_seed(seed), len(scores)
    corner = 40 * torch.rand(count, k, 2, generator=draw)
    found = DecodedObjects(
        bboxes=torch.cat((corner, corner + 4 + 12 * torch.rand(count, k, 2, generator=draw)), -1),
        scores=torch.tensor(scores).expand(count, k).unsqueeze(-1),
        kps=torch.zeros(count, k, 16),
        clses=torch.zeros(count, k, 1),
        obj_scale=torch.ones(count, k, 3),
        kps_displacement_mean=60 * torch.rand(count, k, 16, generator=draw),
        kps_heatmap_mean=torch.where(torch.rand(count, k, 8, 1, generator=draw) < 0.5, 7.0, MISSING)
        .expand(-1, -1, -1, 2)
        .flatten(-2),
    )
    return DecodedObjects(*(field.contiguous().numpy() for field in found))


def test_unlikely_objects_and_numbers_that_are_none_are_left_out():
    decoded = decoded_of([0.9, 0.8, 0.3, 0.29, 0.7], count=2)
    decoded.bboxes[1, 0, 2] = np.nan
    decoded.obj_scale[1, 4, 0] = np.inf
    found = find_objects(decoded, np.tile(STILL, (2, 1, 1)), 4, FilterRules(0.3, suppression=False))
    assert list(zip(found.image.tolist(), found.score.tolist(), strict=True)) == [
        *((0, pytest.approx(s)) for s in (0.9, 0.8, 0.7)),
        (1, pytest.approx(0.8)),
    ]
    assert (found.uv_peaks[found.peaked] == 28).all()
    assert (found.uv_peaks[~found.peaked] == 0).all()


def slow_suppression(box, score, threshold, sigma):
    """One after the other, as it was published."""
    waiting = [[float(s), k] for k, s in enumerate(score)]
    kept = []
    while waiting:
        best = max(waiting, key=lambda each: each[0])
        waiting.remove(best)
        kept.append(best)
        left, top, right, bottom = box[best[1]]
        for each in waiting:
            x0, y0, x1, y1 = box[each[1]]
            w, h = min(right, x1) - max(left, x0) + 1, min(bottom, y1) - max(top, y0) + 1
            if w > 0 and h > 0:
                union = (right - left + 1) * (bottom - top + 1) + (x1 - x0 + 1) * (y1 - y0 + 1) - w * h
                each[0] *= math.exp(-((w * h / union) ** 2) / sigma)
        waiting = [each for each in waiting if each[0] >= threshold]
    return [k for _, k in kept], [s for s, _ in kept]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 0.6), st.floats(0.2, 1.0))
def test_suppression_is_the_published_one(seed, threshold, sigma):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 40, (12, 2))
    box = np.concatenate((corner, corner + rng.uniform(5, 40, (12, 2))), 1)
    score = rng.uniform(threshold, 1, 12).astype(np.float32)
    rows, left = soft_suppression(box, score, FilterRules(threshold, sigma=sigma))
    expected = slow_suppression(box, score, threshold, sigma)
    assert rows.tolist() == expected[0]
    np.testing.assert_allclose(left, expected[1], rtol=1e-5)


def test_objects_are_filtered_as_published():
    assert FilterRules() == FilterRules(threshold=0.3, suppression=True, sigma=0.5)
    assert PoseRules() == PoseRules(direct_weight=1.0, peak_weight=1.0, max_residual_px=math.inf)
    boxes_uv = np.array([[0.0, 0.0, 9.0, 9.0], [0.0, 5.0, 9.0, 14.0]])  # a third of their union is shared
    _, left = soft_suppression(boxes_uv, np.array([0.9, 0.8], np.float32), FilterRules())
    assert left[1] == pytest.approx(0.8 * math.exp(-((1 / 3) ** 2) / 0.5), rel=1e-6)


def test_pictures_of_a_batch_do_not_suppress_each_other():
    decoded = decoded_of([0.9, 0.85, 0.8, 0.6, 0.5], count=3)
    whole = find_objects(decoded, np.tile(STILL, (3, 1, 1)), 4, FilterRules())
    for b in range(3):
        single = find_objects(DecodedObjects(*(part[[b]] for part in decoded)), STILL[None], 4, FilterRules())
        assert np.array_equal(whole.pick(whole.image == b).score, single.score)
    assert not np.array_equal(
        whole.score, find_objects(decoded, np.tile(STILL, (3, 1, 1)), 4, FilterRules(suppression=False)).score
    )


@pytest.mark.parametrize("frame", [CameraFrame.OPENCV, CameraFrame.OBJECTRON])
def test_json_has_the_documented_keys_in_the_frame_asked_for(frame):
    labels = boxes((2.0,))
    poses = found_in(batch_of(labels), height=np.array([0.4]))
    record = json.loads(json.dumps(inference_record("video/00001.jpg", poses.of_image(0), "crate", frame)))
    assert record["image_name"] == "video/00001.jpg"
    (found,) = record["objects"]
    documented = {
        "id",
        "location",
        "quaternion_xyzw",
        "projected_keypoints_2d",
        "keypoints_3d",
        "relative_scale",
        "keypoints_2d",
    }
    added = {"class", "score", "bbox", "size", "reprojection_error_px", "up_to_scale"}
    assert set(found) == documented | added
    assert (found["id"], found["class"], found["up_to_scale"]) == ("object_0", "crate", False)
    uv, xyz = np.array(found["projected_keypoints_2d"]), np.array(found["keypoints_3d"])
    np.testing.assert_allclose(uv[1:], labels.uv_source[0, 0, 1:], atol=0.01)
    np.testing.assert_allclose(uv[0], uv[1:].mean(0))
    turn = np.eye(3) if frame is CameraFrame.OPENCV else np.array([[0, 1, 0], [1, 0, 0], [0, 0, -1.0]])
    x, y, z, w = found["quaternion_xyzw"]
    angle = 2 * math.atan2(math.hypot(x, y, z), w)
    rotation = cv2.Rodrigues(angle * np.array([x, y, z]) / math.hypot(x, y, z))[0]
    np.testing.assert_allclose(rotation, turn @ labels.cuboid_to_camera[0, :3, :3], atol=2e-3)
    np.testing.assert_allclose(found["location"], turn @ labels.cuboid_to_camera[0, :3, 3], atol=2e-3)
    np.testing.assert_allclose(xyz[0], found["location"], atol=1e-9)
    seen = xyz @ turn @ K.T
    np.testing.assert_allclose(seen[1:, :2] / seen[1:, 2:], uv[1:], atol=1e-6)
