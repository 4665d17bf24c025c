"""Labels outside their own image are not visible: never trained, never judged, always told."""

import json
import logging

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cogkp.config.augment import Crop
from cogkp.config.keypoint.spec import DataMappings, KeypointConfig
from cogkp.data.images import write_png
from cogkp.data.keypoint import outside
from cogkp.data.keypoint.dataset import AugmentedKeypointDataset, open_roots
from cogkp.data.keypoint.outside import inside_image
from cogkp.errors import DataError
from cogkp.tasks.keypoint.codec import KeypointCodec
from tests.builders.oriented import write_oriented

WH = (160, 120)
MAPPINGS = DataMappings(x=("image",), y=(("tip",),))


def recording(root, *points, sizes=()):
    """Write one line and one image a point."""
    root.mkdir()
    lines = []
    for number, point in enumerate(points):
        width, height = sizes[number] if sizes else WH
        write_png(root / f"{number}.png", np.full((height, width), 50, np.uint8))
        lines.append(json.dumps({"image": f"{number}.png", "tip": point}))
    (root / "data.jsonl").write_text("\n".join(lines) + "\n")
    return str(root)


def usable(root, **changes):
    (index,) = open_roots([root], attrs.evolve(MAPPINGS, **changes))
    return index.labelled[:, 0, 0].tolist()


@pytest.mark.parametrize(
    ("point", "inside"),
    [
        ([0.0, 0.0], True),
        ([-0.5, -0.5], True),
        ([159.5, 119.5], True),
        ([80.0, 119.5], True),
        ([-0.51, 5.0], False),
        ([159.51, 5.0], False),
        ([5.0, 119.6], False),
        ([80.0, -20.0], False),
        ([5000.0, 30.0], False),
        ([160.0, 30.0], False),
        ([-1.0, 50.0], False),
        ([-1, -1], False),
        ([1e300, 5.0], False),
        ([float("-inf"), 5.0], False),
        ([float("nan"), 5.0], False),
        ({"x": 0, "y": 0, "visibility": 0}, False),
        ({"x": 5, "y": 6, "visible": False}, False),
        ({"x": 5, "y": 6, "v": -1}, False),
        ({"x": 5, "y": 6, "v": 0.4}, True),
        ({"x": 5, "y": 6, "visibility": None}, True),
        ({"x": 0.0, "y": 0.0, "visible": False}, False),
        ({"x": 9, "y": 9, "v": 0}, False),
        ({"x": 9, "y": 9, "v": 2}, True),
        ({"x": 9, "y": 9, "visibility": None}, True),
    ],
)
def test_a_label_counts_where_its_image_has_a_pixel(tmp_path, point, inside):
    assert usable(recording(tmp_path / "a", [3.0, 3.0], point)) == [True, inside]


@given(st.lists(st.tuples(st.floats(-400, 400), st.floats(-400, 400)), min_size=1, max_size=5), st.integers(1, 300))
def test_inside_is_what_rounding_to_a_pixel_finds(points, width):
    uv = np.array(points)
    pixel = np.rint(uv)
    off = (np.abs(uv - np.trunc(uv)) != 0.5).all(-1)
    found = ((pixel >= 0) & (pixel < [width, 77])).all(-1)
    assert (inside_image(uv, (width, 77)) == found)[off].all()


def test_each_image_has_its_own_size(tmp_path):
    points, sizes = ([100.0, 50.0], [100.0, 50.0], [50.0, 100.0]), [(160, 120), (90, 60), (60, 160)]
    assert usable(recording(tmp_path / "a", *points, sizes=sizes)) == [True, False, True]


