import numpy as np

from cogkp.tasks.centerpose.per_object import ObjectRows


def rows():
    found = ObjectRows()
    # Two asked for, one of them found; a third that nobody asks for is found, too.
    errors = np.array([[0.8, 2.0, 3.0, 4.0, 0.1], [0.9, 1.0, 1.0, 1.0, 0.2]])
    found.add("first", np.array([True, False, True]), np.array([2, 1]), errors)
    return found


def test_an_object_that_is_not_found_shares_nothing_and_has_no_other_error():
    evidence = rows().evidence((1.0, 5.0))
    values = {measure.key: measure.values.tolist() for measure in evidence.measures}
    assert values["iou"] == [[0.0, 0.8]]
    assert np.array_equal(values["pixels"], [[np.nan, 2.0]], equal_nan=True)
    assert np.array_equal(values["add"], [[np.nan, 0.1]], equal_nan=True)
    assert [measure.key for measure in evidence.measures] == ["iou", "pixels", "azimuth_deg", "elevation_deg", "add"]
    assert evidence.measures[1].thresholds == (1.0, 5.0)
    assert evidence.measures[0].worst().tolist() == [0.0]


def test_pictures_keep_their_order_and_those_without_objects_their_row():
    first, second = rows(), ObjectRows()
    second.add("second", np.array([False]), np.zeros(0, np.int64), np.zeros((0, 5)))
    first.merge(second)
    evidence = first.evidence(())
    assert evidence.frames == ("first", "second")
    assert all(measure.frame.tolist() == [0, 1] for measure in evidence.measures)
    assert all(np.isnan(measure.values[1]).all() for measure in evidence.measures)


def test_nothing_seen_is_no_evidence():
    assert ObjectRows().evidence(()).frames == ()
