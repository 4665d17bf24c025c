"""What a change of file costs frame by frame, against sums done by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cogkp.measures.evidence import Evidence, Measure
from cogkp.measures.frame_changes import frame_changes

FRAMES = ("a", "b", "c")


def measure(values, key="px", unit="px", frame=(0, 1, 1, 2)) -> Measure:
    columns = tuple(f"point {n}" for n in range(np.shape(values)[1]))
    return Measure(
        key=key, title="Distance", unit=unit, columns=columns, frame=np.array(frame), values=np.array(values, float)
    )


ONE = measure([[1.0, 2.0], [3.0, np.nan], [1.0, 1.0], [np.nan, 5.0]])
OTHER = measure([[1.5, 1.0], [3.0, np.nan], [1.25, 1.0], [np.nan, 2.0]])


def test_each_frame_counts_by_its_point_that_changes_most():
    found = frame_changes(Evidence(FRAMES, (ONE,)), Evidence(FRAMES, (OTHER,)))
    told = [(each.frame, each.of, each.first, each.second, each.size) for each in found.frames]
    assert told == [("c", "point 1", 5.0, 2.0, 3.0), ("a", "point 1", 2.0, 1.0, 1.0), ("b", "point 0", 1.0, 1.25, 0.25)]
    assert found.median == 1.0
    assert found.to_dict()["worst"] == {"frame": "c", "of": "point 1", "first": 5.0, "second": 2.0, "change": 3.0}


def test_the_order_of_both_does_not_matter_to_sizes():
    there = frame_changes(Evidence(FRAMES, (ONE,)), Evidence(FRAMES, (OTHER,)))
    back = frame_changes(Evidence(FRAMES, (OTHER,)), Evidence(FRAMES, (ONE,)))
    assert [each.size for each in there.frames] == [each.size for each in back.frames]
    assert there.median == back.median


def test_pixels_go_before_what_comes_first():
    shares = measure(np.zeros((4, 1)), "share", "")
    found = frame_changes(Evidence(FRAMES, (shares, ONE)), Evidence(FRAMES, (shares, OTHER)))
    assert (found.unit, found.median) == ("px", 1.0)
    alone = frame_changes(Evidence(FRAMES, (shares,)), Evidence(FRAMES, (measure(np.full((4, 1), 0.5), "share", ""),)))
    assert (alone.unit, alone.median, len(alone.frames)) == ("", 0.5, 3)


@pytest.mark.parametrize("measures", [(), (measure(np.full((4, 2), np.nan)),)])
def test_nothing_measured_is_no_change(measures):
    assert frame_changes(Evidence(FRAMES, measures), Evidence(FRAMES, measures)) is None
