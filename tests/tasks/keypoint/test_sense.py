"""Predictions that do not look at the image are called so, and good ones are not."""

from __future__ import annotations

import numpy as np

from cogkp.tasks.keypoint.sanity import Places, complaints, missing_classes

NAMES = ("tip", "end")
GENERATOR = np.random.default_rng(0)
TRUE = GENERATOR.uniform(20, 230, (60, 2, 2))


def said(found, valid=None, true=TRUE, scale=2.0):
    every = np.ones(true.shape[:2], bool) if valid is None else valid
    return complaints(NAMES, Places(true, found, every, np.full(len(true), scale)))


def test_good_predictions_are_not_complained_of():
    assert said(TRUE + GENERATOR.normal(0, 3, TRUE.shape)) == []


def test_the_middle_of_the_picture_is_no_prediction():
    first, second = said(np.full_like(TRUE, 128.0))
    assert "no better than naming the middle of each point's labels" in first
    assert "has not learnt where the points are" in first
    assert second.endswith("though labels move: tip, end.")


def test_one_point_that_was_not_learnt_is_named():
    found = TRUE + GENERATOR.normal(0, 3, TRUE.shape)
    found[:, 1] = TRUE[::-1, 1]
    assert said(found) == ["No better than the middle of all its labels for every image: end."]


def test_the_error_told_is_in_pixels_of_the_full_frame():
    (told,) = said(TRUE + 400.0)
    assert f"(mean {2 * 400 * np.sqrt(2):.1f} px)" in told


def test_labels_that_stand_still_prove_nothing_about_predictions_that_do():
    still = np.broadcast_to([50.0, 60.0], TRUE.shape) + GENERATOR.normal(0, 0.5, TRUE.shape)
    assert not any("nearly the same place" in line for line in said(0 * still + 50.0, true=still))


def test_of_few_labels_nothing_is_said():
    valid = np.zeros(TRUE.shape[:2], bool)
    valid[:4] = True
    assert said(np.full_like(TRUE, 128.0), valid) == []
    assert said(np.full_like(TRUE, 128.0), np.zeros_like(valid)) == []


def test_a_class_that_is_never_predicted_is_named():
    confusion = np.array([[90, 0, 0], [10, 0, 0], [0, 0, 0]])
    assert list(missing_classes(confusion)) == [
        "Mask class 1 is never predicted, though 10 % of the pixels belong to it."
    ]
    assert list(missing_classes(np.eye(3, dtype=int))) == []
    assert list(missing_classes(np.zeros((0, 0), int))) == []
