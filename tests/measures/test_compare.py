"""A difference is told where it is one, and only there."""

from __future__ import annotations

import attrs
import numpy as np
import pytest

from cogkp.measures.bootstrap import Interval
from cogkp.measures.compare import FigureDifference, aligned, differences, on_common_columns, same_frames
from cogkp.measures.evidence import Evidence
from cogkp.measures.figures import ALL, Figure, intervals
from tests.builders.evidence import evidence, measure

PX = Figure("pixels", "Distance", "mean", ALL, "px", "lower")
SHARE = Figure("pixels", "Distance", "within 2 px", ALL, "%", "higher")


def main(found):
    return next(each for each in found if each.figure.of == ALL and each.figure.name == "mean")


def test_the_same_evaluation_twice_differs_by_nothing():
    found = differences(evidence(), evidence(), paired=True)
    assert {(each.delta.value, each.delta.low, each.delta.high) for each in found} == {(0.0, 0.0, 0.0)}
    assert {each.verdict() for each in found} == {"the same"}


def test_a_known_shift_is_found_and_its_sign_is_right():
    first = evidence(hardness=2.0)
    better = attrs.evolve(first, measures=(measure(first.measures[0].values - 0.5),))
    told = main(differences(first, better, paired=True))
    assert told.delta.value == pytest.approx(-0.5)
    assert told.verdict() == "better by 0.500 px, 95 % between 0.500 and 0.500"
    assert main(differences(better, first, paired=True)).verdict().startswith("worse by 0.500 px")


def test_pairing_takes_out_what_makes_frames_hard_for_both():
    first, second = evidence(1, hardness=5.0, frames=80), evidence(2, hardness=5.0, frames=80)
    paired = main(differences(first, second, paired=True)).delta
    ends = [next(iter(intervals(each).values())) for each in (first, second)]
    unpaired = np.hypot(*(each.high - each.low for each in ends))
    assert paired.high - paired.low < 0.5 * unpaired


def test_no_difference_is_claimed_five_times_in_a_hundred():
    claims = 0
    for seed in range(60):
        first, second = evidence(2 * seed + 10, missing=0.0), evidence(2 * seed + 11, missing=0.0)
        alone = (attrs.evolve(each, ratios=()) for each in (first, second))
        found = main(differences(*alone, paired=True, resamples=200, seed=seed))
        claims += not found.verdict().startswith("no significant difference")
    assert claims <= 9  # of 60 at 5 % (and a little more for few frames) more than 9 happen once in 500 times


@pytest.mark.parametrize(
    ("figure", "delta", "said"),
    [
        (PX, Interval(-0.31, -0.55, -0.10), "better by 0.310 px, 95 % between 0.100 and 0.550"),
        (PX, Interval(0.31, 0.10, 0.55), "worse by 0.310 px, 95 % between 0.100 and 0.550"),
        (SHARE, Interval(0.031, 0.01, 0.05), "better by 3.1 percentage points, 95 % between 1.0 and 5.0"),
        (PX, Interval(0.1, -0.2, 0.4), "no significant difference (95 % between -0.200 and +0.400 px)"),
        (PX, Interval(0.1), ""),
        (PX, None, ""),
    ],
)
def test_verdicts_in_plain_words(figure, delta, said):
    assert FigureDifference(figure, 1.0, 1.0, delta).verdict() == said


def test_frames_in_another_order_are_brought_together():
    first = evidence()
    order = np.random.default_rng(0).permutation(40)
    ours, masks = first.measures[0], first.ratios[0]
    turned = Evidence(
        tuple(first.frames[n] for n in order),
        (attrs.evolve(ours, values=ours.values[order]),),
        (attrs.evolve(masks, part=masks.part[order], whole=masks.whole[order]),),
    )
    assert same_frames(first, turned)
    one, other, left_out = aligned(first, turned)
    assert left_out == 0
    assert {each.verdict() for each in differences(one, other, paired=True)} == {"the same"}


def test_labels_that_one_of_them_lacks_are_left_out_of_both():
    first = Evidence(tuple("ab"), (measure([[1.0, np.nan], [2.0, 3.0]]),))
    second = Evidence(tuple("ab"), (measure([[4.0, 9.0], [np.nan, 5.0]]),))
    one, other, left_out = aligned(first, second)
    assert left_out == 2
    np.testing.assert_array_equal(one.measures[0].values, [[1.0, np.nan], [np.nan, 3.0]])
    np.testing.assert_array_equal(other.measures[0].values, [[4.0, np.nan], [np.nan, 5.0]])


def test_other_frames_are_never_paired():
    first = evidence(frames=20)
    for second in (evidence(frames=21), attrs.evolve(first, frames=("twice",) * 20)):
        assert not same_frames(first, second)
        with pytest.raises(ValueError, match="same"):
            aligned(first, second)
        with pytest.raises(ValueError, match="same frames"):
            differences(first, second, paired=True)
    told = main(differences(first, evidence(1, frames=30), paired=False))
    assert told.delta.low is None
    assert told.verdict() == ""


def test_only_common_columns_and_measures_are_compared():
    first = evidence()
    second = attrs.evolve(first, measures=(attrs.evolve(first.measures[0], columns=("tip", "elbow")),))
    one, other, told = on_common_columns(first, second)
    assert one.measures[0].columns == other.measures[0].columns == ("tip",)
    assert told == ["Distance in the image: only one of them has elbow, end, which is left out"]
    space = measure(np.ones((40, 2)), key="space", title="Distance in space", unit="mm")
    *_, told = on_common_columns(first, attrs.evolve(first, measures=(*first.measures, space)))
    assert told == ["only one of them has: Distance in space"]
    feet = attrs.evolve(first, measures=(attrs.evolve(first.measures[0], unit="feet"),))
    one, _, told = on_common_columns(first, feet)
    assert one.measures == ()
    assert "given in px and in feet" in told[0]
