"""Marks of boxes lie where the boxes are, in drawings of labels, predictions and poses."""

import numpy as np

from cogkp.drawing import draw_batch, draw_comparison
from cogkp.tasks.centerpose.overlays import pose_outline
from cogkp.visual.overlay import draw_outlines
from tests.builders.placed import K
from tests.tasks.centerpose.test_poses import CODEC, batch_of, boxes, by_depth, found_in, maps_of


def test_marks_of_labels_and_of_perfect_predictions_are_the_same():
    batch = batch_of(boxes(), boxes((2.5,)))
    truth, found = CODEC.truth_marks(batch), CODEC.prediction_marks(maps_of(batch))
    assert [len(each.outlines) for each in truth] == [len(each.outlines) for each in found] == [2, 1]
    wanted, seen = truth[1].outlines[0], found[1].outlines[0]
    np.testing.assert_allclose(seen.uv[1:9], wanted.uv[1:9], atol=1e-3)
    np.testing.assert_allclose(wanted.uv[:9] / 0.32 - (100, 0), boxes((2.5,)).uv_source[0, 0], atol=1e-6)
    assert seen.text == "1.00  0.750/1.000/0.625"
    assert wanted.text == "0.300/0.400/0.250"


def test_boxes_without_a_pose_are_not_shown():
    batch = batch_of(boxes((2.0,)), boxes((2.5,)))
    maps = maps_of(batch)
    maps.scale[0, 2] = -0.5
    assert [len(each.outlines) for each in CODEC.prediction_marks(maps)] == [0, 1]


def test_axes_of_a_pose_end_where_they_should():
    labels = boxes()
    batch = batch_of(labels)
    for k, pose in enumerate(by_depth(found_in(batch))):
        outline = pose_outline(pose, K, axis_size=0.5)
        assert [line[2] for line in outline.lines[-3:]] == ["x", "y", "z"]
        true = labels.cuboid_to_camera[k]
        for axis in range(3):
            x, y, z = K @ (true[:3, 3] + 0.5 * labels.size_xyz[k, 1] * true[:3, axis])
            np.testing.assert_allclose(outline.uv[9 + axis], (x / z, y / z), atol=0.1)
        np.testing.assert_allclose(outline.uv[:9], pose.uv)
        assert draw_outlines(np.zeros((800, 600, 3), np.uint8), [outline]).any()


def test_pictures_of_batches_show_the_boxes():
    batch = batch_of(boxes(), boxes((2.5,)))
    maps = maps_of(batch)
    labels, found = draw_batch(CODEC, batch), draw_batch(CODEC, batch, maps)
    assert labels.shape == found.shape
    plain = (24, 24, 24)
    assert (labels != plain).any(-1).mean() > 0.3
    sheet = draw_comparison(CODEC, lambda image: maps, batch, "title")
    white, red = (sheet > 200).all(-1).sum(), ((sheet[..., 0] > 180) & (sheet[..., 1] < 90)).sum()
    assert white > 100
    assert red > 500
