"""Figures equal plain numpy; curves are monotone and go through the shares; histograms lose nothing."""

from __future__ import annotations

import json

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cogkp.measures.evidence import Evidence
from cogkp.measures.figures import ALL, histogram, hit_curve, intervals, reach
from tests.builders.evidence import evidence, measure

FOUND = evidence()
VALUES = FOUND.measures[0].values


def figures(found: Evidence):
    return {(figure.key, figure.of, figure.name): each for figure, each in intervals(found, resamples=200).items()}


def test_figures_are_those_of_numpy():
    found = figures(FOUND)
    for of, values in ((ALL, VALUES), ("tip", VALUES[:, 0]), ("end", VALUES[:, 1])):
        known = values[np.isfinite(values)]
        assert found["pixels", of, "mean"].value == pytest.approx(known.mean())
        assert found["pixels", of, "median"].value == pytest.approx(np.median(known))
        assert found["pixels", of, "within 2 px"].value == pytest.approx((known <= 2).mean())
    masks = FOUND.ratios[0]
    shares = masks.part[:, :2].sum(0) / masks.whole[:, :2].sum(0)
    assert found["mask_iou", "a", "share"].value == pytest.approx(shares[0])
    assert found["mask_iou", ALL, "share"].value == pytest.approx(shares.mean())
    assert ("mask_iou", "c", "share") not in found  # a class that nobody shows
    assert all(each.low <= each.value <= each.high for each in found.values())


def test_frames_without_a_label_change_nothing_but_the_intervals():
    empty = measure(np.vstack([VALUES, np.full((10, 2), np.nan)]))
    more = Evidence(tuple(map(str, range(50))), (empty,))
    with_empty, without = figures(more), figures(attrs.evolve(FOUND, ratios=()))
    assert {name: each.value for name, each in with_empty.items()} == pytest.approx(
        {name: each.value for name, each in without.items()}
    )


def test_what_was_never_measured_has_no_figures():
    nothing = Evidence(tuple(map(str, range(20))), (measure(np.full((20, 2), np.nan)),))
    assert intervals(nothing) == {}
    assert intervals(Evidence(())) == {}
    assert histogram(nothing.measures[0]).counts.sum() == 0
    curve = hit_curve(nothing.measures[0], 20)
    assert np.isnan(curve.lines[0].y).all()
    assert len(curve.lines) == 1


def test_all_views_of_a_frame_are_drawn_together():
    twice = Evidence(FOUND.frames, (measure(np.repeat(VALUES, 2, axis=0), np.repeat(np.arange(40), 2)),))
    once = attrs.evolve(FOUND, ratios=())
    for (figure, one), (same, other) in zip(intervals(once).items(), intervals(twice).items(), strict=True):
        if figure.name != "median":  # between the middle two of an even number lies another value
            assert (figure, one.value) == (same, pytest.approx(other.value))
            assert (one.low, one.high) == (pytest.approx(other.low), pytest.approx(other.high))


rows = st.lists(
    st.lists(st.one_of(st.just(np.nan), st.floats(0, 1e4)), min_size=2, max_size=2), min_size=1, max_size=30
)


@settings(max_examples=60, deadline=None)
@given(rows)
def test_curves_are_monotone_and_equal_the_shares(values):
    found = measure(values)
    for n, line in enumerate(hit_curve(found, len(values), resamples=20).lines):
        values_of = found.values if n == 0 else found.values[:, [found.columns.index(line.name)]]
        known = values_of[np.isfinite(values_of)]
        if not known.size:
            continue
        assert (np.diff(line.y) >= -1e-12).all()
        np.testing.assert_allclose(line.y, [(known <= limit).mean() for limit in line.x], atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(rows, st.integers(1, 50))
def test_histograms_count_every_value_once(values, bins):
    found = measure(values)
    counts = histogram(found, bins=bins)
    assert counts.counts.sum() + counts.beyond == np.isfinite(found.values).sum()
    assert len(counts.edges) == bins + 1
    points = [histogram(found, n, bins) for n in range(2)]
    np.testing.assert_array_equal(counts.counts, points[0].counts + points[1].counts)


def test_a_chart_reaches_past_the_thresholds_and_nearly_all_values():
    assert reach(measure([[0.1, 0.2]])) == 5.0
    assert reach(measure([[0.1, 11.0]] * 9)) == 15.0
    assert reach(measure([[np.nan, np.nan]], thresholds=())) > 0


def test_large_values_can_be_the_good_ones():
    found = Evidence(
        tuple("abcd"), (measure([[0.1], [0.6], [0.7], [0.9]], thresholds=(0.5,), better="higher", unit=""),)
    )
    assert figures(found)["pixels", ALL, "at least 0.5"].value == 0.75
    assert found.measures[0].worst().tolist() == [0.1, 0.6, 0.7, 0.9]
    assert (np.diff(hit_curve(found.measures[0], 4).lines[0].y) <= 0).all()


def test_the_worst_of_a_row_ignores_what_was_not_measured():
    np.testing.assert_array_equal(measure([[1.0, np.nan], [np.nan, np.nan], [2.0, 3.0]]).worst(), [1.0, np.nan, 3.0])


def test_evidence_comes_back_from_its_file_to_seven_digits():
    back = Evidence.from_dict(json.loads(json.dumps(FOUND.to_dict(), allow_nan=False)))
    assert back.frames == FOUND.frames
    np.testing.assert_allclose(back.measures[0].values, VALUES, rtol=1e-6)
    np.testing.assert_array_equal(back.ratios[0].whole, FOUND.ratios[0].whole)
    assert back.to_dict() == FOUND.to_dict()
    nothing = Evidence((), (measure(np.zeros((0, 2))),))
    assert Evidence.from_dict(nothing.to_dict()).measures[0].values.shape == (0, 2)


@pytest.mark.parametrize("change", [{"frame": [0, 99]}, {"frame": [0]}, {"columns": ["a"]}, {"values": None}])
def test_evidence_that_does_not_fit_together_is_refused(change):
    saved = Evidence(("a", "b"), (measure([[1, 2], [3, 4]]),)).to_dict()
    saved["measures"][0] |= change
    with pytest.raises((ValueError, TypeError)):
        Evidence.from_dict(saved)
