"""A comparison sheet says how far predictions are, in words beside the image."""

import attrs
import numpy as np
import pytest

from cogkp.visual.figure import LabelledPrediction, comparison_sheet, comparison_tile, error_caption
from cogkp.visual.palette import point_colours

PLAIN = LabelledPrediction(
    image=np.full((64, 80), 100, np.uint8),
    truth_uv=np.array([[20.0, 20.0], [50.0, 30.0]]),
    truth_visible=np.array([True, True]),
    predicted_uv=np.array([[23.0, 24.0], [50.0, 31.0]]),
)


def test_captions_tell_mean_and_worst_error():
    assert error_caption(PLAIN) == "mean 3.0 px, worst 5.0 px"


def test_errors_are_told_in_pixels_of_the_full_frame():
    assert error_caption(attrs.evolve(PLAIN, frame_px=2.0)) == "mean 6.0 px, worst 10.0 px"


def test_only_labelled_and_predicted_points_count():
    assert error_caption(attrs.evolve(PLAIN, truth_visible=np.array([False, True]))) == "mean 1.0 px, worst 1.0 px"
    assert error_caption(attrs.evolve(PLAIN, predicted_visible=np.array([True, False]))) == "mean 5.0 px, worst 5.0 px"


@pytest.mark.parametrize(
    "change",
    [{"truth_visible": np.zeros(2, bool)}, {"predicted_uv": np.full((2, 2), np.nan)}],
    ids=["unlabelled", "NaN"],
)
def test_nothing_to_compare_is_said(change):
    comparison = attrs.evolve(PLAIN, **change)
    assert error_caption(comparison) == "nothing to compare"
    assert comparison_sheet([comparison], ["a", "b"]).dtype == np.uint8


def test_tiles_are_enlarged_by_whole_factors():
    assert comparison_tile(PLAIN, point_colours(2), min_side_px=200).shape == (192, 240, 3)
    assert comparison_tile(PLAIN, point_colours(2), min_side_px=10).shape == (64, 80, 3)


def test_marks_of_truth_are_drawn_at_their_place_on_the_enlarged_tile():
    hidden = attrs.evolve(PLAIN, predicted_visible=np.zeros(2, bool))
    tile = comparison_tile(hidden, point_colours(2), min_side_px=320)
    marked = np.argwhere(
        (tile != comparison_tile(attrs.evolve(hidden, truth_visible=np.zeros(2, bool)), [], 320)).any(-1)
    )
    left = marked[marked[:, 1] < 140]
    assert np.allclose(left[:, ::-1].mean(0), 20.5 * 4 - 0.5, atol=0.3)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9])
def test_sheets_hold_every_tile(count):
    sheet = comparison_sheet([PLAIN] * count, ["tip", "end"], title="held out", min_side_px=80)
    assert sheet.shape[2] == 3
    assert sheet.shape[0] * sheet.shape[1] > count * 64 * 80


def test_long_legends_wrap():
    names = [f"a_rather_long_point_name_{index}" for index in range(17)]
    truth = np.zeros((17, 2))
    many = LabelledPrediction(
        image=PLAIN.image, truth_uv=truth, truth_visible=np.ones(17, bool), predicted_uv=truth, mask=PLAIN.image // 100
    )
    few = comparison_sheet([PLAIN], ["a", "b"])
    assert comparison_sheet([many], names).shape[1] == few.shape[1]
    assert comparison_sheet([many], names).shape[0] > few.shape[0] + 100


def test_an_empty_sheet_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        comparison_sheet([], ["a"])