def test_a_turned_image_is_as_large_as_it_is_shown(tmp_path, caplog):
    root = recording(tmp_path / "a", [100.0, 140.0], [140.0, 100.0])
    for number in range(2):
        write_oriented(tmp_path / "a" / f"{number}.png", np.zeros((120, 160), np.uint8), orientation=6)
    found = [open_roots([root], MAPPINGS, oriented=oriented)[0].labelled.ravel().tolist() for oriented in (True, False)]
    assert found == [[True, False], [False, True]]
    warned = [record for record in caplog.records if record.levelname == "WARNING"]
    assert sum("2 of 2 images note an orientation" in record.getMessage() for record in warned) == 1


def test_labels_outside_are_counted_and_told_with_examples(tmp_path, caplog):
    root = recording(tmp_path / "a", [50, 60], [80, -20], [5000, 30], None)
    with caplog.at_level(logging.WARNING, "cogkp"):
        (index,) = open_roots([root], MAPPINGS)
    assert dict(index.dropped) == {"label outside its image": 2}
    assert "2 of 3 labels lie outside their image" in caplog.text
    assert "data.jsonl:2 tip [80, -20]; data.jsonl:3 tip [5000, 30]" in caplog.text
    assert "data_mappings.keep_points_outside_image" in caplog.text
    assert index.uv_source[:, 0, 0].tolist() == [[50, 60], [0, 0], [0, 0], [0, 0]]


def test_labels_on_the_first_pixel_are_told(tmp_path, caplog):
    assert usable(recording(tmp_path / "a", [0, 0], [5, 5])) == [True, True]
    assert "1 label exactly at [0, 0]" in caplog.text


@pytest.mark.parametrize("word", ["0", "hidden", [0]])
def test_a_visibility_that_is_no_number_is_refused(tmp_path, word):
    with pytest.raises(DataError, match="the point cannot be read") as caught:
        usable(recording(tmp_path / "a", {"x": 5, "y": 6, "visibility": word}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("points", "told"),
    [
        (([0.5, 0.25], [0.0, 0.0], [1.0, 0.9]), True),
        (([0.5, 0.25], [60.0, 0.9]), False),
        (([0.0, 0.0], [0.0, 0.0]), False),
    ],
)
def test_fractions_of_the_image_are_told(tmp_path, caplog, points, told):
    usable(recording(tmp_path / "a", *points))
    assert ("Are they fractions of the image?" in caplog.text) == told


def test_amodal_labels_stay_where_they_are_asked_for(tmp_path, caplog):
    root = recording(tmp_path / "a", [-40, 60], [-1, -1])
    assert usable(root, keep_points_outside_image=True) == [True, False]
    assert "outside" not in caplog.text


def dataset(root, **changes):
    config = KeypointConfig(
        base_dir=(root,),
        data_mappings=attrs.evolve(MAPPINGS, **changes),
        augmentations=(Crop(output_size=64, region="frame"),),
    )
    return AugmentedKeypointDataset(config, "evaluation", KeypointCodec.of(config).encode)


def test_neither_training_nor_evaluation_sees_a_label_in_the_border(tmp_path):
    """The frame is wider than high, so the crop shows black above and below it."""
    root = recording(tmp_path / "a", [80.0, 60.0], [80.0, -10.0])
    valid = [dataset(root)[row][0].targets.valid.tolist() for row in range(2)]
    kept = [dataset(root, keep_points_outside_image=True)[row][0].targets.valid.tolist() for row in range(2)]
    assert (valid, kept) == ([[True], [False]], [[True], [True]])


def test_of_many_images_those_not_looked_at_are_judged_when_read(tmp_path, monkeypatch):
    monkeypatch.setattr(outside, "IMAGES_LOOKED_AT", 2)
    monkeypatch.setattr(outside, "EXTREMES", 1)
    points = [[5.0, 5.0], [30.0, 5.0], [150.0, 5.0], [31.0, 5.0], [6.0, 5.0]]
    root = recording(tmp_path / "a", *points, sizes=[(20, 64)] * 5)
    assert usable(root) == [True, True, False, True, True]
    found = [dataset(root)[row][0].targets.labelled.tolist() for row in range(5)]
    assert found == [[True], [False], [False], [False], [True]]
