"""A rendered frame is a function of seed and index, and its labels are where the tool is."""

import cv2
import numpy as np
import pytest
import torch

from cogkp.data.keypoint.scene.body import HANDLE, POINTER, RADII, TIP_TURN, TURN_END, Look, draw_tool, sample_tool
from cogkp.data.keypoint.scene.render import calibration, project, render_frame, stereo_head
from cogkp.errors import GeometryError
from cogkp.geometry.camera import PinholeCamera

FRAMES = range(12)


def plain_look(**changes):
    flat = {"light": np.array([0.0, 0.0, -1.0]), "pointer": 0.5, "handle": 0.5, "pivot": 0.5, "cap": 0.5, "gloss": 0.0}
    return Look(**{**flat, "grip": 0.0, **changes})


def drawn_tool(uv, depth, look):
    canvas = np.full((256, 320), 0.5, np.float32)
    mask = np.zeros(canvas.shape, np.uint8)
    draw_tool(canvas, mask, uv, depth, 430.0, look)
    return canvas, mask


def centroid(weights):
    v, u = np.mgrid[: weights.shape[0], : weights.shape[1]]
    return np.array([(weights * u).sum(), (weights * v).sum()]) / weights.sum()


def test_the_same_seed_and_index_give_the_same_frame():
    first, again = render_frame(7, 3), render_frame(7, 3)
    for name in ("LL", "LR"):
        assert np.array_equal(first.views[name].image, again.views[name].image)
        assert np.array_equal(first.views[name].mask, again.views[name].mask)
    assert np.array_equal(first.xyz_world, again.xyz_world)
    assert not np.array_equal(first.xyz_world, render_frame(7, 4).xyz_world)
    assert not np.array_equal(first.xyz_world, render_frame(8, 3).xyz_world)


@pytest.mark.parametrize("index", FRAMES)
def test_labels_are_the_projections_of_the_tool(index):
    frame = render_frame(1, index)
    for name, cameras_view in frame.views.items():
        camera = calibration(stereo_head())[name]
        rvec = cv2.Rodrigues(np.array(camera["extrinsic"])[:3, :3])[0]
        tvec = np.array(camera["extrinsic"])[:3, 3]
        expected = cv2.projectPoints(frame.xyz_world, rvec, tvec, np.array(camera["intrinsic"]), None)[0][:, 0]
        assert np.abs(cameras_view.uv - expected).max() < 1e-9
        assert (cameras_view.uv > 10).all()
        assert (cameras_view.uv < [309, 245]).all()


@pytest.mark.parametrize("index", FRAMES)
def test_links_have_their_lengths(index):
    tip, turn, end = sample_tool(np.random.default_rng(index), stereo_head())
    assert np.linalg.norm(tip - turn) == pytest.approx(TIP_TURN)
    assert np.linalg.norm(end - turn) == pytest.approx(TURN_END)
    assert 60 <= np.degrees(np.arccos((tip - turn) @ (end - turn) / TIP_TURN / TURN_END)) <= 155


@pytest.mark.parametrize("index", FRAMES)
def test_marks_are_drawn_on_the_points(index):
    """The image with and without contrast of one mark differs about that mark's point."""
    xyz = sample_tool(np.random.default_rng(index), stereo_head())
    for camera in stereo_head().values():
        uv, depth = project(camera, xyz)
        plain, _ = drawn_tool(uv, depth, plain_look())
        for row, mark in ((1, {"pivot": 0.1}), (2, {"cap": 0.9})):
            changed, _ = drawn_tool(uv, depth, plain_look(**mark))
            near = np.hypot(*(np.mgrid[:256, :320] - uv[row][::-1, None, None])) < 16
            assert np.linalg.norm(centroid(np.abs(changed - plain) * near) - uv[row]) < 0.1


@pytest.mark.parametrize("index", FRAMES)
def test_the_tip_is_the_centre_of_the_round_point(index):
    """Behind the tip the outline ends one radius away from it, along the link."""
    xyz = sample_tool(np.random.default_rng(index), stereo_head())
    uv, depth = project(stereo_head()["LL"], xyz)
    _, mask = drawn_tool(uv, depth, plain_look())
    axis = (uv[0] - uv[1]) / np.linalg.norm(uv[0] - uv[1])
    v, u = np.nonzero(mask == POINTER)
    farthest = ((np.stack([u, v], -1) - uv[0]) @ axis).max()
    assert farthest == pytest.approx(RADII["tip"] * 430 / depth[0], abs=1.0)  # the outermost pixel


def test_masks_hold_the_points_and_obey_the_classes():
    """Points carry the class of their link wherever nothing stands before them."""
    hits = []
    for index in FRAMES:
        for view in render_frame(2, index).views.values():
            assert set(np.unique(view.mask)) <= {0, POINTER, HANDLE}
            at = [view.mask[tuple(np.round(point[::-1]).astype(int))] for point in view.uv]
            assert all(found in (0, wanted) for found, wanted in zip(at, (POINTER, POINTER, HANDLE), strict=True))
            hits += [found > 0 for found in at]
    assert np.mean(hits) > 0.75


def test_masks_agree_between_the_cameras_as_far_as_perspective_allows():
    """Nothing in the way, both cameras see much the same area of each link."""
    for index in FRAMES:
        xyz = sample_tool(np.random.default_rng(index), stereo_head())
        masks = [drawn_tool(*project(camera, xyz), plain_look())[1] for camera in stereo_head().values()]
        areas = np.array([[(mask == k).sum() for k in (POINTER, HANDLE)] for mask in masks], float)
        assert np.abs(np.log(areas[0] / areas[1])).max() < 0.5


def test_pictures_look_like_photographs_not_like_drawings():
    """Many grey levels, noise in flat parts, no clipping over large parts."""
    for index in FRAMES:
        for view in render_frame(4, index).views.values():
            assert len(np.unique(view.image)) > 80
            assert ((view.image == 0) | (view.image == 255)).mean() < 0.1
            assert np.abs(np.diff(view.image.astype(int), axis=1)).mean() > 0.5


def test_cameras_without_a_common_view_are_refused():
    head = stereo_head()
    away = head["LL"].world_to_camera.clone()
    away[:3] *= torch.tensor([[-1.0], [1.0], [-1.0]])
    cameras = {"LL": head["LL"], "LR": PinholeCamera(head["LR"].K, away, (320, 256))}
    with pytest.raises(GeometryError, match="share no view"):
        sample_tool(np.random.default_rng(0), cameras)


def test_the_head_is_a_plausible_stereo_head():
    left, right = (camera.world_to_camera.numpy() for camera in stereo_head().values())
    for pose in (left, right):
        assert np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3))
        assert np.linalg.det(pose[:3, :3]) == pytest.approx(1.0)
    to_right = right @ np.linalg.inv(left)
    assert np.linalg.norm(to_right[:3, 3]) == pytest.approx(2.6)
    # The right camera's centre lies to the right of the left camera.
    assert (np.linalg.inv(to_right)[:3, 3])[0] > 2.4
