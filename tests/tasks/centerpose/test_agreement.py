"""Objects of two networks are paired by the middle of their boxes, and told in pixels."""

import numpy as np
import pytest

from cogkp.tasks.centerpose.quantization_error import Agreement


def outputs(*objects):
    """Objects as (score, x, y): boxes of 4 x 6 cells with corners in the middle."""
    rows = [(score, (x - 2, y - 3, x + 2, y + 3), [x, y] * 8) for score, x, y in objects]
    scores, boxes, corners = (np.array(column, np.float32) for column in zip(*rows, strict=True))
    both = {"kps": corners[None], "kps_displacement_mean": corners[None]}
    return {"scores": scores[None, :, None], "bboxes": boxes[None], **both}


def agreement(before, after, threshold=0.3):
    return Agreement(threshold, stride=4).joined(outputs(*before), outputs(*after))


def test_equal_networks_agree():
    objects = [(0.9, 10, 10), (0.5, 30, 20), (0.1, 5, 5)]
    found = agreement(objects, objects).figures
    assert (found["objects"], found["lost"], found["pictures"]) == (2, 0, 1)
    assert (found["corner_px_largest"], found["score_largest"]) == (0, 0)


def test_moves_are_told_in_pixels_whatever_the_order():
    found = agreement([(0.9, 10, 10), (0.5, 30, 20)], [(0.7, 30, 21), (0.65, 10.3, 10.4)])
    np.testing.assert_allclose(found.corners_px, [[2.0] * 8, [4.0] * 8], rtol=1e-5)
    assert found.figures["corner_px_median"] == pytest.approx(3.0)
    assert found.figures["corner_px_largest"] == pytest.approx(4.0)
    assert found.figures["score_largest"] == pytest.approx(0.25)
    assert "2 objects in 1 images move by 3 px (median)" in found.text()


@pytest.mark.parametrize(
    ("after", "poor"),
    [
        ([(0.9, 10.4, 10), (0.5, 30, 20)], False),  # corners move by 1.6 and 0 pixels
        ([(0.9, 10.7, 10), (0.5, 30, 20.7)], True),  # by 2.8
        ([(0.9, 10, 10), (0.1, 30, 20)], True),  # one is lost
    ],
)
def test_what_needs_a_warning_is_poor(after, poor):
    assert agreement([(0.9, 10, 10), (0.5, 30, 20)], after).is_poor is poor


def test_nothing_to_compare_is_poor():
    assert agreement([(0.1, 10, 10)], [(0.1, 10, 10)]).is_poor


@pytest.mark.parametrize("after", [[(0.9, 13, 10)], [(0.1, 10, 10)]])
def test_objects_too_far_off_or_too_unlikely_are_lost(after):
    found = agreement([(0.9, 10, 10)], after)
    assert found.lost == 1
    assert found.text() == "all 1 objects in 1 images are lost"
    assert "corner_px_median" not in found.figures


def test_peaks_that_are_others_now_are_told_apart_from_corners_that_moved():
    before, after = outputs((0.9, 10, 10)), outputs((0.9, 10, 10.1))
    after["kps"] = after["kps"].copy()
    after["kps"][0, 0, :2] += 5
    found = Agreement(0.3, stride=4).joined(before, after).figures
    assert found["corner_px_largest"] == pytest.approx(4 * np.hypot(5, 5.1), rel=1e-5)
    assert found["direct_px_largest"] == pytest.approx(0.4, rel=1e-4)


def test_half_the_threshold_is_enough_to_be_found_again():
    assert agreement([(0.35, 10, 10)], [(0.2, 10, 10)]).lost == 0


def test_without_objects_nothing_is_claimed():
    found = agreement([(0.2, 10, 10)], [(0.2, 10, 10)])
    assert found.figures == {"pictures": 1, "objects": 0, "lost": 0}
    assert found.text() == "no object above 0.3 in 1 images, so nothing could be compared"


def test_batches_add_up():
    first = agreement([(0.9, 10, 10)], [(0.9, 11, 10)])
    both = first.joined(outputs((0.8, 20, 20)), outputs((0.8, 20, 20)))
    assert both.images == 2
    assert both.corners_px.shape == (2, 8)
