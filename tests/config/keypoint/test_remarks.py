"""Configurations that are allowed and hardly meant: said with the setting that mends them."""

import pytest

from cogkp.config.augment import Crop, Flip
from cogkp.config.keypoint.remarks import deployment_remarks, training_remarks
from cogkp.config.keypoint.spec import DataMappings, KeypointConfig


def config(*names, flip=None, crop=None):
    stages = (crop or Crop(), *([] if flip is None else [flip]))
    mappings = DataMappings(y=(tuple(f"points.{name}" for name in names),))
    return KeypointConfig(data_mappings=mappings, augmentations=stages)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("left_ear", "right_ear"),
        ("ear_left", "ear_right"),
        ("leftear", "rightear"),
        ("EarLeft", "EarRight"),
        ("L_wrist", "R_wrist"),
        ("wrist-l", "wrist-r"),
        ("pawR", "pawL"),
        ("Left Hip 2", "Right Hip 2"),
        ("paw_fl", "paw_fr"),
        ("HLpaw", "HRpaw"),
        ("Leye", "Reye"),
        ("tl", "tr"),
        ("upperleftcorner", "upperrightcorner"),
        ("lft_ear", "rgt_ear"),
        ("ear_lt", "ear_rt"),
        ("auge_links", "auge_rechts"),
        ("ojo izquierdo", "ojo derecho"),
        ("左目", "右目"),
    ],
)
def test_a_flip_that_keeps_left_and_right_is_said_with_the_pairs_to_swap(left, right):
    (remark,) = training_remarks(config(left, "nose", right, flip=Flip()))
    assert "expected [[0, 2]]" in str(remark)
    assert f"{left} and {right} not swapped" in str(remark)
    assert remark.where == "augmentations[1].swap"


def test_a_half_swap_names_what_is_missing_and_all_that_belongs_there():
    names = ("left_ear", "right_ear", "left_eye", "right_eye")
    (remark,) = training_remarks(config(*names, flip=Flip(swap=((1, 0),))))
    assert "[[0, 1], [2, 3]]" in str(remark)
    assert "left_eye and right_eye" in str(remark)
    assert "left_ear and" not in str(remark)


@pytest.mark.parametrize(
    "names", [("nose", "tail"), ("bright", "upright"), ("lamp", "ramp"), ("left_ear", "nose"), ("tail", "tair")]
)
def test_names_without_two_sides_are_no_matter(names):
    assert training_remarks(config(*names, flip=Flip())) == []


def test_a_full_swap_no_flip_and_a_flip_that_never_acts_are_no_matter():
    names = ("left_ear", "right_ear")
    for flip in (Flip(swap=((0, 1),)), Flip(swap=((1, 0),)), Flip(probability=0.0), None):
        assert training_remarks(config(*names, flip=flip)) == []


def test_a_deployed_model_cannot_crop_round_points_it_does_not_know():
    (remark,) = deployment_remarks(config("tip", crop=Crop(region="points")))
    assert "augmentations[0].region" in str(remark)
    assert "train with another region" in str(remark)
    for crop in (Crop(), Crop(region="box", box=(0.0, 0.0, 9.0, 9.0))):
        assert deployment_remarks(config("tip", crop=crop)) == []


def test_sides_are_seen_in_every_row_and_with_blanks_around():
    rows = (("A.p0", "A.p1"), ("B.left eye ", "B.right eye"))
    mapped = KeypointConfig(data_mappings=DataMappings(x=("A", "B"), y=rows), augmentations=(Crop(), Flip()))
    (remark,) = training_remarks(mapped)
    assert "expected [[0, 1]]" in str(remark)
